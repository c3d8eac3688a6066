"""The waiting line, case by case; its behaviour as a whole stands in tests/property/test_queue.py."""

import pytest

from lambda_dispatch_core.queue.waitqueue import Waiter, WaitQueue
from lambda_dispatch_testing.queue_face import expire, oldest, peek, pop, push, push_front, remove


def line(*sinces: int, limit: int = 10) -> tuple[WaitQueue, list[Waiter]]:
    queue, waiters = WaitQueue(limit), [Waiter() for _ in sinces]
    for waiter, since in zip(waiters, sinces, strict=True):
        assert push(queue, waiter, since, since + 100)
    return queue, waiters


def test_waiters_leave_in_the_order_they_came() -> None:
    queue, waiters = line(1, 2, 3)
    assert [pop(queue) for _ in range(4)] == [*waiters, None]


def test_a_full_queue_takes_nobody_but_who_is_put_back_in_front() -> None:
    queue, (first, _) = line(1, 2, limit=2)
    late = Waiter()
    assert not push(queue, late, 3, 103)
    assert pop(queue) is first
    assert push(queue, late, 3, 103)
    push_front(queue, first)
    assert (len(queue), peek(queue), oldest(queue)) == (3, first, 1)


def test_who_is_in_the_middle_leaves_and_the_others_close_the_gap() -> None:
    queue, (first, second, third) = line(1, 2, 3)
    assert remove(queue, second)
    assert not remove(queue, second)
    assert [pop(queue), pop(queue), pop(queue)] == [first, third, None]


def test_who_has_waited_to_the_deadline_has_waited_too_long() -> None:
    queue, (first, second, third) = line(1, 2, 3)
    assert expire(queue, 100) is None
    assert [expire(queue, 102) for _ in range(3)] == [first, second, None]
    assert len(queue) == 1
    assert peek(queue) is third


def test_nobody_stands_in_two_queues() -> None:
    queue, (first,) = line(1)
    with pytest.raises(ValueError, match="stands in no queue"):
        push(WaitQueue(1), first, 1, 1)
    with pytest.raises(ValueError, match="stands in no queue"):
        push_front(queue, first)
    assert len(queue) == 1


def test_a_queue_of_limit_nothing_takes_nobody_and_one_below_is_an_error() -> None:
    assert not push(WaitQueue(0), Waiter(), 0, 0)
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        WaitQueue(-1)


def test_an_empty_queue_has_nobody_to_give() -> None:
    queue = WaitQueue(1)
    assert (pop(queue), peek(queue), expire(queue, 2**62), oldest(queue)) == (None, None, None, 0)


def test_several_that_come_back_stand_in_the_order_in_which_they_came() -> None:
    queue = WaitQueue(10)
    waiters = [Waiter() for _ in range(4)]
    for since, waiter in enumerate(waiters):
        assert push(queue, waiter, since, since + 100)
    for _ in range(3):
        pop(queue)
    for waiter in waiters[:3]:
        push_front(queue, waiter)
    assert [pop(queue) for _ in range(4)] == waiters
