from collections.abc import Iterable

def would_accept(pairs: Iterable[tuple[bytes, bytes]]) -> bool: ...
def would_compress(
    status: int,
    pairs: Iterable[tuple[bytes, bytes]],
    *,
    chunked: bool = False,
    length: int = -1,
    head_request: bool = False,
) -> bool: ...
def would_vary(pairs: Iterable[tuple[bytes, bytes]]) -> bool: ...
