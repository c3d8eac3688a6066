from typing import final

from lambda_dispatch.dispatch.model import Exchange
from lambda_dispatch.front.door import ClientWire

@final
class H1Exchange(Exchange): ...

@final
class H1Wire(ClientWire): ...
