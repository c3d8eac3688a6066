"""Every metric the router publishes, described once: name, kind, help, unit, labels, and where its value comes from.

Prometheus text, OpenMetrics, Prometheus protobuf and OTLP are written from FAMILIES; docs/metrics.md, the dashboard and
the alerts are generated from it (tools/gen_metrics.py). No label takes values that a client can invent without bound:
functions are bounded by the pools of the board.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lambda_dispatch.error_words import ErrorWord
from lambda_dispatch.scaler.verdict import FAILED
from lambda_dispatch.telemetry.view import BREAKER_STATES, PoolView, View
from lambda_dispatch.version import PROTOCOL
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board import board as b

PREFIX = "lambda_dispatch_"
CODES = ("none", "2xx", "3xx", "4xx", "5xx")
REASONS = ("ok", "app", "router", "client")
GRPC_STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED", "none"),
)
CLOCK_TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

Labels = Mapping[str, str]
Samples = Iterator[tuple[Labels, float | b.Times]]


@dataclass(frozen=True, slots=True)
class Family:
    name: str  # without the prefix, and without _total
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Callable[[View], Samples]
    labels: tuple[str, ...] = ()
    unit: str = ""  # the end of its name, where it has one

    @property
    def full(self) -> str:
        """As it is called in queries."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _total(name: str, help: str, key: str, unit: str = "") -> Family:
    return Family(name, "counter", help, lambda view: iter([({}, view.totals[key])]), unit=unit)


def _now(name: str, help: str, key: str, unit: str = "") -> Family:
    return Family(name, "gauge", help, lambda view: iter([({}, view.totals[key])]), unit=unit)


def _split(name: str, kind: Literal["counter", "gauge"], help: str, label: str, keys: Labels, unit: str = "") -> Family:
    def samples(view: View) -> Samples:
        return (({label: value}, view.totals[key]) for value, key in keys.items())

    return Family(name, kind, help, samples, (label,), unit)


def _ended_by(name: str, help: str, counted: str) -> Family:
    """By the side that ended it."""
    keys = {who: f"{counted}_by_{who}" for who in ("client", "application", "router")}
    return _split(name, "counter", help, "by", {**keys, "broken": f"{counted}_broken"})


def _both_ways(name: str, help: str, counted: str) -> Family:
    keys = {way: f"{counted}_{way}" for way in ("in", "out")}
    return _split(name, "counter", help, "direction", keys, "bytes")


def _scaler(name: str, kind: Literal["counter", "gauge"], help: str, attribute: str) -> Family:
    return Family(name, kind, help, lambda view: iter([({}, getattr(view.scaler, attribute))]))


def _pool(
    name: str,
    kind: Literal["counter", "gauge"],
    help: str,
    value: Callable[[PoolView], float],
    unit: str = "",
) -> Family:
    def samples(view: View) -> Samples:
        return (({"function": pool.function}, value(pool)) for pool in view.active_pools)

    return Family(name, kind, help, samples, ("function",), unit)


def _times(name: str, help: str, attribute: str) -> Family:
    def samples(view: View) -> Samples:
        for pool in view.active_pools:
            yield {"function": pool.function}, getattr(pool.numbers, attribute)

    return Family(name, "histogram", help, samples, ("function",), "seconds")


def _by_function(view: View) -> Iterator[tuple[str, b.Numbers]]:
    """The numbers of each function, and under "" those of requests that no function got."""
    yield from ((pool.function, pool.numbers) for pool in view.active_pools)
    yield "", view.nowhere


