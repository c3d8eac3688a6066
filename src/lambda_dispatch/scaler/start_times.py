"""What a pool has learnt about starting: how long it takes, cold and frozen apart, and how many are frozen now.

Lambda freezes an environment when its invoke returns, keeps it for some minutes, and thaws it for the next invoke. It
does not say which it did; the time until the instance opens does.
"""

import math
from collections import deque

COLD = 2.0  # s, until one has been seen
THAW = 0.1
WEIGHT = 0.3  # of the latest start in each average
# Lambda promises nothing about how long it keeps a frozen environment. Counting on one that is gone costs a wait.
KEPT = 240.0  # s
MOST = 4096  # frozen environments that are remembered: as many as the board has instances


class StartTimes:
    def __init__(self) -> None:
        self.cold = COLD
        self.thaw = THAW
        self._frozen: deque[float] = deque(maxlen=MOST)  # when each one's invoke returned, oldest first

    @property
    def middle(self) -> float:
        """s; a start that takes longer is a cold one."""
        return math.sqrt(self.cold * self.thaw)

    def frozen(self, now: float, within: float = KEPT) -> int:
        """How many environments should be frozen; of those, whose invokes returned in the last `within` s."""
        while self._frozen and now - self._frozen[0] > KEPT:
            self._frozen.popleft()
        return len(self._frozen) if within >= KEPT else sum(now - at < within for at in self._frozen)

    def began(self, now: float) -> bool:
        """An invoke is sent; True when it should meet a frozen environment."""
        if not self.frozen(now):
            return False
        self._frozen.pop()
        return True

    def opened(self, took: float, expected_frozen: bool) -> bool:
        """Learns from a start. True: the frozen environment that was counted on was gone."""
        if took <= 0:
            return False
        middle = self.middle
        if took > middle and expected_frozen:
            # Lambda has reclaimed what was counted on; the oldest are the likeliest to be gone as well.
            for _ in range((len(self._frozen) + 1) // 2):
                self._frozen.popleft()
        if took > middle:
            self.cold += WEIGHT * (took - self.cold)
        else:
            self.thaw += WEIGHT * (took - self.thaw)
        # Two averages that meet would tell nothing apart any more.
        self.thaw = min(self.thaw, self.cold)
        return took > middle and expected_frozen

    def returned(self, now: float) -> None:
        """The invoke of an environment that works has ended."""
        self._frozen.append(now)
