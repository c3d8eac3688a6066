"""The router's configuration: one frozen object, read and checked once, before anything else happens.

Each option stands here once: its name in the environment (after LAMBDA_DISPATCH_, in any case, with or without
underscores), its kind and range, its default, and the reason for it. The flag is the attribute's name with dashes; the
environment's name with dashes works too. A flag wins over the environment, the environment over the default.
"""

import dataclasses
import difflib
import ipaddress
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from lambda_dispatch import cpus
from lambda_dispatch import function_name as names
from lambda_dispatch.config_values import (
    Kind,
    boolean,
    choice,
    decimal,
    matching,
    seconds,
    size,
    text,
    variable,
    whole,
)
from lambda_dispatch.errors import CertificateError, ConfigError
from lambda_dispatch.tls import check as check_certificate
from lambda_dispatch.tls import check_authorities
from lambda_dispatch_extension.options import NAMES as EXTENSION_NAMES

PREFIX = "LAMBDA_DISPATCH_"

# Names with our prefix that the router does not read: the extension's options, the build's, and the original router's
# options for a thread pool that this one does not have.
FOREIGN = (
    *EXTENSION_NAMES,
    "CFLAGS",
    "SANITIZE",
    "MinWorkerThreads",
    "MinCompletionPortThreads",
    "MaxCompletionPortThreads",
)

MAX_WORKERS = 64  # the board has twice as many worker slots

_host = matching(
    r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?", "a host name or address alone, without scheme and port"
)
# What goes into a header field of every response.
_version = matching(r"[ -~]{1,200}", "1 to 200 printable ASCII characters")

_port = whole(1, 65535)
_admin_port = whole(1, 65535, also=-1, also_means="no admin port")
_admin_port_flag = whole(0, 65535, also=-1)._replace(
    allowed="a port from 1 to 65535, 0: any free port, or -1: no admin port"
)
_port_flag = whole(0, 65535)._replace(allowed="a port from 1 to 65535, or 0: any free port")

# A certificate is used when these exist; naming another file makes it obligatory.
DEFAULT_CERT = "certs/lambdadispatch.local.crt"
DEFAULT_KEY = "certs/lambdadispatch.local.key"


class Option(NamedTuple):
    name: str  # after the prefix; the whole variable when `exact`
    kind: Kind
    help: str
    flag_kind: Kind | None = None  # where the command line accepts more
    secret: bool = False
    exact: bool = False

    @property
    def variable(self) -> str:
        return self.name if self.exact else PREFIX + self.name


def option(name: str, kind: Kind, default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(name, kind, help, **more)})


