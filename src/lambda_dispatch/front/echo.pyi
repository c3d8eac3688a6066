from typing import final

from lambda_dispatch.dispatch.model import Slot

@final
class EchoSlot(Slot): ...
