from typing import final

from lambda_dispatch.dispatch.model import Exchange
from lambda_dispatch.front.door import ClientWire
from lambda_dispatch_core.h2.streams import H2Events

@final
class H2Exchange(Exchange): ...

@final
class H2ClientEvents(H2Events): ...

@final
class H2ClientWire(ClientWire): ...
