"""The last 15 minutes by the second and the last 24 hours by the minute, in memory of the admin process."""

from collections import deque
from typing import Any

from lambda_dispatch.telemetry.view import View, quantile

SPANS = {"15m": (1, 900), "24h": (60, 1440)}  # name: seconds per point, points

# Counters whose increase per second is a series.
RATES = {
    "requests": "requests",
    "status_4xx": "client_errors",
    "status_5xx": "server_errors",
    "bad_gateways": "bad_gateways",
    "rejected": "rejected",
    "queue_timeouts": "queue_timeouts",
    "resends": "resends",
}
GAUGES = ("queued", "oldest_wait", "in_flight", "desired", "starting", "open", "draining")
TIMES = ("wait_p50", "wait_p99", "time_p50", "time_p99")  # ms
SERIES = (*RATES.values(), *GAUGES, *TIMES)

Point = tuple[float | None, ...]


def point(before: View, now: View, seconds: float) -> Point:
    """One value per SERIES: what happened between two views, and how things stand in the second."""
    rates = [max(0, now.totals[name] - before.totals[name]) / seconds for name in RATES]
    pools = now.pools
    gauges = (
        sum(pool.queued for pool in pools),
        max((pool.oldest_queued or 0.0 for pool in pools), default=0.0),
        sum(pool.in_flight for pool in pools),
        sum(pool.desired for pool in pools),
        sum(pool.starting for pool in pools),
        sum(pool.open for pool in pools),
        sum(pool.draining for pool in pools),
    )
    times: list[float | None] = []
    for after, earlier in ((now.wait, before.wait), (now.time, before.time)):
        counts = [max(0, x - y) for x, y in zip(after, earlier, strict=True)]
        times += [quantile(counts, 0.5), quantile(counts, 0.99)]
    return (*rates, *gauges, *times)


class History:
    def __init__(self, first: View) -> None:
        self._last = {name: first for name in SPANS}
        self._points: dict[str, deque[tuple[int, Point]]] = {name: deque(maxlen=n) for name, (_, n) in SPANS.items()}

    def feed(self, view: View) -> None:
        for name, (step, _) in SPANS.items():
            passed = (view.taken_ms - self._last[name].taken_ms) / 1000
            if passed >= step - 0.5:
                self._points[name].append((view.taken_ms, point(self._last[name], view, passed)))
                self._last[name] = view

    def latest(self) -> dict[str, float | None]:
        """The last second, by series; empty before there is one."""
        points = self._points["15m"]
        return dict(zip(SERIES, points[-1][1], strict=True)) if points else {}

    def document(self, span: str, series: tuple[str, ...], limit: int = 0) -> dict[str, Any]:
        """`limit`: the last points only; 0 for all."""
        points = list(self._points[span])[-limit:]
        places = [(name, SERIES.index(name)) for name in series]
        return {
            "span": span,
            "step": SPANS[span][0],
            "times_ms": [at for at, _ in points],
            "series": {name: [values[place] for _, values in points] for name, place in places},
        }
