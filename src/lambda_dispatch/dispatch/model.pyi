from collections.abc import Callable
from typing import final

from lambda_dispatch.control.channel import ControlWire
from lambda_dispatch.dispatch.turns import Turns
from lambda_dispatch_core.queue.waitqueue import Waiter, WaitQueue

def set_answer_limits(head: int, fields: int) -> None: ...
def set_guest_debug(to: Callable[[bytes, str, float], None] | None) -> None: ...

@final
class Instance:
    slot: int
    generation: int
    pool: Pool
    idle_count: int
    busy_count: int
    announced: bool
    features: int
    standing: int
    def __init__(self, slot: int, generation: int, pool: Pool, id: bytes) -> None: ...
    @property
    def key(self) -> bytes: ...
    @property
    def retired(self) -> bool: ...
    def text(self) -> bytes: ...
    def short(self) -> str: ...
    def carriers(self) -> list[ControlWire]: ...
    def leave(self, wire: ControlWire) -> None: ...
    def unused(self) -> bool: ...

@final
class Pool:
    index: int
    generation: int
    name: bytes
    queue: WaitQueue
    running: int
    turns: Turns
    def __new__(cls, index: int, generation: int, name: bytes, queue_limit: int) -> Pool: ...

class Passage: ...
class Slot: ...

class Exchange(Waiter):
    stage: int
    request_ended: bool
    answer_ended: bool
    arrived: int
    sent: int
    request_bytes: int
    answer_bytes: int
    status: int
    fault: str | None
