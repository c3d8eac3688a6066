"""Clients that ask and do not read: what the router holds for them is bounded, and MinReadRate ends them."""

import asyncio
import contextlib
import socket

import pytest

from tests.support.clients import RawClient
from tests.support.instance_peer import Call
from tests.support.loop import scenario, until
from tests.support.worker_process import WorkerProcess

HASTY = ("--body-grace", "1", "--min-read-rate", "1000")
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def narrow(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize("request_text", [HEALTH, PLAIN], ids=["own answers", "relayed answers"])
@scenario
async def test_a_client_that_pipelines_and_reads_nothing_is_cut_off_and_costs_little(request_text: bytes) -> None:
    count = 100_000
    async with WorkerProcess.running(*HASTY) as worker:

        async def handler(call: Call) -> None:
            await call.respond(200, body=bytes(100_000))

        peer = await worker.instance(handler, channels=4)
        before = worker.resident()
        with narrow(worker.ports["http"]) as sock:
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(sock, request_text * count))
            await until(lambda: worker.numbers()["accepted"] == 1, "the client is connected")
            await until(lambda: worker.numbers()["connections"] == 0, "the client is cut off", 15)
            with contextlib.suppress(ConnectionError):
                await sending
        numbers = worker.numbers()
        assert numbers["health_checks"] + len(peer.calls) < count // 2
        assert len(peer.calls) < 200
        assert worker.resident() - before < 16 << 20
        await worker.quiet()


@scenario
async def test_pipelined_requests_go_on_when_the_client_reads_again() -> None:
    count = 30_000
    async with WorkerProcess.running() as worker:
        await worker.instance()
        async with await RawClient.dial(worker.ports["http"], buffer=16 * 1024) as client:
            client.writer.write(HEALTH * count + PLAIN)
            await until(lambda: worker.numbers()["health_checks"] > 0, "the first is answered")
            for _ in range(count):
                assert (await client.response()).body == b"OK"
            assert (await client.response()).body == b"hello from /"
        assert worker.numbers()["health_checks"] == count
