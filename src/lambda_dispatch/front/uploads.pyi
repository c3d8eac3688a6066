from typing import final

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.model import Exchange
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Hub

class ClientExchange(Exchange): ...

@final
class Uploads:
    def __init__(self, hub: Hub, matcher: Matcher, board: Board, config: RouterConfig) -> None: ...
    def apply(self, config: RouterConfig) -> None: ...
