"""Many workers, one mind: every instance lives in one worker, as the original extension's one connection makes it, and
requests come to all of them. Real worker processes; the test is the scaler and the instances."""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from lambda_dispatch_core.board import Board
from tests.support.clients import RawClient
from tests.support.instance_peer import Call, Gone, Handler, InstancePeer, says_hello
from tests.support.loop import run, soon, until
from tests.support.supervised import Router

LIFE = 900 * 1_000_000_000
WORKERS = pytest.mark.parametrize("workers", [2, 4])


class Fleet:
    """A router, its board, and instances that all have their channels in one worker."""

    def __init__(self, router: Router, board: Board) -> None:
        self.router = router
        self.board = board
        self.port = router.ports["http"]
        self.home = -1  # the worker slot that holds every channel
        self.peers: list[InstancePeer] = []

    def holder(self, slot: int) -> int:
        """Who holds channels of it: the board as a worker that does not exist sees it."""
        return self.board.holder(slot)

    async def instance(self, handler: Handler = says_hello, limit: int = 2) -> InstancePeer:
        key, now = uuid.uuid4(), time.monotonic_ns()
        place = self.board.allocate_instance(0, key.bytes, limit, now, now + LIFE)
        assert place is not None
        while True:
            # The kernel chooses the worker: dial until it is the one where the others are.
            peer = await InstancePeer.dial(
                "127.0.0.1", self.router.ports["control_http"], str(key), handler, channels=limit
            )
            await soon(peer.parked(), "the channels to park")
            if self.home in (-1, found := self.holder(place[0])):
                self.home = found
                self.peers.append(peer)
                return peer
            await peer.leave()
            await until(lambda: self.holder(place[0]) == -1, "the channels to be gone")

    def idle(self) -> bool:
        return not any(it.in_flight for it in self.board.list_instances())

    def hops(self) -> int:
        return sum(self.board.worker_numbers(slot)["dispatched_sibling"] for slot in range(self.board.workers))


@contextlib.asynccontextmanager
async def fleet(workers: int) -> AsyncIterator[Fleet]:
    with Router(workers=workers, real=True, log_level="warning") as router:
        board = router.board(write=True)
        one = Fleet(router, board)
        try:
            yield one
        finally:
            failures = [failure for peer in one.peers for failure in peer.failures]
            for peer in one.peers:
                await peer.leave()
            board.close()
        assert not failures, failures
        assert "fault of ours" not in router.log(), router.log()


async def ask(port: int, path: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
    """Over a connection of its own, so that requests come to all workers."""
    async with await RawClient.dial(port) as client:
        if body is None:
            answer = await client.get(path, "connection: close\r\n")
        else:
            length = f"content-length: {len(body)}\r\nconnection: close\r\n"
            answer = await client.get(path, length, "POST", body)
        return answer.status, answer.body


async def echo(call: Call) -> None:
    await call.respond(200, body=await call.body())


@WORKERS
def test_requests_to_any_worker_are_served_while_an_instance_anywhere_has_a_slot(workers: int) -> None:
    async def scenario() -> None:
        async with fleet(workers) as it:
            await it.instance(limit=4)
            answers = await asyncio.gather(*(ask(it.port) for _ in range(60)))
            assert {status for status, _ in answers} == {200}
            assert it.hops() > 0
            assert it.board.worker_numbers(it.home)["served_siblings"] > 0
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)


@WORKERS
@pytest.mark.parametrize("seed", [1, 2])
def test_an_instance_never_has_more_in_hand_than_its_limit(workers: int, seed: int) -> None:
    source = random.Random(seed)

    async def works(call: Call) -> None:
        await call.body()
        await asyncio.sleep(source.random() / 100)
        await call.respond(200, body=b"done")

    async def scenario() -> None:
        async with fleet(workers) as it:
            limits = [source.randint(1, 4) for _ in range(3)]
            peers = [await it.instance(works, limit) for limit in limits]
            for _ in range(4):
                answers = await asyncio.gather(*(ask(it.port) for _ in range(source.randint(10, 60))))
                assert {status for status, _ in answers} == {200}
            for peer, limit in zip(peers, limits, strict=True):
                assert 0 < peer.most_in_flight <= limit
            await until(it.idle, "the reservations to return")

    run(scenario(), 30)


