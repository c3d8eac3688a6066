"""What the board's counters become for those who watch many routers: CloudWatch and Prometheus.

With CloudWatchMetricsEnabled the supervisor writes lines in CloudWatch's Embedded Metric Format to standard output,
once a minute and when it ends: one for the router, with what happened since the last, and one for each function.
CloudWatch Logs makes metrics of them by itself. `lambda-dispatch status --prometheus` writes the text exposition format
instead; whoever scrapes reckons rates from counters that only grow.

Both are reckoned from numbers that are on the board anyway. Nothing of this runs on the request path.
"""

import json
import os
import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

INTERVAL = 60 * 1_000_000_000  # ns between two looks
NAMESPACE = "LambdaDispatch"
# A pipe takes this much whole or not at all (POSIX's PIPE_BUF on Linux): lines of several processes never mix.
LONGEST_LINE = 4096
QUANTILES = {"P50": 0.5, "P99": 0.99}

# Counters of the worker slots, as CloudWatch is to call what they grew by.
COUNTS = {
    "requests": "Requests",
    "status_2xx": "Responses2xx",
    "status_3xx": "Responses3xx",
    "status_4xx": "Responses4xx",
    "status_5xx": "Responses5xx",
    "bad_gateways": "BadGateways",
    "rejected": "Rejected",
    "queue_timeouts": "QueueTimeouts",
    "clients_gone": "ClientsGone",
    "resends": "Resends",
}


