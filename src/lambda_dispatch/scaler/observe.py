"""From the board to an Observation: numbers and a time, nothing that changes afterwards."""

import math
from collections.abc import Iterable

from lambda_dispatch.scaler.decide import Instance, Observation, State
from lambda_dispatch_core import board as b

NS = 1_000_000_000
# Time constant of the averages. Shorter follows noise, longer answers a rise when the queue has long shown it.
SMOOTHING = 5.0
# Below this rate the traffic is over; an average would go on for ever.
LEAST_RATE = 0.1

_STATES = {
    b.INSTANCE_STARTING: State.STARTING,
    b.INSTANCE_OPEN: State.OPEN,
    b.INSTANCE_DRAINING: State.DRAINING,
}


class Rates:
    """Requests per second and their mean duration, from counters that only grow."""

    def __init__(self) -> None:
        self.per_second: float | None = None
        self.mean_ms: float | None = None
        self._at: float | None = None
        self._arrivals = self._completions = self._duration_ns = 0

    def update(self, now: float, totals: b.PoolTotals) -> None:
        if self._at is not None and now > self._at:
            span = now - self._at
            arrivals = max(0, totals.arrivals - self._arrivals)
            completions = max(0, totals.completions - self._completions)
            weight = 1 - math.exp(-span / SMOOTHING)
            if self.per_second is not None:
                self.per_second += (arrivals / span - self.per_second) * weight
            elif arrivals:
                self.per_second = arrivals / span
            if completions:
                mean = max(0, totals.duration_ns - self._duration_ns) / completions / 1e6
                self.mean_ms = mean if self.mean_ms is None else self.mean_ms + (mean - self.mean_ms) * weight
            if self.per_second is not None and self.per_second < LEAST_RATE and totals.queued <= 0 >= totals.running:
                self.per_second = self.mean_ms = None
        self._at = now
        self._arrivals, self._completions = totals.arrivals, totals.completions
        self._duration_ns = totals.duration_ns


def instance_of(seen: b.Instance) -> Instance:
    state = _STATES[seen.state]
    return Instance(
        slot=seen.slot,
        state=state,
        since=(seen.created if state is State.STARTING else seen.opened or seen.created) / NS,
        in_flight=max(0, seen.in_flight),
        goaway_at=seen.goaway_at / NS if state is State.DRAINING else None,
    )


def observe(now: float, totals: b.PoolTotals, rates: Rates, instances: Iterable[b.Instance]) -> Observation:
    """Instances that are closed already are not among what there is."""
    return Observation(
        now=now,
        pending=max(0, totals.queued),
        running=max(0, totals.running),
        per_second=rates.per_second,
        mean_ms=rates.mean_ms,
        instances=tuple(instance_of(seen) for seen in instances if seen.state in _STATES),
    )
