from typing import final

@final
class AccessLog:
    fd: int
    as_json: bool
    dropped: int
    def __init__(self, fd: int, as_json: bool) -> None: ...
    def __len__(self) -> int: ...
    def flush(self) -> None: ...
    def record(
        self,
        now: int,
        client: bytes,
        line: bytes,
        minor: int,
        status: int,
        request_bytes: int,
        answer_bytes: int,
        wait: int,
        total: int,
        fault: str | None,
    ) -> None: ...
