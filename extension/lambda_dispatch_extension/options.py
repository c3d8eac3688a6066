"""The extension's options, which are environment variables: each one has a row in TABLE.

A bad value is logged and the default used, as in the original, except where a default would weaken what was asked for
(TLS): there the process does not start.

An option may have a name in AWS's Lambda Web Adapter too, and an older one without a prefix: LAMBDA_DISPATCH_X is read
before AWS_LWA_X, that before the older name. Values under those names are read as that adapter reads them. An
environment that has any of them, or PORT, and no LAMBDA_DISPATCH_PORT gets that adapter's defaults.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREFIX = "LAMBDA_DISPATCH_"
LWA = "AWS_LWA_"
Statuses = tuple[tuple[int, int], ...]


class OptionError(Exception):
    """An option without which going on would be unsafe."""


class Margin(NamedTuple):
    """What is kept free at the end of an invocation: seconds, or, where share is not 0, a share of its length."""

    seconds: float
    share: float = 0.0


class Options(NamedTuple):
    port: int = 3001  # the application's
    app_protocol: str = "http1"  # what the application is spoken to in; auto: h2c where it answers to that
    async_init: bool = False
    async_init_timeout: float = 10.0  # s, inside the first invoke
    compression: bool = True
    force_deadline: float | None = None  # s from the start of each invoke
    grace: float = 0.25  # s without traffic after which the instance asks to be closed
    health_path: str = "/health"
    health_protocol: str = "http"
    healthy: Statuses = ((200, 200),)
    init_timeout: float = 120.0  # s, when init is not asynchronous; 0: wait for ever
    deadline_margin: Margin = Margin(15.0)
    app_idle: float = 4.0  # s; below the 5 s after which common servers close
    app_connect: float = 5.0  # s; Linux repeats a SYN that a full backlog dropped after 1 s, and again 2 s later
    router_connect: float = 0.5  # s
    ca_file: str = ""
    fingerprint: bytes = b""  # SHA-256 of the router's certificate
    client_certificate: str = ""  # PEM file, shown to the router
    client_key: str = ""  # PEM file; empty: the certificate's file has it too
    pass_ids: bool = False  # x-pool-id, x-lambda-id and x-channel-id reach the application
    runtime: str = ""  # of the original; without effect
    host: str = "127.0.0.1"  # the application's
    health_port: int = 0  # 0: the application's
    # Direct events
    direct: bool = True
    streams: bool = False  # answers leave as they come, in place of buffered
    base_path: str = ""  # taken off the front of the path: whole segments, no slash at the end
    pass_through_path: str = "/events"
    authorization_source: str = ""  # field that becomes `authorization`, lower case
    error_statuses: Statuses = ()  # answers that fail the invoke

    def margin(self, whole: float) -> float:
        """Seconds to keep free at the end of an invocation that lasts `whole` seconds."""
        seconds, share = self.deadline_margin
        return whole * share if share else seconds

    def is_healthy(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.healthy)

    def is_error(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.error_statuses)


def boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("not true or false")


def port(text: str) -> int:
    value = digits(text)
    if not 1 <= value <= 65535:
        raise ValueError("not a port from 1 to 65535")
    return value


def digits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("not a number")
    return int(text)


def seconds(text: str) -> float:
    whole, _, part = text.partition(".")
    return digits(whole) + (digits(part) / 10 ** len(part) if part else 0.0)


def milliseconds(text: str) -> float:
    return digits(text) / 1000


def timeout(text: str) -> float:
    value = milliseconds(text)
    if value == 0:
        raise ValueError("must be more than 0")
    return value


def path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("not a path that starts with /")
    return text


def protocol(text: str) -> str:
    if text.lower() not in ("http", "tcp"):
        raise ValueError("not http or tcp")
    return text.lower()


def app_protocol(text: str) -> str:
    if text.lower() not in ("http1", "h2c", "auto"):
        raise ValueError("not http1, h2c or auto")
    return text.lower()


def statuses(text: str) -> Statuses:
    """Statuses and ranges of them: 200,204,300-399"""
    ranges = []
    for item in text.split(","):
        low, dash, high = item.strip().partition("-")
        bounds = digits(low.strip()), digits(high.strip() if dash else low.strip())
        if not 100 <= bounds[0] <= bounds[1] <= 599:
            raise ValueError(f"{item.strip()!r} is not a status or a range of statuses")
        ranges.append(bounds)
    return tuple(ranges)


def margin(text: str) -> Margin:
    """Seconds, or a share of the function's timeout: 15 or 10%"""
    if not text.endswith("%"):
        return Margin(seconds(text))
    share = seconds(text[:-1]) / 100
    if not 0 < share <= 0.5:
        raise ValueError("not more than 0% and at most 50%")
    return Margin(0.0, share)


def fingerprint(text: str) -> bytes:
    """SHA-256 in hex, with or without colons."""
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 32:
        raise ValueError("not the 64 hex digits of a SHA-256 fingerprint")
    return value


