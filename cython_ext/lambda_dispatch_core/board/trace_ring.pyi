from typing import Final, NamedTuple, Self, final

TRACE_VERSION: Final[int]
TRACE_RECORDS: Final[int]
SPAN_METHOD: Final[int]
SPAN_HOST: Final[int]
SPAN_TARGET: Final[int]
SPAN_REMOTE: Final[int]
SPAN_RESENT: Final[int]
SPAN_TLS: Final[int]

class Span(NamedTuple):
    trace: bytes
    parent: bytes
    server: bytes
    client: bytes
    arrived: int
    asked: int
    sent: int
    ended: int
    instance: bytes
    invoked: int
    opened: int
    request_bytes: int
    answer_bytes: int
    pool: int
    status: int
    flags: int
    word: int
    version: int
    trace_flags: int
    method: bytes
    host: bytes
    target: bytes

@final
class TraceRing:
    fd: int
    workers: int
    records: int
    @classmethod
    def create(cls, workers: int, records: int = ...) -> Self: ...
    @classmethod
    def attach(cls, fd: int, worker: int = ...) -> Self: ...
    def written(self, worker: int) -> int: ...
    def read(self, worker: int, since: int, most: int) -> tuple[list[Span], int, int]: ...
    def close(self) -> None: ...
