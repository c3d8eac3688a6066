"""Clients that ask and do not read: what the router holds for them is bounded, and MinReadRate ends them."""

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import h2.settings
import pytest

from tests.support import certs
from tests.support.clients import H2Client, RawClient
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

ENHANCE_YOUR_CALM = 11
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


async def without_credit(worker: WorkerProcess, count: int, path: str) -> H2Client:
    """An HTTP/2 client whose streams have no window, with `count` requests."""
    client = await worker.h2(credit=False)
    client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    for _ in range(count):
        client.open(path)
    return client


@pytest.mark.parametrize("path", ["/", "/health", "/_lambda_dispatch/goaway"])
@scenario
async def test_http2_answers_that_no_one_takes_are_reset_and_their_memory_is_freed(path: str) -> None:
    count = 100
    async with WorkerProcess.running(*HASTY) as worker:

        async def handler(call: Call) -> None:
            await call.respond(200, body=bytes(100_000))

        await worker.instance(handler, channels=10)
        async with await without_credit(worker, count, path) as client:
            await until(lambda: worker.numbers()["requests"] + worker.numbers()["health_checks"] >= count, "answers")
            if path == "/":
                await worker.quiet()  # for the instances all of them are over
            await until(lambda: worker.numbers()["slow_readers"] == count, "every stream is given up", 15)
            await until(lambda: all(s.reset_code is not None for s in client.streams.values()), "the resets")
            assert {s.reset_code for s in client.streams.values()} == {ENHANCE_YOUR_CALM}
            assert {s.status for s in client.streams.values()} == {404 if "_" in path else 200}
            # The connection lives, and serves a stream that has credit.
            client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65535})
            client.flush()
            assert (await soon(client.get("/health"), "the answer")).body == b"OK"


@scenario
async def test_http2_answers_that_no_one_takes_do_not_hold_up_a_drain() -> None:
    async with WorkerProcess.running(*HASTY, "--lame-duck", "0", "--drain-deadline", "60") as worker:

        async def handler(call: Call) -> None:
            await call.respond(200, body=bytes(100_000))

        await worker.instance(handler, channels=10)
        async with await without_credit(worker, 10, "/"):
            await until(lambda: worker.numbers()["requests"] == 10, "the answers")
            assert worker.process is not None
            worker.process.send_signal(signal.SIGTERM)
            assert await soon(worker.process.wait(), "the end of the worker", 15) == 0
        assert worker.numbers()["slow_readers"] == 10
        assert "deadline" not in worker.text()


@scenario
async def test_over_tls_a_client_that_reads_nothing_is_cut_off_as_well(tmp_path: Path) -> None:
    count = 400_000  # the kernel's buffers take some 60,000 answers
    pair = certs.make(tmp_path)
    async with WorkerProcess.running(*HASTY, certs=pair) as worker:
        async with await worker.client(tls=pair.client_context("http/1.1")) as client:
            assert (await client.get("/health")).body == b"OK"
            before = worker.resident()
            assert isinstance(client.writer.transport, asyncio.Transport)
            client.writer.transport.pause_reading()
            client.writer.write(HEALTH * count)
            await until(lambda: worker.numbers()["connections"] == 0, "the client is cut off", 15)
            client.abort()
        assert worker.numbers()["health_checks"] < count // 2
        assert worker.resident() - before < 16 << 20
