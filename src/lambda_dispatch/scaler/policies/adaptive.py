"""`ScalingAlgorithm=adaptive`: head room by queueing theory, starts that pay, scale-in by what a wrong one costs.

The formulas stand in docs/scaling.md. `InstanceCountMultiplier` plays no part.
"""

import math
from dataclasses import dataclass, replace

from lambda_dispatch.scaler.model import START_TIMEOUT, TICK, UNKNOWN, Decision, Instance, Limits, Observation, State
from lambda_dispatch.scaler.policies.steps import FLOOR_PAUSE, GAP, WARM_PAUSE, least_busy, released

SHORT = 1.0  # s, time constant of the average of demand
SLOW = 60.0  # s, of another one
LONG = 600.0  # s, and of a third
HORIZON = 2.0  # s, for how long a decision should hold once its instances are open
BETA_OUT = 0.5  # standard deviations of head room below which one more is started
BETA_COLD = 1.2  # the same where no environment is frozen: help takes seconds
BETA_IN = 1.5  # ... that must remain with one fewer
SHORT_QUEUE = 0.04  # s: a queue that is over sooner starts nothing
LEAST_CLEAR = 0.1  # s: a queue that shrinks and is gone by then is left to what is open
SERVED_WITHIN = 0.5  # s after the opening of what is started, within which all that waits is served
SERVED_SHARE = 0.25  # ... as a share of the start, where that is more: the wait for the start cannot be avoided
STANDS = 0.5  # standard deviations of what is at work: a queue that is never shorter is no chance
SHRINKS = 3.0  # standard deviations of what is answered in a second: a queue that shrinks by more is no lack of slots
FALLS = 2.0  # standard deviations of present demand: an average above that is only late
GROWS_FOR = 1.5  # times the start: by how long what is started in a growth should be in time
GROWS_TO = 3.0  # times the rate, at most
BETA_NOISE = 4.5  # ... beyond which instances of a large fleet are closed at once, and not one by one
CALM_LEAST = 0.006  # s x instances cubed, between two of those
CALM_MOST = 12000.0  # s / instances: one in two hundred per minute at most
PACKS = 0.9  # of an instance's slots: it is filled so far before the next one is used, where there are more than needed
PACKS_LARGE, LARGE = 0.7, 10  # ... of more instances than so many: noise is not to empty them
IN_PAUSE = 1.0  # s between a start and a scale-in, and at first between two directions
LONGEST_PAUSE = 6.0  # s, what the pause grows to where closing proves wrong
WRONG_WITHIN = 10.0  # s: what is started again so soon should not have been closed
IDLE_EXIT = 0.25  # s without requests, after which an instance ends by itself; the extension's default
SELDOM = 1.0  # requests at work on average: where there are fewer, the last instance does not wait for that
WORTH = 2.0  # thaws: where a gap is shorter on average, it does
INVOKES = 0.45  # ... invokes that this may cost, for each that there would be anyway
FIRST_CREDIT, MOST_CREDIT = 2.0, 20.0  # of those, at first and at most
SOONEST, SHARE = 0.02, 0.125  # s, and of a request's time: until the next look where an end is to be seen
STANDING = 0.25  # s: a queue that is never shorter for one to two such periods stands; it waits for slots, not for luck


@dataclass(frozen=True, slots=True)
class Memory:
    desired: int = 0
    at: float | None = None  # the last decision
    short: float = 0.0  # demand, averaged over SHORT
    started_at: float | None = None
    closed_at: float | None = None
    pause: float = IN_PAUSE  # since the last start, before anything is closed
    floor_at: float | None = None
    low_at: float | None = None  # when the present period of STANDING began
    low: float = 0.0  # the shortest queue of this period
    low_before: float = 0.0  # ... and of the one before
    opened: int = 0  # open instances after the last decision
    opened_at: float | None = None  # when there were more than before
    slow: float = 0.0  # demand, averaged over SLOW; follows at once what is no noise
    credit: float = FIRST_CREDIT  # invokes that may be caused
    ended_at: float | None = None  # when the last request was over; None while there are any
    long: float = 0.0  # demand, averaged over LONG, or over what has passed of it
    span: float = 0.0  # s that this average goes over

    @property
    def standing(self) -> float:
        return min(self.low, self.low_before)


