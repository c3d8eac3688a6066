"""MemoryBudget: what a worker holds for clients is bounded as a whole, and goes back to the system after a peak."""

import asyncio
import contextlib
import socket

import h2.settings

from lambda_dispatch.worker.memory import trim
from tests.support.clients import H2Client, ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

MIB = 1 << 20
BUDGET = 16 * MIB
SMALL = ("--memory-budget", "16MiB", "--min-read-rate", "0", "--min-body-rate", "0")


async def without_credit(worker: WorkerProcess, count: int) -> H2Client:
    client = await worker.h2(credit=False)
    client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    for _ in range(count):
        client.open("/")
    return client


@scenario
async def test_answers_that_nobody_takes_are_bounded_and_a_normal_client_is_served() -> None:
    async with WorkerProcess.running(*SMALL) as worker:

        async def large(call: Call) -> None:
            await call.respond(200, body=bytes(100_000 if call.target == "/" else 10))

        await worker.instance(large, channels=100, limit=100)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(6):
                await stack.enter_async_context(await without_credit(worker, 60))
            await until(lambda: worker.numbers()["memory_refused"] > 0, "the largest is ended", 20)
            assert (await soon(ask("h1", worker.ports["http"], "/small"), "the answer")).status == 200
            await until(lambda: worker.numbers()["memory_held"] < BUDGET * 0.75, "memory is within its budget", 20)
        await until(lambda: worker.numbers()["memory_held"] < MIB, "nothing is held any more", 20)
        assert "memory budget exceeded step=" in worker.text()
        await worker.quiet()


@scenario
async def test_queued_bodies_are_refused_beyond_the_budget() -> None:
    body = bytes(60_000)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with WorkerProcess.running(*SMALL) as worker:
        before = worker.resident()
        sockets = []
        try:
            for _ in range(400):
                sock = socket.create_connection(("127.0.0.1", worker.ports["http"]), 20)
                sockets.append(sock)
                await asyncio.to_thread(sock.sendall, head + body)
            answer = await asyncio.to_thread(sockets[0].recv, 4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"x-lambda-dispatch-error: over_memory_budget\r\n" in answer
            assert b"retry-after: 1\r\n" in answer
            assert worker.resident() - before < 3 * BUDGET
            await worker.instance(limit=10)
            last = await asyncio.to_thread(sockets[-1].recv, 4096)
            assert last.startswith(b"HTTP/1.1 200 "), "the newest are kept"
        finally:
            for sock in sockets:
                sock.close()
        await until(lambda: worker.resident() - before < 8 * MIB, "memory goes back to the system", 20)
        await worker.quiet()


@scenario
async def test_heads_that_grow_and_never_end_are_refused_beyond_the_budget() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(60))
    async with WorkerProcess.running(*SMALL) as worker:
        before = worker.resident()
        with contextlib.ExitStack() as stack:
            sockets = []
            for _ in range(500):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", worker.ports["http"]), 20))
                sockets.append(sock)
                await asyncio.to_thread(sock.sendall, head)
            answer = await asyncio.to_thread(sockets[0].recv, 4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"x-lambda-dispatch-error: over_memory_budget\r\n" in answer
            # Within one look's room, not within a second's: what is read between two looks is bounded.
            assert worker.resident() - before < 2 * BUDGET
            await worker.instance()
            assert (await soon(ask("h1", worker.ports["http"]), "the answer")).status == 200
        await worker.quiet()


def test_memory_can_be_given_back() -> None:
    assert trim() in (True, False)
