"""One event loop per test process: module-wide servers and peers live on it, and run while a test runs.

    @scenario
    async def test_something(worker): ...

The loop stands still between tests, so nothing happens behind a test's back.
"""

import asyncio
import atexit
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# A scenario that takes longer hangs: the machine may be busy, but not that busy.
PATIENCE = 20.0

_runner = asyncio.Runner()
atexit.register(_runner.close)


def run(work: Coroutine[Any, Any, T], patience: float = PATIENCE) -> T:
    return _runner.run(_within(work, patience))


async def _within(work: Coroutine[Any, Any, T], patience: float) -> T:
    async with asyncio.timeout(patience):
        return await work


def scenario(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return runs


async def until(condition: Callable[[], bool], what: str, patience: float = 10.0) -> None:
    """Waits for something that nobody announces: another process's memory, a counter."""
    try:
        async with asyncio.timeout(patience):
            while not condition():  # noqa: ASYNC110 - no event is set for it
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"did not happen within {patience} s: {what}") from None


async def soon(work: Awaitable[T], what: str, patience: float = 10.0) -> T:
    """`work`, or an AssertionError that says what did not come."""
    try:
        async with asyncio.timeout(patience):
            return await work
    except TimeoutError:
        raise AssertionError(f"did not come within {patience} s: {what}") from None