class Adaptive:
    name = "adaptive"
    number = 2
    memory_size = 17
    spreads = True

    def first(self, desired: int = 0) -> Memory:
        return Memory(desired)

    def flat(self, memory: Memory) -> tuple[float, ...]:
        def known(value: float | None) -> float:
            return math.nan if value is None else value

        return (
            float(memory.desired),
            known(memory.at),
            memory.short,
            known(memory.started_at),
            known(memory.closed_at),
            memory.pause,
            known(memory.floor_at),
            known(memory.low_at),
            memory.low,
            memory.low_before,
            float(memory.opened),
            known(memory.opened_at),
            memory.slow,
            memory.credit,
            known(memory.ended_at),
            memory.long,
            memory.span,
        )

    def restore(self, flat: tuple[float, ...]) -> Memory:
        desired, at, short, started_at, closed_at, pause, floor_at, low_at, low, low_before, *more = flat
        opened, opened_at, slow, credit, ended_at, long, span = more

        def known(value: float) -> float | None:
            return None if math.isnan(value) else value

        return Memory(
            int(desired),
            known(at),
            short,
            known(started_at),
            known(closed_at),
            pause,
            known(floor_at),
            known(low_at),
            low,
            low_before,
            int(opened),
            known(opened_at),
            slow,
            credit,
            known(ended_at),
            long,
            span,
        )

    def decide(self, seen: Observation, memory: Memory, limits: Limits) -> tuple[Decision, Memory]:
        now, slots = seen.now, limits.target or limits.max_concurrent
        floor, ceiling = limits.bounds
        waiting = [i for i in seen.instances if i.state is State.STARTING and now - i.since < START_TIMEOUT]
        opened = [i for i in seen.instances if i.state is State.OPEN]
        have = len(waiting) + len(opened)
        opened_at = now if len(opened) > memory.opened else memory.opened_at
        memory = replace(memory, opened_at=opened_at)
        short = averaged(seen, memory)
        slow = slowly(seen, memory, short)
        long, span = lengthily(seen, memory, short)
        memory = shortest(seen, memory)
        seconds = lasts(seen, memory)
        memory = credited(seen, memory)
        ends = seldom(seen, memory, seconds, max(slow, long))
        delay = seen.thaw if seen.frozen else seen.cold

        # What is frozen serves a queue sooner than a cold start that is under way.
        late = min(seen.late, len(waiting)) if seen.pending else 0
        need, why = self._need(seen, memory, short, seconds, delay, len(opened), len(waiting) - late, slots)
        if seen.growing and seen.frozen and seen.running:
            # What is frozen is used up first; what is needed beyond that must be started in time.
            then = ahead(seen, memory, short, seconds, seen.cold)
            grown = staffed(then, seconds, seen.cold + HORIZON, BETA_COLD, slots)
            if grown > max(need, have + seen.frozen):
                need, why = grown, "growth"
        buffer = limits.buffer if seen.pending or seen.running or seen.arriving else 0
        proposed = min(max(need + buffer, floor), ceiling)
        idle = seen.pending == 0 and seen.running == 0 and seen.idle_for >= GAP
        start = max(0, min(min(proposed + late, ceiling) - have, limits.max_instances - len(seen.instances)))
        floor_at, pause = memory.floor_at, memory.pause
        if start and idle:
            # Only the floor asks and no request waits, so it takes its time.
            between = WARM_PAUSE if seen.ends_idle else FLOOR_PAUSE
            if floor_at is not None and now - floor_at < between:
                start = 0
            else:
                floor_at = now

        staying = sum(instance.stays for instance in (*waiting, *opened))
        kept = self._keep(seen, short, seconds, delay, slots, opened, ends) + buffer
        kept = max(kept, proposed if seen.pending else 0)
        # The floor is never closed for what only starts.
        least = max(kept, min(floor, sum(instance.stays for instance in opened)), limits.pinned)
        close: list[Instance] = []
        if seen.pending == 0 and not start and len(opened) > least:
            since = (memory.started_at, opened_at, memory.closed_at)
            if seen.arriving and (seen.running or not ends):
                noise = max(least, self._keep(seen, max(short, slow), seconds, delay, slots, opened, ends, BETA_NOISE))
                count = closable(now, since, pause, len(opened), least, noise)
            else:
                count = len(opened) - least
            close = least_busy(opened)[:count]
        if have > ceiling:
            # The maximum has become less than what there is: that waits for nothing.
            close = least_busy(opened)[: max(len(close), have - ceiling)]
        if start and have and memory.closed_at is not None:
            # Closing was wrong if what was closed is wanted again soon; each time the next one takes longer.
            soon = now - memory.closed_at < WRONG_WITHIN
            if memory.started_at is None or memory.closed_at > memory.started_at:
                pause = min(LONGEST_PAUSE, pause * 2) if soon else max(IN_PAUSE, pause / 2)
        desired = max(have + start - len(close), 0)
        reason = ""
        if start:
            reason = f"out, {why}: {have} to {desired}"
        elif close:
            reason = f"in: {have} to {desired}"
        kept_memory = Memory(
            desired,
            now,
            short,
            now if start else memory.started_at,
            now if close and seen.arriving and seen.running else memory.closed_at,
            pause,
            floor_at,
            memory.low_at,
            memory.low,
            memory.low_before,
            len(opened) - len(close),
            opened_at,
            slow,
            memory.credit,
            memory.ended_at,
            long,
            span,
        )
        decision = Decision(
            desired,
            proposed,
            start,
            min(start, max(0, floor - staying)),
            tuple(instance.slot for instance in close),
            released(seen, len(opened), 0 if idle else max(proposed, have)),
            reason,
            need,
            look_again(seen, seconds, ends, len(opened) - len(close)),
            packed(len(opened) - len(close), proposed, slots),
        )
        return decision, kept_memory

    def _need(
        self,
        seen: Observation,
        memory: Memory,
        short: float,
        seconds: float,
        delay: float,
        opened: int,
        waiting: int,
        slots: int,
    ) -> tuple[int, str]:
        """Instances for what waits and for what is to be expected when they open; why."""
        if seen.pending == 0 and seen.running == 0:
            return 0, ""
        # Where requests run, the load is what runs; a queue is the other rule's.
        beta = BETA_OUT if seen.frozen else BETA_COLD
        load = staffed(ahead(seen, memory, short, seconds, delay), seconds, delay + HORIZON, beta, slots)
        if seen.pending == 0:
            # Where nothing arrives, the average is only late. Requests that take long come seldom: without a frozen
            # environment the next one that finds no slot waits for a cold start.
            comes = seen.arriving or (seconds > HORIZON and not seen.frozen and seen.per_second)
            return (load if comes else min(load, opened + waiting)), "load"
        busy = at_work(seen)
        freed = min(busy, opened * slots) / seconds if seen.takes_ms else 0.0
        within = min(delay, max(SERVED_WITHIN, SERVED_SHARE * delay))
        standing = min(memory.standing, float(busy))
        soon = freed + waiting * slots / seconds
        shrinks = soon - seen.arriving - SHRINKS * math.sqrt(soon)
        if freed and standing > STANDS * math.sqrt(busy) and seen.pending > shrinks * (delay + within):
            # Every slot is taken and a queue stays: as many more would be at work if they could.
            load = max(load, math.ceil((busy + standing) / slots))
            if load > opened + waiting:
                return load, "standing queue"
        if freed and seen.pending / freed <= SHORT_QUEUE:
            return min(load, opened + waiting), ""
        surplus = freed - seen.arriving
        if surplus > 0 and seen.pending / surplus < min(max(delay, LEAST_CLEAR), SERVED_WITHIN):
            return min(load, opened + waiting), ""
        if not seen.takes_ms and not seen.arriving:
            # Nothing is known of what these requests take, and no more are to be expected: a slot for each. But where
            # starts are nearly over, and not overdue, it will soon be known.
            if waiting * (delay - within) < seen.under_way < waiting * delay:
                return min(load, opened + waiting), ""
            return max(opened + math.ceil(seen.pending / slots), load), "queue"
        # All that waits and arrives until then, less what the open ones free, and what those serve that start already:
        # each of them opens so much earlier than one that is started now, as it has been under way.
        arriving = seen.arriving + min(seen.growing * delay, seen.arriving) / 2
        each = slots * (1 + within / seconds)
        left = seen.pending + (arriving - freed) * (delay + within)
        left -= waiting * each + seen.under_way * slots / seconds
        return max(opened + waiting + math.ceil(max(left, 0.0 if waiting else 1.0) / each), load), "queue"

    def _keep(
        self,
        seen: Observation,
        short: float,
        seconds: float,
        delay: float,
        slots: int,
        opened: list[Instance],
        ends: bool,
        beta: float = BETA_IN,
    ) -> int:
        """How many open instances must stay. One that idles costs; one closed in error costs a thaw and an invoke."""
        # Where requests come often, half a second without one is chance, and an instance ends soon by itself.
        usual = 0 if ends else math.ceil((seen.per_second or 0.0) * seconds / slots)
        if seen.pending == 0 and seen.running == 0:
            return len(opened) if seen.arriving and not ends else usual  # the former end by themselves
        busy = sum(i.in_flight > 0 for i in opened)
        if not seen.arriving:
            return max(busy, usual)
        # The average is late where demand has just risen.
        load = max(short, float(seen.running))
        # One that is closed takes up its place until its last request is over.
        return max(1, staffed(load, seconds, delay + HORIZON + seconds, beta, slots))


