"""Which instances are replaced before their deadlines end them.

An extension asks to end 15 s before its invoke's deadline and lets its requests finish; what takes longer is cut off.
Where requests take that long, an instance takes no new ones for half as long again as the longest of them before it
asks. Those that were started together do not leave together, or `adaptive` would start all their replacements at once:
each leaves at a moment of its own within SPREAD.
"""

from collections.abc import Sequence

from lambda_dispatch_core.board import board as b

NS = 1_000_000_000
MARGIN = 15.0  # s: the extension's own; shorter requests need no more
HAND_OVER = 10.0  # s that an instance which leaves serves as a last resort at most, until its replacement is open
LONGER = 1.5  # the next request that takes longer than all before it seldom takes more than so many times as long
MOST = 600.0  # s, two thirds of a life: longer requests are cut whatever the router does
SPREAD = 60.0  # s
REMEMBERED = 3600.0  # s, four lives: one very long request does not shorten the lives of all instances for ever
WAVE = 4  # instances: where there are fewer, they may all be replaced at once
LEAST_LIFE = 300.0  # s: a shorter life is not made shorter still where requests are short
LOOKS = 50  # between two readings of how long requests take

_BOUNDS = [bound or MOST for bound in b.bucket_bounds()]


class Longest:
    """The longest time that requests have taken within REMEMBERED, from a histogram that only grows."""

    def __init__(self) -> None:
        self._counts: Sequence[int] = [0] * len(_BOUNDS)
        self._seen: dict[float, float] = {}  # by the upper bound of a bucket, s: when it was larger than before, last

    def read(self, now: float, counts: Sequence[int]) -> float:
        """s; 0 where there was none. What a scaler finds at its first look counts as new."""
        for bound, count, before in zip(_BOUNDS, counts, self._counts, strict=True):
            if count > before:
                self._seen[bound] = now
        self._counts = tuple(counts)
        self._seen = {bound: at for bound, at in self._seen.items() if now - at < REMEMBERED}
        return max(self._seen, default=0.0)


def leaves_at(it: b.Instance, longest: float) -> int:
    """ns. `longest`: s, what a request of this pool has taken at most."""
    # The same for an instance at each look and in each scaler, and unlike its neighbours'.
    part = ((it.slot * 2654435761 + it.generation * 40503) & 0xFFFF) / 0x10000
    own = min(longest * LONGER, MOST) if longest > MARGIN else 0.0
    return it.deadline - int((MARGIN + HAND_OVER + own + part * SPREAD) * NS)


def leaves_early(it: b.Instance, longest: float, now: int, spread: bool) -> bool:
    """`spread`: whether it leaves early where requests are short, too."""
    early = longest > MARGIN or (spread and it.deadline - it.created >= LEAST_LIFE * NS)
    return early and it.deadline > 0 and now >= leaves_at(it, longest)
