"""Asynchronous invokes: accepted at once, tried again as Lambda documents it."""

import asyncio
from collections.abc import Callable

from lambda_dispatch.local.invocation import Invocation
from lambda_dispatch.local.service.fleet import Fleet, Pool
from lambda_dispatch.local.service.service_error import ServiceError, throttled

MAX_EVENTS = 1000  # waiting or running; past that the caller is throttled instead of this process growing
THROTTLED_FIRST = 1.0  # seconds before an event that was throttled is tried again, doubling
THROTTLED_MOST = 300.0
MAX_AGE = 6 * 3600.0  # seconds after which an event is dropped


class EventQueue:
    def __init__(self, fleet: Fleet, write_log: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._write_log = write_log
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, pool: Pool, make: Callable[[], Invocation]) -> None:
        if len(self._tasks) >= MAX_EVENTS:
            raise throttled("ConcurrentInvocationLimitExceeded")
        task = asyncio.get_running_loop().create_task(self._run(pool, make))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, pool: Pool, make: Callable[[], Invocation]) -> None:
        knobs = self._fleet.knobs
        loop = asyncio.get_running_loop()
        expires = loop.time() + MAX_AGE
        failures = throttles = 0
        while loop.time() < expires:
            invocation = make()
            try:
                self._fleet.invoke(pool, invocation)
            except ServiceError as error:
                if error.status != 429:
                    return
                await asyncio.sleep(min(THROTTLED_FIRST * 2**throttles, THROTTLED_MOST))
                throttles += 1
                continue
            answer = await asyncio.shield(invocation.answer)
            if answer.error is None:
                return
            if failures >= knobs.event_retries:
                break
            await asyncio.sleep(knobs.event_retry_delay * 2**failures)
            failures += 1
        self._write_log(f"event for {pool.function.name} given up after {failures} retries")
