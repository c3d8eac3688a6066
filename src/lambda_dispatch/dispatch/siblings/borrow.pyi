from collections.abc import Callable
from typing import Any, final

from lambda_dispatch.dispatch.matcher import Lender, Matcher
from lambda_dispatch.dispatch.model import Slot
from lambda_dispatch_core.h2.streams import H2Events
from lambda_dispatch_net.h2_wire import H2Wire
from lambda_dispatch_net.wire import Hub

@final
class Peers(Lender):
    addresses: tuple[str, ...]
    wires: dict[int, PeerWire]
    dialling: set[int]
    def __init__(self, hub: Hub, matcher: Matcher, addresses: tuple[str, ...], dial: Callable[[int], Any]) -> None: ...
    def connected(self, wire: PeerWire) -> None: ...
    def failed(self, worker: int) -> None: ...
    def close(self) -> None: ...

@final
class PeerSlot(Slot): ...

@final
class PeerWire(H2Wire):
    worker: int
    def __init__(self, peers: Peers, worker: int) -> None: ...

@final
class PeerEvents(H2Events): ...