def closable(
    now: float,
    since: tuple[float | None, float | None, float | None],
    pause: float,
    opened: int,
    least: int,
    noise: int,
) -> int:
    """How many may be closed while requests arrive: none soon after a start or an opening, whose demand shows only when
    the requests that waited for it are at work; of a large fleet, what noise may need again one by one. since: when
    something was started, opened, closed last."""
    started, shown, closed = (-math.inf if at is None else at for at in since)
    if now - max(started, shown) < pause:
        return 0
    calm = min(CALM_LEAST * opened**3, CALM_MOST / opened)
    if calm <= pause:
        return opened - least
    return max(opened - noise, int(now - max(started, shown, closed) >= calm))


def seldom(seen: Observation, memory: Memory, seconds: float, load: float) -> bool:
    """Whether the last instance ends as soon as it has nothing to do, and not by itself a little later."""
    rate = max(seen.per_second or 0.0, seen.arriving)
    often = max(rate * seconds, load) >= SELDOM or rate * WORTH * seen.thaw >= 1
    return not often and memory.credit >= rate


def credited(seen: Observation, memory: Memory) -> Memory:
    """Follows how many more invokes it has cost to end instances sooner than by themselves."""
    if seen.pending or seen.running:
        if memory.ended_at is None:
            return memory
        if memory.opened:
            return replace(memory, ended_at=None)
        extra = seen.now - memory.ended_at < IDLE_EXIT
        credit = memory.credit - 1 if extra else min(memory.credit + INVOKES, MOST_CREDIT)
        return replace(memory, ended_at=None, credit=credit)
    return replace(memory, ended_at=seen.now - seen.idle_for) if seen.idle_for < math.inf else memory


