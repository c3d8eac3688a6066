"""From the board to an Observation: numbers and a time, nothing that changes afterwards."""

import math
from bisect import bisect_right
from collections.abc import Container, Sequence

from lambda_dispatch.scaler.model import START_TIMEOUT, Instance, Observation, State
from lambda_dispatch.scaler.start_times import StartTimes
from lambda_dispatch_core.board import board as b

NS = 1_000_000_000
# Time constant of the averages. Shorter follows noise, longer answers a rise when the queue has long shown it.
SMOOTHING = 5.0
# An average of less than this is none.
LEAST_SPAN = 1.0
# Below this rate the traffic is over; an average would go on for ever.
LEAST_RATE = 0.1
# Requests that take milliseconds are seldom seen by a look; those of this period count nevertheless.
RECENT = 1.0
# What requests take is remembered for as long as SMOOTHING, and of so many at least.
LEAST_KNOWN = 20.0
# In n answers and a time T at work, times that differ as by chance have a mean of T / (n + FEW sqrt(n + 1) + NONE) at
# least, nineteen in twenty times.
FEW, NONE = 1.65, 1.35
# They may differ less: no more than so many times what all have been at work.
LIKELY = 2.0
# A rate that is not chance shows sooner.
SUDDEN = 0.4
# What grows by more of itself in a second is a step, and no growth.
GROWS_MOST = 0.5

_STATES = {
    b.INSTANCE_STARTING: State.STARTING,
    b.INSTANCE_OPEN: State.OPEN,
    b.INSTANCE_DRAINING: State.DRAINING,
}


class Rates:
    """Averages over counters that only grow, weighted by age."""

    def __init__(self) -> None:
        self.per_second: float | None = None
        self.mean_ms: float | None = None
        self.takes_ms: float | None = None  # the same, but never forgotten, and known sooner
        self.recent = 0  # requests at work over the last second on average, rounded up: 0 means none at all
        self.arriving = 0.0  # requests per second, sustained
        self.growing = 0.0  # ... and by how much more in each second
        self.active_at: float | None = None  # when a request last waited, ran or arrived
        self._looks: list[tuple[float, int, int, int]] = []  # time, arrivals, duration_ns, requests here; two RECENT
        self._at: float | None = None
        self._before: b.PoolTotals | None = None
        self._answered = self._answered_ms = self._open_ms = self._longest_ms = 0.0
        self._full = self._full_answered = self._full_open_ms = 0.0
        self._forget()

    def _forget(self) -> None:
        self.per_second = self.mean_ms = None
        self._span = self._arrivals = self._completions = self._duration_ms = 0.0

    def resume(self, per_second: float, mean_ms: float) -> None:
        """What an earlier scaler knew, for as long as nothing else is known."""
        if per_second > 0 and mean_ms > 0:
            self.per_second, self.mean_ms = per_second, mean_ms
            self._answered, self._answered_ms = LEAST_KNOWN, LEAST_KNOWN * mean_ms
            self.takes_ms = mean_ms

    def update(self, now: float, totals: b.PoolTotals) -> None:
        if self._before is not None and self._at is not None:
            span = max(0.0, now - self._at)
            fade = math.exp(-span / SMOOTHING)
            # A worker that is replaced takes over its slot's counters: they never step back.
            self._span = self._span * fade + span
            self._arrivals = self._arrivals * fade + max(0, totals.arrivals - self._before.arrivals)
            self._completions = self._completions * fade + max(0, totals.completions - self._before.completions)
            self._duration_ms = self._duration_ms * fade + max(0, totals.duration_ns - self._before.duration_ns) / 1e6
            self._learn(span, fade, totals, self._before)
        busy = totals.queued > 0 or totals.running > 0
        # Not the look that finds new arrivals: an extension ends when it has been idle for 250 ms, and a look is late.
        if busy:
            self.active_at = now
        elif totals.last_used:
            self.active_at = max(totals.last_used / NS, self.active_at or 0.0)
        if self._span >= LEAST_SPAN and self._arrivals > 0:
            self.per_second = self._arrivals / self._span
            self.mean_ms = self._duration_ms / self._completions if self._completions > 0 else None
            if self.per_second < LEAST_RATE and not busy:
                self._forget()
        self._at, self._before = now, totals
        self._look_back(now, totals)

    def _learn(self, span: float, fade: float, totals: b.PoolTotals, before: b.PoolTotals) -> None:
        if self._answered > LEAST_KNOWN:
            fade = max(fade, LEAST_KNOWN / self._answered)
            self._answered, self._answered_ms = self._answered * fade, self._answered_ms * fade
        self._answered += max(0, totals.completions - before.completions)
        self._answered_ms += max(0, totals.duration_ns - before.duration_ns) / 1e6
        least = 0.0
        if self._answered < LEAST_KNOWN:
            # The first answers are those of the shortest requests; what is still at work tells as much.
            self._open_ms += max(0, totals.running) * span * 1e3
            self._longest_ms += span * 1e3 if totals.running > 0 else 0.0
            least = min(at_least(self._open_ms, self._answered), LIKELY * self._longest_ms)
        least = max(least, self._stuck(span, totals, before))
        if self._answered:
            self.takes_ms = max(self._answered_ms / self._answered, least)

    def _stuck(self, span: float, totals: b.PoolTotals, before: b.PoolTotals) -> float:
        """ms that requests take at least, from what is answered while others wait: every slot is taken then. Where
        requests become slower, the mean of what was answered shows it when they are over."""
        # More at work than before: instances have opened, and what they have was not there.
        if totals.queued <= 0 or before.queued <= 0 or totals.running > before.running:
            self._full = self._full_answered = self._full_open_ms = 0.0
            return 0.0
        fade = math.exp(-span / RECENT)
        self._full += span
        self._full_answered = self._full_answered * fade + max(0, totals.completions - before.completions)
        self._full_open_ms = self._full_open_ms * fade + max(0, totals.running) * span * 1e3
        return min(at_least(self._full_open_ms, self._full_answered), LIKELY * self._full * 1e3)

    def _look_back(self, now: float, totals: b.PoolTotals) -> None:
        looks = self._looks
        looks.append((now, totals.arrivals, totals.duration_ns, max(0, totals.queued) + max(0, totals.running)))
        if len(looks) > 1 and now - looks[1][0] >= 2 * RECENT:
            del looks[: self._at_or_before(now - 2 * RECENT)]
        since, arrivals, duration_ns, here = looks[self._at_or_before(now - RECENT)]
        at_work = (totals.duration_ns - duration_ns) / NS / max(now - since, RECENT)
        self.recent = max(math.ceil(at_work), totals.arrivals > arrivals)
        self.growing = 0.0
        # A volley is over when it has come; a rate shows in both halves of the second.
        before, after = self._halves(now, totals.arrivals, RECENT)
        self.arriving = min(before, after)
        first, earlier = looks[0][:2]
        # Clients who wait for their answers send more when more is answered: as many as before are here.
        if since > first and looks[-1][3] > here:
            # Of a step, the last second shows soon that it is over; of noise, the second before.
            fast = (after - before) / (RECENT / 2)
            slow = (totals.arrivals - arrivals) / (now - since) - (arrivals - earlier) / max(since - first, RECENT)
            growing = min(fast, slow / RECENT) - 2 * math.sqrt((totals.arrivals - earlier) / RECENT)
            self.growing = max(0.0, min(growing, GROWS_MOST * self.arriving))
        # The earlier half is as old as three quarters of it.
        self.arriving += RECENT * 0.75 * self.growing
        sudden = min(self._halves(now, totals.arrivals, SUDDEN))
        self.arriving = max(self.arriving, sudden - math.sqrt(sudden / (SUDDEN / 2)))

    def _halves(self, now: float, arrivals: int, span: float) -> tuple[float, float]:
        """Requests per second in the earlier and in the later half of the last `span` s."""
        since, first, *_ = self._looks[self._at_or_before(now - span)]
        half, middle, *_ = self._looks[self._at_or_before(now - span / 2)]
        if half <= since or now <= half:
            return 0.0, 0.0
        early, late = max(0, middle - first), max(0, arrivals - middle)
        return early / max(half - since, span / 2), late / max(now - half, span / 2)

    def _at_or_before(self, at: float) -> int:
        """The place of the last look that was no later; of the first one where there is none."""
        return max(0, bisect_right(self._looks, at, key=lambda look: look[0]) - 1)