@WORKERS
def test_requests_are_served_in_the_order_they_came_over_all_workers(workers: int) -> None:
    served: list[int] = []
    gate = asyncio.Event()

    async def notes(call: Call) -> None:
        await call.body()
        await gate.wait()
        served.append(int(call.target[1:]))
        await asyncio.sleep(0.02)
        await call.respond(200)

    async def scenario() -> None:
        async with fleet(workers) as it:
            await it.instance(notes, limit=1)
            tasks = []
            for number in range(30):
                tasks.append(asyncio.create_task(ask(it.port, f"/{number}")))
                await until(
                    lambda n=number: it.board.pool_totals(0).arrivals > n,  # type: ignore[misc]
                    "the request to be read",
                )
                await asyncio.sleep(0.02)
            gate.set()
            assert {status for status, _ in await asyncio.gather(*tasks)} == {200}
            # They came 20 ms apart, and each takes as long. A worker that served its own queue first would let half of
            # all overtake the other's; a sibling that a busy machine wakes late loses its turn once in a while.
            for place, number in enumerate(served):
                overtaken = sum(later > number for later in served[:place])
                assert overtaken <= 6, served

    run(scenario(), 30)


def test_bodies_of_all_sizes_come_through_the_hop_whole() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(echo, limit=4)
            for size in (0, 1, 1000, 16_384, 65_535, 65_536, 262_145, 1_000_000, 9_000_000):
                body = random.Random(size).randbytes(size)
                digest = hashlib.sha256(body).digest()
                before, tries = it.hops(), 0
                while it.hops() == before:
                    status, answer = await soon(ask(it.port, "/echo", body), f"an echo of {size} bytes", 20)
                    assert status == 200
                    assert hashlib.sha256(answer).digest() == digest, (size, len(answer))
                    tries += 1
                    assert tries < 50, "no request went through a sibling"
            await until(it.idle, "the reservations to return")

    run(scenario(), 35)


async def through_the_hop(it: Fleet, began: asyncio.Event) -> RawClient:
    """A client whose request is served through a sibling and goes on until told otherwise."""
    while True:
        before = it.hops()
        began.clear()
        client = await RawClient.dial(it.port)
        await client.send(b"GET /long HTTP/1.1\r\nHost: h\r\n\r\n")
        await soon(began.wait(), "the request to arrive")
        if it.hops() > before:
            return client
        await client.close()


def never_ending(began: asyncio.Event, ended: list[int | None]) -> Handler:
    async def handler(call: Call) -> None:
        began.set()
        try:
            ended.append(await call.gone())
        except Gone as gone:
            ended.append(gone.code)

    return handler


def test_a_client_that_leaves_ends_its_request_at_the_instance_through_the_hop() -> None:
    began, ended = asyncio.Event(), list[int | None]()

    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(never_ending(began, ended), limit=8)
            client = await through_the_hop(it, began)
            client.abort()
            await client.close()
            await until(it.idle, "the reservation to return")
            await until(lambda: bool(ended), "the instance to be told")

    run(scenario(), 30)


def test_an_instance_that_dies_ends_its_request_through_the_hop_with_502() -> None:
    began = asyncio.Event()

    async def scenario() -> None:
        async with fleet(2) as it:
            peer = await it.instance(never_ending(began, []), limit=8)
            client = await through_the_hop(it, began)
            peer.drop()
            assert (await soon(client.response(), "the answer")).status == 502
            await client.close()
            await until(it.idle, "the reservation to return")

    run(scenario(), 30)


def test_a_sibling_that_is_killed_costs_the_guest_it_served_and_nobody_else() -> None:
    began = asyncio.Event()

    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance(never_ending(began, []), limit=8)
            client = await through_the_hop(it, began)
            os.kill(it.router.pids()[it.home], signal.SIGKILL)
            answer = await soon(client.response(), "the answer")
            assert (answer.status, answer.error) == (502, "sibling_lost")
            await until(it.idle, "the dead worker's reservation to return")
            # The same connection goes on: its worker is alive, and what is new there gets a new instance.
            it.home = -1
            await it.instance(limit=2)
            again = await soon(client.get("/after"), "an answer after the death")
            assert again.status == 200
            await client.close()

    run(scenario(), 30)
