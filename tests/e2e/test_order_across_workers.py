"""Requests reach instances in the order in which they came, whichever worker they came to: what came ORDER_WITHIN or
more after another does not overtake it. Real worker processes; the test is the instance and frees slots one by one."""

import asyncio
import os
import random
import signal
import time

import pytest

from lambda_dispatch.dispatch.turns import ORDER_WITHIN
from tests.support.across import Fleet, ask, fleet
from tests.support.clients import RawClient
from tests.support.instance_peer import Call
from tests.support.loop import run, soon, until

QUEUE = 40  # requests that wait when the first slot becomes free ...
MORE = 40  # ... and that come at the moment at which another one does


class Line:
    """Requests by number: when each came, and the order in which they reached the instance."""

    def __init__(self, it: Fleet) -> None:
        self.it = it
        self.sent: list[int] = []  # ns: it certainly came no earlier ...
        self.read: list[int] = []  # ... and no later
        self.reached: list[int] = []
        self.tasks: list[asyncio.Task[tuple[int, bytes]]] = []
        self._news = asyncio.Event()
        self._free = asyncio.Semaphore(0)

    async def handler(self, call: Call) -> None:
        await call.body()
        self.reached.append(int(call.target[1:]))
        self._news.set()
        await self._free.acquire()
        await call.respond(200)

    def send(self) -> None:
        self.sent.append(time.monotonic_ns())
        self.tasks.append(asyncio.create_task(ask(self.it.port, f"/{len(self.tasks)}")))

    async def came(self) -> None:
        """Once a worker has read everything that was sent."""
        await until(lambda: self.it.board.pool_totals(0).arrivals == len(self.sent), "the request to be read")
        self.read.append(time.monotonic_ns())

    def free(self) -> None:
        """One slot, or the next to be taken if all stand free."""
        self._free.release()

    async def reach(self, count: int) -> None:
        while len(self.reached) < count:
            self._news.clear()
            await soon(self._news.wait(), f"request {len(self.reached) + 1} of {count} to reach the instance")

    def overtaken(self) -> list[tuple[int, int, float]]:
        """Who reached the instance before whom, although they came so many ms later and that is too many."""
        found = []
        for place, late in enumerate(self.reached):
            for early in self.reached[place + 1 :]:
                gap = self.sent[late] - self.read[early]
                if gap >= ORDER_WITHIN:
                    found.append((late, early, gap / 1e6))
        return found


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("spread", [False, True], ids=["in one worker", "in every worker"])
def test_no_request_overtakes_one_that_came_much_earlier_to_another_worker(
    workers: int, limit: int, spread: bool
) -> None:
    source = random.Random(workers * 10 + limit)

    async def scenario() -> None:
        async with fleet(workers) as it:
            line = Line(it)
            await (it.spread_instance if spread else it.instance)(line.handler, limit=limit)
            for _ in range(QUEUE):
                line.send()
                await line.came()
                await asyncio.sleep(source.random() / 50)
            await line.reach(limit)
            for _ in range(MORE):
                # Something new comes while a slot becomes free: it must not get it.
                line.send()
                line.free()
                await line.reach(len(line.reached) + 1)
                await line.came()
                await asyncio.sleep(source.random() / 50)
            for _ in range(QUEUE - limit):
                line.free()
                await line.reach(len(line.reached) + 1)
            for _ in range(limit):
                line.free()
            assert {status for status, _ in await asyncio.gather(*line.tasks)} == {200}
            assert sorted(line.reached) == list(range(QUEUE + MORE))
            assert sum(count > 0 for count in it.accepted()) == workers, "the requests did not come to every worker"
            assert line.overtaken() == [], line.reached
            await until(it.idle, "the reservations to return")

    run(scenario(), 90)


@pytest.mark.parametrize("spread", [False, True], ids=["in one worker", "in every worker"])
def test_slots_are_not_left_for_long_to_a_sibling_that_is_stuck(spread: bool) -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            line = Line(it)
            await (it.spread_instance if spread else it.instance)(line.handler, limit=1)
            home = 0 if spread else it.home
            stuck = it.router.pids()[1 - home]
            clients = [await it.client(worker) for worker in (home, 1 - home, home, home, home, home)]

            async def ask_of(client: RawClient) -> None:
                line.sent.append(0)
                await client.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % (len(line.sent) - 1))
                await line.came()

            # The second request waits in the other worker, for longer than anything that comes afterwards.
            await ask_of(clients[0])
            await line.reach(1)
            await ask_of(clients[1])
            os.kill(stuck, signal.SIGSTOP)
            try:
                for count in range(2, 6):
                    await ask_of(clients[count])
                    line.free()
                    await line.reach(count)
            finally:
                os.kill(stuck, signal.SIGCONT)
            assert line.reached == [0, 2, 3, 4, 5]
            line.free()
            await line.reach(6)
            line.free()
            for client in clients:
                assert (await soon(client.response(), "the answer")).status == 200
                await client.close()

    run(scenario(), 60)
