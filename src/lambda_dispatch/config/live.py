"""What a reload changes at once, and what it cannot: the one table. Options that are not named here are live.

Live: every process takes the new value within a tenth of a second (the admin process within a second), for what begins
then: a new request, a new connection, the next decision. What is under way keeps what it began with.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from lambda_dispatch.config.options import OPTIONS, RouterConfig

# A worker takes it when it starts: a rolling restart (SIGUSR1) is enough.
ROLLING = {
    "max_connections": "a worker shares out its descriptors when it starts",
    "tcp_keepalive_idle": "set on listening sockets when a worker starts",
    "tcp_keepalive_interval": "set on listening sockets when a worker starts",
    "tcp_keepalive_count": "set on listening sockets when a worker starts",
    "control_client_ca": "a TLS context can only add authorities",
    "git_hash": "written into every answer of a worker",
    "build_time": "written into every answer of a worker",
}
# Only a new router takes it.
RESTART = {
    "config_file": "the file that was named at start is read again",
    "function_name": "the first pool is its",
    "max_concurrent_count": "instances were told",
    "channel_count": "instances were told",
    "bind_host": "the sockets are open",
    "http_port": "the sockets are open",
    "https_port": "the sockets are open",
    "control_http_port": "the sockets are open",
    "control_https_port": "the sockets are open",
    "allow_insecure_control": "the sockets are open",
    "preferred_control_scheme": "the callback address is found at start",
    "callback_host": "the callback address is found at start",
    "env_var_for_callback_ip": "the callback address is found at start",
    "scaling_algorithm": "each algorithm has a memory of its own",
    "max_worker_threads": "the board has as many worker slots",
    "workers": "the board has as many worker slots",
    "cloudwatch_metrics_enabled": "the writer counts from the start",
    "admin_port": "the socket is open",
    "admin_host": "the socket is open",
    "ready_fd": "it was written to",
}
# Live, but for turning TLS on or off, which opens and closes sockets.
TLS = ("cert_file", "key_file")


class Reloaded(NamedTuple):
    config: RouterConfig  # what processes that start now are given
    live: dict[str, Any]  # by option's name: the new value, "***" for a secret
    rolling: dict[str, str]  # by option's name: why it needs a rolling restart
    restart: dict[str, str]  # by option's name: why it needs a new router


def reload(old: RouterConfig, new: RouterConfig) -> Reloaded:
    """What becomes of the old configuration when the new one is asked for."""
    taken: dict[str, Any] = {"warnings": new.warnings}
    sources = dict(old.sources)
    live: dict[str, Any] = {}
    rolling: dict[str, str] = {}
    restart: dict[str, str] = {}
    for attribute, option in OPTIONS.items():
        before, after = getattr(old, attribute), getattr(new, attribute)
        later = RESTART.get(attribute)
        if attribute in TLS and bool(before) != bool(after):
            later = "TLS is turned on or off, and the sockets are open"
        if attribute == "function_name" and old.function_qualifier != new.function_qualifier:
            before, after = str(old.function), str(new.function)
        if later is not None and before != after:
            restart[option.name] = later
            continue
        taken[attribute] = after
        sources.pop(attribute, None)
        if attribute in new.sources:
            sources[attribute] = new.sources[attribute]
        if before == after:
            continue
        if attribute in ROLLING:
            rolling[option.name] = ROLLING[attribute]
        else:
            live[option.name] = "***" if option.secret else option.kind.written(after)
    return Reloaded(replace(old, **taken, sources=sources), live, rolling, restart)