def look_again(seen: Observation, seconds: float, ends: bool, opened: int) -> float:
    """s until the next look: soon where an instance may be without requests then, and is to end."""
    if seen.pending or not seen.running or not opened or (seen.arriving and not ends):
        return TICK
    return min(max(SOONEST, SHARE * seconds), TICK)


def slowly(seen: Observation, memory: Memory, short: float) -> float:
    """The middle that noise swings about."""
    if memory.at is None or abs(short - memory.slow) > BETA_NOISE * math.sqrt(memory.slow):
        return short
    return memory.slow + (short - memory.slow) * passed(seen, memory, SLOW)


def lengthily(seen: Observation, memory: Memory, short: float) -> tuple[float, float]:
    """What there was on average, long ago as well, and over how many seconds."""
    new = passed(seen, memory, LONG)
    span = memory.span + (LONG - memory.span) * new
    return memory.long + (short - memory.long) * (new * LONG / span if new else 0.0), span


def passed(seen: Observation, memory: Memory, constant: float) -> float:
    """The weight of what is new in an average with this time constant."""
    return 0.0 if memory.at is None else -math.expm1(-max(0.0, seen.now - memory.at) / constant)


def shortest(seen: Observation, memory: Memory) -> Memory:
    """Follows the shortest queue of this period and of the one before."""
    pending = float(seen.pending)
    if memory.low_at is None or seen.now - memory.low_at >= 2 * STANDING:
        return replace(memory, low_at=seen.now, low=pending, low_before=0.0)
    if seen.now - memory.low_at >= STANDING:
        return replace(memory, low_at=seen.now, low=pending, low_before=memory.low)
    return memory if memory.low <= pending else replace(memory, low=pending)


