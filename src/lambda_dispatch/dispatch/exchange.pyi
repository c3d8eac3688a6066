from collections.abc import Callable

from lambda_dispatch_core.queue.waitqueue import Waiter

def set_answer_limits(head: int, fields: int) -> None: ...
def set_guest_debug(to: Callable[[bytes, str, float], None] | None) -> None: ...

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
