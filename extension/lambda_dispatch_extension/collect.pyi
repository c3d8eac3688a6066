from typing import final

from lambda_dispatch_extension.app_link import AppPool, AppUser

MAX_BODY: int

class NoAnswer(Exception):
    refused: bool
    def __init__(self, why: str, refused: bool = False) -> None: ...

@final
class Collect(AppUser): ...

async def request(
    pool: AppPool, message: bytes, *, limit: int = ..., head_only: bool = False
) -> tuple[int, dict[str, str], bytes]: ...
