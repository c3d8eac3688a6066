"""What operators have set for a pool, as its next look takes it. A pure function of the overrides and the time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambda_dispatch.scaler.model import Limits
from lambda_dispatch.scaler.step import Hold, Recycle
from lambda_dispatch_core.board import board as b


@dataclass(frozen=True, slots=True)
class Orders:
    """The part of a Look that operators decide."""

    hold: Hold
    limits: Limits
    overrides: int
    recycle: Recycle | None
    command: b.Override | None  # the oldest one not taken up yet


def orders(found: Sequence[b.Override], configured: Limits, taken: int, now: int) -> Orders:
    """`found`: the pool's, in force or not. `taken`: the number of the last command that the scaler has taken up."""
    hold, limits, bits, recycle = Hold.NOTHING, configured, 0, None
    for it in found:
        if not it.in_force(now):
            continue
        bits |= 1 << it.kind
        if it.kind == b.OVERRIDE_LIMITS:
            floor = it.first if it.first >= 0 else configured.min_instances
            ceiling = it.second if it.second >= 0 else configured.max_instances
            # The configuration may have changed since: what was set by hand counts.
            if it.second >= 0:
                floor = min(floor, ceiling)
            scheduled = configured.scheduled and it.first < 0
            limits = replace(limits, min_instances=floor, max_instances=max(floor, ceiling), scheduled=scheduled)
        elif it.kind == b.OVERRIDE_PAUSE:
            hold = Hold.PAUSED
            limits = replace(limits, pinned=it.first)
        elif it.kind == b.OVERRIDE_RECYCLE:
            recycle = Recycle(it.at, it.first)
    news = sorted((it for it in found if it.number > taken), key=lambda it: it.number)
    return Orders(hold, limits, bits, recycle, news[0] if news else None)
