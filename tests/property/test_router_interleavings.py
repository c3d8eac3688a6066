"""Random interleavings of everything that can happen to a request, against a real worker process.

Arrivals, parks, completions, aborts of clients, resets of channels, drops of connections, instances that drain or end,
and time-outs, in an order made from a seed. Afterwards: every request that was waited for had exactly one outcome, no
instance saw a request twice that did not refuse it first, what timed out was never sent, and the books balance.

LAMBDA_DISPATCH_TEST_SEEDS tries more seeds than the usual few.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from h2.errors import ErrorCodes

from tests.support import loop
from tests.support.clients import Broken, H2Client, RawClient, ask
from tests.support.instance_peer import Call, Gone, InstancePeer
from tests.support.loop import soon, until
from tests.support.worker_process import Given, WorkerProcess

SEEDS = int(os.environ.get("LAMBDA_DISPATCH_TEST_SEEDS", "20"))
STEPS = 60
BODY = b"body of " * 40
# Short enough that requests run into it now and then.
QUEUE_TIMEOUT = 0.25


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    stack = contextlib.AsyncExitStack()
    running = WorkerProcess.running("--incoming-request-timeout", str(QUEUE_TIMEOUT), "--max-queue", "12")
    made = loop.run(stack.enter_async_context(running))
    loop.run(warm_up(made))
    yield made
    loop.run(stack.aclose())


async def warm_up(worker: WorkerProcess) -> None:
    """One request, so that what a worker opens only once is open before descriptors are counted."""
    await worker.instance()
    for speaks in ("h1", "h2"):
        assert (await ask(speaks, worker.ports["http"])).status == 200
    await worker.clear()
    await worker.quiet()
    await until(lambda: worker.numbers()["connections"] == 0, "every connection is gone")


@dataclass
class Asked:
    """One request of a client, and how it ended: a status, "broken", or "left" when the client gave up first."""

    name: str
    task: asyncio.Task[None] | None = None
    outcome: int | str | None = None
    body: bytes = b""
    stops: asyncio.Event = field(default_factory=asyncio.Event)


class World:
    def __init__(self, worker: WorkerProcess, seed: int) -> None:
        self.worker = worker
        self.random = random.Random(seed)
        self.asked: list[Asked] = []
        self.seen: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.live: list[tuple[Given, InstancePeer]] = []
        self.gate = asyncio.Event()
        self.over = asyncio.Event()
        self.h2: H2Client | None = None
        self.letting: asyncio.Task[None] | None = None

    # instances

    async def handler(self, call: Call) -> None:
        name = call.target
        self.seen[name] += 1
        what = self.random.choice(
            ["answer"] * 5 + ["wait"] * 3 + ["slowly", "refuse", "reset", "cut", "silent", "nonsense", "early", "drop"]
        )
        with contextlib.suppress(Gone):
            if what == "wait":
                await self.gate.wait()
            elif what == "refuse" and not self.over.is_set():
                self.refused[name] += 1
                call.reset(ErrorCodes.REFUSED_STREAM)
                return
            elif what == "reset":
                call.reset(self.random.choice([ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR]))
                return
            elif what == "cut":
                await call.write(call.head_text(length=1000) + name.encode())
                call.reset(ErrorCodes.CANCEL)
                return
            elif what == "silent":
                ends = [asyncio.ensure_future(call.gone()), asyncio.ensure_future(self.over.wait())]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.cancel()
                call.reset(ErrorCodes.CANCEL)
                return
            elif what == "nonsense":
                await call.write(b"nonsense\r\n\r\n", end=True)
                return
            elif what == "drop" and self.random.random() < 0.3:
                call.peer.drop()
                return
            if what != "early":
                await call.body()
            text = call.head_text(length=len(name)) + name.encode()
            if what == "slowly":
                for i in range(0, len(text), 9):
                    await call.write(text[i : i + 9])
                    await asyncio.sleep(0)
            else:
                await call.write(text)
            self.answered[name] += 1
            await call.end()

    async def park(self) -> None:
        given = self.worker.start(limit=self.random.randint(1, 3))
        peer = await self.worker.dial(given, self.handler, channels=self.random.randint(1, 4))
        self.live.append((given, peer))

    async def end_instance(self) -> None:
        if not self.live:
            return
        given, peer = self.live.pop(self.random.randrange(len(self.live)))
        match self.random.choice(["drop", "drain", "closed", "asks"]):
            case "drop":
                peer.drop()
            case "drain":
                self.worker.board.begin_drain(given.slot, given.generation, self.worker.now())
                self.worker.ring()
            case "closed":
                self.worker.close_instance(given)
            case "asks":
                if not peer.lost.is_set():
                    await peer.ask_to_close()

    # clients

    async def arrive(self) -> None:
        asked = Asked(f"/{len(self.asked)}")
        self.asked.append(asked)
        upload = self.random.random() < 0.4
        if self.random.random() < 0.5:
            work = self.over_h1(asked, upload, self.random.random() < 0.5)
        else:
            if self.h2 is None or self.h2.lost.is_set():
                self.h2 = await self.worker.h2()
            work = self.over_h2(self.h2, asked, upload, self.random.random() < 0.5)
        asked.task = asyncio.create_task(work)

    async def over_h1(self, asked: Asked, upload: bool, in_pieces: bool) -> None:
        client: RawClient = await self.worker.client()
        try:
            stopping = asyncio.ensure_future(asked.stops.wait())
            asking = asyncio.ensure_future(self._ask_h1(client, asked, upload, in_pieces))
            await asyncio.wait([stopping, asking], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if asking.done():
                asking.result()
            else:
                asking.cancel()
                asked.outcome = "left"
                client.abort()
        finally:
            await client.close()

    async def _ask_h1(self, client: RawClient, asked: Asked, upload: bool, in_pieces: bool) -> None:
        head = f"POST {asked.name} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY) if upload else 0}\r\n\r\n".encode()
        try:
            await client.send(head)
            if upload and in_pieces:
                for i in range(0, len(BODY), 64):
                    await client.send(BODY[i : i + 64])
                    await asyncio.sleep(0)
            elif upload:
                await client.send(BODY)
            answer = await client.response()
            asked.outcome, asked.body = answer.status, answer.body
        except (asyncio.IncompleteReadError, ConnectionError, Broken):
            asked.outcome = "broken"

    async def over_h2(self, client: H2Client, asked: Asked, upload: bool, in_pieces: bool) -> None:
        stream = client.open(asked.name, method="POST", end=not upload)
        stopping = asyncio.ensure_future(asked.stops.wait())

        async def asks() -> None:
            if upload and in_pieces:
                for i in range(0, len(BODY), 64):
                    await stream.send(BODY[i : i + 64], end=i + 64 >= len(BODY))
                    await asyncio.sleep(0)
            elif upload:
                await stream.send(BODY, end=True)
            await stream.done()

        asking = asyncio.ensure_future(asks())
        await asyncio.wait([stopping, asking], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asking.done() and not stream.ended and stream.reset_code is None:
            asking.cancel()
            asked.outcome = "left"
            stream.reset()
            return
        await asking
        if stream.ended:
            asked.outcome, asked.body = stream.status, bytes(stream.body)
        else:
            asked.outcome = "broken"

    async def leave(self) -> None:
        waiting = [asked for asked in self.asked if asked.outcome is None]
        if waiting:
            self.random.choice(waiting).stops.set()

    async def complete(self) -> None:
        gate, self.gate = self.gate, asyncio.Event()
        gate.set()

    async def pause(self) -> None:
        await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.01, 0.05]))

    async def step(self) -> None:
        act = self.random.choices(
            [self.arrive, self.park, self.end_instance, self.leave, self.complete, self.pause], [10, 3, 2, 2, 4, 6]
        )[0]
        await act()

    async def lets_through(self) -> None:
        while True:
            await self.complete()
            await asyncio.sleep(0.005)

    async def finish(self) -> None:
        """Lets everything come to its end."""
        self.over.set()
        self.letting = asyncio.create_task(self.lets_through())
        tasks = [asked.task for asked in self.asked if asked.task is not None]
        await soon(asyncio.gather(*tasks), "every client has its outcome", 15)
        await self.worker.quiet()
        if self.h2 is not None:
            await self.h2.__aexit__()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_request_is_lost_or_answered_twice(worker: WorkerProcess, seed: int) -> None:
    async def work() -> None:
        world = World(worker, seed)
        before = Counter(worker.numbers())
        descriptors = worker.descriptors()
        for _ in range(STEPS):
            await world.step()
        await world.finish()

        for asked in world.asked:
            note = f"seed {seed}: {asked.name} ended with {asked.outcome}"
            assert asked.outcome is not None, note
            assert asked.outcome in (200, 502, 503, 504, "broken", "left"), note
            tries = world.seen[asked.name]
            assert tries <= 1 + min(1, world.refused[asked.name]), f"{note} and was sent {tries} times"
            assert world.answered[asked.name] <= 1, note
            if asked.outcome == 200:
                assert asked.body == asked.name.encode(), note
                assert world.answered[asked.name] == 1, note
            elif asked.outcome == 503 or (asked.outcome == 504 and not world.refused[asked.name]):
                assert tries == 0, f"{note} and was still sent"

        after = Counter(worker.numbers())
        outcomes = Counter(asked.outcome for asked in world.asked)
        left = outcomes["left"]  # how these ended, or whether they were read at all, is not known
        assert 0 <= after["queue_timeouts"] - before["queue_timeouts"] - outcomes[504] <= left
        assert 0 <= after["rejected"] - before["rejected"] - outcomes[503] <= left
        assert 0 <= len(world.asked) - (after["requests"] - before["requests"]) <= left

        # No channel is lost and none is counted that is not there.
        for given, peer in world.live:
            if not peer.lost.is_set():
                await until(
                    lambda peer=peer, given=given: (  # type: ignore[misc]
                        peer.in_flight == 0
                        and peer._conn.open_outbound_streams == peer.idle() == worker.board.instance(given.slot).idle
                    ),
                    f"seed {seed}: every channel is parked again: {peer.idle()} of {peer.channels}",
                )
            assert not peer.failures, peer.failures
        assert world.letting is not None
        world.letting.cancel()
        await worker.clear()
        await until(lambda: worker.descriptors() <= descriptors, f"seed {seed}: every descriptor is closed")
        assert "internal error" not in worker.text(), worker.text()

    try:
        loop.run(work(), 40)
    finally:
        loop.run(worker.clear())  # what is left of one order must not take part in the next
