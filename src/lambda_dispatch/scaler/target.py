"""`TargetConcurrency=auto`: how many requests at once an instance is staffed for, from what concurrency does to them.

Requests of an application that waits for others take as long among nine others as alone; those of one that computes
share its CPU and slow each other. Every WINDOW seconds give one sample of

    k   requests at work per open instance       s   mean time of those that were completed
    z   arrivals per second and open instance

and the samples, weighted by age (MEMORY), a line s = a + b k. The target is the greatest number of requests at which
one takes at most STRETCH times as long as alone:

    (a + b k) = STRETCH x (a + b),   k = (STRETCH x (a + b) - a) / b,   from 1 to MaxConcurrentCount

A line may lie: where a database slows everything down, k rises because s does. So it is believed only where the samples
lie close to it, where it does not begin well below zero (no crowd makes requests more than proportionally slower), and
where s also rises with z, which no slow database raises. Where k and s do not go together, or the line says that the
hard limit is bearable, the target goes up again. In between it stays. It moves by one at a time.

Pure: time is an argument.
"""

import math
from typing import NamedTuple

from lambda_dispatch_core.board import board as b

NS = 1_000_000_000
WINDOW = 2.0  # s
MEMORY = 300.0  # s, time constant of the samples' weights
LEAST = 30.0  # samples, by weight, before anything is concluded
STRETCH = 4.0
CLOSE = 0.75  # share of the variance of s that the line explains: believed
LOOSE = 0.3  # ... : k and s do not go together
DRIVEN = 3.0  # times what chance makes of it, 1 / sqrt(samples), is the correlation of s with z: arrivals are the cause
MOVE = 10.0  # s between two moves


class Line:
    """Sums over samples (k, s, z) whose weights fade."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._sums = [0.0] * 8  # k, s, z, kk, ss, zz, ks, zs

    def add(self, k: float, s: float, z: float, fade: float) -> None:
        self.weight = self.weight * fade + 1.0
        found = (k, s, z, k * k, s * s, z * z, k * s, z * s)
        self._sums = [total * fade + value for total, value in zip(self._sums, found, strict=True)]

    def fit(self) -> "Fit":
        k, s, z, kk, ss, zz, ks, zs = (total / self.weight for total in self._sums)
        var_k, var_s, var_z = max(0.0, kk - k * k), max(0.0, ss - s * s), max(0.0, zz - z * z)
        slope = (ks - k * s) / var_k if var_k > 1e-9 else 0.0
        return Fit(
            a=s - slope * k,
            slope=slope,
            close=_correlation(ks - k * s, var_k, var_s) ** 2,
            driven=_correlation(zs - z * s, var_z, var_s),
        )


def _correlation(covariance: float, one: float, other: float) -> float:
    return covariance / math.sqrt(one * other) if one * other > 1e-18 else 0.0


class Fit(NamedTuple):
    a: float  # s
    slope: float  # s for each request more
    close: float  # from 0 to 1
    driven: float  # from -1 to 1

    def bearable(self) -> float:
        """The requests at once at which one takes STRETCH times as long as alone."""
        if self.slope <= 0:
            return math.inf
        a = max(0.0, self.a)
        return (STRETCH * (a + self.slope) - a) / self.slope


class Target:
    """One pool's, from look to look."""

    def __init__(self, learnt: int = 0) -> None:
        self.learnt = learnt  # 0: nothing yet; then MaxConcurrentCount
        self._line = Line()
        self._before: b.PoolTotals | None = None  # at the last look
        self._at = 0.0
        self._first: b.PoolTotals | None = None  # of this window
        self._began = 0.0
        self._running = self._open = 0.0  # requests x s, instances x s
        self._moved_at = -math.inf

    def look(self, now: float, totals: b.PoolTotals, opened: int, most: int) -> int:
        """The target after this look, of `most` at most."""
        if self._first is None or self._before is None:
            self._begin(now, totals)
        else:
            span = max(0.0, now - self._at)
            self._running += self._before.running * span
            self._open += opened * span
            if now - self._began >= WINDOW:
                self._sample(now, totals, self._first)
                self._begin(now, totals)
                self._move(now, most)
        self._at, self._before = now, totals
        return min(self.learnt or most, most)

    def _begin(self, now: float, totals: b.PoolTotals) -> None:
        self._first, self._began = totals, now
        self._running = self._open = 0.0

    def _sample(self, now: float, totals: b.PoolTotals, first: b.PoolTotals) -> None:
        span, completed = now - self._began, totals.completions - first.completions
        # A long pause, or instances that have only just opened, say nothing about a crowd.
        if completed <= 0 or self._open < span / 2 or span > 2 * WINDOW:
            return
        self._line.add(
            self._running / self._open,
            (totals.duration_ns - first.duration_ns) / NS / completed,
            (totals.arrivals - first.arrivals) / self._open,
            math.exp(-span / MEMORY),
        )

    def _move(self, now: float, most: int) -> None:
        if self._line.weight < LEAST or now - self._moved_at < MOVE:
            return
        have, fit = min(self.learnt or most, most), self._line.fit()
        goal = have
        if fit.close <= LOOSE or fit.bearable() >= most:
            goal = most
        elif fit.close >= CLOSE and fit.a >= -fit.slope / 2 and fit.driven * math.sqrt(self._line.weight) >= DRIVEN:
            goal = max(1, int(fit.bearable()))
        if goal != have:
            self.learnt = have + (1 if goal > have else -1)
            self._moved_at = now
