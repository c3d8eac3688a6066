from typing import final

@final
class AccessLog:
    fd: int
    form: str
    wants_id: bool
    dropped: int
    def __init__(self, fd: int, form: str, fields: tuple[str, ...] | None = ...) -> None: ...
    def __len__(self) -> int: ...
    def flush(self) -> None: ...
    def record(
        self,
        now: int,
        client: bytes,
        head: bytes,
        minor: int,
        status: int,
        request_bytes: int,
        answer_bytes: int,
        wait: int,
        total: int,
        fault: str | None,
        function: bytes | None = ...,
        instance: bytes | None = ...,
        service: int = ...,
        grpc_status: int = ...,
    ) -> None: ...
