from collections.abc import Callable
from typing import Protocol, final

from lambda_dispatch_core.h2.streams import H2Events
from lambda_dispatch_extension.app_link import AppUser
from lambda_dispatch_extension.channel import Channel
from lambda_dispatch_net.h2_wire import H2Wire
from lambda_dispatch_net.wire import Hub

class _Owner(Protocol):
    def on_parked(self, channel: Channel) -> None: ...
    def on_status(self, channel: Channel, status: int) -> None: ...
    def on_go_away(self) -> None: ...
    def on_broken(self, why: str) -> None: ...
    def on_channel_error(self, why: str) -> None: ...
    def on_trouble(self, event: str, cause: str, sent: bytes | None) -> None: ...
    def on_app_refused(self, why: str) -> None: ...
    def on_off(self) -> None: ...
    def on_link_lost(self, link: RouterLink, why: str) -> None: ...

@final
class Ledger:
    owner: _Owner
    channels: int
    in_flight: int
    requests: int
    aborted: int
    last_active: int
    parking: bool
    def __init__(self, owner: _Owner) -> None: ...

@final
class RouterLink(H2Wire):
    down: bool
    authority: bytes
    scheme: bytes
    ledger: Ledger
    worker: bytes | None
    announced: tuple[tuple[bytes, bytes], ...]
    ours: bool
    def __init__(self, hub: Hub, ledger: Ledger, scheme: str, authority: str, secret: str = "") -> None: ...
    def call(
        self,
        path: str,
        pool_id: str,
        lambda_id: str,
        done: Callable[[int], object],
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> bool: ...
    def shut(self) -> None: ...
    def cut(self) -> None: ...

class StreamUser(AppUser): ...

@final
class Call(StreamUser): ...

@final
class LinkEvents(H2Events): ...
