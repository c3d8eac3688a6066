"""One pool's instances as the scaler knows them: its guard, its memory, and a Run per instance."""

import random
from dataclasses import dataclass

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.function_name import FunctionName, parse
from lambda_dispatch.scaler.decide import START_TIMEOUT, Memory, Policy
from lambda_dispatch.scaler.guard import Breaker, Outcome, Start, StartGuard
from lambda_dispatch.scaler.observe import NS, Rates
from lambda_dispatch.telemetry import log
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

    def overlooked(self, seen: b.Instance, now: float) -> bool:
        """Nobody will tell us of its end; is it over?"""
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


class Fleet:
    def __init__(self, pool: b.Pool, config: RouterConfig, now: float, tokens: float | None) -> None:
        self.pool = pool.pool
        self.generation = pool.generation
        self.label = "default" if pool.pool == 0 else pool.name.decode("ascii", "replace")
        # Workers make pools of names that they have checked; what is none is left alone.
        self.function: FunctionName | None = parse(pool.name.decode("ascii", "replace"))
        self.policy = Policy(
            max_concurrent=config.max_concurrent_count,
            multiplier=config.instance_count_multiplier,
            algorithm=config.scaling_algorithm,
            min_instances=config.min_instances if pool.pool == 0 else 0,
            max_instances=config.max_instances,
        )
        self.guard = StartGuard(config.start_burst, config.start_rate, now, random.random)
        self.memory = Memory()
        self.rates = Rates()
        self.runs: dict[int, Run] = {}
        self.starts = pool.starts
        self.starts_failed = pool.starts_failed
        self.ended = pool.ended
        self.last_exit = pool.last_exit
        self.last_decision = pool.last_decision
        self.denied = ""
        self.heedless = False  # the last instance that was to stay when idle did not
        if tokens is not None:
            self.guard.bucket.spend_down_to(tokens)
        if pool.breaker:
            self.guard.restore_open(pool.backoff_until / NS)

    def adopt(self, seen: b.Instance) -> None:
        """An instance of a scaler before us: it counts, and its end shows only in its silence."""
        self.runs[seen.slot] = Run(seen.slot, seen.generation, seen.id, None, held=False)

    def heed(self, run: Run, idle: bool) -> bool:
        """Tells how an instance that had opened ended; True when it is news that its extension will not stay."""
        if not run.stays or idle == self.heedless:
            return False
        self.heedless = idle
        return idle

    def watch(self, seen: b.Instance, now: float) -> None:
        """Tells the guard what became of a start."""
        run = self.runs.get(seen.slot)
        if run is None or run.start is None:
            return
        if seen.state in (b.INSTANCE_OPEN, b.INSTANCE_DRAINING) and seen.opened:
            self.guard.opened(run.start, seen.opened / NS)
            self.guard.alive(run.start, now)
        elif seen.state == b.INSTANCE_STARTING and not run.start.judged and now - run.start.sent_at > START_TIMEOUT:
            self.guard.judge(run.start, Outcome.OVERDUE, now)
            log.limited(log.WARNING, "instance start overdue", pool=self.label, after_s=START_TIMEOUT)
        elif seen.state == b.INSTANCE_STARTING and not run.slow and now - run.start.sent_at > SLOW_START:
            run.slow = True
            log.limited(
                log.WARNING,
                "instance start slow",
                pool=self.label,
                after_s=SLOW_START,
                check="whether Lambda answers, the application starts, and instances can reach the callback address",
            )

    def publish(self, board: b.Board, counts: dict[int, int]) -> None:
        rates = self.rates
        board.publish_pool(
            self.pool,
            desired=self.memory.desired,
            starting=counts.get(b.INSTANCE_STARTING, 0),
            open=counts.get(b.INSTANCE_OPEN, 0),
            draining=counts.get(b.INSTANCE_DRAINING, 0),
            starts=self.starts,
            starts_failed=self.starts_failed,
            ended=self.ended,
            backoff_until=int(self.guard.not_before * NS) if self.guard.rounds else 0,
            rate_milli=int((rates.per_second or 0.0) * 1000),
            average_us=int((rates.mean_ms or 0.0) * 1000),
            breaker=BREAKER_NUMBERS[self.guard.breaker],
            last_decision=self.last_decision,
            last_exit=self.last_exit,
        )
