"""One look at one pool: what was seen goes in, commands and a record come out.

    done = step(fleet, look)            # decides; changes nothing but the fleet's own memory
    ... carry out done.commands ...
    record = conclude(fleet, done, started, changed)

No clock, no board, no log: time is in the look, chance is in the fleet's guard, and what a person should read comes
back as news. The running scaler and the simulator both use these two functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from lambda_dispatch.scaler.causes import FULL, PAUSED, places
from lambda_dispatch.scaler.deadlines import WAVE, leaves_early
from lambda_dispatch.scaler.fleet import BREAKER_NUMBERS, Fleet, News, Run
from lambda_dispatch.scaler.guard import Breaker
from lambda_dispatch.scaler.ledger import COST, INVOKES
from lambda_dispatch.scaler.model import LEARNT, Decision, Limits, Observation
from lambda_dispatch.scaler.observe import NS, observe
from lambda_dispatch.scaler.record import Record, inputs_of
from lambda_dispatch.scaler.wait import predicted
from lambda_dispatch_core.board import board as b

LEAST = 1  # instances that a spent budget leaves where MinInstances is 0


class Hold(StrEnum):
    """What an operator or the router's end asks of a pool."""

    NOTHING = "nothing"
    PAUSED = "paused"  # the desired count stays, whatever the demand; what ends is replaced
    LEAVING = "leaving"  # the router ends or the pool is retired: every instance is released


class Recycle(NamedTuple):
    """Instances created before `before` are replaced, in an order that misses at most `unavailable` of them at once."""

    before: int  # ns, monotonic
    unavailable: int


@dataclass(frozen=True, slots=True)
class Look:
    now: float  # s, monotonic
    totals: b.PoolTotals
    instances: Sequence[b.Instance]  # of this pool; none that is closed
    hold: Hold = Hold.NOTHING
    ending: bool = False  # every worker drains: what ends now is missed only by requests that wait
    buddies: bool = False  # each start is followed by an init-only invoke
    limits: Limits | None = None  # instead of the configured ones, by an operator
    overrides: int = 0  # in force: bit n is the override of kind n
    recycle: Recycle | None = None
    longest: float = 0.0  # s, what a request of this pool has taken at most in the last hour; 0: not known
    command: b.Override | None = None  # of an operator, seen for the first time


class Order(NamedTuple):
    """One start."""

    stays: bool  # asked to stay when idle
    buddy: bool  # and an init-only invoke with it
    spare: bool = False  # of a round of FrozenSpares: its environment is renewed, and it is let go


@dataclass(frozen=True, slots=True)
class Commands:
    start: tuple[Order, ...] = ()
    let_go: tuple[int, ...] = ()  # slots of instances that drain now, and of those that drain already and need not wait
    spare: tuple[int, ...] = ()  # slots of spares that are open, and drain now: their environments are warm
    recycle: tuple[int, ...] = ()  # slots of instances that drain now, and serve until their replacements are open
    over: tuple[Run, ...] = ()  # adopted instances that have ended without a word


@dataclass(frozen=True, slots=True)
class Step:
    commands: Commands
    living: tuple[b.Instance, ...]
    adopted: int = 0  # instances of an earlier scaler, seen for the first time
    news: tuple[News, ...] = ()
    decision: Decision | None = None  # None: everything is released
    seen: Observation | None = None
    limits: Limits | None = None
    record: Record | None = None


