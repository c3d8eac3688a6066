from typing import final

from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.model import Exchange
from lambda_dispatch_core.h2.streams import H2Events
from lambda_dispatch_net.h2_wire import H2Wire
from lambda_dispatch_net.wire import Hub

@final
class GuestExchange(Exchange): ...

@final
class GuestWire(H2Wire):
    def __init__(self, hub: Hub, matcher: Matcher) -> None: ...
    def finish(self) -> None: ...
    def idle(self) -> bool: ...

@final
class GuestEvents(H2Events): ...
