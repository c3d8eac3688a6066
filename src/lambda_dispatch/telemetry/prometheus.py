"""Prometheus text exposition format 0.0.4, from a View."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lambda_dispatch.telemetry.view import BREAKER_STATES, View
from lambda_dispatch_core.board import board as b

PREFIX = "lambda_dispatch_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# HELP of each counter of a worker slot but the status classes, which are one family.
COUNTERS = {
    "requests": "Client requests that ended, refused ones included.",
    "bad_requests": "Requests refused with 400: malformed.",
    "heads_too_large": "Requests refused with 431: head over MaxHeadBytes, MaxRequestLine or MaxHeadFields.",
    "bad_gateways": "Requests answered with 502: the instance failed or its answer was invalid.",
    "rejected": "Requests answered with 503: draining, queue full or no such function.",
    "queue_timeouts": "Requests answered with 504: no slot became free within IncomingRequestTimeout.",
    "clients_gone": "Requests abandoned by the client before the answer was complete.",
    "resends": "Requests sent again to another instance because the first cannot have seen them.",
    "health_checks": "Requests for /health.",
    "dispatched_local": "Requests sent to an instance over a channel of the worker that received them.",
    "dispatched_sibling": "Requests handed to a sibling worker that held a free channel.",
    "served_siblings": "Requests sent to an instance on behalf of a sibling worker.",
    "accepted": "Client connections accepted.",
    "bytes_in": "Bytes received from clients, below TLS.",
    "bytes_out": "Bytes sent to clients, below TLS.",
    "instance_bytes_in": "Bytes received from instances, below TLS.",
    "instance_bytes_out": "Bytes sent to instances, below TLS.",
    "channels_parked": "Times that a channel became free for a request.",
    "instance_accepted": "Control connections accepted from instances.",
    "slow_readers": "Requests or connections ended because the client read its answer slower than MinReadRate.",
    "slow_senders": "Requests answered with 408: the body arrived slower than MinBodyRate.",
    "connections_refused": "Connections closed at once: MaxConnections was reached, or descriptors were short.",
    "connections_reclaimed": "Idle connections closed to make room for new ones.",
    "memory_narrowed": "HTTP/2 connections given smaller windows because MemoryBudget was near: its first step.",
    "memory_paused": "Connections not read, or refused new requests, because MemoryBudget was near: its second step.",
    "memory_refused": "Requests and connections ended because MemoryBudget was used up.",
}
GAUGES = {
    "connections": "Client connections open.",
    "instance_connections": "Control connections open.",
    "idle_channels": "Channels parked and free.",
    "uploads_held": "Requests whose body must arrive before they may take a slot.",
    "handshakes": "TLS connections whose handshake is not finished.",
    "memory_held": "Bytes that count towards MemoryBudget.",
}
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


def render(view: View) -> str:
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, object], float]]) -> None:
        full = PREFIX + name
        lines.extend((f"# HELP {full} {text}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{_labels(labels)} {value}" for labels, value in samples)

    totals, scaler = view.totals, view.scaler
    by_class = [({"class": name}, totals[f"status_{name}"]) for name in CLASSES]
    family("responses_total", "counter", "Responses sent to clients, by status class.", by_class)
    for name, text in COUNTERS.items():
        family(f"{name}_total", "counter", text, [({}, totals[name])])
    for name, text in GAUGES.items():
        family(name, "gauge", text, [({}, totals[name])])
    states = [({"state": state}, view.workers_in(state)) for state in b.WORKER_STATES if state != "free"]
    family("workers", "gauge", "Worker processes, by state.", states)

    family("invokes_open", "gauge", "Invokes sent and not yet answered by Lambda.", [({}, scaler.open_invokes)])
    for name, value, text in (
        ("invokes", scaler.invokes, "Invokes sent to Lambda."),
        ("invokes_ended", scaler.invokes_ended, "Invokes that ended."),
        ("invokes_failed", scaler.invokes_failed, "Invokes that ended with an API error or a FunctionError."),
        ("invokes_throttled", scaler.throttled, "Invokes that Lambda throttled (429)."),
    ):
        family(f"{name}_total", "counter", text, [({}, value)])

    pools = [(pool, {"function": pool.function}) for pool in view.active_pools]
    family(
        "instances",
        "gauge",
        "Instances, by function and state.",
        (
            ({**labels, "state": state}, value)
            for pool, labels in pools
            for state, value in (("starting", pool.starting), ("open", pool.open), ("draining", pool.draining))
        ),
    )
    breakers = ", ".join(f"{number} {word}" for number, word in enumerate(BREAKER_STATES))
    for name, text, values in (
        ("instances_desired", "Instances that the scaler wants.", [(labels, p.desired) for p, labels in pools]),
        ("in_flight", "Requests that instances are serving.", [(labels, p.in_flight) for p, labels in pools]),
        ("queued", "Requests waiting for a slot.", [(labels, p.queued) for p, labels in pools]),
        ("oldest_queued_seconds", "Age of the oldest waiting request.", [(x, p.oldest_queued or 0) for p, x in pools]),
        (
            "breaker",
            f"State of the circuit breaker for instance starts: {breakers}.",
            [(labels, _breaker(p.breaker)) for p, labels in pools],
        ),
    ):
        family(name, "gauge", text, values)
    for name, text, values in (
        ("starts", "Instances started.", [(labels, p.starts) for p, labels in pools]),
        ("starts_failed", "Instance starts that failed.", [(labels, p.starts_failed) for p, labels in pools]),
        ("ended", "Instances that ended.", [(labels, p.ended) for p, labels in pools]),
        ("arrivals", "Requests for the function.", [(labels, p.arrivals) for p, labels in pools]),
        ("completions", "Requests that an instance finished.", [(labels, p.completions) for p, labels in pools]),
        ("failures", "Requests that an instance failed (502).", [(labels, p.failures) for p, labels in pools]),
    ):
        family(f"{name}_total", "counter", text, values)

    lines.extend(_histogram("queue_wait_seconds", "Time a request waited for a slot.", view.wait))
    lines.extend(
        _histogram("request_seconds", "Time from the last request-header byte to the last response byte.", view.time)
    )
    return "\n".join([*lines, ""])


def _breaker(state: str) -> int:
    return BREAKER_STATES.index(state) if state in BREAKER_STATES else len(BREAKER_STATES)


def _histogram(name: str, text: str, counts: Sequence[int]) -> Iterator[str]:
    """One bucket per power of two."""
    full = PREFIX + name
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} histogram"
    seen, total, lower = 0, 0.0, 0.0
    for count, bound in zip(counts, b.bucket_bounds(), strict=True):
        seen += count
        upper = bound if bound is not None else lower
        total += count * (lower + upper) / 2
        lower = upper
        if bound is not None and math.frexp(bound)[0] == 0.5:
            yield f'{full}_bucket{{le="{bound:.9g}"}} {seen}'
    yield f'{full}_bucket{{le="+Inf"}} {seen}'
    yield f"{full}_sum {total:.6f}"
    yield f"{full}_count {seen}"


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
