from array import array
from collections.abc import Callable
from typing import Final, final

from lambda_dispatch.simulator.service import Service
from lambda_dispatch_core.board.board import Instance, PoolTotals

REASONS: Final[tuple[str, ...]]

@final
class World:
    now: int
    over_at: int
    refused: int
    expired: int
    cut: int
    completed: int
    invokes: int
    spare_invokes: int
    billed: int
    busy: int
    ends: list[tuple[int, Instance, str, int]]
    samples: list[tuple[int, int, int, int]]
    pools: int
    limit: int

    def __init__(
        self,
        arrive: array[int],
        takes: array[int],
        service: Service,
        *,
        pools: int = 1,
        limit: int = 10,
        idle_exit: float = 0.25,
        life: float = 885.0,
        queue_timeout: float = 120.0,
        queue_limit: int = 0,
        tail: float = 90.0,
        share: float = 0.0,
        cpus: float = 1.0,
        failing: Callable[[], bool] | None = None,
        ends_idle: bool = False,
        sample_every: float = 0.0,
        clients: int = 0,
        until: float = 0.0,
    ) -> None: ...
    def advance(self) -> int: ...
    def look_in(self, pool: int, seconds: float) -> None: ...
    def totals(self, pool: int) -> PoolTotals: ...
    def service_counts(self, pool: int) -> list[int]: ...
    def instances(self, pool: int) -> list[Instance]: ...
    def take_ends(self, pool: int) -> list[tuple[Instance, str, int]]: ...
    def start(self, pool: int, stays: bool = False) -> tuple[int, int] | None: ...
    def warm(self) -> bool: ...
    def let_go(self, pool: int, place: int) -> bool: ...
    def recycle(self, pool: int, place: int, seconds: float) -> bool: ...
    def pack(self, pool: int, most: int) -> None: ...
    def waits(self) -> array[int]: ...
    def times(self) -> array[int]: ...
