from typing import Any

from lambda_dispatch.front.trace import Tracer
from lambda_dispatch_core.board.trace_ring import Span, TraceRing
from lambda_dispatch_core.bytes.fields import FieldList

TEXTS: tuple[str, ...]
NUMBERS: tuple[str, ...]
EMPTY: dict[str, bytes | int]

def record(ring: TraceRing, **values: Any) -> None: ...
def values_of(span: Span) -> dict[str, Any]: ...
def decide(tracer: Tracer, fields: FieldList, times: int) -> int: ...
def exchanges(head: bytes, times: int, tracer: Tracer | None = ..., fields: FieldList | None = ...) -> None: ...