@dataclass(frozen=True, slots=True)
class RouterConfig:
    # Function
    function_name: str = option("FunctionName", text, "", "function to invoke: name, name:qualifier or ARN")
    function_qualifier: str | None = None  # split off function_name by load()
    max_concurrent_count: int = option("MaxConcurrentCount", whole(1, 100), 10, "requests at once per instance")
    channel_count: int = option(
        "ChannelCount",
        whole(1, 100, also=-1, also_means="twice MaxConcurrentCount, at most 100"),
        -1,
        "channels an instance holds open; at least MaxConcurrentCount",
    )

    # Ports
    bind_host: str = option("BindHost", text, "0.0.0.0", "address to listen on; :: for IPv6 and IPv4")
    http_port: int = option("IncomingRequestHTTPPort", _port, 5001, "clients, HTTP", flag_kind=_port_flag)
    https_port: int = option("IncomingRequestHTTPSPort", _port, 5002, "clients, HTTPS", flag_kind=_port_flag)
    control_http_port: int = option(
        "ControlChannelInsecureHTTP2Port", _port, 5003, "instances, HTTP/2 without TLS", flag_kind=_port_flag
    )
    control_https_port: int = option(
        "ControlChannelHTTP2Port", _port, 5004, "instances, HTTP/2 over TLS", flag_kind=_port_flag
    )
    allow_insecure_control: bool = option(
        "AllowInsecureControlChannel", boolean, False, "open the control port without TLS"
    )
    preferred_control_scheme: str = option(
        "PreferredControlChannelScheme", choice("http", "https"), "https", "how instances are told to call back"
    )
    cert_file: str = option("CertFile", text, DEFAULT_CERT, "PEM certificate chain; the default is used if it exists")
    key_file: str = option("KeyFile", text, DEFAULT_KEY, "PEM private key; the default is used if it exists")
    control_client_ca: str = option(
        "ControlClientCA",
        text,
        "",
        "PEM file of the authorities whose client certificates instances must show; empty: none is asked for",
    )
    callback_host: str = option(
        "RouterCallbackHost",
        matching(
            r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?", "a host name or address alone, without scheme and port"
        ),
        "",
        "host name or address instances call back to; empty: found out at start",
    )
    env_var_for_callback_ip: str = option(
        "EnvVarForCallbackIp", variable, "K8S_POD_IP", "environment variable that holds the address to call back to"
    )

    # Scaling
    scaling_algorithm: str = option(
        "ScalingAlgorithm", choice("simple", "ewma", "adaptive"), "simple", "algorithm that estimates demand"
    )
    instance_count_multiplier: int = option(
        "InstanceCountMultiplier", whole(1, 10), 2, "headroom: the target per instance is 1/n of MaxConcurrentCount"
    )
    min_instances: int = option("MinInstances", whole(0, 1000), 0, "instances of the configured function kept open")
    # 1,000 is a new account's whole concurrency: more than that is a decision.
    max_instances: int = option("MaxInstances", whole(1, 3000), 1000, "instances of a pool at most")
    # Lambda gives a function 1,000 new environments in any 10 s: burst + 10 s x rate stays within it.
    start_burst: int = option("StartBurst", whole(1, 1000), 500, "invokes a pool may send at once")
    start_rate: float = option("StartRate", decimal(0.1, 100), 50.0, "invokes per second of a pool beyond the burst")
    init_only_buddies: bool = option(
        "InitOnlyBuddies", boolean, False, "after each invoke, one that only warms a spare environment"
    )

    # Workers
    max_worker_threads: int = option(
        "MaxWorkerThreads", whole(0, MAX_WORKERS), 0, "worker processes at most; 0: as many as there are CPUs to use"
    )
    workers: int = option(
        "Workers",
        whole(0, MAX_WORKERS),
        0,
        "worker processes, exactly; 0: CPUs this process may use, capped by MaxWorkerThreads",
    )
    max_queue: int = option("MaxQueue", whole(0, 1_000_000), 5000, "requests that may wait, per worker and pool")
    incoming_request_timeout: float = option(
        "IncomingRequestTimeout", seconds(0.1, 86400), 120.0, "longest wait for an instance; then 504"
    )

    # Clients
    max_connections: int = option(
        "MaxConnections",
        whole(0, 1_000_000),
        0,
        "connections at most, per port and worker; 0: as many as descriptors allow",
    )
    memory_budget: int = option(
        "MemoryBudget",
        size(16 << 20, 1 << 40),
        256 << 20,
        "bytes a worker may hold for clients: heads, handshakes, bodies, answers; then the largest are refused",
    )
    # Four fields of 31 KB and one of 64 KB pass. Heads not complete may take this times the connections.
    max_head_bytes: int = option("MaxHeadBytes", size(1024, 1 << 20), 160 * 1024, "request head; then 431")
    max_request_line: int = option("MaxRequestLine", size(256, 1 << 20), 32 * 1024, "request line; then 414 or 431")
    max_head_fields: int = option("MaxHeadFields", whole(10, 10_000), 200, "header fields of a request; then 431")
    response_head_bytes: int = option("ResponseHeadBytes", size(1024, 1 << 20), 160 * 1024, "response head; then 502")
    head_timeout: float = option("HeadTimeout", seconds(0.1, 3600), 10.0, "time for a whole request head")
    # Longer than a load balancer's idle time-out (ALB: 60 s), so that it is the one that closes.
    keepalive_timeout: float = option("KeepaliveTimeout", seconds(1, 86400), 75.0, "idle time of a client connection")
    # A dial-up modem is twenty times faster; a slower client holds a slot on purpose.
    min_body_rate: float = option("MinBodyRate", decimal(0, 1e9), 240.0, "bytes/s a client must send a body at; 0: any")
    min_read_rate: float = option("MinReadRate", decimal(0, 1e9), 240.0, "bytes/s a client must read at; 0: any")
    min_upload_rate: float = option(
        "MinUploadRate", decimal(0, 1e9), 1000.0, "bytes/s a body must come at while its request holds a slot; 0: any"
    )
    upload_grace: float = option(
        "UploadGrace", seconds(0, 3600), 1.0, "time a body gets to arrive before a slow upload may have a slot"
    )
    upload_share: float = option(
        "UploadShare", decimal(0, 1), 0.5, "share of a pool's slots for requests whose body is still on its way"
    )
    body_grace: float = option("BodyGrace", seconds(0, 3600), 10.0, "time before either rate is looked at")

    # Instances' connections
    ping_interval: float = option("PingInterval", seconds(0.1, 3600), 5.0, "HTTP/2 PING to an instance every")
    ping_timeout: float = option("PingTimeout", seconds(0.1, 3600), 15.0, "silence after which an instance is gone")
    tcp_keepalive_idle: int = option("TcpKeepaliveIdle", whole(1, 7200), 15, "seconds of silence before a TCP probe")
    tcp_keepalive_interval: int = option("TcpKeepaliveInterval", whole(1, 7200), 5, "seconds between TCP probes")
    tcp_keepalive_count: int = option("TcpKeepaliveCount", whole(1, 100), 3, "unanswered probes that end a connection")

    control_secret: str = option(
        "ControlSecret",
        choice("optional", "required"),
        "optional",
        "whether control calls must present the secret of their invoke; the original extension knows none",
    )
    control_bind_address: bool = option(
        "ControlBindAddress",
        boolean,
        True,
        "calls without the secret must come from the address that made the instance's first call",
    )

    # Access control
    allow_function_header: bool = option(
        "AllowFunctionHeader", boolean, False, "honour X-Lambda-Name: clients choose the function"
    )
    function_allow: str = option(
        "FunctionAllow", text, "", "pattern (* and ?; several with commas) of functions X-Lambda-Name may name"
    )
    function_secret: str = option(
        "FunctionSecret",
        matching(r"[!-~]{8,1024}", "8 to 1024 printable characters without spaces"),
        "",
        "value of X-Lambda-Dispatch-Secret without which X-Lambda-Name is refused",
        secret=True,
    )
    pool_idle_timeout: float = option(
        "PoolIdleTimeout", seconds(1, 86400), 300.0, "time after which an unused pool of X-Lambda-Name is forgotten"
    )
    expose_lambda_ids: bool = option("ExposeLambdaIds", boolean, False, "pass x-lambda-id, x-channel-id to the client")
    allow_debug_header: bool = option("AllowDebugHeader", boolean, False, "honour X-Lambda-Dispatch-Debug")

    trusted_hops: int = option(
        "TrustedHops",
        whole(-1, 16),
        -1,
        "proxies in front whose forwarding fields are believed; 0: none, clients connect directly; -1: as they come",
    )
    allow_underscore_fields: bool = option(
        "AllowUnderscoreFields", boolean, False, "pass fields like Transfer_Encoding that look like protected ones"
    )

    # Logging, metrics and admin port
    access_log: str = option("AccessLog", choice("off", "text", "json"), "off", "one line per request, on stdout")
    log_level: str = option("LogLevel", choice("debug", "info", "warning", "error"), "info", "least level logged")
    log_format: str = option("LogFormat", choice("text", "json"), "text", "form of the log on stderr")
    cloudwatch_metrics_enabled: bool = option("CloudWatchMetricsEnabled", boolean, False, "write EMF metrics on stdout")
    admin_port: int = option(
        "AdminPort", _admin_port, 5005, "admin port: state, metrics and page", flag_kind=_admin_port_flag
    )
    admin_host: str = option(
        "AdminHost",
        text,
        "127.0.0.1",
        "address of the admin port; not loopback: set AdminToken or AdminReadOnly",
    )
    admin_token: str = option(
        "AdminToken",
        matching(r"[!-~]{16,1024}", "16 to 1024 printable characters without spaces"),
        "",
        "bearer token that the admin port asks for",
        secret=True,
    )
    admin_read_only: bool = option(
        "AdminReadOnly", boolean, False, "anyone who reaches the admin port may read it without a token"
    )
    git_hash: str = option("GIT_HASH", _version, "", "x-lambda-dispatch-version of responses", exact=True)
    build_time: str = option("BUILD_TIME", _version, "", "x-lambda-dispatch-build-time of responses", exact=True)

    # Lifecycle
    # Load balancers go on sending for as long as their check takes to fail: ALB 5 s at its quickest, Kubernetes 1-2 s.
    lame_duck: float = option("LameDuck", seconds(0, 3600), 5.0, "new connections still served after SIGTERM")
    # ECS and Kubernetes kill 30 s after SIGTERM: everything, the lame duck's time included, is over 5 s before.
    drain_deadline: float = option(
        "DrainDeadline", seconds(0, 86400), 25.0, "requests in flight may take this long after SIGTERM"
    )
    # A worker's loop comes round every 0.1 s; what blocks it for this long will not end by itself.
    hang_timeout: float = option("HangTimeout", seconds(1, 3600), 15.0, "silence after which a process is replaced")
    ready_fd: int = option("ReadyFd", whole(-1, 1 << 20), -1, "descriptor written to once everything listens; -1: none")

    # Made at start for the control port, when no certificate is given and instances call back over TLS.
    self_signed: bool = False

    # Attribute to where its value came from: "default", a variable's or a flag's name, or "derived: ...".
    sources: dict[str, str] = field(default_factory=dict, compare=False)
    # Things worth saying once there is a log; not errors.
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def tls(self) -> bool:
        """Whether clients are served over TLS."""
        return bool(self.cert_file)

    @property
    def control_tls(self) -> bool:
        return self.tls or self.self_signed

    @property
    def function(self) -> names.FunctionName:
        return names.FunctionName(self.function_name, self.function_qualifier)

    def to_json(self) -> str:
        """Everything, secrets included: for child processes, never for a log."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, document: str | bytes) -> Self:
        values = json.loads(document)
        values["warnings"] = tuple(values["warnings"])
        return cls(**values)

    def describe(self) -> str:
        """One line per option, aligned: value and source, secrets masked."""
        rows = []
        for entry in fields(self):
            if entry.name in ("sources", "warnings"):
                continue
            value = getattr(self, entry.name)
            opt: Option | None = entry.metadata.get("option")
            shown = "********" if opt and opt.secret and value else _show(value)
            rows.append(
                (
                    opt.variable if opt else "",
                    flag_of(entry.name) if opt else entry.name,
                    shown,
                    self.sources.get(entry.name, "default"),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join("  ".join((*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3])) for row in rows)


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value in ("", None) else str(value)


OPTIONS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(RouterConfig) if "option" in f.metadata}


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _dashes(name: str) -> str:
    """IncomingRequestHTTPPort -> incoming-request-http-port"""
    name = name.replace("HTTP2", "Http2").replace("_", "-")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def flag_of(attribute: str) -> str:
    return "--" + attribute.replace("_", "-")


def _flags() -> dict[str, str]:
    known = {}
    for attribute, opt in OPTIONS.items():
        known["--" + _dashes(opt.name)] = attribute
        known[flag_of(attribute)] = attribute
    return known


class _Reader:
    """Collects values, where they came from, and everything that is wrong with them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def environment(self, environ: Mapping[str, str]) -> None:
        by_key = {_key(opt.name): attribute for attribute, opt in OPTIONS.items() if not opt.exact}
        foreign = {_key(name) for name in FOREIGN}
        spelt: dict[str, tuple[str, str]] = {}
        for variable_name in sorted(environ):
            if not variable_name.upper().startswith(PREFIX) or not environ[variable_name].strip():
                continue  # set but empty is how templates say "not set"
            key = _key(variable_name[len(PREFIX) :])
            attribute = by_key.get(key)
            if attribute is None:
                if key not in foreign:
                    self.warnings.append(_unknown(variable_name, key, by_key))
                continue
            before = spelt.setdefault(attribute, (variable_name, environ[variable_name]))
            if before[1] != environ[variable_name]:
                self.problems.append(f"{before[0]} and {variable_name} differ and mean the same; remove one")
                continue
            self.take(attribute, OPTIONS[attribute].kind, environ[variable_name], variable_name)
        for attribute, opt in OPTIONS.items():
            if opt.exact and environ.get(opt.name, "").strip():
                self.take(attribute, opt.kind, environ[opt.name], opt.name)

    def command_line(self, argv: Sequence[str]) -> None:
        known = _flags()
        rest = list(argv)
        while rest:
            argument = rest.pop(0)
            flag, equals, value = argument.partition("=")
            attribute = known.get(flag)
            negated = attribute is None and flag.startswith("--no-")
            if negated:
                attribute = known.get("--" + flag[len("--no-") :])
            if attribute is None or (negated and (equals or not OPTIONS[attribute].kind.boolean)):
                near = difflib.get_close_matches(flag, known, 1, 0.5)
                self.problems.append(f"unknown argument {argument!r}" + (f"; did you mean {near[0]}?" if near else ""))
                continue
            opt = OPTIONS[attribute]
            if opt.kind.boolean and not equals:
                value = "false" if negated else "true"
                if not negated and rest and rest[0].lower() in ("true", "false"):
                    value = rest.pop(0)
            elif not equals:
                if not rest or rest[0] in known:
                    self.problems.append(f"{flag} needs a value: {opt.kind.allowed}")
                    continue
                value = rest.pop(0)
            self.take(attribute, opt.flag_kind or opt.kind, value, flag)

    def take(self, attribute: str, kind: Kind, value: str, source: str) -> None:
        try:
            self.values[attribute] = kind.parse(value.strip())
        except ValueError:
            shown = "a value that is not shown" if OPTIONS[attribute].secret else repr(value)
            self.problems.append(f"{source} is {shown}; it must be {kind.allowed}")
        else:
            self.sources[attribute] = source

    def name_of(self, attribute: str) -> str:
        return self.sources.get(attribute, OPTIONS[attribute].variable)


