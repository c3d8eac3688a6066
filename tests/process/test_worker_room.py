"""Too many connections, and TLS handshakes that are never finished: a normal client is served beside them."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import certs
from tests.support.clients import Broken, ask
from tests.support.loop import run, scenario, soon, until
from tests.support.worker_process import WorkerProcess

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.contextmanager
def crowd(port: int, count: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    sockets = []
    try:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 20)
            sockets.append(sock)
            if said:
                sock.sendall(said)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


async def served(worker: WorkerProcess) -> None:
    """A normal client is served, though perhaps not at its first try."""

    async def tries() -> None:
        while True:
            with contextlib.suppress(OSError, Broken):
                if (await ask("h1", worker.ports["http"])).status == 200:
                    return
            await asyncio.sleep(0.02)

    await soon(tries(), "a normal client is served", 20)


@scenario
async def test_idle_connections_make_room_oldest_first() -> None:
    async with WorkerProcess.running("--max-connections", "20") as worker:
        await worker.instance()
        with crowd(worker.ports["http"], 20, HEALTH) as idle:
            for sock in idle:
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            await served(worker)
            assert idle[0].recv(1) == b""
            idle[-1].sendall(HEALTH)
            assert idle[-1].recv(4096).startswith(b"HTTP/1.1 200")
        assert worker.numbers()["connections_reclaimed"] >= 1
        assert "connection limit reached port=http limit=20 bound=MaxConnections" in worker.text()


@scenario
async def test_connections_with_a_request_in_hand_are_kept_and_new_ones_refused() -> None:
    async with WorkerProcess.running("--max-connections", "5") as worker:
        with crowd(worker.ports["http"], 5, b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n") as busy:
            await worker.waits(5)
            with crowd(worker.ports["http"], 1) as more, contextlib.suppress(ConnectionResetError):
                assert more[0].recv(1) == b""
            await worker.instance()
            for sock in busy:
                assert (await asyncio.to_thread(sock.recv, 4096)).startswith(b"HTTP/1.1 200")
        assert worker.numbers()["connections_refused"] == 1
        assert "new connection refused" in worker.text()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (250, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_idle_clients_that_would_take_every_descriptor_do_not_stop_the_service(tmp_path: Path) -> None:

    async def work() -> None:
        pair = certs.make(tmp_path)
        async with WorkerProcess.running(certs=pair) as worker:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
            with crowd(worker.ports["http"], 300), crowd(worker.ports["https"], 300):
                await worker.instance(tls=pair.client_context("h2"))
                await served(worker)
            assert "bound=descriptors" in worker.text()
            assert "Too many open files" not in worker.text()

    run(work())


def hello(context: ssl.SSLContext) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


@scenario
async def test_handshakes_that_are_never_finished_cost_little(tmp_path: Path) -> None:
    pair = certs.make(tmp_path)
    context = pair.client_context("http/1.1")
    whole = hello(context)
    async with WorkerProcess.running(certs=pair) as worker:
        await worker.instance(tls=pair.client_context("h2"))
        await served(worker)
        before = worker.resident()
        port = worker.ports["https"]
        with crowd(port, 200), crowd(port, 200, whole[:3]), crowd(port, 200, whole[:-1]):
            async with await worker.client(tls=context) as client:
                assert (await client.get("/")).status == 200
            assert worker.resident() - before < 600 * 12 * 1024
            await until(lambda: worker.numbers()["handshakes"] > 0, "handshakes are counted")
            with crowd(port, 600, whole):
                # More than may be under way; the oldest give way.
                async with await worker.client(tls=context) as client:
                    assert (await client.get("/")).status == 200
        with crowd(port, 1, b"GET / HTTP/1.1\r\n\r\n") as plain:
            assert (await asyncio.to_thread(plain[0].recv, 10))[:1] in (b"\x15", b"")
        await served(worker)


@scenario
async def test_a_hello_in_pieces_and_one_that_breaks_off(tmp_path: Path) -> None:
    pair = certs.make(tmp_path)
    whole = hello(pair.client_context("http/1.1"))
    async with WorkerProcess.running(certs=pair) as worker:
        with crowd(worker.ports["https"], 2) as (slow, gone):
            gone.sendall(whole[:50])
            gone.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(gone.recv, 1) == b""
            slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(whole), 40):
                slow.sendall(whole[at : at + 40])
            # The server's first record is its hello.
            assert (await asyncio.to_thread(slow.recv, 1)) == b"\x16"
