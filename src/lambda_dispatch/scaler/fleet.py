"""One pool's instances as the scaler knows them: its guard, its memory, and a Run per instance. No board, no log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from lambda_dispatch.function_name import FunctionName
from lambda_dispatch.scaler.causes import CAUSES
from lambda_dispatch.scaler.deadlines import LOOKS, Longest
from lambda_dispatch.scaler.guard import Breaker, Outcome, Start, StartGuard
from lambda_dispatch.scaler.ledger import Budget, Ledger
from lambda_dispatch.scaler.model import LEARNT, START_TIMEOUT, Limits
from lambda_dispatch.scaler.observe import NS, Rates
from lambda_dispatch.scaler.policies import Policy
from lambda_dispatch.scaler.spares import Spares
from lambda_dispatch.scaler.start_times import StartTimes
from lambda_dispatch.scaler.target import Target
from lambda_dispatch.scaler.verdict import EXIT_NAMES, Exit, outcome_of
from lambda_dispatch_core.board import board as b

# An instance whose invoke we do not hold (a predecessor does not, either) and of which no worker holds a channel or a
# request for this long is gone. Its channels park again within milliseconds of each answer.
SILENCE = 3.0  # s
SLOW_START = 10.0  # s without a channel before a warning: Lambda may not answer at all
LIFETIME = 15 * 60.0  # s, Lambda's longest invocation

BREAKER_NUMBERS = {Breaker.CLOSED: 0, Breaker.HALF_OPEN: 1, Breaker.OPEN: 2}


@dataclass(slots=True)
class Run:
    """One instance, from its slot on the board to the end of its invoke."""

    slot: int
    generation: int
    id: bytes
    start: Start | None  # None: adopted, or its verdict no longer matters
    held: bool = True  # the invoke's connection is ours and open
    asked: bool = False  # we wanted it to end
    stays: bool = False  # it was asked to stay when idle; False, too, when it is not known
    silent_since: float | None = None
    slow: bool = False  # it was logged that it takes long to open
    thaws: bool = False  # a frozen environment was counted on
    timed: bool = False  # how long it took to open has been learnt
    spare: bool = False  # of a round of FrozenSpares

    def overlooked(self, seen: b.Instance, now: float) -> bool:
        """No answer will come for it; is it over?"""
        if self.held:
            return False
        if seen.deadline and now > seen.deadline / NS + 1:
            return True
        if seen.state == b.INSTANCE_STARTING:
            return now - seen.created / NS > START_TIMEOUT
        if seen.idle > 0 or seen.in_flight > 0:
            self.silent_since = None
            return False
        if self.silent_since is None:
            self.silent_since = now
        return now - self.silent_since >= SILENCE


class News(StrEnum):
    """What a person should read, and the fleet cannot say: it writes no log."""

    START_OVERDUE = "start overdue"
    START_SLOW = "start slow"


class End(NamedTuple):
    """What the fleet made of the end of an instance."""

    opened: bool
    lived: float  # s since it opened, or since it was asked for
    outcome: Outcome | None  # None: how it ended is unknown
    ends_idle: bool = False  # news: its extension does not stay when idle
    short: bool = False  # news: the function's timeout ends instances within seconds


class Fleet:
    def __init__(
        self,
        pool: int,
        generation: int,
        label: str,
        function: FunctionName | None,
        policy: Policy,
        limits: Limits,
        guard: StartGuard,
    ) -> None:
        self.pool = pool
        self.generation = generation
        self.label = label
        self.function = function  # None: the name is none of a function, and is left alone
        self.policy = policy
        self.limits = limits  # as configured
        self.shown = limits  # as the board says: an operator may have set others
        self.guard = guard
        self.memory: Any = policy.first()
        self.desired = 0
        self.rates = Rates()
        self.times = StartTimes()
        self.ledger = Ledger()
        self.budget = Budget()
        self.spares = Spares()
        self.target = Target()
        self._longest = Longest()
        self._longest_known = 0.0  # s: see Look.longest
        self._longest_asked = 0
        self.spent = ""  # which budget was, at the last look
        self.predicted_wait = 0.0  # s, of the next request
        self.runs: dict[int, Run] = {}
        self.starts = 0
        self.starts_failed = 0
        self.ended = 0
        self.desired_raw = 0  # what the demand alone asked for at the last look
        self.packs = 0  # the fullest instance with fewer requests is used first; 0: the least busy one
        self.decisions = [0] * len(CAUSES)  # ever, by direction and reason
        self.exits = [0] * len(EXIT_NAMES)  # invokes that ended, ever, by exit reason
        self.last_exit = 0
        self.last_decision = 0.0  # s; 0: none
        self.held = ""  # what kept starts back at the last look
        self.ends_idle = False  # the last instance that was to stay when idle did not

    @property
    def staffed_for(self) -> int:
        """Requests at once of an instance, that `adaptive` counts on."""
        limits = self.limits
        return (self.target.learnt if limits.target == LEARNT else limits.target) or limits.max_concurrent

    def began(self, slot: int, generation: int, id: bytes, now: float, stays: bool, spare: bool = False) -> Run:
        """A start is about to be sent."""
        start, thaws = self.guard.began(now), self.times.began(now)
        run = self.runs[slot] = Run(slot, generation, id, start, stays=stays, thaws=thaws, spare=spare)
        self.starts += 1
        self.ledger.invoked(now)
        return run

    def longest(self, now: float, counts: Callable[[], Sequence[int]]) -> float:
        """For Look.longest; to be asked at each look. `counts`: of the histogram of service times."""
        if self._longest_asked % LOOKS == 0:
            self._longest_known = self._longest.read(now, counts())
        self._longest_asked += 1
        return self._longest_known

    def adopt(self, seen: b.Instance) -> None:
        """An instance of a scaler before us: it counts, and its end shows only in its silence."""
        self.runs[seen.slot] = Run(seen.slot, seen.generation, seen.id, None, held=False)

    def _time(self, run: Run, seen: b.Instance) -> None:
        if not run.timed and seen.opened:
            run.timed = True
            lost = self.times.opened((seen.opened - seen.created) / NS, run.thaws)
            if run.spare:
                self.spares.opened(lost)

    def watch(self, seen: b.Instance, now: float) -> News | None:
        """Tells the guard what became of a start."""
        run = self.runs.get(seen.slot)
        if run is None or run.start is None:
            return None
        if seen.state in (b.INSTANCE_OPEN, b.INSTANCE_DRAINING) and seen.opened:
            self._time(run, seen)
            self.guard.opened(run.start, seen.opened / NS)
            self.guard.alive(run.start, now)
        elif seen.state == b.INSTANCE_STARTING and not run.start.judged and now - run.start.sent_at > START_TIMEOUT:
            self.guard.judge(run.start, Outcome.OVERDUE, now)
            return News.START_OVERDUE
        elif seen.state == b.INSTANCE_STARTING and not run.slow and now - run.start.sent_at > SLOW_START:
            run.slow = True
            return News.START_SLOW
        return None

    def end(self, run: Run, seen: b.Instance, ended: Exit | None, now: float) -> End | None:
        """An instance is over, as `ended` says; None when that was known. The guard learns from it."""
        if self.runs.pop(run.slot, None) is None:
            return None
        self.ended += 1
        opened = bool(seen.opened)
        lived = now - (seen.opened or seen.created) / NS
        if ended is None:
            return End(opened, lived, None)
        self.last_exit = ended.number
        ends_idle = opened and self._learn_idle(run, ended.name == "SelfLastActive")
        outcome = self._judge(run, seen, ended, opened, lived, now)
        if run.start is not None:
            self._time(run, seen)
        if opened and not outcome.failed:
            self.times.returned(now)
        short = outcome is Outcome.SHORT_LIFE and self.guard.short_life(now)
        return End(opened, lived, outcome, ends_idle, short)

    def _learn_idle(self, run: Run, idle: bool) -> bool:
        """True when it is news that an instance which was to stay when idle did not."""
        if not run.stays or idle == self.ends_idle:
            return False
        self.ends_idle = idle
        return idle

    def _judge(self, run: Run, seen: b.Instance, ended: Exit, opened: bool, lived: float, now: float) -> Outcome:
        start = run.start
        outcome = outcome_of(
            ended if ended.requests else replace(ended, requests=seen.requests),
            opened=opened,
            proved=start is None or (start.judged and start.opened_at is not None),
            asked=run.asked,
            lived=lived,
        )
        if start is not None:
            if opened:
                self.guard.opened(start, seen.opened / NS)
            self.guard.judge(start, outcome, now)
            if outcome.failed and not opened:
                self.starts_failed += 1
        return outcome
