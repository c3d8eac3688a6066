from typing import final

from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.router_link import Ledger, RouterLink, StreamUser

@final
class Channel(StreamUser):
    router: RouterLink
    ledger: Ledger
    id: bytes
    def __init__(
        self,
        router: RouterLink,
        pool: AppPool,
        pool_id: str,
        lambda_id: str,
        channel_id: str,
        *,
        compression: bool,
        pass_ids: bool = False,
    ) -> None: ...
    def park(self) -> None: ...
    def refuse(self) -> None: ...
    def cut(self) -> None: ...
    @property
    def busy(self) -> bool: ...
    @property
    def is_off(self) -> bool: ...