def _unknown(variable_name: str, key: str, by_key: Mapping[str, str]) -> str:
    candidates = {k: PREFIX + OPTIONS[attribute].name for k, attribute in by_key.items()}
    candidates.update({_key(name): PREFIX + name for name in FOREIGN})
    near = difflib.get_close_matches(key, candidates, 1, 0.5)
    return f"{variable_name} is not known and has no effect" + (
        f"; did you mean {candidates[near[0]]}?" if near else ""
    )


def help_text() -> str:
    lines = [
        "usage: lambda-dispatch router [--check] [OPTIONS]",
        "",
        "Every option is also an environment variable; the flag wins. --check prints what is in effect, and exits.",
        "",
    ]
    for attribute, opt in OPTIONS.items():
        default = _show(RouterConfig.__dataclass_fields__[attribute].default)
        value = "[=true|false]" if opt.kind.boolean else " VALUE"
        lines.append(f"  {flag_of(attribute)}{value}")
        lines.append(f"      {opt.help}. {opt.kind.allowed[:1].upper()}{opt.kind.allowed[1:]}. Default: {default}.")
        lines.append(f"      {opt.variable}")
    return "\n".join(lines) + "\n"


def load(environ: Mapping[str, str], argv: Sequence[str] = ()) -> RouterConfig:
    """The configuration, or ConfigError with everything that is wrong."""
    reader = _Reader()
    reader.environment(environ)
    reader.command_line(argv)
    if not reader.problems:
        _derive(reader)
    if reader.problems:
        raise ConfigError(reader.problems, tuple(reader.warnings))
    return RouterConfig(**reader.values, sources=reader.sources, warnings=tuple(reader.warnings))