def readable(text: str) -> str:
    if not os.path.isfile(text) or not os.access(text, os.R_OK):
        raise ValueError("no such readable file")
    return text


def host(text: str) -> str:
    """A name, an IPv4 address, or an IPv6 address in brackets or without."""
    name = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not name or not name.isascii() or not all(c.isalnum() or c in ".-_:" for c in name):
        raise ValueError("invalid URL configuration: not a host name or an IP address")
    return name


def base_path(text: str) -> str:
    stripped = text.strip("/")
    return path(f"/{stripped}") if stripped else ""


def field_name(text: str) -> str:
    if not text.isascii() or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in text):
        raise ValueError("not the name of a header")
    return text.lower()


def invoke_mode(text: str) -> bool:
    if text.lower() not in ("buffered", "response_stream"):
        raise ValueError("not buffered or response_stream")
    return text.lower() == "response_stream"


# As AWS's Lambda Web Adapter reads its values -------------------------------------------------------------------------


def exactly_true(text: str) -> bool:
    return text == "true"


def lwa_protocol(text: str) -> str:
    return "tcp" if text.lower() == "tcp" else "http"


def lwa_invoke_mode(text: str) -> bool:
    return text.lower() == "response_stream"


def lwa_statuses(text: str) -> Statuses:
    """What can be read of a list; nothing at all is a list that no status is in."""
    ranges = []
    for item in text.split(","):
        bounds = item.strip().split("-")
        if readable_statuses(bounds):
            ranges.append((int(bounds[0]), int(bounds[-1])))
    return tuple(ranges)


def readable_statuses(bounds: list[str]) -> bool:
    return len(bounds) <= 2 and all(bound.isascii() and bound.isdigit() and len(bound) <= 5 for bound in bounds)


def skipped_statuses(text: str) -> str:
    """The parts of a list that lwa_statuses() leaves out."""
    items = [item.strip() for item in text.split(",")]
    return ",".join(item for item in items if item and not readable_statuses(item.split("-")))


class Option(NamedTuple):
    name: str  # after the prefix
    field: str  # of Options
    convert: Callable[[str], Any]
    otherwise: str = ""  # what unsetting it would mean; with this a bad value is an error and no default is used
    lwa: str = ""  # its name in AWS's Lambda Web Adapter, after that one's prefix
    lwa_convert: Callable[[str], Any] | None = None  # where that adapter reads it in another way
    older: bool = False  # that adapter knows it without the prefix too, and warns
    blank: bool = False  # set to nothing it says something


ANY_ROUTER = "unset it to accept any router"
LOOPBACK = "unset it for 127.0.0.1"
TABLE = (
    Option("PORT", "port", port, lwa="PORT"),
    Option("HOST", "host", host, LOOPBACK, lwa="HOST", older=True),
    Option("APP_PROTOCOL", "app_protocol", app_protocol),
    Option("ASYNC_INIT", "async_init", boolean, lwa="ASYNC_INIT", lwa_convert=exactly_true, older=True),
    Option("ASYNC_INIT_TIMEOUT", "async_init_timeout", seconds),
    Option("INIT_TIMEOUT", "init_timeout", seconds),
    Option("HEALTH_CHECK_PORT", "health_port", port, lwa="READINESS_CHECK_PORT", older=True),
    Option("HEALTH_CHECK_PATH", "health_path", path, lwa="READINESS_CHECK_PATH", older=True),
    Option("HEALTH_CHECK_PROTOCOL", "health_protocol", protocol,
           lwa="READINESS_CHECK_PROTOCOL", lwa_convert=lwa_protocol, older=True),
    Option("HEALTHY_STATUSES", "healthy", statuses,
           lwa="READINESS_CHECK_HEALTHY_STATUS", lwa_convert=lwa_statuses, blank=True),
    Option("ENABLE_COMPRESSION", "compression", boolean, lwa="ENABLE_COMPRESSION", lwa_convert=exactly_true),
    Option("DIRECT", "direct", boolean),
    Option("INVOKE_MODE", "streams", invoke_mode, lwa="INVOKE_MODE", lwa_convert=lwa_invoke_mode),
    Option("REMOVE_BASE_PATH", "base_path", base_path, lwa="REMOVE_BASE_PATH", older=True),
    Option("PASS_THROUGH_PATH", "pass_through_path", path, lwa="PASS_THROUGH_PATH"),
    Option("AUTHORIZATION_SOURCE", "authorization_source", field_name, lwa="AUTHORIZATION_SOURCE"),
    Option("ERROR_STATUS_CODES", "error_statuses", statuses, lwa="ERROR_STATUS_CODES", lwa_convert=lwa_statuses),
    Option("LAST_ACTIVE_GRACE_PERIOD_MS", "grace", milliseconds),
    Option("DEADLINE_MARGIN", "deadline_margin", margin),
    Option("FORCE_DEADLINE", "force_deadline", seconds),
    Option("APP_IDLE_TIMEOUT_MS", "app_idle", timeout),
    Option("APP_CONNECT_TIMEOUT_MS", "app_connect", timeout),
    Option("ROUTER_CONNECT_TIMEOUT_MS", "router_connect", timeout),
    Option("PASS_IDS", "pass_ids", boolean),
    Option("ROUTER_CA_FILE", "ca_file", readable, ANY_ROUTER),
    Option("ROUTER_FINGERPRINT", "fingerprint", fingerprint, ANY_ROUTER),
    Option("CLIENT_CERTIFICATE", "client_certificate", readable, "unset it to show the router no certificate"),
    Option("CLIENT_KEY", "client_key", readable, "unset it where the certificate's file has the key too"),
    Option("RUNTIME", "runtime", str),
)  # fmt: skip
LWA_DEFAULTS = {"port": 8080, "health_path": "/", "healthy": ((100, 499),), "compression": False}
# Of an environment's variables, those that are not options of the extension but Lambda's own.
RUNTIME_API, RUNTIME_API_PROXY = "AWS_LAMBDA_RUNTIME_API", "LAMBDA_RUNTIME_API_PROXY"
# Set by the launcher for the program that it starts; no options.
EXTENSION_ID = PREFIX + "EXTENSION_ID"  # registered already, under this identifier
APP_PID = PREFIX + "APP_PID"  # the application runs already, as this child of ours
# Every variable of the extension's, without the prefix: the router does not warn about these.
NAMES = (*(option.name for option in TABLE), "EXTENSION_ID", "APP_PID", RUNTIME_API_PROXY)


