from lambda_dispatch_core.queue import Waiter

def set_answer_limits(head: int, fields: int) -> None: ...

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