def _requests(view: View) -> Samples:
    for function, numbers in _by_function(view):
        for place, count in enumerate(numbers.outcomes):
            code, reason = CODES[place // b.REASONS], REASONS[place % b.REASONS]
            # What every function has from its first moment on, so that a rate begins at zero; the rest as it comes.
            if count or (function and (code, reason) in (("2xx", "ok"), ("5xx", "app"), ("5xx", "router"))):
                yield {"function": function, "code": code, "reason": reason}, count


def _rejected(view: View) -> Samples:
    for function, numbers in _by_function(view):
        for word, count in zip(ErrorWord, numbers.words, strict=False):
            if word.status and (count or (function and word in (ErrorWord.QUEUE_FULL, ErrorWord.QUEUE_TIMEOUT))):
                yield {"function": function, "reason": str(word)}, count


def _calls(view: View) -> Samples:
    for function, numbers in _by_function(view):
        for status, count in zip(GRPC_STATUSES, numbers.grpc, strict=True):
            if count:
                yield {"function": function, "status": status}, count


def _instances(view: View) -> Samples:
    for pool in view.active_pools:
        for state, count in (("starting", pool.starting), ("open", pool.open), ("draining", pool.draining)):
            yield {"function": pool.function, "state": state}, count


def _decisions(view: View) -> Samples:
    for pool in view.active_pools:
        for direction, reason, count in pool.decisions:
            # What every function has from its first moment on, so that a rate begins at zero; the rest as it comes.
            if count or reason == "demand":
                yield {"function": pool.function, "direction": direction, "reason": reason}, count


def _ended(view: View) -> Samples:
    for pool in view.active_pools:
        for outcome, count in pool.exits.items():
            if count or outcome in FAILED or outcome in ("RouterGoAway", "SelfDeadline"):
                yield {"function": pool.function, "outcome": outcome}, count


def _breakers(view: View) -> Samples:
    for pool in view.active_pools:
        for state in BREAKER_STATES:
            yield {"function": pool.function, "state": state}, int(pool.breaker == state)


def _overrides(view: View) -> Samples:
    active = {(it["function"], it["kind"]) for it in view.overrides}
    for kind in ("limits", "pause", "recycle"):
        for pool in view.active_pools:
            yield {"function": pool.function, "kind": kind}, float((pool.function, kind) in active)
    for kind in ("drain", "log-level"):
        yield {"function": "", "kind": kind}, float(("", kind) in active)


def _workers(view: View) -> Samples:
    return (({"state": state}, view.workers_in(state)) for state in b.WORKER_STATES if state != "free")


def _lag(view: View) -> Samples:
    return (({"worker": str(slot)}, times) for slot, times in view.lags.items())


def _connections(view: View) -> Samples:
    http2 = view.totals["connections_http2"]
    yield {"side": "client", "protocol": "http/1.1"}, max(0, view.totals["connections"] - http2)
    yield {"side": "client", "protocol": "http/2"}, http2
    yield {"side": "control", "protocol": "http/2"}, view.totals["instance_connections"]


def _silent(view: View) -> Samples:
    return (({"worker": str(it.slot)}, it.silent or 0.0) for it in view.workers if it.state in ("ready", "draining"))


def _processes(view: View) -> Iterator[tuple[str, list[bytes]]]:
    """The fields of /proc/PID/stat from the state on, of each process that can be read."""
    pids = {"supervisor": view.pid, "scaler": view.scaler.pid, "admin": view.admin_pid}
    pids.update((f"worker {it.slot}", it.pid) for it in view.workers)
    for name, pid in pids.items():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                yield name, file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # not Linux, or it has just ended


def _cpu(view: View) -> Samples:
    for name, stat in _processes(view):
        yield {"process": name}, (int(stat[11]) + int(stat[12])) / CLOCK_TICK


def _memory(view: View) -> Samples:
    for name, stat in _processes(view):
        yield {"process": name}, int(stat[21]) * PAGE


def _lost(view: View) -> Samples:
    traces = view.traces
    for reason, count in (
        ("overwritten", traces.overwritten),
        ("queue_full", traces.dropped),
        ("refused", traces.refused),
    ):
        yield {"reason": reason}, count


def _build(view: View) -> Samples:
    built = {"version": __version__, "git_hash": view.git_hash or os.environ.get("GIT_HASH", "")}
    yield {**built, "python": platform.python_version(), "protocol": str(PROTOCOL)}, 1


FAMILIES = (
    Family(
        "build_info",
        "gauge",
        "The release that runs, and the version of its wire to extensions; always 1.",
        _build,
        ("version", "git_hash", "python", "protocol"),
    ),
    Family(
        "requests",
        "counter",
        "Requests that ended, by function (empty: no function got it), class of the status (none: the client left "
        "first) and who made the answer: ok and app the application (below 500, 500 and more), router, client.",
        _requests,
        ("function", "code", "reason"),
    ),
    Family(
        "requests_rejected",
        "counter",
        "Requests that the router answered or broke off itself, by the word of x-lambda-dispatch-error.",
        _rejected,
        ("function", "reason"),
    ),
    _times("request_duration_seconds", "Time from a request's head to its answer's last byte.", "total"),
    _times("queue_wait_seconds", "Time from asking for an instance until one was given.", "wait"),
    _times("service_duration_seconds", "Time from giving the request to an instance to its last byte.", "service"),
    _times("cold_start_seconds", "Time from an invoke until the instance's first channel.", "cold_start"),
    _pool("request_body_bytes", "counter", "Body bytes of requests.", lambda p: p.numbers.request_bytes, "bytes"),
    _pool("response_body_bytes", "counter", "Body bytes of answers.", lambda p: p.numbers.response_bytes, "bytes"),
    _pool("requests_retried", "counter", "Requests sent again to another instance.", lambda p: p.numbers.resends),
    _pool("queue_length", "gauge", "Requests that wait for an instance.", lambda p: p.queued),
    _pool(
        "queue_oldest_seconds", "gauge", "How long the oldest has waited.", lambda p: p.oldest_queued or 0.0, "seconds"
    ),
    _pool("in_flight", "gauge", "Requests at instances.", lambda p: p.in_flight),
    _pool(
        "predicted_wait_seconds",
        "gauge",
        "What the next request is expected to wait for an instance.",
        lambda p: p.predicted_wait,
        "seconds",
    ),
    _pool(
        "environment_seconds",
        "counter",
        "Billed time of environments, from each invoke to its return.",
        lambda p: p.open_seconds,
        "seconds",
    ),
    _pool(
        "environment_busy_seconds",
        "counter",
        "Of the billed time of environments: with a request.",
        lambda p: p.busy_seconds,
        "seconds",
    ),
    _pool(
        "billed_gigabyte_seconds",
        "counter",
        "Memory times billed time of environments; 0 while FunctionMemoryMb is not set.",
        lambda p: p.billed_gb_seconds,
    ),
    _pool(
        "cost_usd",
        "counter",
        "List price of environments and invokes; 0 while FunctionMemoryMb is not set.",
        lambda p: p.cost_usd,
        "usd",
    ),
    _pool(
        "direct_environment_seconds",
        "counter",
        "Billed time that Lambda's own dispatch would have needed for the same requests.",
        lambda p: p.direct_seconds,
        "seconds",
    ),
    _pool(
        "direct_cost_usd",
        "counter",
        "What Lambda's own dispatch would have cost for the same requests.",
        lambda p: p.direct_cost_usd,
        "usd",
    ),
    _pool(
        "max_cost_per_hour_usd",
        "gauge",
        "MaxCostPerHour; 0 where there is none.",
        lambda p: p.max_cost_per_hour,
        "usd",
    ),
    _pool(
        "budget_spent",
        "gauge",
        "1 while MaxCostPerHour or MaxInvokesPerMinute is spent.",
        lambda p: int(p.budget != ""),
    ),
    _pool("idle_channels", "gauge", "Channels parked and free.", lambda p: p.idle_channels),
    Family("instances", "gauge", "Instances, by state.", _instances, ("function", "state")),
    _pool("instances_desired", "gauge", "Instances that the scaler wants.", lambda p: p.desired),
    _pool(
        "instances_desired_raw",
        "gauge",
        "Instances that the demand alone asks for, whatever MinInstances and MaxInstances say.",
        lambda p: p.desired_raw,
    ),
    _pool(
        "environments_frozen",
        "gauge",
        "Environments that should be frozen: their invokes have returned, and Lambda keeps them for some minutes.",
        lambda p: p.frozen,
    ),
    _pool(
        "target_concurrency",
        "gauge",
        "Requests at once that ScalingAlgorithm=adaptive staffs an instance for.",
        lambda p: p.target,
    ),
    _pool(
        "packed_concurrency",
        "gauge",
        "Requests at once up to which ScalingAlgorithm=adaptive fills an instance before the next one is used, so that "
        "others end; 0 while the least busy one is used.",
        lambda p: p.packs,
    ),
    Family(
        "scale_decisions",
        "counter",
        "Decisions that raised or lowered the desired instances: by demand, as far as the minimum or maximum lets it, "
        "or with an operator's command; and those whose starts were held back, by what.",
        _decisions,
        ("function", "direction", "reason"),
    ),
    _pool("instances_min", "gauge", "Least number of instances.", lambda p: p.min_instances),
    _pool("instances_max", "gauge", "Greatest number of instances.", lambda p: p.max_instances),
    _pool("instance_limit", "gauge", "Requests at once that an instance takes.", lambda p: p.limit),
    _pool("instance_starts", "counter", "Instances started.", lambda p: p.starts),
    _pool("instance_starts_failed", "counter", "Instance starts that failed.", lambda p: p.starts_failed),
    _pool("instances_ended", "counter", "Instances that ended.", lambda p: p.ended),
    Family("breaker_state", "gauge", "1 for the breaker's state.", _breakers, ("function", "state")),
    _pool("invokes", "counter", "Invokes sent to Lambda, init-only ones among them.", lambda p: p.invokes),
    Family(
        "invokes_ended",
        "counter",
        "Invokes that ended, by exit reason: what the extension says, or FunctionError, Throttled, Refused (another "
        "4xx), ServiceError (5xx), NotSent, Lost (the connection broke), Unknown.",
        _ended,
        ("function", "outcome"),
    ),
    _pool(
        "invokes_failed",
        "counter",
        "Invokes that Lambda, or the way to it, answered with an error.",
        lambda p: sum(p.exits[outcome] for outcome in FAILED),
    ),
    _pool("invokes_throttled", "counter", "Invokes that Lambda throttled (429).", lambda p: p.exits["Throttled"]),
    _scaler("invokes_open", "gauge", "Invokes sent and not yet answered by Lambda.", "open_invokes"),
    _pool("start_budget", "gauge", "Starts that the rate limit allows at this moment.", lambda p: p.start_budget),
    Family("connections", "gauge", "Connections open.", _connections, ("side", "protocol")),
    _split(
        "connections_accepted",
        "counter",
        "Connections accepted.",
        "side",
        {"client": "accepted", "control": "instance_accepted"},
    ),
    _total("connections_refused", "Client connections closed at once: no room.", "connections_refused"),
    _total("connections_reclaimed", "Idle client connections closed to make room.", "connections_reclaimed"),
    _split(
        "received_bytes",
        "counter",
        "Bytes read, below TLS.",
        "side",
        {"client": "bytes_in", "control": "instance_bytes_in"},
        "bytes",
    ),
    _split(
        "sent_bytes",
        "counter",
        "Bytes written, below TLS.",
        "side",
        {"client": "bytes_out", "control": "instance_bytes_out"},
        "bytes",
    ),
    _split(
        "dispatched",
        "counter",
        "Requests given to an instance: over a channel of the worker itself, or of a sibling.",
        "by",
        {"self": "dispatched_local", "sibling": "dispatched_sibling"},
    ),
    _split(
        "slow_clients",
        "counter",
        "Requests or connections ended because the client read or sent too slowly.",
        "direction",
        {"reading": "slow_readers", "sending": "slow_senders"},
    ),
    _total("served_siblings", "Requests sent to an instance on behalf of a sibling worker.", "served_siblings"),
    _total("health_checks", "Requests for /health.", "health_checks"),
    _total("upgrades", "Connections and streams upgraded to another protocol (WebSocket).", "upgrades_opened"),
    _ended_by(
        "upgrades_ended",
        "Of these, those that are over: ended by the client, the application, the router, or broken on the way.",
        "upgrades",
    ),
    _both_ways(
        "upgraded_bytes",
        "Bytes after the upgrade from clients (in) and to them (out), of those that are over.",
        "upgrade_bytes",
    ),
    _now("upgrades_open", "Upgraded connections and streams that are not over.", "upgrades_open"),
    Family(
        "grpc_calls",
        "counter",
        "gRPC calls that ended, by function (empty: no function got it) and status; none: the client left, or the "
        "application said none.",
        _calls,
        ("function", "status"),
    ),
    _total("grpc_calls_started", "gRPC calls begun.", "grpc_opened"),
    _ended_by(
        "grpc_calls_ended",
        "Of these, those that are over: the client left, the application said how it ended, the router ended it, or "
        "the way to the application broke.",
        "grpc",
    ),
    _both_ways(
        "grpc_bytes", "Bytes of messages from clients (in) and to them (out), of calls that are over.", "grpc_bytes"
    ),
    _now("grpc_calls_open", "gRPC calls begun that are not over.", "grpc_open"),
    _total("interim_responses", "Interim responses (1xx) passed on.", "status_1xx"),
    _total("channels_parked", "Times that a channel became free for a request.", "channels_parked"),
    _split(
        "memory_pressure",
        "counter",
        "Steps for MemoryBudget: connections given smaller windows (narrowed), not read or refused new requests "
        "(paused), requests and connections ended (refused).",
        "step",
        {"narrowed": "memory_narrowed", "paused": "memory_paused", "refused": "memory_refused"},
    ),
    _now("uploads_held", "Requests that wait for their body before they may have an instance.", "uploads_held"),
    _now("handshakes", "TLS connections whose handshake is not finished.", "handshakes"),
    _now("memory_held_bytes", "Bytes that count towards MemoryBudget.", "memory_held", "bytes"),
    Family(
        "override_active",
        "gauge",
        "Whether an operator's override is in force (1) or not (0); function is empty for those of the router.",
        _overrides,
        ("function", "kind"),
    ),
    Family("workers", "gauge", "Worker processes, by state.", _workers, ("state",)),
    Family(
        "worker_starts",
        "counter",
        "Worker processes started: at first, after a death, and by a rolling restart.",
        lambda view: iter([({}, view.worker_starts)]),
    ),
    Family(
        "worker_silent_seconds",
        "gauge",
        "Time since the worker's event loop last came round (every 0.1 s when it is well).",
        _silent,
        ("worker",),
        "seconds",
    ),
    Family(
        "event_loop_lag_seconds",
        "histogram",
        "How much later than planned a worker's event loop came round; looked at every 0.1 s, to about 1 ms.",
        _lag,
        ("worker",),
        "seconds",
    ),
    Family(
        "config_reload_success_timestamp_seconds",
        "gauge",
        "When a configuration was last taken, at the start or by a reload; seconds since 1970.",
        lambda view: iter([({}, view.reloaded)]),
        unit="seconds",
    ),
    Family(
        "config_last_reload_successful",
        "gauge",
        "0 when the last reload was refused, so that an earlier configuration is in use; else 1.",
        lambda view: iter([({}, int(not view.reload_failed))]),
    ),
    Family(
        "traced_requests_sent",
        "counter",
        "Requests whose spans a collector took.",
        lambda view: iter([({}, view.traces.sent)]),
    ),
    Family(
        "traced_requests_lost",
        "counter",
        "Requests recorded for a trace whose spans no collector got: overwritten before they were read, dropped "
        "because others waited, or refused by the collector.",
        _lost,
        ("reason",),
    ),
    Family("process_cpu_seconds", "counter", "CPU time of a process.", _cpu, ("process",), "seconds"),
    Family("process_resident_memory_bytes", "gauge", "Resident memory.", _memory, ("process",), "bytes"),
)
