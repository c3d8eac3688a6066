"""The original's way of moving: the desired count follows a proposal in limited steps at a limited rate.

To and from zero it may jump. What is started or closed follows from the desired count and the instances there are:

- an instance that is starting or open counts; one that drains does not, so its replacement starts by itself;
- nothing is started beyond what the demand of this very moment asks for, so that a demand that is going away never
  starts anything, although the desired count follows it down slowly;
- the least busy instances are closed first;
- as many as the floor asks for are started with the request to stay when idle, and closed last; the others end by
  themselves when idle;
- an instance that asked to end is released as soon as enough others are open.

`simple` and `ewma` differ in what they propose.
"""

import math
from dataclasses import dataclass, replace

from lambda_dispatch.scaler import capacity
from lambda_dispatch.scaler.model import START_TIMEOUT, Decision, Instance, Limits, Observation, State

MAX_STEP = 5  # instances per step, unless a third of today's count is more
OUT_STEPS = (5, 1.0)  # scale-out steps in seconds
OUT_PAUSE = 2.0  # s between two scale-outs
IN_STEPS = (2, 5.0)
IN_PAUSE = 2.0  # s after any scaling
IN_DEFERRAL = 0.3  # s a scale-in must still hold
# Leaving zero is one jump, but the requests that cause it arrive one by one: for this long it is still the same jump,
# looked at once per tick so that the steps of OUT_STEPS last for all of it.
FROM_ZERO = 0.5
FROM_ZERO_PAUSE = 0.1
# Demand is a sample; a gap shorter than this is none. Shorter than the 250 ms after which an idle instance ends by
# itself, so that one that ends because it is idle is not replaced.
GAP = 0.2
# The floor is topped up this often at most, whatever its instances die of.
FLOOR_PAUSE = 5.0
# The same where instances that are to stay end when idle, because their extension does not know
# the request: what can be kept then is not an instance but the warmth of its environment, which lasts for minutes.
WARM_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What one decision leaves for the next."""

    desired: int = 0
    left_zero: float | None = None
    last_out: float | None = None
    last_in: float | None = None
    outs: tuple[float, ...] = ()  # recent steps, for the rate
    ins: tuple[float, ...] = ()
    in_since: float | None = None  # since when less has been proposed
    floor_at: float | None = None  # when the floor was last topped up


class Steps:
    """What `simple` and `ewma` share; a subclass says what the demand asks for."""

    name = ""
    number = 0
    memory_size = 5 + 1 + OUT_STEPS[0] + IN_STEPS[0]
    spreads = False

    def propose(self, seen: Observation, desired: int, limits: Limits) -> int:
        raise NotImplementedError

    def first(self, desired: int = 0) -> Memory:
        return Memory(desired)

    def flat(self, memory: Memory) -> tuple[float, ...]:
        times = (memory.left_zero, memory.last_out, memory.last_in, memory.in_since, memory.floor_at)
        return (
            float(memory.desired),
            *(math.nan if at is None else at for at in times),
            *_filled(memory.outs, OUT_STEPS[0]),
            *_filled(memory.ins, IN_STEPS[0]),
        )

    def restore(self, flat: tuple[float, ...]) -> Memory:
        left_zero, last_out, last_in, in_since, floor_at = (None if math.isnan(at) else at for at in flat[1:6])
        outs, ins = flat[6 : 6 + OUT_STEPS[0]], flat[6 + OUT_STEPS[0] : self.memory_size]
        return Memory(
            desired=int(flat[0]),
            left_zero=left_zero,
            last_out=last_out,
            last_in=last_in,
            outs=tuple(at for at in outs if not math.isnan(at)),
            ins=tuple(at for at in ins if not math.isnan(at)),
            in_since=in_since,
            floor_at=floor_at,
        )

    def decide(self, seen: Observation, memory: Memory, limits: Limits) -> tuple[Decision, Memory]:
        floor, ceiling = limits.bounds
        raw = self.propose(seen, memory.desired, limits)
        proposed = min(max(raw, floor), ceiling)
        memory, reason = _move(seen, memory, proposed, floor, ceiling)

        waiting = [i for i in seen.instances if i.state is State.STARTING and seen.now - i.since < START_TIMEOUT]
        opened = [i for i in seen.instances if i.state is State.OPEN]
        wanted = memory.desired
        if memory.in_since is not None and seen.now - memory.in_since >= GAP:
            wanted = min(wanted, proposed)
        idle = seen.idle_for >= GAP
        if idle:
            wanted = min(wanted, floor)

        start = max(0, min(wanted - len(waiting) - len(opened), limits.max_instances - len(seen.instances)))
        if start and idle:
            # Only the floor asks: no request waits, so it takes its time.
            pause = WARM_PAUSE if seen.ends_idle else FLOOR_PAUSE
            if memory.floor_at is not None and seen.now - memory.floor_at < pause:
                start = 0
            else:
                memory = replace(memory, floor_at=seen.now)

        staying = sum(instance.stays for instance in (*waiting, *opened))
        surplus = len(waiting) + len(opened) - memory.desired
        # The floor is never closed for what only starts.
        kept = min(floor, sum(instance.stays for instance in opened))
        # While requests wait nothing is closed, unless the maximum has become less than what there is.
        may_close = seen.pending == 0 or len(waiting) + len(opened) > ceiling
        close = least_busy(opened)[: max(0, min(surplus, len(opened) - kept))] if may_close else []
        decision = Decision(
            memory.desired,
            proposed,
            start,
            min(start, max(0, floor - staying)),
            tuple(instance.slot for instance in close),
            released(seen, len(opened), wanted),
            reason,
            raw,
        )
        return decision, memory


def _filled(times: tuple[float, ...], size: int) -> tuple[float, ...]:
    kept = times[-size:]
    return kept + (math.nan,) * (size - len(kept))


def least_busy(instances: list[Instance]) -> list[Instance]:
    """Among equals the one that has lived longest: its deadline is nearest. Those that stay when idle come last: the
    others would end with the traffic, and as many would have to be started again for the floor."""
    return sorted(instances, key=lambda i: (i.stays, i.in_flight, i.since))


def released(seen: Observation, opened: int, wanted: int) -> tuple[int, ...]:
    """Of the draining instances that wait for a replacement: those whose place is taken, or not wanted any more."""
    held = [(i.goaway_at, i.slot) for i in seen.instances if i.goaway_at is not None and i.goaway_at > seen.now]
    keep = max(0, wanted - opened)
    return tuple(slot for _, slot in sorted(held)[: max(0, len(held) - keep)])


def _move(seen: Observation, memory: Memory, proposed: int, floor: int, ceiling: int) -> tuple[Memory, str]:
    """The desired count's next value, and why it changed."""
    now, current = seen.now, memory.desired
    if proposed == current:
        return replace(memory, in_since=None), ""

    if proposed > current:
        memory = replace(memory, in_since=None)
        outs = _recent(memory.outs, now, OUT_STEPS)
        fresh = current == 0 or (memory.left_zero is not None and now - memory.left_zero < FROM_ZERO)
        pause = FROM_ZERO_PAUSE if fresh else OUT_PAUSE
        if current == 0:
            memory = replace(memory, left_zero=now)
        elif len(outs) >= OUT_STEPS[0] or (memory.last_out is not None and now - memory.last_out < pause):
            return memory, ""
        desired = proposed if fresh else capacity.limit_step(proposed, current, MAX_STEP)
        word = "out from zero" if fresh else "out"
        return replace(memory, desired=desired, last_out=now, outs=(*outs, now)), f"{word}: {current} to {desired}"

    if seen.pending > 0 and current <= ceiling:
        return replace(memory, in_since=None), ""
    since = memory.in_since if memory.in_since is not None else now
    memory = replace(memory, in_since=since)
    ins = _recent(memory.ins, now, IN_STEPS)
    last = max((t for t in (memory.last_out, memory.last_in) if t is not None), default=None)
    if now - since < IN_DEFERRAL or len(ins) >= IN_STEPS[0] or (last is not None and now - last < IN_PAUSE):
        return memory, ""
    desired = max(capacity.limit_step(proposed, current, MAX_STEP), floor)
    memory = replace(memory, desired=desired, last_in=now, ins=(*ins, now), in_since=None, left_zero=None)
    return memory, f"in: {current} to {desired}"


def _recent(steps: tuple[float, ...], now: float, limit: tuple[int, float]) -> tuple[float, ...]:
    return tuple(t for t in steps if now - t < limit[1])