def _derive(reader: _Reader) -> None:
    """Checks that need two values at once, and values that follow from others."""
    values, sources, problems = reader.values, reader.sources, reader.problems

    def get(attribute: str) -> Any:
        return values.get(attribute, RouterConfig.__dataclass_fields__[attribute].default)

    def derive(attribute: str, value: Any, why: str) -> None:
        values[attribute] = value
        sources[attribute] = f"derived: {why}"

    given = get("function_name")
    parsed = names.parse(given)
    if parsed is None:
        state = "is not set" if given == "" else f"is {given!r}"
        problems.append(
            f"{reader.name_of('function_name')} {state}; it must be a function's name ([A-Za-z0-9_-], at most 64), "
            "name:qualifier, or its full ARN"
        )
    else:
        values["function_name"] = parsed.name
        if parsed.qualifier is not None:
            derive("function_qualifier", parsed.qualifier, reader.name_of("function_name"))

    most = get("max_concurrent_count")
    if get("channel_count") == -1:
        derive("channel_count", min(2 * most, 100), "2 x MaxConcurrentCount, at most 100")
    elif get("channel_count") < most:
        problems.append(
            f"{reader.name_of('channel_count')} is {get('channel_count')}; it must be from MaxConcurrentCount "
            f"({most}) to 100, or -1: twice MaxConcurrentCount, at most 100"
        )
    if get("min_instances") > get("max_instances"):
        problems.append(
            f"{reader.name_of('min_instances')} is {get('min_instances')}; it must not be more than MaxInstances "
            f"({get('max_instances')})"
        )
    _derive_tls(reader, get, derive)
    _check_ports(reader, get)
    if get("admin_port") >= 0 and not (_is_loopback(get("admin_host")) or get("admin_token") or get("admin_read_only")):
        problems.append(
            f"{reader.name_of('admin_host')} is {get('admin_host')!r}, which others can reach; set AdminToken, or "
            "AdminReadOnly=true to let everybody read, or keep 127.0.0.1"
        )

    if get("workers") == 0:
        usable = min(cpus.usable(), MAX_WORKERS)
        cap = get("max_worker_threads")
        derive(
            "workers", min(cap, usable) if cap else usable, f"{usable} CPUs usable, MaxWorkerThreads {cap or 'unset'}"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _derive_tls(reader: _Reader, get: Any, derive: Any) -> None:
    files = {attribute: get(attribute) for attribute in ("cert_file", "key_file")}
    present = True
    for attribute, path in files.items():
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            present = False
            if attribute in reader.sources:
                state = "which is a directory" if os.path.isdir(path) else "which cannot be read"
                reader.problems.append(
                    f"{reader.name_of(attribute)} is {path!r}, {state}; "
                    "name a readable PEM file, or leave it out to go without a certificate"
                )
    if present:
        try:
            check_certificate(files["cert_file"], files["key_file"])
        except CertificateError as error:
            reader.problems.append(f"{error}; name a PEM certificate chain and its private key")
    else:
        for attribute in files:
            derive(attribute, "", f"no certificate: {DEFAULT_CERT} or {DEFAULT_KEY} cannot be read")
    insecure = get("allow_insecure_control")
    authorities = get("control_client_ca")
    if authorities:
        try:
            check_authorities(authorities)
        except CertificateError as error:
            reader.problems.append(f"{error}; name a PEM file of CA certificates, or leave it out")
        if insecure:
            reader.problems.append(
                f"{reader.name_of('control_client_ca')} is set while AllowInsecureControlChannel is true: the port "
                "without TLS asks for no certificate; turn it off, or leave ControlClientCA out"
            )
    if get("preferred_control_scheme") == "http" and not insecure:
        reader.problems.append(
            f"{reader.name_of('preferred_control_scheme')} is 'http' while AllowInsecureControlChannel is false; "
            "allow it, or use https"
        )
    elif not present and insecure and "preferred_control_scheme" not in reader.sources:
        derive("preferred_control_scheme", "http", "there is no certificate")
    if not present and get("preferred_control_scheme") == "https":
        derive("self_signed", True, "instances call back over TLS, and there is no certificate")


def _check_ports(reader: _Reader, get: Any) -> None:
    certificate = bool(get("cert_file"))
    open_ports = {
        "http_port": True,
        "https_port": certificate,
        "control_http_port": get("allow_insecure_control"),
        "control_https_port": certificate or reader.values.get("self_signed", False),
    }
    seen: dict[int, str] = {}
    for attribute in (attribute for attribute, opens in open_ports.items() if opens):
        port = get(attribute)
        if port and port in seen:
            reader.problems.append(
                f"{reader.name_of(seen[port])} and {reader.name_of(attribute)} are both {port}; "
                "each port needs a number of its own"
            )
        seen.setdefault(port, attribute)
