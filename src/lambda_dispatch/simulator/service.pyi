from collections.abc import Callable
from typing import final

@final
class Service:
    concurrency: int
    burst: float
    per_second: float
    running: int
    cold_starts: int
    frozen_starts: int
    throttled: int

    def __init__(
        self,
        cold: Callable[[], float],
        thaw: Callable[[], float],
        warm: Callable[[], float],
        concurrency: int = 1000,
        burst: float = 1000.0,
        per_second: float = 100.0,
    ) -> None: ...
    def keep_frozen(self, count: int, now: int = 0) -> None: ...
    def frozen(self, now: int) -> int: ...
