"""A router of several real workers whose instances the test plays, in the workers where it wants them."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from lambda_dispatch_core.board.board import Board
from tests.support.clients import RawClient
from tests.support.instance_peer import Handler, InstancePeer, says_hello
from tests.support.loop import soon, until
from tests.support.supervised import Router

LIFE = 900 * 1_000_000_000


class Fleet:
    """Instances have all their channels in one worker, the same for all: the original extension has one connection. Or
    they are spread over all workers, as by our own."""

    def __init__(self, router: Router, board: Board, workers: int) -> None:
        self.router = router
        self.board = board
        self.workers = workers
        self.port = router.ports["http"]
        self.home = -1  # the worker slot that holds every channel
        self.peers: list[InstancePeer] = []

    async def instance(self, handler: Handler = says_hello, limit: int = 2, **more: Any) -> InstancePeer:
        """One whose channels are all at home."""
        key = self.place(limit)[2]
        while True:
            peer, worker = await self.dial(key, handler, limit, **more)
            if self.home in (-1, worker):
                self.home = worker
                return await self.park(peer)
            await peer.leave()

    async def spread_instance(self, handler: Handler = says_hello, limit: int = 2) -> list[InstancePeer]:
        """One with a connection to every worker, each with as many channels as the instance takes requests."""
        key = self.place(limit)[2]
        reached: dict[int, InstancePeer] = {}
        while len(reached) < self.workers:
            peer, worker = await self.dial(key, handler, limit)
            if worker in reached:
                await peer.leave()
            else:
                reached[worker] = peer
        return [await self.park(peer) for peer in reached.values()]

    def place(self, limit: int) -> tuple[int, int, str]:
        """An instance that was started: its slot and generation on the board, and its id."""
        key, now = uuid.uuid4(), time.monotonic_ns()
        place = self.board.allocate_instance(0, key.bytes, limit, now, now + LIFE)
        assert place is not None
        return *place, str(key)

    async def dial(self, key: str, handler: Handler, channels: int, **more: Any) -> tuple[InstancePeer, int]:
        """A connection, and the worker that the kernel gave it to."""
        port = self.router.ports["control_http"]
        peer = await InstancePeer.dial("127.0.0.1", port, key, handler, channels=channels, park=False, **more)
        answer = await soon(peer.get(f"/api/chunked/ping/{key}"), "an answer to a ping")
        return peer, int(dict(answer.fields)["x-lambda-dispatch-worker"])

    async def park(self, peer: InstancePeer) -> InstancePeer:
        for channel in range(peer.channels):
            peer.park(channel)
        await soon(peer.parked(), "the channels to park")
        self.peers.append(peer)
        return peer

    async def client(self, worker: int) -> RawClient:
        """A connection to this worker: dialled until the kernel gives it one."""
        while True:
            before = self.accepted()
            client = await RawClient.dial(self.port)
            await until(lambda now=before: self.accepted() != now, "the connection to be accepted")  # type: ignore[misc]
            if self.accepted()[worker] > before[worker]:
                return client
            await client.close()

    def accepted(self) -> list[int]:
        return [self.board.worker_numbers(slot)["accepted"] for slot in range(self.board.workers)]

    def idle(self) -> bool:
        return not any(it.in_flight for it in self.board.list_instances())

    def hops(self) -> int:
        return self.sum("dispatched_sibling")

    def sum(self, number: str) -> int:
        """One of the workers' counters, over all of them."""
        return sum(self.board.worker_numbers(slot)[number] for slot in range(self.board.workers))


@contextlib.asynccontextmanager
async def fleet(workers: int, **config: Any) -> AsyncIterator[Fleet]:
    with Router(workers=workers, real=True, log_level="warning", **config) as router:
        board = router.board(write=True)
        one = Fleet(router, board, workers)
        try:
            yield one
        except BaseException:
            print(router.log())  # pytest shows it with the failure: the cause of a 502 is named there
            raise
        finally:
            failures = [failure for peer in one.peers for failure in peer.failures]
            for peer in one.peers:
                await peer.leave()
            board.close()
        assert not failures, failures
        assert "internal error" not in router.log(), router.log()


async def ask(port: int, path: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
    """Over a connection of its own, so that requests come to all workers."""
    async with await RawClient.dial(port) as client:
        if body is None:
            answer = await client.get(path, "connection: close\r\n")
        else:
            length = f"content-length: {len(body)}\r\nconnection: close\r\n"
            answer = await client.get(path, length, "POST", body)
        return answer.status, answer.body
