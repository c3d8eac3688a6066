from collections.abc import Callable

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.model import Pool
from lambda_dispatch.telemetry.access import AccessLog
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Entrance, Hub, Wire

class Door:
    hub: Hub
    matcher: Matcher
    board: Board
    pool: Pool | None
    by_name: Callable[[bytes, bytes], Pool | tuple[int, str]] | None
    access: AccessLog | None
    on_health: Callable[[bytes], tuple[int, bytes]]
    on_debug: Callable[[bytes, str, float], None] | None
    draining: bool
    wires: set[ClientWire]
    def __init__(
        self,
        hub: Hub,
        matcher: Matcher,
        board: Board,
        config: RouterConfig,
        common: list[tuple[bytes, bytes]],
    ) -> None: ...
    def begin_drain(self) -> None: ...
    def close_idle(self) -> None: ...
    def cut_all(self) -> None: ...
    def measure(self) -> tuple[int, int, int]: ...
    def shed(self, wanted: int, least: int) -> tuple[int, int]: ...
    def reclaim(self, most: int, before: int, of: Entrance | None = None) -> int: ...
    def sweep(self, now: int) -> None: ...
    def publish(self) -> None: ...

class ClientWire(Wire):
    def __init__(self, door: Door, proto: bytes) -> None: ...
