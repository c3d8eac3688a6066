from typing import final

from lambda_dispatch.dispatch.exchange import Slot

@final
class EchoSlot(Slot): ...
