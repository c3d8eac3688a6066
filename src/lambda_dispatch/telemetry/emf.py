"""CloudWatch metrics: lines in the Embedded Metric Format on the supervisor's standard output.

With CloudWatchMetricsEnabled the supervisor writes once a minute and once when it ends: one line for the router, with
the increase of each counter since the last line, and one line for each function. CloudWatch Logs turns them into
metrics. Nothing here runs on the request path.
"""

import json
import os
import select
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lambda_dispatch.error_words import ErrorWord
from lambda_dispatch.telemetry.metrics import REASONS
from lambda_dispatch.telemetry.view import QUANTILES, PoolView, View, quantile

INTERVAL = 60 * 1_000_000_000  # ns between two lines
NAMESPACE = "LambdaDispatch"
# A pipe takes this much whole or not at all (PIPE_BUF on Linux), so lines of several processes never mix.
LONGEST_LINE = 4096

# Counters of the worker slots, and the CloudWatch metric for the increase of each.
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


def _failed(pool: PoolView) -> int:
    """Requests that the application or the router answered with a fault."""
    return sum(n for at, n in enumerate(pool.numbers.outcomes) if REASONS[at % len(REASONS)] in ("app", "router"))


def _rejected(pool: PoolView) -> int:
    return sum(n for word, n in zip(ErrorWord, pool.numbers.words, strict=False) if word.status)


# Counters of a function, whose increase is a metric.
POOL_COUNTS: dict[str, Callable[[PoolView], int]] = {
    "RequestsEnded": lambda pool: sum(pool.numbers.outcomes),
    "RequestsFailed": _failed,
    "RequestsRejected": _rejected,
    "Starts": lambda pool: pool.starts,
    "StartsFailed": lambda pool: pool.starts_failed,
}
# Histograms of a function, and what the CloudWatch metrics of their quantiles begin with.
TIMES = {"QueueWait": "wait", "ServiceTime": "service", "RequestTime": "total", "ColdStart": "cold_start"}
# The alert on cold starts looks at one in ten.
MORE_QUANTILES = {"ColdStart": {"p90": 0.9}}


class EmfWriter:
    """The lines of one router. `due` (monotonic ns) says when the next are to be written."""

    def __init__(self, fd: int, now: int, before: View) -> None:
        self.due = now + INTERVAL
        self.dropped = 0  # lines that could not be written without blocking
        self._fd = fd
        self._before = before

    def write(self, now: int, view: View) -> None:
        """What happened since the last lines."""
        self.due = now + INTERVAL
        for line in lines(view, self._before):
            self._put(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._before = view

    def _put(self, line: bytes) -> None:
        # The reader of our output may have stopped. The supervisor must not block on it.
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if len(line) <= LONGEST_LINE and poll.poll(0) == [(self._fd, select.POLLOUT)]:
                os.write(self._fd, line)
                return
        except OSError:
            pass
        self.dropped += 1


def lines(now: View, before: View) -> Iterator[dict[str, Any]]:
    increase = {name: max(0, now.totals[key] - before.totals[key]) for key, name in COUNTS.items()}
    values: dict[str, tuple[str, float]] = {name: ("Count", value) for name, value in increase.items()}
    for name, after, earlier in (("QueueWait", now.wait, before.wait), ("RequestTime", now.time, before.time)):
        counts = [max(0, x - y) for x, y in zip(after, earlier, strict=True)]
        for word, share in QUANTILES.items():
            if (value := quantile(counts, share)) is not None:
                values[name + word.upper()] = ("Milliseconds", round(value, 3))
    values["OpenInvokes"] = ("Count", now.scaler.open_invokes)
    values["Connections"] = ("Count", now.totals["connections"])
    values["Workers"] = ("Count", now.workers_in("ready"))
    yield _line(values, {}, now.taken_ms)
    pools_before = {pool.function: pool for pool in before.active_pools}
    for pool in now.active_pools:
        gauges = {
            "InstancesDesired": pool.desired,
            "InstancesStarting": pool.starting,
            "InstancesMax": pool.max_instances,
            "InstancesOpen": pool.open,
            "InstancesDraining": pool.draining,
            "InFlight": pool.in_flight,
            "Queued": pool.queued,
            "BreakerOpen": int(pool.breaker != "closed"),  # a trial, half-open, ends no outage
            "InstancesDesiredRaw": pool.desired_raw,
            "BudgetSpent": int(bool(pool.budget)),
            "Overrides": sum(each["function"] == pool.function for each in now.overrides),
        }
        values = {name: ("Count", value) for name, value in gauges.items()}
        values["QueueOldest"] = ("Seconds", pool.oldest_queued or 0)
        pool_before = pools_before.get(pool.function, pool)
        values |= {name: ("Count", max(0, count(pool) - count(pool_before))) for name, count in POOL_COUNTS.items()}
        values |= _times(pool, pool_before)
        yield _line(values, {"Function": pool.function}, now.taken_ms)


def _times(now: PoolView, before: PoolView) -> dict[str, tuple[str, float]]:
    """Quantiles of what a function's requests and starts took since the last line; nothing where there were none."""
    values: dict[str, tuple[str, float]] = {}
    for name, attribute in TIMES.items():
        after, earlier = getattr(now.numbers, attribute).counts, getattr(before.numbers, attribute).counts
        counts = [max(0, x - y) for x, y in zip(after, earlier, strict=True)]
        for word, share in (QUANTILES | MORE_QUANTILES.get(name, {})).items():
            if (value := quantile(counts, share)) is not None:
                values[name + word.upper()] = ("Milliseconds", round(value, 3))
    return values


def _line(values: Mapping[str, tuple[str, float]], dimensions: Mapping[str, str], taken_ms: int) -> dict[str, Any]:
    described = [{"Name": name, "Unit": unit} for name, (unit, _) in values.items()]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": described}
    numbers = {name: value for name, (_, value) in values.items()}
    return {"_aws": {"Timestamp": taken_ms, "CloudWatchMetrics": [directive]}, **dimensions, **numbers}
