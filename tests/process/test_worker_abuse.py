"""Clients that attack, or are merely many: a normal client is served beside them, and they are closed in time.

LAMBDA_DISPATCH_TEST_CONNECTIONS raises the number of idle connections; 10000 is what the promise was made for.
"""

import asyncio
import os
import resource
import socket

import pytest

from tests.support.clients import ask
from tests.support.instance_peer import Call
from tests.support.loop import run, scenario, soon, until
from tests.support.worker_process import WorkerProcess

CONNECTIONS = int(os.environ.get("LAMBDA_DISPATCH_TEST_CONNECTIONS", "2000"))
PER_CONNECTION = 12 * 1024
HASTY = ("--head-timeout", "1", "--body-grace", "1", "--min-body-rate", "1000", "--min-read-rate", "1000")


@pytest.fixture
def many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 500:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))


class Crowd:
    """Many client sockets, without a stream each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []

    async def join(self, count: int, said: bytes) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            self.sockets.append(sock)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            await loop.sock_sendall(sock, said)

    async def hear(self, enough: bytes) -> None:
        """Reads an answer on each."""
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            data = b""
            while not data.endswith(enough):
                piece = await loop.sock_recv(sock, 4096)
                assert piece, "the connection ended"
                data += piece

    def leave(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


@pytest.mark.usefixtures("many_descriptors")
def test_idle_connections_cost_little_and_a_normal_client_is_served_beside_them() -> None:
    async def work() -> None:
        async with WorkerProcess.running() as worker:
            await worker.instance(channels=4)
            assert (await ask("h1", worker.ports["http"])).status == 200
            crowd = Crowd(worker.ports["http"])
            before = worker.resident()
            try:
                await crowd.join(CONNECTIONS, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                await crowd.hear(b"OK")
                each = (worker.resident() - before) / CONNECTIONS
                assert each < PER_CONNECTION, f"{each:.0f} bytes per idle connection"
                for speaks in ("h1", "h2"):
                    assert (await soon(ask(speaks, worker.ports["http"]), "the answer")).status == 200
            finally:
                crowd.leave()
            await until(lambda: worker.numbers()["connections"] == 0, "all connections are gone")

    run(work(), 60 + CONNECTIONS / 100)


@scenario
async def test_clients_that_never_finish_their_head_are_closed_and_harm_no_other() -> None:
    async with WorkerProcess.running(*HASTY) as worker:
        await worker.instance(channels=4)
        crowd = Crowd(worker.ports["http"])
        try:
            await crowd.join(200, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            await crowd.join(100, b"")
            await crowd.join(50, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

            async def drip() -> None:
                while True:
                    for sock in crowd.sockets[:200]:
                        try:
                            sock.send(b"a")
                        except OSError:
                            continue
                    await asyncio.sleep(0.1)

            dripping = asyncio.create_task(drip())
            for speaks in ("h1", "h2"):
                assert (await soon(ask(speaks, worker.ports["http"]), "the answer")).status == 200
            await until(lambda: worker.numbers()["connections"] == 0, "all of them are gone", 15)
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
        finally:
            crowd.leave()


@scenario
async def test_a_head_that_takes_too_long_is_a_408() -> None:
    async with WorkerProcess.running(*HASTY) as worker, await worker.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost:")
        answer = await soon(client.response(), "the answer")
        assert (answer.status, answer.error) == (408, "head_timeout")


@pytest.mark.parametrize("speaks", ["h1", "h2", "h2 without credit"])
@scenario
async def test_a_client_that_reads_too_slowly_is_cut_off(speaks: str) -> None:
    async with WorkerProcess.running(*HASTY) as worker:
        codes: list[int | None] = []

        async def handler(call: Call) -> None:
            try:
                await call.write(call.head_text() + bytes(64 * 1024 * 1024), end=True)
            finally:
                codes.append(await call.gone())

        await worker.instance(handler)
        if speaks == "h1":
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", worker.ports["http"]))
                sock.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(lambda: bool(codes), "the reset at the instance", 15)
        else:
            async with await worker.h2(credit=speaks == "h2") as client2:
                stream = client2.open()
                await stream.headed()
                if speaks == "h2":
                    assert client2.transport is not None
                    client2.transport.pause_reading()
                await until(lambda: bool(codes), "the reset at the instance", 15)
        await worker.quiet()


@scenario
async def test_a_client_that_stops_reading_a_finished_answer_is_cut_off() -> None:
    async with WorkerProcess.running(*HASTY) as worker:

        async def handler(call: Call) -> None:
            await call.write(call.head_text(length=8 * 1024 * 1024) + bytes(8 * 1024 * 1024), end=True)

        await worker.instance(handler)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", worker.ports["http"]))
            await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while worker.numbers()["requests"] == 0:
                assert await loop.sock_recv(sock, 16 * 1024)
            await until(lambda: worker.numbers()["connections"] == 0, "its connection is gone", 15)
        finally:
            sock.close()


@scenario
async def test_a_conversation_may_pause_as_long_as_the_application_likes() -> None:
    async with WorkerProcess.running(*HASTY) as worker:

        async def handler(call: Call) -> None:
            if call.target == "/silent":
                await call.gone()
            await call.write(call.head_text())
            while piece := await call.read():
                await call.write(piece)

        await worker.instance(handler, channels=3)
        async with await worker.h2() as client2, await worker.client() as client:
            stream = client2.open(method="POST", end=False)
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await client.head()).status == 200
            assert await stream.headed() == 200
            for _ in range(2):  # the grace is over, and over again, when others are cut off for their silence
                async with await worker.client() as silent:
                    await silent.send(b"POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                    assert (await soon(silent.response(), "the end of the grace")).status == 408
            await stream.send(b"later", end=True)
            await client.send(b"5\r\nlater\r\n0\r\n\r\n")
            assert await client.chunk() == b"later"
            assert bytes((await stream.done()).body) == b"later"


@scenario
async def test_a_kept_connection_that_is_idle_too_long_is_closed() -> None:
    async with WorkerProcess.running("--keepalive-timeout", "1") as worker:
        async with await worker.client() as client:
            assert (await client.get("/health")).status == 200
            assert await soon(client.ended(), "the end of the connection")
        async with await worker.h2() as client2:
            assert (await client2.get("/health")).status == 200
            await soon(client2.lost.wait(), "the end of the connection")
            assert client2.goaways and client2.goaways[-1][0] == 0


@scenario
async def test_a_long_answer_with_pauses_is_not_an_idle_connection() -> None:
    async with WorkerProcess.running(*HASTY, "--keepalive-timeout", "1") as worker:

        async def handler(call: Call) -> None:
            await call.write(call.head_text())
            for _ in range(2):
                async with await worker.client() as idle:
                    assert (await idle.get("/health")).status == 200
                    await soon(idle.ended(), "the end of an idle connection")
                await call.write(b".")

        await worker.instance(handler, channels=2)
        answers = await asyncio.gather(*(ask(speaks, worker.ports["http"]) for speaks in ("h1", "h2")))
        assert [answer.body for answer in answers] == [b".."] * 2


@scenario
async def test_aborts_at_every_stage_leave_no_descriptor_behind(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.read()
        await call.respond(200, body=bytes(300_000))

    await worker.instance(handler, channels=10)
    assert (await ask("h1", worker.ports["http"])).status == 200
    await until(lambda: worker.numbers()["connections"] == 0, "the first client is gone")
    before = worker.descriptors()
    for said in (
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        clients = [await worker.client() for _ in range(20)]
        for client in clients:
            await client.send(said)
        for i, client in enumerate(clients):
            if i % 2:
                client.abort()
            else:
                await client.close()
    await until(lambda: worker.descriptors() <= before, "every descriptor is closed")
    assert worker.numbers()["connections"] == 0
