"""What a pool has cost, and what the same requests would have cost by Lambda's own dispatch.

Both are added up from look to look. An invoke is billed from its sending to its return, whatever it does: every
instance that is starting, open or draining counts. It is busy while it has a request; looks see that by chance, like
any sample, often enough for hours to be right.

Lambda's own dispatch gives each request an environment of its own for as long as it takes, bills each as an invoke, and
bills the start of every new environment. There are as many as requests were ever at once while Lambda would have kept
them. That is computed from the requests that were really served, so that what waited for an instance is not part of it.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from lambda_dispatch.scaler.start_times import KEPT
from lambda_dispatch_core.board import board as b

NS = 1_000_000_000
PERIOD = 10.0  # s, of the high-water marks of requests at once
MINUTE = 60.0
HOUR = 60  # minutes
# Which budget is spent: in decisions, logs and status.
COST = "MaxCostPerHour spent"
INVOKES = "MaxInvokesPerMinute spent"
SPENT = {"": 0, COST: 1, INVOKES: 2}  # on the board


class Rate(NamedTuple):
    """What is billed: USD, and the memory that it is billed by."""

    second: float = 0.0  # of one environment
    invoke: float = 0.0
    gb: float = 0.0  # memory of one environment

    @property
    def known(self) -> bool:
        return self.second > 0


class Window:
    """A sum over the last `periods` of `width` s, the present one among them."""

    def __init__(self, width: float, periods: int) -> None:
        self._width = width
        self._sums: deque[tuple[int, float]] = deque(maxlen=periods)
        self._periods = periods

    def add(self, now: float, value: float) -> None:
        period = int(now / self._width)
        if self._sums and period <= self._sums[-1][0]:
            at, so_far = self._sums[-1]
            self._sums[-1] = (at, so_far + value)
        else:
            self._sums.append((period, value))

    def total(self, now: float) -> float:
        least = int(now / self._width) - self._periods
        return sum(value for period, value in self._sums if period > least)


class Ledger:
    def __init__(self, rate: Rate | None = None) -> None:
        self.rate = rate or Rate()
        self.open_s = 0.0  # environments x s, billed
        self.busy_s = 0.0  # of those: with a request
        self.invokes = 0  # ever, init-only ones among them
        self.usd = 0.0
        self.gb_s = 0.0  # memory x s, billed
        self.direct_s = 0.0  # the same by Lambda's own dispatch, starts of new environments included
        self.direct_invokes = 0
        self.direct_usd = 0.0
        self.last_hour = Window(MINUTE, HOUR)  # USD
        self.last_minute = Window(1.0, int(MINUTE))  # invokes
        self._at: float | None = None
        self._before: b.PoolTotals | None = None
        self._marks: deque[tuple[int, int]] = deque()  # by period of PERIOD, requests at once at most

    def resume(self, pool: b.Pool) -> None:
        """Goes on where an earlier scaler ended. What it spent in this hour and minute is not known."""
        self.open_s, self.busy_s, self.direct_s = pool.open_ms / 1000, pool.busy_ms / 1000, pool.direct_ms / 1000
        self.invokes, self.direct_invokes = pool.invokes, pool.direct_invokes
        self.usd, self.direct_usd = pool.cost_nusd / 1e9, pool.direct_nusd / 1e9
        self.gb_s = pool.billed_mb_ms / 1024_000

    def invoked(self, now: float) -> None:
        self.invokes += 1
        self.usd += self.rate.invoke
        self.last_minute.add(now, 1)
        self.last_hour.add(now, self.rate.invoke)

    def look(self, now: float, totals: b.PoolTotals, living: Iterable[b.Instance], cold: float) -> None:
        """`living`: those whose invokes are open. `cold`: s that a new environment takes to start."""
        if self._at is not None and self._before is not None:
            span = max(0.0, now - self._at)
            each = [it.in_flight > 0 for it in living]
            self.open_s += span * len(each)
            self.busy_s += span * sum(each)
            self.gb_s += span * len(each) * self.rate.gb
            spent = span * len(each) * self.rate.second
            self.usd += spent
            if spent:
                self.last_hour.add(now, spent)
            self._direct(now, totals, self._before, cold)
        self._at, self._before = now, totals

    def _direct(self, now: float, totals: b.PoolTotals, before: b.PoolTotals, cold: float) -> None:
        seconds = max(0, totals.duration_ns - before.duration_ns) / NS
        seconds += cold * self._new_environments(now, totals.running + totals.queued)
        requests = max(0, totals.completions - before.completions)
        self.direct_s += seconds
        self.direct_invokes += requests
        self.direct_usd += seconds * self.rate.second + requests * self.rate.invoke

    def _new_environments(self, now: float, at_once: int) -> int:
        period = int(now / PERIOD)
        while self._marks and self._marks[0][0] < period - math.ceil(KEPT / PERIOD):
            self._marks.popleft()
        there = max((mark for _, mark in self._marks), default=0)
        if self._marks and self._marks[-1][0] >= period:
            self._marks[-1] = (self._marks[-1][0], max(self._marks[-1][1], at_once))
        else:
            self._marks.append((period, at_once))
        return max(0, at_once - there)


class Budget(NamedTuple):
    """Two breakers. While one is open, what is there beyond the floor is not replaced, and nothing is started."""

    usd_per_hour: float = 0.0  # 0: none
    invokes_per_minute: int = 0  # 0: none

    def spent(self, ledger: Ledger, now: float) -> str:
        """Why nothing more may be started than the floor; empty while there is money."""
        if self.usd_per_hour and ledger.last_hour.total(now) >= self.usd_per_hour:
            return COST
        if self.invokes_left(ledger, now) == 0:
            return INVOKES
        return ""

    def invokes_left(self, ledger: Ledger, now: float) -> int | None:
        """In this minute; None: any number."""
        if not self.invokes_per_minute:
            return None
        return max(0, self.invokes_per_minute - int(ledger.last_minute.total(now)))