def at_work(seen: Observation) -> int:
    """Requests at work that need a slot of an open instance. Those of instances that drain end where they are."""
    return max(0, seen.running - seen.leaving)


def lasts(seen: Observation, memory: Memory) -> float:
    """s, a request's time. The mean of what was answered is late where requests become slower."""
    seconds = (seen.takes_ms or UNKNOWN * 1000) / 1000
    rate = max(seen.arriving, seen.per_second or 0.0)
    grows = seen.takes_ms and rate and seen.pending >= memory.low_before > 0
    if not grows or (memory.opened_at is not None and seen.now - memory.opened_at < 2 * STANDING):
        return seconds
    # A queue that does not shrink: no more is answered than arrives, and so each takes as long at least (Little's law).
    return max(seconds, at_work(seen) / rate)


def demand(seen: Observation, memory: Memory) -> float:
    """Requests that would be at work if none had to wait."""
    seconds = (seen.takes_ms or 0.0) / 1000
    arrives = seen.arriving * min(seconds, SHORT)
    if 0 < seen.pending < memory.low_before and arrives and seconds <= HORIZON:
        # Every slot is taken by what has waited: what is at work says how many there are, not how many are needed.
        return arrives
    return max(float(at_work(seen)), arrives)


def averaged(seen: Observation, memory: Memory) -> float:
    """Demand over SHORT, each sample with the weight of its time."""
    load = demand(seen, memory)
    if memory.at is None:
        return load
    return memory.short + (load - memory.short) * passed(seen, memory, SHORT)


def ahead(seen: Observation, memory: Memory, short: float, seconds: float, delay: float) -> float:
    """Demand when what is started now is open: growth goes on, and what falls is not waited for."""
    present = demand(seen, memory)
    if seen.growing:
        rate = min(seen.arriving + seen.growing * GROWS_FOR * delay, GROWS_TO * seen.arriving)
        load = max(short, rate * min(seconds, SHORT))
    else:
        load = min(short, present + FALLS * math.sqrt(present))
    # The average is late; of what is at work beyond it, as much is still there as takes longer than the horizon.
    return load + max(0.0, present - load) * math.exp(-(delay + HORIZON) / seconds)


def staffed(load: float, seconds: float, horizon: float, beta: float, slots: int) -> int:
    """Square-root staffing. Of requests at work now, those that take long are still there at the horizon: only what
    comes and goes until then is uncertain."""
    if load <= 0:
        return 0
    spread = math.sqrt(load * -math.expm1(-2 * horizon / seconds))
    return max(1, math.ceil((load + beta * spread) / slots))


def packed(opened: int, wanted: int, slots: int) -> int:
    """Requests up to which an instance is filled before the next one is used, so that others have nothing to do and
    end. 0, none, where all are wanted: one that ended would only be started again."""
    return round(slots * (PACKS if opened <= LARGE else PACKS_LARGE)) if opened > wanted else 0
