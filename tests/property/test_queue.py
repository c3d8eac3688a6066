"""The waiting line beside a plain list, through any sequence of what can be done with it."""

import gc
import weakref

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_dispatch_core.queue.waitqueue import Waiter, WaitQueue
from lambda_dispatch_testing import queue_face as queue

LIMIT = 5
PATIENCE = 100


class Request(Waiter):
    """A waiter as the product has them: of a subclass."""


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = WaitQueue(LIMIT)
        self.model: list[Request] = []
        self.outside: list[Request] = []
        self.beside = WaitQueue(0, self.queue)
        self.aside: list[Request] = []
        self.other = WaitQueue(1)
        self.stranger = Request()
        queue.push(self.other, self.stranger, 0, 0)
        self.now = 0

    @rule(passed=st.integers(0, 60))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    @rule()
    def push(self) -> None:
        waiter = Request()
        taken = queue.push(self.queue, waiter, self.now, self.now + PATIENCE)
        assert taken is (len(self.model) + len(self.aside) < LIMIT)
        if taken:
            self.model.append(waiter)
        else:
            assert not queue.waiting(waiter)

    @rule()
    def pop(self) -> None:
        waiter = queue.pop(self.queue)
        if not self.model:
            assert waiter is None
            return
        assert waiter is self.model.pop(0)
        self.outside.append(waiter)

    @precondition(lambda self: self.outside)
    @rule(data=st.data())
    def put_one_that_left_back_before_all_that_came_after_it(self, data: st.DataObject) -> None:
        waiter = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        since = waiter.since
        queue.push_front(self.queue, waiter)
        assert waiter.since == since
        place = next((at for at, other in enumerate(self.model) if other.since >= since), len(self.model))
        self.model.insert(place, waiter)

    @precondition(lambda self: self.outside)
    @rule(data=st.data())
    def set_one_that_left_aside(self, data: st.DataObject) -> None:
        waiter = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        queue.put(self.beside, waiter)
        place = next((at for at, other in enumerate(self.aside) if other.since > waiter.since), len(self.aside))
        self.aside.insert(place, waiter)

    @precondition(lambda self: self.aside)
    @rule(data=st.data())
    def one_that_was_set_aside_leaves(self, data: st.DataObject) -> None:
        waiter = self.aside.pop(data.draw(st.integers(0, len(self.aside) - 1)))
        assert not queue.remove(self.queue, waiter)
        assert queue.remove(self.beside, waiter)
        self.outside.append(waiter)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        waiter = self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))
        assert queue.remove(self.queue, waiter)
        self.outside.append(waiter)

    @rule()
    def remove_what_does_not_stand_in_it(self) -> None:
        assert not queue.remove(self.queue, self.stranger)
        assert not queue.remove(self.queue, None)
        for waiter in self.outside:
            assert not queue.remove(self.queue, waiter)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), front=st.booleans())
    def nobody_stands_in_it_twice(self, data: st.DataObject, front: bool) -> None:
        for waiter in (data.draw(st.sampled_from(self.model)), self.stranger, None):
            try:
                if front:
                    queue.push_front(self.queue, waiter)
                else:
                    queue.push(self.queue, waiter, self.now, self.now)
            except ValueError:
                continue
            raise AssertionError("taken in twice")

    @rule()
    def expire(self) -> None:
        expected = []
        while self.model and self.model[0].deadline <= self.now:
            expected.append(self.model.pop(0))
        expired = list(iter(lambda: queue.expire(self.queue, self.now), None))
        assert expired == expected

    @invariant()
    def it_says_what_the_list_says(self) -> None:
        total = len(self.model) + len(self.aside)
        assert (self.queue.length, len(self.queue), self.queue.aside) == (total, total, len(self.aside))
        assert (len(self.beside), queue.ready(self.queue)) == (len(self.aside), bool(self.model))
        assert queue.peek(self.beside) is (self.aside[0] if self.aside else None)
        assert queue.peek(self.queue) is (self.model[0] if self.model else None)
        assert queue.oldest(self.queue) == (self.model[0].since if self.model else 0)
        assert all(queue.waiting(waiter) for waiter in self.model)
        assert not any(queue.waiting(waiter) for waiter in self.outside)

    def teardown(self) -> None:
        assert list(iter(lambda: queue.pop(self.beside), None)) == self.aside
        left = list(iter(lambda: queue.pop(self.queue), None))
        assert left == self.model
        assert queue.peek(self.queue) is None


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def test_who_left_is_not_kept_alive_by_the_queue() -> None:
    line = WaitQueue(10)
    waiters = [Request() for _ in range(4)]
    gone = [weakref.ref(waiter) for waiter in waiters]
    for waiter in waiters:
        queue.push(line, waiter, 0, 0)
    queue.remove(line, waiters[1])
    queue.remove(line, waiters[3])
    queue.pop(line)
    waiter = waiters[2]
    queue.expire(line, 0)
    del waiter
    waiters.clear()
    assert [ref() for ref in gone] == [None] * 4


def test_a_queue_that_is_dropped_with_many_in_it_is_collected() -> None:
    line = WaitQueue(100_000)
    for _ in range(100_000):
        queue.push(line, Waiter(), 0, 0)
    last = Request()
    queue.pop(line)
    queue.push(line, last, 0, 0)
    gone = weakref.ref(last)
    del line, last
    gc.collect()
    assert gone() is None
