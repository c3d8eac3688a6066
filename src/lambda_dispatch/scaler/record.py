"""A decision as a value: everything that the policy saw, and what came of it.

`inputs` are numbers in a fixed order: those of SEEN, then the policy's memory as its flat() gives it. With them the
decision can be taken again:

    replay(record)      # the Decision's numbers, computed from the inputs alone
    differences(record) # what differs from the record: nothing, unless the record or the policy is wrong
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lambda_dispatch.scaler.model import START_TIMEOUT, Decision, Instance, Limits, Observation, State
from lambda_dispatch.scaler.policies import policy_numbered

if TYPE_CHECKING:
    from lambda_dispatch_core.board import board as b

NS = 1_000_000_000

# The inputs' names, in their order; nan stands for "not known". `starting` leaves out those that are overdue, `waiting`
# counts the draining ones that wait for a replacement.
SEEN = (
    "now",
    "pending",
    "running",
    "recent",
    "idle_for",
    "per_second",
    "mean_ms",
    "ends_idle",
    "max_concurrent",
    "multiplier",
    "min_instances",
    "max_instances",
    "starting",
    "starting_stay",
    "overdue",
    "open",
    "open_stay",
    "draining",
    "waiting",
    "open_busy",
    "arriving",
    "cold",
    "thaw",
    "frozen",
    "pinned",
    "target",
    "buffer",
    "scheduled",
    "leaving",
    "growing",
    "under_way",
    "takes_ms",
    "late",
)
_PLACES = {name: place for place, name in enumerate(SEEN)}


@dataclass(frozen=True, slots=True)
class Record:
    at: float  # s, monotonic
    pool: int
    policy: int  # Policy.number
    before: int  # desired instances before it
    desired: int
    proposed: int
    wanted: int  # starts that were asked for
    stay: int  # of those, to stay when idle
    started: int
    closed: int
    released: int
    breaker: int
    held: str  # why fewer were started than wanted
    inputs: tuple[float, ...]
    overrides: int = 0  # in force: bit n is the override of kind n
    recycled: int = 0  # instances told to drain because they are to be replaced
    command: int = 0  # the operator's that was taken up: 1 + kind of override; 0: none
    who: str = ""
    why: str = ""

    def seen(self, name: str) -> float:
        return self.inputs[_PLACES[name]]


def inputs_of(seen: Observation, limits: Limits, memory: tuple[float, ...]) -> tuple[float, ...]:
    starting = starting_stay = overdue = open = open_stay = open_busy = draining = waiting = 0
    for it in seen.instances:
        if it.state is State.OPEN:
            open += 1
            open_stay += it.stays
            open_busy += it.in_flight > 0
        elif it.state is State.DRAINING:
            draining += 1
            waiting += it.goaway_at is not None and it.goaway_at > seen.now
        elif seen.now - it.since < START_TIMEOUT:
            starting += 1
            starting_stay += it.stays
        else:
            overdue += 1
    return (
        seen.now,
        float(seen.pending),
        float(seen.running),
        float(seen.recent),
        seen.idle_for,
        math.nan if seen.per_second is None else seen.per_second,
        math.nan if seen.mean_ms is None else seen.mean_ms,
        float(seen.ends_idle),
        float(limits.max_concurrent),
        float(limits.multiplier),
        float(limits.min_instances),
        float(limits.max_instances),
        float(starting),
        float(starting_stay),
        float(overdue),
        float(open),
        float(open_stay),
        float(draining),
        float(waiting),
        float(open_busy),
        seen.arriving,
        seen.cold,
        seen.thaw,
        float(seen.frozen),
        float(limits.pinned),
        float(limits.target),
        float(limits.buffer),
        float(limits.scheduled),
        float(seen.leaving),
        seen.growing,
        seen.under_way,
        math.nan if seen.takes_ms is None else seen.takes_ms,
        float(seen.late),
        *memory,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def observation_of(inputs: tuple[float, ...]) -> tuple[Observation, Limits]:
    """What the policy saw, with instances that differ only in what the counts tell."""
    given = dict(zip(SEEN, inputs, strict=False))
    now = given["now"]
    instances: list[Instance] = []

    def add(count: float, state: State, since: float, stays: bool = False, goaway_at: float | None = None) -> None:
        instances.extend(
            Instance(len(instances) + number, state, since, 0, goaway_at, stays) for number in range(int(count))
        )

    add(given["starting_stay"], State.STARTING, now, stays=True)
    add(given["starting"] - given["starting_stay"], State.STARTING, now)
    add(given["overdue"], State.STARTING, now - START_TIMEOUT)
    add(given["open_stay"], State.OPEN, now, stays=True)
    add(given["open"] - given["open_stay"], State.OPEN, now)
    busy = int(given["open_busy"])
    for place, it in enumerate(instances):
        if busy and it.state is State.OPEN:
            instances[place] = replace(it, in_flight=1)
            busy -= 1
    add(given["waiting"], State.DRAINING, now, goaway_at=now + 1)
    add(given["draining"] - given["waiting"], State.DRAINING, now)
    seen = Observation(
        now=now,
        pending=int(given["pending"]),
        running=int(given["running"]),
        recent=int(given["recent"]),
        idle_for=given["idle_for"],
        per_second=_known(given["per_second"]),
        mean_ms=_known(given["mean_ms"]),
        instances=tuple(instances),
        ends_idle=bool(given["ends_idle"]),
        arriving=given["arriving"],
        cold=given["cold"],
        thaw=given["thaw"],
        frozen=int(given["frozen"]),
        leaving=int(given["leaving"]),
        growing=given["growing"],
        under_way=given["under_way"],
        takes_ms=_known(given["takes_ms"]),
        late=int(given["late"]),
    )
    limits = Limits(
        max_concurrent=int(given["max_concurrent"]),
        multiplier=int(given["multiplier"]),
        min_instances=int(given["min_instances"]),
        max_instances=int(given["max_instances"]),
        pinned=int(given["pinned"]),
        target=int(given["target"]),
        buffer=int(given["buffer"]),
        scheduled=bool(given["scheduled"]),
    )
    return seen, limits


def replay(record: Record) -> Decision:
    policy = policy_numbered(record.policy)
    seen, limits = observation_of(record.inputs)
    memory = policy.restore(record.inputs[len(SEEN) : len(SEEN) + policy.memory_size])
    return policy.decide(seen, memory, limits)[0]


def differences(record: Record) -> dict[str, tuple[int, int]]:
    """By name: what the record says, and what the policy says now."""
    again = replay(record)
    pairs = {
        "desired": (record.desired, again.desired),
        "proposed": (record.proposed, again.proposed),
        # A router whose workers all drain starts nothing while its queues are empty.
        "wanted": (record.wanted, again.start if record.wanted or record.seen("pending") else 0),
        "closed": (record.closed, len(again.close)),
        "released": (record.released, len(again.release)),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def from_board(it: "b.Decision") -> Record:
    return Record(
        at=it.inputs[0],
        pool=it.pool,
        policy=it.policy,
        before=it.before,
        desired=it.desired,
        proposed=it.proposed,
        wanted=it.wanted,
        stay=it.stay,
        started=it.started,
        closed=it.closed,
        released=it.released,
        breaker=it.breaker,
        held=it.held,
        inputs=it.inputs,
        overrides=it.overrides,
        recycled=it.recycled,
        command=it.command,
        who=it.who,
        why=it.why,
    )


def to_board(record: Record, board: "b.Board") -> int:
    """Adds it to the ring; its number."""
    rate, mean = record.seen("per_second"), record.seen("mean_ms")
    return board.record_decision(
        int(record.at * NS),
        record.pool,
        policy=record.policy,
        before=record.before,
        desired=record.desired,
        proposed=record.proposed,
        wanted=record.wanted,
        stay=record.stay,
        started=record.started,
        closed=record.closed,
        released=record.released,
        pending=int(record.seen("pending")),
        running=int(record.seen("running")),
        starting=int(record.seen("starting") + record.seen("overdue")),
        open=int(record.seen("open")),
        draining=int(record.seen("draining")),
        breaker=record.breaker,
        min_instances=int(record.seen("min_instances")),
        max_instances=int(record.seen("max_instances")),
        rate_milli=-1 if math.isnan(rate) else int(rate * 1000),
        mean_us=-1 if math.isnan(mean) else int(mean * 1000),
        held=record.held,
        inputs=record.inputs,
        overrides=record.overrides,
        recycled=record.recycled,
        command=record.command,
        who=record.who,
        why=record.why,
    )
