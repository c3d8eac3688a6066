"""Slow ends: what the router holds of one request is bounded in either direction, however large the body.

LAMBDA_DISPATCH_TEST_BODY (bytes) makes the large bodies larger; 1073741824 is the size the promise was made for.
"""

import asyncio
import os
import socket

import pytest

from tests.support.clients import RawClient
from tests.support.instance_peer import Call
from tests.support.loop import run, scenario, soon, until
from tests.support.worker_process import WorkerProcess

KIB = 1024
MIB = 1024 * KIB
# Of one request and direction, in the router's own memory.
HELD = 256 * KIB
# What the kernel's socket buffers on the way may hold besides; the router does not decide that.
KERNEL = 8 * MIB
BODY = int(os.environ.get("LAMBDA_DISPATCH_TEST_BODY", str(64 * MIB)))
EXTRA = 32 * MIB
PATIENCE = 60 + BODY / MIB

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


async def settled(value: object, patience: float = 0.3) -> None:
    """Waits until a number has not changed for a while: nothing says that nothing more will come."""
    assert callable(value)
    last, same = None, 0.0
    while same < patience:
        await asyncio.sleep(0.02)
        now = value()
        same = same + 0.02 if now == last else 0.0
        last = now


@scenario
async def test_an_instance_runs_out_of_credit_while_an_http_2_client_gives_none(worker: WorkerProcess) -> None:
    writing: list[Call] = []

    async def handler(call: Call) -> None:
        writing.append(call)
        await call.write(call.head_text() + bytes(4 * MIB), end=True)

    peer = await worker.instance(handler)
    async with await worker.h2(credit=False) as client:
        stream = client.open()
        await stream.headed()
        await settled(lambda: writing[0].written)
        # The client's own window took its part; the rest is ours.
        assert writing[0].written - len(stream.body) <= HELD
        assert peer.credit(writing[0].stream) == 0
        while not stream.ended:
            stream.read_on()
            await stream._until(lambda: stream.unread or stream.ended)
        assert len(stream.body) == 4 * MIB


@scenario
async def test_a_client_that_does_not_read_holds_its_instance_back(worker: WorkerProcess) -> None:
    writing: list[Call] = []

    async def handler(call: Call) -> None:
        writing.append(call)
        await call.write(call.head_text() + bytes(32 * MIB), end=True)

    peer = await worker.instance(handler)
    client = await narrow_client(worker)
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.served(1)
    before = worker.resident()
    await settled(lambda: writing[0].written)
    assert writing[0].written < KERNEL
    assert peer.credit(writing[0].stream) == 0
    assert worker.resident() - before < 2 * MIB
    # Others are served meanwhile, on the same connection of the instance.
    other = await worker.instance(channels=1)
    async with await worker.client() as second:
        assert (await second.get("/health")).status == 200
    client.abort()
    await soon(writing[0].gone(), "the reset at the instance")
    assert other.idle() == 1


