"""How many starts may really happen: the budget that no demand, no network and no function can exceed.

One guard per pool. In the order in which a start must pass them:

1. the breaker. After BREAKER failures in a row (no start proved good in between) it opens: nothing starts until the
   back-off is over, then exactly one trial. A trial that opens a channel doubles what may start unproven (one, two,
   four...); one that proves good closes the breaker; one that fails opens it again.

        closed --failures--> open --back-off over--> half-open --trial proved--> closed
                               ^---------------trial failed---------|

2. the back-off. Each round of failures doubles the wait, from a quarter of a second to two; then the wait is an eighth
   of the time for which nothing has been good, so that a short outage is over soon after it ends and a long one costs
   a bounded number of invokes: about 8 ln(T / 16 s) of them up to a wait of one minute, then one or two a minute.
   Starts that were under way when a round began belong to it: a burst of hundred that fails is one round.

3. the pace of short lives: where the function's timeout ends instances within seconds, each needs a successor at once.
   Starts then have a bucket of their own, SHORT_BURST and SHORT_RATE, until an instance has lived for LONG_LIFE.

4. the token bucket: burst and rate of invokes, whatever has happened.

A start is proved good when its instance has been open for PROVEN seconds, or has served requests and ended of its own
accord. Merely opening proves little: a function that opens and dies with its first request would be started for ever.

Pure: time is an argument, chance comes in from outside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

BREAKER = 5  # failures in a row
PROVEN = 3.0  # s open
FIRST_WAIT = 0.25  # s
SOON_ENOUGH = 2.0  # s: waits this short are never stretched in proportion
PROPORTION = 1 / 8  # of the time since the last good start
LONGEST_WAIT = 60.0  # s
SHORT_BURST = 3  # starts
SHORT_RATE = 1.0  # starts per second
LONG_LIFE = 30.0  # s


class Breaker(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Outcome(StrEnum):
    """How a start went, from the guard's point of view."""

    GOOD = "good"
    NEUTRAL = "neutral"  # says nothing: we closed it ourselves before it could open, or there was nothing to do
    THROTTLED = "throttled"  # Lambda has no room (429)
    REFUSED = "refused"  # Lambda will not: no such function, no permission
    SERVICE = "service"  # Lambda or the way to it failed
    FUNCTION_ERROR = "function error"  # the environment failed
    UNREACHABLE = "router unreachable"  # the extension could not call back
    NOT_OPENED = "returned without opening"
    OVERDUE = "did not open in time"
    SHORT_LIFE = "function timeout too short"

    @property
    def failed(self) -> bool:
        return self not in (Outcome.GOOD, Outcome.NEUTRAL, Outcome.SHORT_LIFE)


class TokenBucket:
    """At most burst + rate x t tokens in any t seconds."""

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self.burst = burst
        self.rate = rate
        self._tokens = burst
        self._at = now

    def available(self, now: float) -> int:
        # A clock that steps back gives nothing.
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        return int(self._tokens)

    def spend_down_to(self, tokens: float) -> None:
        """What a predecessor had left: a restart of the scaler must not give a full burst again."""
        self._tokens = max(0.0, min(self._tokens, tokens))

    def take(self, count: int, now: float) -> int:
        taken = min(count, self.available(now))
        self._tokens -= taken
        return taken


@dataclass(slots=True)
class Start:
    """One invoke, from its sending to the verdict on it."""

    sent_at: float
    trial: int  # which half-open period it is a trial of; 0: none
    opened_at: float | None = None
    judged: bool = False


