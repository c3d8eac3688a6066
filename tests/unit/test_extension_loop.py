"""The extension's own event loop: what it shares with asyncio in words, it shares in behaviour."""

import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from lambda_dispatch_extension.loop import (
    CancelledError,
    Event,
    Future,
    Loop,
    Task,
    ensure_future,
    gather,
    get_running_loop,
    sleep,
    timeout,
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    one = Loop()
    one.on_error = failures.append
    failures.clear()
    try:
        yield one
    finally:
        one.close()
        assert not failures


failures: list[BaseException] = []


def run(loop: Loop, work: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(work)


def test_callbacks_run_in_order_and_timers_when_they_are_due(loop: Loop) -> None:
    said: list[str] = []

    async def work() -> None:
        loop.call_later(0.02, said.append, "late")
        loop.call_later(0.01, said.append, "early")
        loop.call_later(0.0, said.append, "at once")
        loop.call_later(0.005, said.append, "never").cancel()
        loop.call_soon(said.append, "first")
        loop.call_soon(said.append, "second")
        loop.call_soon(said.append, "not").cancel()
        await sleep(0.03)

    run(loop, work())
    assert said == ["first", "second", "at once", "early", "late"]


def test_a_timer_is_never_early(loop: Loop) -> None:
    async def work() -> None:
        for seconds in (0.0001, 0.0015, 0.01):
            began = time.monotonic()
            await sleep(seconds)
            assert time.monotonic() - began >= seconds

    run(loop, work())


def test_cancelling_a_task_leaves_what_it_awaits_alone(loop: Loop) -> None:
    async def work() -> str:
        shared: Future[str] = Future()
        ended: list[str] = []

        async def waits(name: str) -> str:
            try:
                return await shared
            except CancelledError:
                ended.append(name)
                raise

        one, two = ensure_future(waits("one")), ensure_future(waits("two"))
        await sleep(0)
        assert one.cancel()
        await sleep(0)
        assert one.done() and ended == ["one"] and not two.done()
        shared.set_result("value")
        assert not one.cancel()
        return await two

    assert run(loop, work()) == "value"


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_task_cancelled_at_any_moment_ends_and_cleans_up(loop: Loop, turns: int) -> None:
    async def work() -> list[str]:
        said: list[str] = []
        gate: Future[None] = Future()

        async def waits() -> None:
            said.append("began")
            try:
                await gate
                said.append("went on")
            finally:
                said.append("cleaned")

        task = ensure_future(waits())
        for _ in range(turns):
            await sleep(0)
        if turns == 2:
            gate.set_result(None)  # it is about to go on, and must not
        task.cancel()
        with pytest.raises(CancelledError):
            await task
        return said

    assert run(loop, work()) == ([] if turns == 0 else ["began", "cleaned"])


def test_a_timeout_ends_its_body_only(loop: Loop) -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with timeout(0.01):
                await sleep(60)
        async with timeout(60):
            await sleep(0)
        async with timeout(None):
            await sleep(0)
        with pytest.raises(TimeoutError):
            async with timeout(0.01), timeout(60):
                await sleep(60)
        await sleep(0.02)

    run(loop, work())


def test_a_task_that_is_cancelled_within_a_timeout_is_cancelled(loop: Loop) -> None:
    async def patient() -> None:
        async with timeout(60):
            await sleep(60)

    async def work() -> None:
        task = ensure_future(patient())
        await sleep(0)
        task.cancel()
        with pytest.raises(CancelledError):
            await task

    run(loop, work())


def test_an_event_wakes_all_who_wait_and_forgets_who_was_cancelled(loop: Loop) -> None:
    async def work() -> int:
        event, woken = Event(), 0

        async def waits() -> None:
            nonlocal woken
            await event.wait()
            woken += 1

        tasks = [ensure_future(waits()) for _ in range(3)]
        await sleep(0)
        tasks[0].cancel()
        await sleep(0)
        event.set()
        await gather(*tasks[1:])
        await event.wait()
        event.clear()
        assert not event.is_set()
        return woken

    assert run(loop, work()) == 2


def test_gather_keeps_the_order_and_raises_the_first_failure(loop: Loop) -> None:
    async def value(seconds: float, given: object) -> object:
        await sleep(seconds)
        if isinstance(given, Exception):
            raise given
        return given

    async def work() -> None:
        assert await gather(value(0.02, 1), value(0.01, 2)) == [1, 2]
        failure = ValueError("two")
        assert await gather(value(0, 1), value(0, failure), return_exceptions=True) == [1, failure]
        with pytest.raises(ValueError, match="two"):
            await gather(value(0, 1), value(0, failure))

    run(loop, work())


def test_gather_that_is_cancelled_cancels_its_tasks(loop: Loop) -> None:
    async def work() -> None:
        tasks: list[Task[None]] = [ensure_future(sleep(60)) for _ in range(2)]
        whole = ensure_future(gather(*tasks))
        await sleep(0)
        whole.cancel()
        await gather(whole, *tasks, return_exceptions=True)
        assert all(task.done() for task in tasks)

    run(loop, work())


def test_a_failure_that_nobody_awaits_is_reported_and_the_loop_goes_on(loop: Loop) -> None:
    async def fails() -> None:
        raise ValueError("unseen")

    async def work() -> None:
        ensure_future(fails())
        loop.call_soon(int, "not a number")
        await sleep(0.001)

    run(loop, work())
    assert sorted(type(error).__name__ for error in failures) == ["ValueError", "ValueError"]
    failures.clear()


def test_signals_and_other_threads_end_a_sleep(loop: Loop) -> None:
    import threading

    before = signal.getsignal(signal.SIGUSR1)

    async def work() -> None:
        signalled, called = Event(), Event()
        loop.add_signal_handler(signal.SIGUSR1, signalled.set)
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,)).start()
        async with timeout(10):
            await signalled.wait()
            await called.wait()

    try:
        run(loop, work())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_descriptor_is_watched_until_it_is_removed(loop: Loop) -> None:
    one, two = socket.socketpair()
    said: list[bytes] = []

    async def work() -> None:
        heard = Event()

        def readable() -> None:
            said.append(one.recv(10))
            loop.remove_reader(one.fileno())
            heard.set()

        loop.add_reader(one.fileno(), readable)
        two.send(b"a")
        await heard.wait()
        two.send(b"b")
        await sleep(0.001)

    with one, two:
        run(loop, work())
    assert said == [b"a"]


def test_there_is_one_loop() -> None:
    with pytest.raises(RuntimeError, match="no loop"):
        get_running_loop()


def test_callbacks_without_end_keep_neither_timers_nor_descriptors_waiting(loop: Loop) -> None:
    one, two = socket.socketpair()

    async def work() -> None:
        heard, due, running = Event(), Event(), True

        def again() -> None:
            if running:
                loop.call_soon(again)

        again()
        loop.add_reader(one.fileno(), heard.set)
        loop.call_later(0.001, due.set)
        two.send(b"a")
        await heard.wait()
        await due.wait()
        running = False
        loop.remove_reader(one.fileno())

    with one, two:
        run(loop, work())
