"""Our router's worker, our extension and an application, all real processes: mixed requests, every byte checked.

The default is sized for the suite; LAMBDA_DISPATCH_E2E_REQUESTS=100000 runs the whole load.
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.support.apps.raw_app import BLOCK, pattern
from tests.support.clients import RawClient, Response
from tests.support.extension_rig import Rig, rig
from tests.support.loop import until
from tests.support.worker_process import Given, WorkerProcess

REQUESTS = int(os.environ.get("LAMBDA_DISPATCH_E2E_REQUESTS", "1500"))
CLIENTS = 16
BIGGEST = 9_000_000
PIECE = 16_384
# What allocators and caches may keep after a load, in KiB.
KEPT = 12 * 1024


class Load:
    """Clients that each keep a connection and ask for one thing after another."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.seed = seed
        self.left = 0
        self.counts: Counter[str] = Counter()

    async def run(self, requests: int) -> None:
        self.left = requests
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self.client(random.Random(self.seed * 1000 + number)))

    async def client(self, dice: random.Random) -> None:
        client = None
        try:
            while self.left > 0:
                self.left -= 1
                client = client or await RawClient.dial(self.port)
                kind = dice.choices(
                    ["get", "post", "chunked", "head", "stream", "duplex", "abort", "close"],
                    [52, 20, 8, 5, 5, 4, 4, 2],
                )[0]
                if not await getattr(self, kind)(client, dice):
                    client.abort()
                    client = None
                self.counts[kind] += 1
        finally:
            if client is not None:
                await client.close()

    def size(self, dice: random.Random) -> int:
        """Mostly small, now and then big, once in a while as big as it gets."""
        kind = dice.random()
        if kind < 0.0015:
            return dice.choice([BIGGEST, 1_000_003, 3_000_000])
        if kind < 0.05:
            return dice.randrange(300_000)
        return dice.choice([0, 1, 4, dice.randrange(2000), dice.randrange(2000)])

    def check(self, answer: Response, expected: bytes) -> None:
        assert answer.status == 200, (answer.status, answer.error, answer.body[:200])
        assert answer.body == expected

    async def get(self, client: RawClient, dice: random.Random) -> bool:
        size = self.size(dice)
        self.check(await client.get(f"/bytes/{size}"), pattern(size))
        return True

    async def post(self, client: RawClient, dice: random.Random) -> bool:
        data = pattern(self.size(dice), dice.randrange(len(BLOCK)))
        path = dice.choice(["/echo", "/echo-length"])
        head = f"POST {path} HTTP/1.1\r\nHost: e\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        # Both ways at once: an echo's answer may fill every buffer before the request is out.
        sending = asyncio.ensure_future(client.send(head + data))
        answer = await client.response("POST")
        await sending
        self.check(answer, data)
        return True

    async def chunked(self, client: RawClient, dice: random.Random) -> bool:
        data = pattern(dice.randrange(100_000), dice.randrange(len(BLOCK)))
        message = b"POST /echo HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n"
        at = 0
        while at < len(data):
            piece = data[at : at + dice.randrange(1, PIECE)]
            message += b"%x\r\n%b\r\n" % (len(piece), piece)
            at += len(piece)
        sending = asyncio.ensure_future(client.send(message + b"0\r\n\r\n"))
        answer = await client.response("POST")
        await sending
        self.check(answer, data)
        return True

    async def head(self, client: RawClient, dice: random.Random) -> bool:
        size = self.size(dice)
        answer = await client.get(f"/bytes/{size}", method="HEAD")
        assert (answer.status, answer.field("content-length"), answer.body) == (200, str(size), b"")
        return True

    async def stream(self, client: RawClient, dice: random.Random) -> bool:
        count, size = dice.randrange(20), dice.randrange(1, 5000)
        self.check(await client.get(f"/chunks/{count}/{size}"), pattern(count * size))
        return True

    async def duplex(self, client: RawClient, dice: random.Random) -> bool:
        """Each piece comes back before the next is sent."""
        await client.send(b"POST /echo HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = None
        for _ in range(dice.randrange(1, 6)):
            piece = pattern(dice.randrange(1, 3000), dice.randrange(len(BLOCK)))
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            answer = answer or await client.head()
            assert answer.status == 200
            back = b""
            while len(back) < len(piece):
                back += await client.chunk()
            assert back == piece
        await client.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
        return True

    async def abort(self, client: RawClient, dice: random.Random) -> bool:
        """The client goes away: while sending, before the answer, in the middle of it."""
        match dice.randrange(4):
            case 0:
                await client.send(b"POST /echo HTTP/1.1\r\nHost: e\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5000)
            case 1:
                await client.send(b"GET /bytes/2000000 HTTP/1.1\r\nHost: e\r\n\r\n")
                await client.head()
            case 2:
                await client.send(b"GET /bytes/100 HTTP/1.1\r\nHost: e\r\n\r\n")
            case 3:
                await client.send(b"POST /echo HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                await client.head()
                assert await client.chunk() == b"hello"
        return False

    async def close(self, client: RawClient, dice: random.Random) -> bool:
        answer = await client.get("/bytes/100", fields="Connection: close\r\n")
        self.check(answer, pattern(100))
        return False


class Together:
    """A worker of the router, one instance and its application."""

    def __init__(self, worker: WorkerProcess, r: Rig, given: Given) -> None:
        self.worker = worker
        self.rig = r
        self.given = given

    @classmethod
    async def up(cls, stack: AsyncExitStack, channels: int = 20, limit: int = 20) -> "Together":
        worker = await stack.enter_async_context(WorkerProcess.running())
        r = await stack.enter_async_context(rig())
        given = worker.start(limit)
        r.invoke(
            channels,
            890.0,
            PoolId=None,
            Id=given.id,
            DispatcherUrl=f"http://127.0.0.1:{worker.ports['control_http']}/api/chunked",
        )
        return cls(worker, r, given)

    def files(self) -> tuple[int, int, int]:
        assert self.rig.app is not None
        return self.worker.descriptors(), self.rig.extension.files(), self.rig.app.files()

    def memory(self) -> tuple[int, int]:
        return self.worker.resident() // 1024, self.rig.extension.resident()


@pytest.mark.slow
@pytest.mark.timeout(60 + REQUESTS // 50)
def test_mixed_requests_arrive_byte_for_byte_and_nothing_leaks() -> None:
    async def whole() -> None:
        async with AsyncExitStack() as stack:
            t = await Together.up(stack)
            warm = Load(t.worker.ports["http"], 1)
            await warm.run(REQUESTS // 5)
            await t.worker.quiet()
            before = t.memory()
            began = time.monotonic()
            load = Load(t.worker.ports["http"], 2)
            await load.run(REQUESTS)
            took = time.monotonic() - began
            await t.worker.quiet()
            after = t.memory()
            assert sum(load.counts.values()) == REQUESTS
            grown = [now - then for then, now in zip(before, after, strict=True)]
            print(f"{REQUESTS} requests in {took:.1f} s, {dict(load.counts)}")
            print(f"KiB before {before}, after {after}; descriptors {t.files()}")
            assert max(grown) < KEPT, f"worker and extension grew by {grown} KiB"
            # Idle connections to the application close by themselves after 4 s; the channels' connection stays.
            await until(lambda: t.files()[2] <= 8 + 1, f"the application's sockets close: {t.files()}", patience=15)
            await until(lambda: t.files()[1] <= 17, f"the extension's sockets close: {t.files()}", patience=15)
            assert "internal error" not in t.worker.text()
            assert not [line for line in t.rig.extension.lines if "Traceback" in line], t.rig.extension.lines

    asyncio.run(whole())
