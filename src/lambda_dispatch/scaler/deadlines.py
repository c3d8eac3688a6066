"""Which instances are replaced before their deadlines end them.

An extension asks to end 15 s before its invoke's deadline and lets its requests finish; what takes longer is cut off.
Where requests take that long, an instance takes no new ones for as long as the longest of them before it asks. And
those that were started together do not all go together: each leaves at a moment of its own within SPREAD.
"""

from lambda_dispatch_core.board import board as b

NS = 1_000_000_000
MARGIN = 15.0  # s: the extension's own; shorter requests need no more
MOST = 300.0  # s, a third of a life: longer requests are cut whatever the router does
SPREAD = 60.0  # s


def leaves_at(it: b.Instance, longest: float) -> int:
    """ns. `longest`: s, a request of this pool; one in a hundred takes longer."""
    # The same for an instance at each look and in each scaler, and unlike its neighbours'.
    part = ((it.slot * 2654435761 + it.generation * 40503) & 0xFFFF) / 0x10000
    return it.deadline - int((MARGIN + min(longest, MOST) + part * SPREAD) * NS)


def leaves_early(it: b.Instance, longest: float, now: int) -> bool:
    return longest > MARGIN and it.deadline > 0 and now >= leaves_at(it, longest)
