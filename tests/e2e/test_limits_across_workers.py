"""No instance ever has more requests in hand than its limit, over all workers: whatever comes, goes and dies meanwhile.

Real worker processes. The test is the instances, each with connections to several workers, and the scaler."""

import asyncio
import contextlib
import os
import random
import signal
import time

import pytest

from lambda_dispatch_core.board import board as b
from tests.support.across import Fleet, fleet
from tests.support.clients import BadAnswer, RawClient
from tests.support.instance_peer import Call, Gone, InstancePeer
from tests.support.loop import run, soon, until

INSTANCES = 4
STEPS = 14


class Member:
    """One instance: its connections, and the requests that it has served to their end."""

    def __init__(self, it: Fleet, source: random.Random, limit: int) -> None:
        self.it = it
        self.source = source
        self.limit = limit
        self.slot, self.generation, self.key = it.place(limit)
        self.peers: list[InstancePeer] = []
        self.served: dict[bytes, tuple[int, int]] = {}  # by answer, in ns: from when until when the instance had it

    async def serve(self, call: Call) -> None:
        began = time.monotonic_ns()
        with contextlib.suppress(Gone):
            await call.body()
            await asyncio.sleep(self.source.random() / 50)
            # Until here at least, if a client has the whole answer: the router holds the slot until the answer's end.
            answer = f"{self.key} {len(self.served)}".encode()
            self.served[answer] = (began, time.monotonic_ns())
            await call.respond(200, body=answer)

    async def connect(self, to: int) -> None:
        """So many more connections, to whichever workers the kernel chooses."""
        for _ in range(to):
            peer, _ = await self.it.dial(self.key, self.serve, self.limit)
            self.peers.append(await self.it.park(peer))

    async def end(self) -> None:
        """The scaler wants it no more: it drains, its channels are sent away, and its invoke returns.

        A connection whose channels were all busy has none to be sent away: they are refused when they come back."""
        board = self.it.board
        board.begin_drain(self.slot, self.generation, time.monotonic_ns())
        for peer in self.peers:
            await until(lambda it=peer: it.lost.is_set() or it.told_to_go.is_set() or it.refusals, "go-away")
        await until(lambda: board.instance(self.slot).in_flight == 0, "what it has in hand to end")
        for peer in self.peers:
            await peer.leave()
        board.close_instance(self.slot, self.generation, time.monotonic_ns())
        await until(lambda: board.free_instance(self.slot, self.generation), "nothing to be held of it")

    def most(self, answered: set[bytes]) -> int:
        """The most requests it had in hand at one time, of those whose answers clients have."""
        served = [when for answer, when in self.served.items() if answer in answered]
        changes = sorted([(began, 1) for began, _ in served] + [(ended, -1) for _, ended in served])
        most = now = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return most


class Churn:
    def __init__(self, it: Fleet, seed: int) -> None:
        self.it = it
        self.source = random.Random(seed)
        self.members: list[Member] = []
        self.all: list[Member] = []
        self.asking: set[asyncio.Task[None]] = set()
        self.answered: set[bytes] = set()
        self.kills = 0

    async def start(self) -> None:
        member = Member(self.it, self.source, self.source.randint(1, 4))
        self.members.append(member)
        self.all.append(member)
        await member.connect(self.it.workers)

    def ask(self, count: int) -> None:
        for _ in range(count):
            task = asyncio.create_task(self._ask(impatient=self.source.random() < 0.2))
            self.asking.add(task)
            task.add_done_callback(self.asking.discard)

    async def _ask(self, impatient: bool) -> None:
        # A worker that is killed takes its clients with it: that is no matter of this test.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, BadAnswer):
            async with await RawClient.dial(self.it.port) as client:
                await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
                if impatient:
                    await asyncio.sleep(self.source.random() / 50)
                    client.abort()
                elif (answer := await client.response("POST")).status == 200:
                    self.answered.add(answer.body)

    async def step(self) -> None:
        self.ask(self.source.randint(20, 60))
        match self.source.choice(["nothing", "nothing", "replace", "drop", "kill"]):
            case "replace":
                member = self.source.choice(self.members)
                self.members.remove(member)
                await self.start()
                await member.end()
            case "drop":
                # One of an instance's connections breaks, and is made again.
                member = self.source.choice(self.members)
                lost = self.source.choice(member.peers)
                lost.drop()
                await soon(lost.lost.wait(), "the connection's end")
                await member.connect(1)
            case "kill" if self.kills < 2:
                self.kills += 1
                pids = self.it.router.pids()
                slot = self.source.choice(sorted(pids))
                os.kill(pids[slot], signal.SIGKILL)
                ready = self.it.workers
                await until(lambda: self.it.router.pids().get(slot) != pids[slot], "the death to be seen")
                await until(lambda: len(self.it.router.pids()) == ready, "a successor", 20)
                for member in self.members:
                    await member.connect(sum(peer.lost.is_set() for peer in member.peers))
                    member.peers = [peer for peer in member.peers if not peer.lost.is_set()]
            case _:
                await asyncio.sleep(self.source.random() / 20)

    async def watch(self) -> None:
        """What the board says, again and again: the requests in hand of an instance are from 0 to its limit."""
        while True:
            for seen in self.it.board.list_instances():
                assert 0 <= seen.in_flight <= seen.limit, seen
            await asyncio.sleep(0.001)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_instance_has_more_in_hand_than_its_limit_whatever_comes_and_goes(workers: int, seed: int) -> None:
    async def scenario() -> None:
        async with fleet(workers) as it:
            churn = Churn(it, seed * 10 + workers)
            watching = asyncio.create_task(churn.watch())
            try:
                for _ in range(INSTANCES):
                    await churn.start()
                for _ in range(STEPS):
                    await churn.step()
                    assert not watching.done(), await watching
                while churn.asking:
                    await soon(asyncio.gather(*churn.asking), "every request to end", 30)
                await until(it.idle, "every reservation to return")
            finally:
                # The board is unmapped when this is over, however it ends.
                watching.cancel()
            assert len(churn.answered) > 100
            most = [(member.most(churn.answered), member.limit) for member in churn.all]
            assert [(had, limit) for had, limit in most if had > limit] == []
            # It was put to the test.
            assert any(had == limit for had, limit in most)
            assert {seen.state for seen in it.board.list_instances()} <= {b.INSTANCE_OPEN, b.INSTANCE_FREE}

    run(scenario(), 100)