def at_least(open_ms: float, answered: float) -> float:
    return open_ms / (answered + FEW * math.sqrt(answered + 1) + NONE)


def instance_of(seen: b.Instance, stays: bool = False) -> Instance:
    state = _STATES[seen.state]
    return Instance(
        slot=seen.slot,
        state=state,
        since=(seen.created if state is State.STARTING else seen.opened or seen.created) / NS,
        in_flight=max(0, seen.in_flight),
        goaway_at=seen.goaway_at / NS if state is State.DRAINING else None,
        stays=stays,
    )


def observe(
    now: float,
    totals: b.PoolTotals,
    rates: Rates,
    instances: Sequence[b.Instance],
    staying: Container[int] = (),
    ends_idle: bool = False,
    times: StartTimes | None = None,
) -> Observation:
    """Instances that are closed already are not among what there is. staying: slots of those asked to stay."""
    times = times or StartTimes()
    frozen = times.frozen(now)
    taken, late = under_way(now, instances, times, frozen)
    return Observation(
        now=now,
        pending=max(0, totals.queued),
        running=max(0, totals.running),
        recent=rates.recent,
        idle_for=math.inf if rates.active_at is None else now - rates.active_at,
        per_second=rates.per_second,
        mean_ms=rates.mean_ms,
        takes_ms=rates.takes_ms,
        instances=tuple(instance_of(seen, seen.slot in staying) for seen in instances if seen.state in _STATES),
        ends_idle=ends_idle,
        arriving=rates.arriving,
        growing=rates.growing,
        cold=times.cold,
        thaw=times.thaw,
        frozen=frozen,
        leaving=sum(max(0, seen.in_flight) for seen in instances if seen.state == b.INSTANCE_DRAINING),
        under_way=taken,
        late=late,
    )


def under_way(now: float, instances: Sequence[b.Instance], times: StartTimes, frozen: int) -> tuple[float, int]:
    """s that starts have taken so far, all together; one that takes longer than usual may open at any moment. And how
    many are cold, because they have taken longer than those of frozen environments, while some are frozen."""
    ages = [now - it.created / NS for it in instances if it.state == b.INSTANCE_STARTING]
    delay, most = (times.thaw, times.middle) if frozen else (times.cold, START_TIMEOUT)
    counted = [min(max(0.0, age), delay) for age in ages if age < most]
    return sum(counted), sum(age < START_TIMEOUT for age in ages) - len(counted) if frozen else 0
