"""A mixed load with clients that leave, against instances with the original extension's habits.

    python -m benchmarks.load.original_habits [--requests 10000] [--instances 4] [--clients 16] [--drain-every 2]

Counted: answers that were cut (the client waited, and did not get all of it), answers that failed, and invokes beyond
what the load needs: an instance that is drained on purpose, one after the other as a rolling restart does, needs one.
The promise: none cut, none failed, and at most one invoke a minute and instance beyond need. Exit status 1 otherwise.
The instances are tests/support/original_peer.py; worker and peers share the machine, so the rate says nothing.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.support.clients import RawClient, Response
from tests.support.original_peer import OriginalPeer
from tests.support.worker_process import WorkerProcess

CHANNELS = 12
PATTERN = bytes(range(256))
# What clients do, and how often in a thousand. `leaves` and `aborts`: before their answer is whole.
MIX = {
    "small": 640,
    "post": 120,
    "echo": 60,  # 64 KiB there and back
    "download": 50,  # 256 KiB
    "slow": 20,  # 1 MiB, read in small pieces
    "big": 5,  # 3 MiB there and back
    "late": 20,  # an answer that takes the application a while
    "uri": 35,  # targets that a http::Uri refuses
    "leaves": 30,  # in the middle of an answer of 512 KiB
    "aborts": 20,  # before the answer's head
}


def content(size: int) -> bytes:
    return PATTERN * (size // len(PATTERN))


async def app(method: str, target: str, body: bytes) -> bytes:
    path, _, query = target.partition("?")
    if path == "/late":
        await asyncio.sleep(0.2)
    return body if method == "POST" else content(int(query or 0)) if path == "/down" else b"hello"


@dataclass
class Result:
    requests: int = 0
    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    drained: int = 0
    seconds: float = 0.0

    @property
    def beyond(self) -> int:
        """Invokes that the load did not need."""
        return sum(self.ends.values()) - self.drained


class Load:
    def __init__(self, worker: WorkerProcess, requests: int, instances: int, drain_every: float, seed: int) -> None:
        self.worker = worker
        self.left = requests
        self.wanted = instances
        self.drain_every = drain_every
        self.random = random.Random(seed)
        self.result = Result()
        self.peers: dict[int, OriginalPeer] = {}  # by slot
        self.draining: set[int] = set()

    async def keep(self) -> None:
        """One place: an instance, and the next one whenever it has ended."""
        while True:
            given = self.worker.start()
            original = await OriginalPeer.start(self.worker, given, app, CHANNELS)
            self.peers[given.slot] = original
            try:
                await original.over.wait()
                needed = given.slot in self.draining
                self.result.ends["drained" if needed else original.why] += 1
                self.result.drained += needed
            finally:
                self.draining.discard(given.slot)
                del self.peers[given.slot]
                await original.stop()
                self.worker.close_instance(given)
            await asyncio.sleep(0.05)  # until the worker has seen it
            self.worker.board.free_instance(given.slot, given.generation)

    async def drain(self) -> None:
        """Ends one instance after the other, as a scale-in or a rolling restart does."""
        while True:
            await asyncio.sleep(self.drain_every)
            ready = [slot for slot in self.peers if slot not in self.draining]
            if len(ready) == self.wanted:
                slot = ready[self.result.drained % len(ready)]
                self.draining.add(slot)
                self.worker.board.begin_drain(slot, self.worker.board.generation(slot), self.worker.now())
                self.worker.ring()

    async def client(self) -> None:
        kinds, weights = list(MIX), list(MIX.values())
        connection: RawClient | None = None
        while self.left > 0:
            self.left -= 1
            self.result.requests += 1
            kind = self.random.choices(kinds, weights)[0]
            if connection is None:
                connection = await RawClient.dial(self.worker.ports["http"])
            if kind in ("leaves", "aborts"):
                await self.leaves(connection, kind)
                connection = None
            elif not await self.asks(connection, kind):
                await connection.close()
                connection = None
        if connection is not None:
            await connection.close()

    async def leaves(self, connection: RawClient, kind: str) -> None:
        path = "/down?524288" if kind == "leaves" else "/late"
        await connection.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        if kind == "leaves":
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await connection.head()
                await connection.reader.readexactly(self.random.randrange(1, 100_000))
        else:
            await asyncio.sleep(self.random.random() * 0.1)
        connection.reset() if self.random.random() < 0.5 else await connection.close()

    async def asks(self, connection: RawClient, kind: str) -> bool:
        """One request and its answer; False when the connection is of no more use."""
        sent, method, target = b"", "GET", "/"
        expected = b"hello"
        match kind:
            case "post" | "echo" | "big":
                method = "POST"
                expected = sent = content({"post": 1024, "echo": 64 << 10, "big": 3 << 20}[kind])
            case "download" | "slow":
                size = (256 << 10) if kind == "download" else (1 << 20)
                target, expected = f"/down?{size}", content(size)
            case "late":
                target = "/late"
            case "uri":
                target = self.random.choice(['/?a="b"', "/a`b", "/<x>", "/?\xe9", "/#a"])
        fields = f"content-length: {len(sent)}\r\n" if sent else ""
        await connection.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin-1"))
        try:
            if sent:
                await connection.send(sent)
            if kind == "slow":
                head = await connection.head()
                answer = Response(head.status, head.reason, head.fields)
                while len(answer.body) < len(expected) and head.status == 200:
                    answer.body += await connection.reader.readexactly(64 << 10)
                    await asyncio.sleep(0.01)
            else:
                answer = await connection.response(method)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.result.cut += 1
            return False
        if answer.status != 200:
            self.result.failed[f"{answer.status} {answer.error} ({kind})"] += 1
            return False
        if answer.body != expected:
            self.result.cut += 1
            return False
        return True


async def run(requests: int, instances: int = 4, clients: int = 16, drain_every: float = 2.0, seed: int = 1) -> Result:
    async with WorkerProcess.running() as worker:
        load = Load(worker, requests, instances, drain_every, seed)
        keepers = [asyncio.create_task(load.keep()) for _ in range(instances)]
        keepers.append(asyncio.create_task(load.drain()))
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(load.client())
            load.result.seconds = time.monotonic() - began
        finally:
            for task in keepers:
                task.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
        return load.result


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.original_habits", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--drain-every", type=float, default=2.0, help="seconds between instances ended on purpose")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args(argv)
    print(f"seed {given.seed}", flush=True)
    result = asyncio.run(run(given.requests, given.instances, given.clients, given.drain_every, given.seed))
    rate = result.beyond / given.instances / max(result.seconds / 60, 1 / 60)
    print(f"requests  {result.requests} in {result.seconds:.1f} s")
    print(f"cut       {result.cut}")
    print(f"failed    {dict(result.failed)}")
    print(f"invokes   {dict(result.ends)} ended; beyond need {result.beyond}, {rate:.2f} a minute and instance")
    return int(result.cut > 0 or bool(result.failed) or rate > 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