def load(environ: Mapping[str, str], note: Callable[..., object]) -> Options:
    """The options of this environment. note(event, **fields) takes what is worth a log line."""
    adapter = like_the_adapter(environ)
    values: dict[str, Any] = dict(LWA_DEFAULTS) if adapter else {}
    defaults = Options(**values)
    for option in TABLE:
        name, convert = given_name(option, environ)
        if not name:
            continue
        text = environ[name].strip()
        if option.older and name == option.lwa:
            note("option deprecated", variable=name, use=LWA + name)
        if convert is lwa_statuses and (skipped := skipped_statuses(text)):
            note("option ignored in part", variable=name, value=text, skipped=skipped)
        try:
            values[option.field] = convert(text)
        except ValueError as error:
            if option.otherwise:
                raise OptionError(f"{name}={text!r}: {error}; correct it, or {option.otherwise}") from None
            if name == LWA + "PORT":
                raise OptionError(f"{name}={text!r}: invalid URL configuration: {error}; correct it") from None
            default = default_text(getattr(defaults, option.field))
            note("option ignored", variable=name, value=text, cause=error, default=default)
    if values.get("runtime"):
        note("option ignored", variable=PREFIX + "RUNTIME", value=values.pop("runtime"), cause="has no effect here")
    if values.get("client_key") and not values.get("client_certificate"):
        raise OptionError(f"{PREFIX}CLIENT_KEY is set without {PREFIX}CLIENT_CERTIFICATE; set both")
    if values.get("streams") and exactly_true(environ.get(LWA + "ENABLE_COMPRESSION", "")):
        note("option ignored", variable=LWA + "ENABLE_COMPRESSION", value="true",
             cause="streamed answers to direct events are not compressed")  # fmt: skip
    return Options(**values)


def like_the_adapter(environ: Mapping[str, str]) -> bool:
    """Whether this environment is configured for AWS's Lambda Web Adapter."""
    if environ.get(PREFIX + "PORT", "").strip():
        return False
    return bool(environ.get("PORT", "").strip()) or any(name.startswith(LWA) for name in environ)


def given_name(option: Option, environ: Mapping[str, str]) -> tuple[str, Callable[[str], Any]]:
    """The variable that sets the option, and how to read it; no variable where none does."""
    if environ.get(PREFIX + option.name, "").strip():
        return PREFIX + option.name, option.convert
    if not option.lwa:
        return "", option.convert
    convert = option.lwa_convert or option.convert
    for name in (LWA + option.lwa, option.lwa if option.older or option.lwa == "PORT" else ""):
        if name in environ and (option.blank or environ[name].strip()):
            return name, convert
    return "", convert


def runtime_api(environ: Mapping[str, str]) -> str:
    """HOST:PORT of Lambda's Runtime and Extensions API, or of what stands in front of it."""
    for name in (PREFIX + RUNTIME_API_PROXY, LWA + RUNTIME_API_PROXY):
        if environ.get(name):
            return environ[name]
    return environ.get(RUNTIME_API, "")


def default_text(value: object) -> str:
    if isinstance(value, Margin):
        return f"{value.seconds:g}"
    if isinstance(value, tuple):
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