class Numbers:
    """Everything that grows, at one moment."""

    def __init__(self, board: Board) -> None:
        self.counters: dict[str, int] = {}
        self.wait = [0] * len(b.bucket_bounds())
        self.total = list(self.wait)
        # Free slots count too: what their last worker counted is still there.
        for slot in range(board.workers):
            for name, value in board.worker_numbers(slot).items():
                self.counters[name] = self.counters.get(name, 0) + value
            wait, total = board.histograms(slot)
            self.wait = [x + y for x, y in zip(self.wait, wait, strict=True)]
            self.total = [x + y for x, y in zip(self.total, total, strict=True)]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Upper bound in ms of the bucket in which it lies; None when nothing was counted."""
    least = share * sum(counts)
    seen = 0
    for count, bound in zip(counts, b.bucket_bounds(), strict=True):
        seen += count
        if count and seen >= least:
            return (bound or 1 << 38) / 1e6
    return None


# CloudWatch -----------------------------------------------------------------------------------------------------------


class Metrics:
    """The lines of one router. Time is an argument: monotonic ns to know when, milliseconds since 1970 to write."""

    def __init__(self, board: Board, fd: int, now: int) -> None:
        self.due = now + INTERVAL
        self.dropped = 0  # lines that nobody took
        self._board = board
        self._fd = fd
        self._before = Numbers(board)

    def write(self, now: int, wall_ms: int) -> None:
        """What happened since the last time; to be called when `due` has come, and at the end."""
        self.due = now + INTERVAL
        numbers = Numbers(self._board)
        for line in emf_lines(self._board, numbers, self._before, wall_ms):
            self._put(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._before = numbers

    def _put(self, line: bytes) -> None:
        # Whoever reads our output may have stopped: the supervisor must not wait for them.
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if len(line) <= LONGEST_LINE and poll.poll(0) == [(self._fd, select.POLLOUT)]:
                os.write(self._fd, line)
                return
        except OSError:
            pass
        self.dropped += 1


def emf_lines(board: Board, now: Numbers, before: Numbers, wall_ms: int) -> Iterator[dict[str, Any]]:
    grown = {name: max(0, now.counters[key] - before.counters[key]) for key, name in COUNTS.items()}
    values: dict[str, tuple[str, float]] = {name: ("Count", value) for name, value in grown.items()}
    spans = {"QueueWait": (now.wait, before.wait), "RequestTime": (now.total, before.total)}
    for name, (after, earlier) in spans.items():
        counts = [max(0, x - y) for x, y in zip(after, earlier, strict=True)]
        for word, share in QUANTILES.items():
            if (value := quantile(counts, share)) is not None:
                values[name + word] = ("Milliseconds", round(value, 3))
    scaler = board.scaler_view()
    values["OpenInvokes"] = ("Count", scaler.open_invokes)
    values["Connections"] = ("Count", now.counters["connections"])
    values["Workers"] = ("Count", sum(w.state == b.WORKER_READY for w in board.list_workers()))
    yield _emf(values, {}, wall_ms)
    for pool in board.list_pools():
        if pool.state != b.POOL_ACTIVE:
            continue
        counted, totals = board.pool_counts(pool.pool), board.pool_totals(pool.pool)
        gauges = {
            "InstancesDesired": pool.desired,
            "InstancesStarting": counted.starting,
            "InstancesOpen": counted.open,
            "InstancesDraining": counted.draining,
            "InFlight": counted.in_flight,
            "Queued": totals.queued,
            "BreakerOpen": int(pool.breaker != 0),
        }
        dimensions = {"Function": pool.name.decode("utf-8", "replace")}
        yield _emf({name: ("Count", value) for name, value in gauges.items()}, dimensions, wall_ms)


def _emf(values: Mapping[str, tuple[str, float]], dimensions: Mapping[str, str], wall_ms: int) -> dict[str, Any]:
    described = [{"Name": name, "Unit": unit} for name, (unit, _) in values.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": described}
    numbers = {name: value for name, (_, value) in values.items()}
    return {"_aws": {"Timestamp": wall_ms, "CloudWatchMetrics": [directive]}, **dimensions, **numbers}


# Prometheus -----------------------------------------------------------------------------------------------------------


def prometheus(board: Board) -> str:
    """The text exposition format, version 0.0.4."""
    numbers = Numbers(board)
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, object], float]]) -> None:
        full = f"lambda_dispatch_{name}"
        lines.extend((f"# HELP {full} {text}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{_labels(labels)} {value}" for labels, value in samples)

    counters = numbers.counters
    classes = ("1xx", "2xx", "3xx", "4xx", "5xx")
    family(
        "responses_total", "counter", "Answers by class.", (({"class": c}, counters[f"status_{c}"]) for c in classes)
    )
    for name in b.COUNTERS:
        if not name.startswith("status_"):
            family(f"{name}_total", "counter", f"{name.replace('_', ' ').capitalize()}, ever.", [({}, counters[name])])
    for name in b.GAUGES:
        family(name, "gauge", f"{name.replace('_', ' ').capitalize()}, now.", [({}, counters[name])])

    states = [(state, word) for state, word in enumerate(b.WORKER_STATES) if state != b.WORKER_FREE]
    workers = board.list_workers()
    family(
        "workers",
        "gauge",
        "Worker processes by state.",
        (({"state": word}, sum(w.state == state for w in workers)) for state, word in states),
    )
    scaler = board.scaler_view()
    family("invokes_open", "gauge", "Invokes that Lambda has not answered.", [({}, scaler.open_invokes)])
    for name, value in (
        ("invokes", scaler.invokes),
        ("invokes_ended", scaler.invokes_ended),
        ("invokes_failed", scaler.invokes_failed),
        ("invokes_throttled", scaler.throttled),
    ):
        family(f"{name}_total", "counter", f"{name.replace('_', ' ').capitalize()}, ever.", [({}, value)])

    pools = [
        (p, {"function": p.name.decode("utf-8", "replace")}) for p in board.list_pools() if p.state == b.POOL_ACTIVE
    ]
    counted = [(board.pool_counts(p.pool), board.pool_totals(p.pool), p, labels) for p, labels in pools]
    family(
        "instances",
        "gauge",
        "Instances by function and state.",
        (
            ({**labels, "state": state}, value)
            for now, _, _, labels in counted
            for state, value in (("starting", now.starting), ("open", now.open), ("draining", now.draining))
        ),
    )
    for name, text, values in (
        ("instances_desired", "What the scaler wants.", [(labels, p.desired) for _, _, p, labels in counted]),
        ("in_flight", "Requests at instances.", [(labels, now.in_flight) for now, _, _, labels in counted]),
        ("queued", "Requests that wait for an instance.", [(labels, t.queued) for _, t, _, labels in counted]),
        ("breaker", "0 closed, 1 half open, 2 open.", [(labels, p.breaker) for _, _, p, labels in counted]),
    ):
        family(name, "gauge", text, values)
    for name, text, values in (
        ("starts", "Instances ever started.", [(labels, p.starts) for _, _, p, labels in counted]),
        ("starts_failed", "Starts that came to nothing.", [(labels, p.starts_failed) for _, _, p, labels in counted]),
        ("arrivals", "Requests asked of the function.", [(labels, t.arrivals) for _, t, _, labels in counted]),
    ):
        family(f"{name}_total", "counter", text, values)

    lines.extend(_histogram("queue_wait_seconds", "Time in the queue.", numbers.wait))
    lines.extend(_histogram("request_seconds", "From the head's last byte to the answer's.", numbers.total))
    return "\n".join([*lines, ""])


def _histogram(name: str, text: str, counts: Sequence[int]) -> Iterator[str]:
    """One bucket per power of two. The sum is reckoned from the board's finer buckets, to within a few per cent."""
    full = f"lambda_dispatch_{name}"
    yield f"# HELP {full} {text}"
    yield f"# TYPE {full} histogram"
    seen, total, lower = 0, 0.0, 0
    for count, bound in zip(counts, b.bucket_bounds(), strict=True):
        seen += count
        upper = bound if bound is not None else lower
        total += count * (lower + upper) / 2e9
        lower = upper
        if bound is not None and bound & (bound - 1) == 0:
            yield f'{full}_bucket{{le="{bound / 1e9:.9g}"}} {seen}'
    yield f'{full}_bucket{{le="+Inf"}} {seen}'
    yield f"{full}_sum {total:.6f}"
    yield f"{full}_count {seen}"


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
