"""The supervisor with real workers: what clients and instances notice of deaths, replacements and the end."""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from tests.support import supervised
from tests.support.clients import RawClient
from tests.support.instance_peer import Call, Handler, InstancePeer, says_hello
from tests.support.loop import run, scenario, soon, until
from tests.support.supervised import Router

LIFE = 900 * 1_000_000_000


class Instance:
    """An instance the test put on the board. It dials again when its connection is lost; told to go, it is replaced."""

    def __init__(self, router: Router, board: Board, handler: Handler, limit: int, channels: int) -> None:
        self.board = board
        self.limit = limit
        self._begin()
        self.port = router.ports["control_http"]
        self.handler = handler
        self.channels = channels
        self.peers: list[InstancePeer] = []
        self.task = asyncio.get_running_loop().create_task(self._stay())
        self.open = asyncio.Event()

    def _begin(self) -> None:
        key = uuid.uuid4()
        now = time.monotonic_ns()
        place = self.board.allocate_instance(0, key.bytes, self.limit, now, now + LIFE)
        assert place is not None
        self.place = place
        self.id = str(key)

    async def _stay(self) -> None:
        while True:
            try:
                peer = await InstancePeer.dial("127.0.0.1", self.port, self.id, self.handler, channels=self.channels)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            self.peers.append(peer)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(peer.parked(), 5)
                self.open.set()
                await peer.sees(lambda p=peer: p.lost.is_set() or p.told_to_go.is_set())  # type: ignore[misc]
            if peer.told_to_go.is_set():
                await until(lambda p=peer: p.in_flight == 0, "what is in flight to finish")  # type: ignore[misc]
            await peer.leave()
            if peer.told_to_go.is_set():
                self.board.close_instance(*self.place, time.monotonic_ns())
                self._begin()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        for peer in self.peers:
            await peer.leave()


@contextlib.asynccontextmanager
async def instances(
    router: Router, count: int, handler: Handler = says_hello, limit: int = 10, channels: int = 10
) -> AsyncIterator[list[Instance]]:
    board = router.board(write=True)
    made = [Instance(router, board, handler, limit, channels) for _ in range(count)]
    try:
        for one in made:
            await soon(one.open.wait(), "an instance to park its channels")
        yield made
    finally:
        for one in made:
            await one.end()
        board.close()


class Load:
    """Clients that ask again and again and retry nothing; every second one keeps its connection."""

    def __init__(self, port: int, clients: int = 6, path: str = "/x") -> None:
        self.port = port
        self.path = path
        self.served = 0
        self.failures: list[str] = []
        self.stop = asyncio.Event()
        self.tasks = [asyncio.create_task(self._client(n % 2 == 0)) for n in range(clients)]

    async def _client(self, keep: bool) -> None:
        client: RawClient | None = None
        while not self.stop.is_set():
            try:
                if client is None:
                    client = await RawClient.dial(self.port)
                answer = await client.get(self.path, "" if keep else "Connection: close\r\n")
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                self.failures.append(repr(error))
                if client is not None:
                    await client.close()
                client = None
                continue
            if answer.status == 200:
                self.served += 1
            else:
                self.failures.append(f"{answer.status} {answer.error}")
            if not keep or answer.field("connection") == "close":
                await client.close()
                client = None
        if client is not None:
            await client.close()

    async def more(self, count: int) -> None:
        goal = self.served + count
        await until(lambda: self.served >= goal, f"{count} more answers", 20)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(*self.tasks)

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


async def replaced(router: Router, old: set[int], count: int) -> None:
    def new() -> bool:
        pids = router.pids()
        return len(pids) == count and not old & set(pids.values())

    await until(new, "new workers", 20)


