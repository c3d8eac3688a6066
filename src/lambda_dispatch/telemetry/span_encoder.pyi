from typing import final

from lambda_dispatch_core.board.trace_ring import Span

@final
class Encoder:
    count: int
    region: str
    def __init__(self, region: str = "") -> None: ...
    def add(self, spans: list[Span], first: int, most: int, function: str, offset: int) -> int: ...
    def take(self) -> bytes: ...

@final
class Parts:
    def __init__(self, cells: int) -> None: ...

def newest(spans: list[Span], first: int, end: int) -> list[Span]: ...
