"""`FrozenSpares`: environments that are kept frozen, so that a burst waits for a thaw and not for a cold start.

Lambda keeps an environment for some minutes after its invoke has returned. A round of invokes renews that: each starts
an instance as any other does, and the instance is let go as soon as the whole round is open. As many run at the same
time as there are spares, because an invoke that comes when the one before has returned would meet its environment
again. The extension sees an instance that gets no request and a go-away; every extension knows both.

The policy does not see the instances of a round: they are neither demand nor supply. One that gets a request, because
a burst meets the round, becomes an ordinary one.

Pure: time is an argument. Nothing here is sent; step() makes commands of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lambda_dispatch.scaler.model import START_TIMEOUT
from lambda_dispatch.scaler.start_times import KEPT, StartTimes
from lambda_dispatch_core.board import board as b

if TYPE_CHECKING:
    from lambda_dispatch.scaler.fleet import Run

NS = 1_000_000_000
# Between two rounds: as long as Lambda seems to keep what is frozen, less what a round and a look may take.
LONGEST = KEPT - 40.0  # s
SHORTEST = 40.0
LOST = 0.7  # the time between rounds is multiplied by it when a frozen environment was gone ...
KEEPS = 1.05  # ... and by this when none was
# What a burst has taken comes back frozen when it is over. Only what is missing for longer is replaced by new ones.
RESTOCK = 30.0  # s
# An invoke that has not opened within this is a cold start, which takes no environment from the others of its round.
TOGETHER = 1.0  # s


class Spares:
    """One pool's rounds, from look to look."""

    def __init__(self) -> None:
        self.period = LONGEST  # s between two rounds
        self._missing_since: float | None = -math.inf  # a router that starts has none, and waits for nothing
        self._round_at = -math.inf
        self._lost = False  # of this round, an environment that was counted on

    def due(self, now: float, wanted: int, times: StartTimes) -> bool:
        """Must a round begin? `times` knows when each frozen environment's invoke returned."""
        if times.frozen(now, self.period) >= wanted:
            self._missing_since = None
            return False
        if times.frozen(now) >= wanted:
            return True  # all are there, and some have been frozen for long
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since >= RESTOCK

    def began(self, now: float) -> None:
        self._round_at = now
        self._missing_since = None
        self._lost = False

    def opened(self, lost: bool) -> None:
        """An instance of a round is open; `lost`: in a new environment, though a frozen one was counted on."""
        if lost and not self._lost:
            self._lost = True
            self.period = max(SHORTEST, self.period * LOST)

    def over(self, now: float, living: Sequence[b.Instance], runs: Mapping[int, "Run"]) -> list[int]:
        """Slots of those to be let go now. Those that have a request, or never open, become ordinary instances."""
        mine = [it for it in living if runs[it.slot].spare and not runs[it.slot].asked]
        for it in mine:
            overdue = it.state == b.INSTANCE_STARTING and now - it.created / NS > START_TIMEOUT
            if it.in_flight > 0 or overdue:
                runs[it.slot].spare = False
        mine = [it for it in mine if runs[it.slot].spare]
        opened = [it.slot for it in mine if it.state == b.INSTANCE_OPEN]
        if not opened or (len(opened) < len(mine) and now - self._round_at < TOGETHER):
            return []
        if len(opened) == len(mine) and not self._lost:
            self.period = min(LONGEST, self.period * KEEPS)
        return opened