class StartGuard:
    def __init__(self, burst: float, rate: float, now: float, chance: Callable[[], float]) -> None:
        self.bucket = TokenBucket(burst, rate, now)
        self.breaker = Breaker.CLOSED
        self.failures = 0  # in a row
        self.rounds = 0  # of failures, since the last good start
        self.not_before = now  # end of the back-off
        self.last_failure: Outcome | None = None
        self.pace: TokenBucket | None = None  # while lives are short
        self.denied = ""  # why the last request was not granted in full; for logs and status
        self._round_at = now  # when the latest round began
        self._bad_since = now
        self._chance = chance  # a number from 0 to 1
        self._period = 0  # half-open periods so far
        self._trials = 0  # starts of this half-open period without a verdict
        self._window = 1  # how many of them there may be

    def restore_open(self, not_before: float) -> None:
        """The breaker was open when a predecessor ended."""
        self.breaker = Breaker.OPEN
        self.failures = self.rounds = 1
        self.not_before = min(not_before, self._round_at + LONGEST_WAIT)

    def reset(self, now: float) -> None:
        """An operator says that what failed has been repaired: as if nothing had. The rate of starts stays bounded."""
        self.breaker = Breaker.CLOSED
        self.failures = self.rounds = 0
        self.not_before = self._round_at = now
        self.pace = None
        self._trials = 0
        self._window = 1

    def grant(self, wanted: int, now: float) -> int:
        """How many of `wanted` starts may be sent now; they count as sent: follow each with began()."""
        if wanted <= 0:
            return 0
        allowed = wanted
        self.denied = ""
        if now < self.not_before:
            self.denied = f"back-off, {self.not_before - now:.2f} s left"
            return 0
        if self.breaker is Breaker.OPEN:
            self.breaker = Breaker.HALF_OPEN
            self._period += 1
            self._trials = 0
            self._window = 1
        if self.breaker is Breaker.HALF_OPEN:
            allowed = min(allowed, max(0, self._window - self._trials))
            if allowed < wanted:
                self.denied = "breaker half-open, a trial is under way"
        if self.pace is not None and (paced := int(self.pace.available(now))) < allowed:
            allowed = paced
            self.denied = "function timeout too short"
        granted = self.bucket.take(allowed, now)
        if granted < allowed:
            self.denied = "rate of starts"
        if self.pace is not None:
            self.pace.take(granted, now)
        return granted

    def short_life(self, now: float) -> bool:
        """The function's timeout has ended an instance within seconds. True when that is news."""
        if self.pace is not None:
            return False
        self.pace = TokenBucket(SHORT_BURST, SHORT_RATE, now)
        return True

    @property
    def well(self) -> bool:
        """No start has failed since the last good one."""
        return self.breaker is Breaker.CLOSED and self.failures == 0

    def grant_spare(self, now: float) -> bool:
        """One invoke that starts no instance (init only): within the rate, and only while all is well."""
        return self.well and self.bucket.take(1, now) == 1

    def began(self, now: float) -> Start:
        if self.breaker is not Breaker.HALF_OPEN:
            return Start(now, 0)
        self._trials += 1
        return Start(now, self._period)

    def opened(self, start: Start, now: float) -> None:
        if start.opened_at is None:
            start.opened_at = now
            if self._on_trial(start) and not start.judged:
                self._window *= 2

    def alive(self, start: Start, now: float) -> None:
        """The instance of this start is open now."""
        if start.opened_at is not None and now - start.opened_at >= LONG_LIFE:
            self.pace = None
        if not start.judged and start.opened_at is not None and now - start.opened_at >= PROVEN:
            self.judge(start, Outcome.GOOD, now)

    def judge(self, start: Start, outcome: Outcome, now: float) -> None:
        """The verdict on a start. A second counts only when it is a failure: what proved good may still die badly."""
        first = not start.judged
        start.judged = True
        if first and self._on_trial(start):
            self._trials -= 1
        if outcome is Outcome.GOOD and first:
            self._good(start)
        elif outcome.failed:
            self._failed(start, outcome, now)

    def _on_trial(self, start: Start) -> bool:
        return self.breaker is Breaker.HALF_OPEN and start.trial == self._period

    def _good(self, start: Start) -> None:
        # What opened before the failures began proves nothing about what failed since.
        if self.breaker is Breaker.CLOSED or (start.opened_at is not None and start.opened_at >= self._bad_since):
            self.breaker = Breaker.CLOSED
            self.failures = 0
            self.rounds = 0

    def _failed(self, start: Start, outcome: Outcome, now: float) -> None:
        self.last_failure = outcome
        if self.failures == 0:
            self._bad_since = now
        self.failures += 1
        if self._on_trial(start) or (self.breaker is Breaker.CLOSED and self.failures >= BREAKER):
            self.breaker = Breaker.OPEN
        if self.rounds == 0 or start.sent_at >= self._round_at:
            self.rounds += 1
            self._round_at = now
            self.not_before = now + self._wait(now)

    def _wait(self, now: float) -> float:
        doubled = min(SOON_ENOUGH, FIRST_WAIT * 2.0 ** min(self.rounds - 1, 16))
        wait = min(LONGEST_WAIT, max(doubled, (now - self._bad_since) * PROPORTION))
        return wait * (0.5 + self._chance() / 2)