def step(fleet: Fleet, look: Look) -> Step:
    over, living, news = [], [], []
    adopted = 0
    for seen in look.instances:
        run = fleet.runs.get(seen.slot)
        if run is None or run.generation != seen.generation:
            fleet.adopt(seen)
            adopted += 1
        elif run.overlooked(seen, look.now):
            over.append(run)
            continue
        elif (told := fleet.watch(seen, look.now)) is not None:
            news.append(told)
        living.append(seen)
    if adopted:
        count = sum(seen.state in (b.INSTANCE_STARTING, b.INSTANCE_OPEN) for seen in living)
        fleet.desired = max(fleet.desired, count)
        fleet.memory = fleet.policy.first(fleet.desired)

    fleet.rates.update(look.now, look.totals)
    fleet.ledger.look(look.now, look.totals, living, fleet.times.cold)
    if look.hold is Hold.LEAVING:
        slots = tuple(seen.slot for seen in living)
        for slot in slots:
            fleet.runs[slot].asked = True
        return Step(Commands(let_go=slots, over=tuple(over)), tuple(living), adopted, tuple(news))

    limits = look.limits or fleet.limits
    if look.hold is Hold.PAUSED and limits.pinned < 0:
        limits = replace(limits, pinned=fleet.desired)
    if look.command is not None and look.command.kind == b.OVERRIDE_BREAKER:
        fleet.guard.reset(look.now)
    floor = max(limits.min_instances, LEAST)
    fleet.spent = fleet.budget.spent(fleet.ledger, look.now)
    if fleet.spent == COST:
        limits = replace(limits, max_instances=min(limits.max_instances, floor))
    learns = limits.target == LEARNT
    if learns:
        opened = sum(seen.state == b.INSTANCE_OPEN for seen in living)
        limits = replace(limits, target=fleet.target.look(look.now, look.totals, opened, limits.max_concurrent))
    staying = {slot for slot, run in fleet.runs.items() if run.stays}
    freeze = fleet.spares.over(look.now, living, fleet.runs)
    shown = [seen for seen in living if not fleet.runs[seen.slot].spare]
    observation = observe(look.now, look.totals, fleet.rates, shown, staying, fleet.ends_idle, fleet.times)
    memory, before = fleet.memory, fleet.desired
    decision, fleet.memory = fleet.policy.decide(observation, memory, limits)
    fleet.desired, fleet.desired_raw = decision.desired, decision.raw
    # What slows requests is learnt where each instance has as many of them.
    fleet.packs = 0 if learns else decision.packs

    # While every worker drains, an instance that ends is only missed by requests that wait.
    wanted = decision.start if observation.pending or not look.ending else 0
    if (left := fleet.budget.invokes_left(fleet.ledger, look.now)) is not None and left < wanted:
        counting = sum(seen.state in (b.INSTANCE_STARTING, b.INSTANCE_OPEN) for seen in shown)
        wanted = min(wanted, max(left, floor - counting))
        fleet.spent = fleet.spent or INVOKES
    # Spares that have not been let go yet are within the maximum, too.
    wanted = min(wanted, max(0, limits.max_instances - len(living)))
    granted = fleet.guard.grant(wanted, look.now)
    start = tuple(
        Order(number < decision.stay, look.buddies and fleet.guard.grant_spare(look.now)) for number in range(granted)
    )
    held = fleet.guard.denied.split(",")[0] if granted < wanted else PAUSED if limits.pinned >= 0 else fleet.spent
    fleet.predicted_wait = predicted(observation, limits.max_concurrent)
    let_go = (*decision.close, *decision.release)
    recycle = to_recycle(look, shown, fleet, let_go)
    for slot in (*let_go, *recycle, *freeze):
        fleet.runs[slot].asked = True
    record = Record(
        at=look.now,
        pool=fleet.pool,
        policy=fleet.policy.number,
        before=before,
        desired=decision.desired,
        proposed=decision.proposed,
        wanted=decision.start if fleet.spent or len(shown) < len(living) else wanted,
        stay=decision.stay,
        started=granted,
        closed=len(decision.close),
        released=len(decision.release),
        breaker=BREAKER_NUMBERS[fleet.guard.breaker],
        held=held,
        inputs=inputs_of(observation, limits, fleet.policy.flat(memory)),
        overrides=look.overrides,
        recycled=len(recycle),
        **audit(look.command),
    )
    commands = Commands(start + renewed(fleet, look, limits, living), let_go, tuple(freeze), recycle, tuple(over))
    return Step(commands, tuple(living), adopted, tuple(news), decision, observation, limits, record)


def conclude(fleet: Fleet, done: Step, started: int, changed: bool) -> Record | None:
    """The record, with what really happened; None where nothing did that a reader would miss."""
    record, decision = done.record, done.decision
    if record is None or decision is None:
        return None
    if started < record.started:
        record = replace(record, started=started, held=FULL)
    worth_it = bool(decision.reason or started or changed or record.command or record.held != fleet.held)
    fleet.held = record.held
    if not worth_it:
        return None
    fleet.last_decision = record.at
    for place in places(record):
        fleet.decisions[place] += 1
    return record


def to_recycle(look: Look, living: Sequence[b.Instance], fleet: Fleet, let_go: Sequence[int]) -> tuple[int, ...]:
    """Those that an operator wants replaced, and those that leave before their deadlines: the oldest first, as many as
    may be missing. While starts fail nothing is given up that still serves."""
    if fleet.guard.breaker is not Breaker.CLOSED or look.now < fleet.guard.not_before:
        return ()
    now = int(look.now * NS)
    leaving = set(let_go)
    opened = [it for it in living if it.state == b.INSTANCE_OPEN and it.slot not in leaving]
    waiting = sum(it.state == b.INSTANCE_DRAINING and it.goaway_at > now for it in living)
    before, unavailable = look.recycle or Recycle(0, max(1, len(opened) // 10))
    room = unavailable - max(waiting, fleet.desired - len(opened))
    spread = fleet.policy.spreads and len(opened) >= WAVE
    old = sorted(
        (it for it in opened if it.created < before or leaves_early(it, look.longest, now, spread)),
        key=lambda it: it.created,
    )
    return tuple(it.slot for it in old[: max(0, room)])


def renewed(fleet: Fleet, look: Look, limits: Limits, living: Sequence[b.Instance]) -> tuple[Order, ...]:
    """A round of FrozenSpares, all of it or none, and only where nothing else needs starts: what is frozen now stays so
    for a while."""
    guard, wanted = fleet.guard, min(limits.spares, limits.max_instances - len(living))
    if wanted <= 0 or limits.pinned >= 0 or look.ending or look.totals.queued or fleet.spent:
        return ()
    left = fleet.budget.invokes_left(fleet.ledger, look.now)
    if any(run.spare for run in fleet.runs.values()) or not fleet.spares.due(look.now, wanted, fleet.times):
        return ()
    if not guard.well or guard.pace is not None or (left is not None and left < wanted):
        return ()
    if guard.bucket.available(look.now) < wanted:
        return ()
    fleet.spares.began(look.now)
    return (Order(stays=False, buddy=False, spare=True),) * guard.grant(wanted, look.now)


def audit(command: b.Override | None) -> dict[str, Any]:
    if command is None:
        return {}
    return {"command": command.kind + 1, "who": command.who, "why": command.reason}


def living_counts(living: Sequence[b.Instance]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for seen in living:
        counts[seen.state] = counts.get(seen.state, 0) + 1
    return counts
