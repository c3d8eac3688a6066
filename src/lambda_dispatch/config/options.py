"""The table of options: each stands here once, with its kind and range, its default, and the reason for it."""

import dataclasses
import json
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from lambda_dispatch import function_name as names
from lambda_dispatch.config.values import (
    Kind,
    boolean,
    choice,
    decimal,
    matching,
    names_of,
    or_auto,
    seconds,
    size,
    text,
    variable,
    whole,
)
from lambda_dispatch.scaler.model import LEARNT
from lambda_dispatch.telemetry.access_fields import ALL_FIELDS, DEFAULT_FIELDS
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

# Names as in an Upgrade field.
_protocols = matching(
    r"[a-z0-9!#$%&'*+.^_`|~/-]{1,64}(,[a-z0-9!#$%&'*+.^_`|~/-]{1,64}){0,15}",
    "up to 16 names in lower case, with commas and without spaces",
)

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
    config_file: str = option("Config", text, "", "TOML file with options; the environment and flags win over it")

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
        "PreferredControlChannelScheme", choice("http", "https"), "https", "scheme of the URL that instances call back"
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
        "ScalingAlgorithm", choice("adaptive", "simple", "ewma"), "adaptive", "algorithm that estimates demand"
    )
    instance_count_multiplier: int = option(
        "InstanceCountMultiplier",
        whole(1, 10),
        2,
        "headroom of `simple` and `ewma`: the target per instance is 1/n of MaxConcurrentCount",
    )
    target_concurrency: int = option(
        "TargetConcurrency",
        or_auto(whole(0, 100), LEARNT),
        0,
        "requests at once per instance that `adaptive` staffs for; auto: learnt; 0: MaxConcurrentCount",
    )
    buffer_instances: int = option(
        "BufferInstances", whole(0, 1000), 0, "instances that `adaptive` keeps beyond the need while requests come"
    )
    min_instances: int = option("MinInstances", whole(0, 1000), 0, "instances of the configured function kept open")
    min_instances_schedule: str = option(
        "MinInstancesSchedule",
        text._replace(allowed="entries CRON=N with ; between them, as in 0 7 * * MON-FRI=20; 0 19 * * *=2"),
        "",
        "MinInstances by time of day and week, in UTC: N from when CRON is due until another entry is",
    )
    # 1,000 is a new account's whole concurrency: more than that is a decision.
    max_instances: int = option("MaxInstances", whole(1, 3000), 1000, "instances of a pool at most")
    # Lambda gives a function 1,000 new environments in any 10 s: burst + 10 s x rate stays within it.
    start_burst: int = option("StartBurst", whole(1, 1000), 500, "invokes a pool may send at once")
    start_rate: float = option("StartRate", decimal(0.1, 100), 50.0, "invokes per second of a pool beyond the burst")
    function_memory_mb: int = option(
        "FunctionMemoryMb", whole(0, 10240), 0, "memory of the function, for what it costs; 0: costs are not computed"
    )
    max_cost_per_hour: float = option(
        "MaxCostPerHour",
        decimal(0, 1_000_000),
        0.0,
        "USD that a pool may cost in an hour; then only MinInstances (1 at least) go on; 0: no limit",
    )
    max_invokes_per_minute: int = option(
        "MaxInvokesPerMinute",
        whole(0, 1_000_000),
        0,
        "invokes of a pool in a minute; then only MinInstances (1 at least) are started; 0: no limit",
    )
    frozen_spares: int = option(
        "FrozenSpares",
        whole(0, 1000),
        0,
        "environments of the configured function kept frozen by an invoke every few minutes, for bursts",
    )
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

    upgrade_allow: str = option(
        "UpgradeAllow",
        _protocols,
        "websocket",
        "protocols a client may go on in by Upgrade, several with commas; none: no such protocol",
    )
    # Who says nothing for this long is forgotten by something on the way, too; libraries ping at 20 to 60 s.
    upgrade_idle_timeout: float = option(
        "UpgradeIdleTimeout", seconds(0, 86400), 300.0, "silence after which an upgraded connection ends; 0: never"
    )
    upgrade_max_lifetime: float = option(
        "UpgradeMaxLifetime", seconds(0, 86400), 0.0, "age at which an upgraded connection ends; 0: its instance's"
    )

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
    access_log: str = option(
        "AccessLog", choice("off", "text", "json", "combined"), "off", "one line per request, on stdout"
    )
    access_log_fields: str = option(
        "AccessLogFields",
        names_of(*ALL_FIELDS),
        ",".join(DEFAULT_FIELDS),
        "what a line of AccessLog text or json holds",
    )
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
        "address of the admin port; not loopback: set a token or AdminReadOnly",
    )
    admin_token: str = option(
        "AdminToken",
        matching(r"[!-~]{16,1024}", "16 to 1024 printable characters without spaces"),
        "",
        "bearer token that the admin port asks for; gives commands too",
        secret=True,
    )
    admin_token_file: str = option(
        "AdminTokenFile", text, "", "file that holds AdminToken; it is read again when it has changed"
    )
    admin_read_token: str = option(
        "AdminReadToken",
        matching(r"[!-~]{16,1024}", "16 to 1024 printable characters without spaces"),
        "",
        "bearer token that reads on the admin port and gives no commands",
        secret=True,
    )
    admin_read_token_file: str = option(
        "AdminReadTokenFile", text, "", "file that holds AdminReadToken; it is read again when it has changed"
    )
    admin_open_control: bool = option(
        "AdminOpenControl",
        boolean,
        False,
        "on loopback, the admin port takes commands without a token",
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

    # Attribute to where its value came from: a flag, a variable, "FILE: key", or "derived: ..."; absent: the default.
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


OPTIONS: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(RouterConfig) if "option" in f.metadata}


def default_of(attribute: str) -> Any:
    return RouterConfig.__dataclass_fields__[attribute].default


def key_of(name: str) -> str:
    """A name as it is compared: any case, with or without underscores and dashes."""
    return name.replace("_", "").replace("-", "").lower()


def flag_of(attribute: str) -> str:
    return "--" + attribute.replace("_", "-")
