from typing import final

from lambda_dispatch_core.board.board import Board
from lambda_dispatch_core.board.trace_ring import TraceRing

@final
class Tracer:
    def __init__(
        self, ring: TraceRing, board: Board, ratio: float, follows: bool, propagators: tuple[str, ...]
    ) -> None: ...