@both
@scenario
async def test_an_instance_that_gives_no_credit_stalls_the_upload(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(handler)
    before = worker.resident()
    if speaks == "h1":
        client = await narrow_client(worker)
        client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
        client.writer.write(bytes(32 * MIB))
        await peer.served(1)
        await settled(lambda: client.writer.transport.get_write_buffer_size())
        left = 32 * MIB - client.writer.transport.get_write_buffer_size()
        assert left < KERNEL
        assert worker.resident() - before < 2 * MIB
        client.reset()
    else:
        async with await worker.h2() as client2:
            stream = client2.open(method="POST", end=False)
            sending = asyncio.create_task(stream.send(bytes(4 * MIB)))
            await peer.served(1)
            call = peer.calls[0]
            await settled(lambda: client2.conn.local_flow_control_window(stream.id))
            assert client2.conn.local_flow_control_window(stream.id) == 0
            assert not sending.done()
            # The frame that brought the head is acknowledged whole, and may have had a piece of the body.
            assert call.received <= 65_535 + 16_384
            assert worker.resident() - before < 2 * MIB
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    await soon(peer.calls[0].gone(), "the reset at the instance")


@both
@scenario
async def test_an_upload_that_no_instance_takes_yet_waits_with_its_client(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=b"%d" % len(await call.body()))

    before = worker.resident()
    if speaks == "h1":
        async with await worker.client() as client:
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
            client.writer.write(bytes(32 * MIB))
            await worker.waits(1)
            await settled(lambda: client.writer.transport.get_write_buffer_size())
            assert worker.resident() - before < 2 * MIB
            await worker.instance(handler, wait=False)
            assert (await soon(client.response(), "the answer", 15)).body == b"%d" % (32 * MIB)
    else:
        async with await worker.h2() as client2:
            stream = client2.open(method="POST", end=False)
            sending = asyncio.create_task(stream.send(bytes(4 * MIB), end=True))
            await worker.waits(1)
            await settled(lambda: client2.conn.local_flow_control_window(stream.id))
            assert worker.resident() - before < 2 * MIB
            await worker.instance(handler, wait=False)
            await soon(stream.done(), "the answer", 15)
            await sending
            assert bytes(stream.body) == b"%d" % (4 * MIB)


async def narrow_client(worker: WorkerProcess) -> RawClient:
    """A client whose kernel holds little for it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * KIB)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", worker.ports["http"]))
    reader, writer = await asyncio.open_connection(sock=sock, limit=16 * KIB)
    return RawClient(reader, writer)


def test_a_large_download_to_a_slow_client_needs_little_memory(worker: WorkerProcess) -> None:
    async def work() -> None:
        async def handler(call: Call) -> None:
            await call.write(call.head_text(length=BODY))
            piece = bytes(256 * KIB)
            for _ in range(BODY // len(piece)):
                await call.write(piece)

        await worker.instance(handler)
        before = peak = worker.resident()
        async with await worker.client(buffer=64 * KIB) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.head()
            left = BODY
            while left:
                data = await client.reader.readexactly(min(left, MIB))
                left -= len(data)
                if left % (8 * MIB) == 0:
                    await asyncio.sleep(0.02)  # slow: the router is always ahead
                    peak = max(peak, worker.resident())
        assert peak - before < EXTRA

    run(work(), PATIENCE)


def test_a_large_upload_to_a_slow_instance_needs_little_memory(worker: WorkerProcess) -> None:
    async def work() -> None:
        peak = 0

        async def handler(call: Call) -> None:
            nonlocal peak
            taken = step = 0
            while piece := await call.read():
                taken += len(piece)
                if taken // (8 * MIB) > step:
                    step = taken // (8 * MIB)
                    await asyncio.sleep(0.02)
                    peak = max(peak, worker.resident())
            await call.respond(200, body=b"%d" % taken)

        await worker.instance(handler)
        before = worker.resident()
        async with await worker.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY)
            piece = bytes(256 * KIB)
            for _ in range(BODY // len(piece)):
                await client.send(piece)
            assert (await client.response()).body == b"%d" % BODY
        assert peak - before < EXTRA

    run(work(), PATIENCE)


@scenario
async def test_many_slow_downloads_do_not_starve_a_quick_one_on_the_same_connection(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        if call.target == "/quick":
            await call.respond(200, body=b"quick")
        else:
            await call.write(call.head_text() + bytes(8 * MIB), end=True)

    peer = await worker.instance(handler, channels=10)
    slow = [await narrow_client(worker) for _ in range(8)]
    for client in slow:
        await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.served(8)
    await until(lambda: all(peer.credit(call.stream) == 0 for call in peer.calls), "all slow ones are out of credit")
    async with await worker.client() as client:
        for _ in range(20):
            assert (await soon(client.get("/quick"), "the quick answer")).body == b"quick"
    for client in slow:
        client.abort()
