"""A function of the embedded Lambda: what it runs, its limits, how callers may name it."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from lambda_dispatch.local.service import service_error

ACCOUNT = "000000000000"
LATEST = "$LATEST"
NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
QUALIFIER = re.compile(r"\$LATEST|[a-zA-Z0-9-_]{1,128}")
NAME_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
)
ARN = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*):lambda:[a-z]{2}(?:-[a-z]+)+-\d:)?(?:(\d{12}):)?(?:function:)?"
    r"([a-zA-Z0-9-_]{1,64})(?::(\$LATEST|[a-zA-Z0-9-_]{1,128}))?"
)

MAX_TIMEOUT = 900.0  # Lambda's own ceiling, seconds
MAX_MEMORY = 10_240  # MB, Lambda's own ceiling
MAX_ENVIRONMENT_CONCURRENCY = 1600  # Lambda's own ceiling of PerExecutionEnvironmentMaxConcurrency

# Lambda refuses these in a function's configuration; the ones an application may want to choose locally (region and
# credentials) are left open.
RESERVED = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_RUNTIME_API",
    }
)

RUNTIMES = ("provided", "dispatch", "direct")


class FunctionConfigError(ValueError):
    """A function that cannot be: the message names the setting, the value and what is allowed."""


@dataclass(slots=True)
class Function:
    """`command` is the runtime process for `provided`; for `dispatch` and `direct` it is a web application beside
    lambda-dispatch's extension, which serves the router's invokes and direct events alike."""

    name: str
    command: tuple[str, ...]
    runtime: str = "provided"
    extensions: tuple[tuple[str, ...], ...] = ()
    extensions_directory: str = ""  # every file in it is an external extension, as in /opt/extensions
    environment: Mapping[str, str] = field(default_factory=dict)
    handler: str = ""
    timeout: float = MAX_TIMEOUT  # seconds
    memory: int = 1024  # MB, reported and not enforced
    init_timeout: float = 10.0  # seconds
    concurrency: int | None = None  # reserved concurrency; None shares the account's
    aliases: Mapping[str, str] = field(default_factory=dict)  # alias or version -> version it runs as
    directory: str = ""  # working directory, LAMBDA_TASK_ROOT; empty is the caller's
    region: str = "us-east-1"
    environment_concurrency: int = 1  # invokes at once in one environment; more than 1: as on a managed instance
    tenant_isolation: bool = False  # each invoke names its tenant, and no environment serves two tenants
    port: int | None = None  # PORT for the application when pinned; None picks a free one per environment

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise FunctionConfigError(f"function name {self.name!r}: 1 to 64 letters, digits, '-' and '_'")
        if not self.command:
            raise FunctionConfigError(f"function {self.name}: no command; give one after --")
        if self.runtime not in RUNTIMES:
            raise FunctionConfigError(f"function {self.name}: runtime {self.runtime!r}: one of {', '.join(RUNTIMES)}")
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise FunctionConfigError(
                f"function {self.name}: timeout {self.timeout:g}: more than 0, at most 900 seconds"
            )
        if not 128 <= self.memory <= MAX_MEMORY:
            raise FunctionConfigError(f"function {self.name}: memory {self.memory}: 128 to {MAX_MEMORY} MB")
        if self.init_timeout <= 0:
            raise FunctionConfigError(f"function {self.name}: init timeout {self.init_timeout:g}: more than 0 seconds")
        if self.concurrency is not None and self.concurrency < 0:
            raise FunctionConfigError(f"function {self.name}: concurrency {self.concurrency}: 0 or more")
        if not 1 <= self.environment_concurrency <= MAX_ENVIRONMENT_CONCURRENCY:
            raise FunctionConfigError(
                f"function {self.name}: environment concurrency {self.environment_concurrency}: "
                f"1 to {MAX_ENVIRONMENT_CONCURRENCY}"
            )
        if self.extensions_directory and not os.path.isdir(self.extensions_directory):
            raise FunctionConfigError(f"function {self.name}: {self.extensions_directory} is no extensions directory")
        for key in self.environment:
            if key in RESERVED:
                raise FunctionConfigError(f"function {self.name}: {key} is set by Lambda and cannot be configured")
        for alias in self.aliases:
            if not QUALIFIER.fullmatch(alias):
                raise FunctionConfigError(
                    f"function {self.name}: alias {alias!r}: 1 to 128 letters, digits, '-' and '_'"
                )

    @property
    def arn(self) -> str:
        return function_arn(self.name, region=self.region)

    @property
    def managed(self) -> bool:
        """Its environments are as on Lambda Managed Instances."""
        return self.environment_concurrency > 1

    def version(self, qualifier: str | None) -> str | None:
        """The version a qualifier runs as, None when there is no such qualifier."""
        if qualifier is None or qualifier == LATEST:
            return LATEST
        return self.aliases.get(qualifier)

    def external_extensions(self) -> tuple[tuple[str, ...], ...]:
        """The commands of the external extensions; the directory is read for each environment."""
        files: list[tuple[str, ...]] = []
        if self.extensions_directory:
            with os.scandir(self.extensions_directory) as entries:
                files = sorted((os.path.abspath(entry.path),) for entry in entries if not entry.is_dir())
        return (*self.extensions, *files)

    def runtime_command(self) -> tuple[str, ...]:
        """The process Lambda starts as the runtime of an environment."""
        if self.runtime == "provided":
            return self.command
        return (sys.executable, "-m", "lambda_dispatch_extension", "--", *self.command)

    def variables(self, runtime_api: str, log_stream: str, port: int) -> dict[str, str]:
        """The environment of the runtime process: the caller's, then Lambda's, then the function's own."""
        given = dict(os.environ)
        lambdas = {
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_FUNCTION_VERSION": LATEST,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances" if self.managed else "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
            "LAMBDA_TASK_ROOT": self.directory or os.getcwd(),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "TZ": ":UTC",
            "_HANDLER": self.handler,
            "LAMBDA_DISPATCH_PORT": str(port),
            "PORT": str(port),
        }
        given.pop("AWS_LAMBDA_MAX_CONCURRENCY", None)
        if self.managed:
            lambdas["AWS_LAMBDA_MAX_CONCURRENCY"] = str(self.environment_concurrency)
        defaults = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
        }
        if "AWS_ACCESS_KEY_ID" in given:  # a pair of one's own has no token, or brings it
            del defaults["AWS_SESSION_TOKEN"]
        return {**defaults, **given, **lambdas, **self.environment}


def function_arn(name: str, qualifier: str | None = None, region: str = "us-east-1") -> str:
    suffix = f":{qualifier}" if qualifier else ""
    return f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}{suffix}"


def parse_function_name(given: str, qualifier: str | None) -> tuple[str, str | None]:
    """(name, qualifier) of any form the Invoke API accepts: name, name:qualifier, partial and full ARN."""
    text = unquote(given)
    match = ARN.fullmatch(text)
    if match is None:
        raise service_error.validation("functionName", text, NAME_PATTERN)
    named = match.group(3)
    if qualifier is not None:
        if not QUALIFIER.fullmatch(qualifier):
            raise service_error.validation("qualifier", qualifier, r"(|[a-zA-Z0-9$_-]+)")
        if named is not None and named != qualifier:
            raise service_error.invalid_parameter(
                "The derived qualifier from the function name does not match the specified qualifier."
            )
    return match.group(2), qualifier if qualifier is not None else named
