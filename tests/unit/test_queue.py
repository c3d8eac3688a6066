"""The waiting line, case by case; its behaviour as a whole stands in tests/property/test_queue.py."""

from lambda_dispatch_core.queue import Waiter, WaitQueue, pop, push


def test_waiters_leave_in_the_order_they_came() -> None:
    queue = WaitQueue(10)
    waiters = [Waiter() for _ in range(3)]
    assert [push(queue, w, 1, 9) for w in waiters] == [True] * 3
    assert [pop(queue) for _ in range(4)] == [*waiters, None]