@scenario
async def test_a_killed_worker_is_replaced_within_a_second_and_its_accept_queue_is_served() -> None:
    with Router(workers=1, real=True) as router:
        old = router.pids()[0]
        os.kill(old, signal.SIGSTOP)
        async with await RawClient.dial(router.ports["http"]) as waiting:
            await waiting.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            os.kill(old, signal.SIGKILL)
            answer = await soon(waiting.response(), "the successor's answer")
            assert (answer.status, answer.body) == (200, b"OK")
        await replaced(router, {old}, 1)


@scenario
async def test_requests_on_any_worker_are_served_after_one_was_killed_and_the_books_balance() -> None:
    with Router(workers=2, real=True) as router:
        async with instances(router, 3), Load(router.ports["http"]) as load:
            await load.more(50)
            for _ in range(3):
                victim = next(iter(router.pids().values()))
                os.kill(victim, signal.SIGKILL)
                await replaced(router, {victim}, 2)
                await load.more(50)
            await load.end()
            # What was in the dead workers' hands is lost, and no more than that: six clients, three deaths.
            assert len(load.failures) <= 6 * 3, load.failures
            board = router.board()
            try:
                await until(lambda: not any(i.in_flight for i in board.list_instances()), "nothing in flight")
            finally:
                board.close()


def test_rolling_restarts_lose_no_request() -> None:
    run(_rolling(2), 60.0)


async def _rolling(times: int) -> None:
    # A kept connection is told with its next answer. The lame duck ends when all were told; its time is for a client
    # that gets no CPU meanwhile.
    with Router(workers=2, real=True, lame_duck=4.0, drain_deadline=4.0) as router:
        async with instances(router, 4), Load(router.ports["http"]) as load:
            await load.more(50)
            for _ in range(times):
                old = set(router.pids().values())
                router.signal(signal.SIGUSR1)
                await replaced(router, old, 2)
                await until(lambda o=old: not alive(o), "the old to go", 20)  # type: ignore[misc]
                await load.more(50)
            await load.end()
            assert load.failures == [], (load.served, router.log())
            assert "died" not in router.log()
            assert len(list(router.runtime.glob("*.[0-9].sock"))) == 4


@scenario
async def test_what_is_in_hand_at_sigterm_is_answered_and_nothing_is_left_behind() -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def slow(call: Call) -> None:
        began.set()
        await release.wait()
        await call.respond(200, body=b"late")

    with Router(workers=2, real=True, drain_deadline=20.0) as router:
        family = set(router.pids().values()) | {router.scaler()}
        async with instances(router, 2, slow), await RawClient.dial(router.ports["http"]) as client:
            answer = asyncio.create_task(client.get("/slow"))
            await soon(began.wait(), "the request to arrive")
            router.signal(signal.SIGTERM)
            await until(lambda: bool(router.pids(b.WORKER_DRAINING)), "a worker to drain")
            release.set()
            assert (await soon(answer, "the answer")).body == b"late"
            await until(lambda: router.process.poll() is not None, "the end", 20)
        assert router.process.returncode == 0, router.log()
        assert not alive(family)
        assert list(router.runtime.iterdir()) == []


@scenario
async def test_a_worker_that_hangs_is_replaced() -> None:
    with Router(workers=1, real=True, hang_timeout=1.0) as router:
        old = router.pids()[0]
        os.kill(old, signal.SIGSTOP)
        await replaced(router, {old}, 1)
        async with await RawClient.dial(router.ports["http"]) as client:
            assert (await client.get("/health")).status == 200


def test_a_worker_that_ends_leaves_its_unix_socket_to_the_next_one_in_its_slot() -> None:
    with Router(workers=1, real=True, drain_deadline=1.0) as router:
        before = sorted(router.runtime.glob("*.[0-9].sock"))
        assert len(before) == 2
        (first,) = router.pids().values()
        router.signal(signal.SIGUSR1)
        supervised.until(lambda: not Path(f"/proc/{first}").exists(), "the first worker has ended")
        assert sorted(router.runtime.glob("*.[0-9].sock")) == before
