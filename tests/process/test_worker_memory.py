"""MemoryBudget: what a worker holds for clients is bounded as a whole, and goes back to the system after a peak."""

import asyncio
import contextlib
import os
import socket
from typing import cast

import h2.settings

from lambda_dispatch import config as configuration
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.front.door import Door
from lambda_dispatch.front.h1 import H1Wire
from lambda_dispatch.worker.memory import trim
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Hub
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
async def test_trailers_of_queued_requests_are_refused_beyond_the_budget() -> None:
    # Compressed, they are 170 bytes on the wire for 145 kB at the router.
    trailers = [("x-trailer", "v" * 900)] * 150
    async with WorkerProcess.running(*SMALL) as worker, contextlib.AsyncExitStack() as stack:
        before = worker.resident()
        for _ in range(6):
            client = await stack.enter_async_context(await worker.h2())
            for _ in range(100):
                stream = client.open("/", method="POST", end=False)
                client.conn.send_headers(stream.id, trailers, end_stream=True)
            client.flush()
        await until(lambda: worker.numbers()["memory_refused"] > 0, "the largest is ended", 20)
        await until(lambda: worker.numbers()["memory_held"] < BUDGET * 0.75, "memory is within its budget", 20)
        await until(lambda: worker.resident() - before < 3 * BUDGET, "what was freed goes back to the system", 20)
        assert (await soon(ask("h1", worker.ports["http"], "/health"), "the answer")).status == 200


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


INITIAL_WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
WINDOW = 192 * 1024
NARROW = 16 * 1024
# No instance, and nothing that is enough for a slot: bodies stay at the router.
PATIENT = (*SMALL, "--upload-grace", "600")


async def hold(worker: WorkerProcess, stack: contextlib.AsyncExitStack, bodies: int) -> H2Client:
    """A client whose unfinished uploads of 60 kB wait at the router; each takes 64 KiB there."""
    client = await stack.enter_async_context(await worker.h2())
    for _ in range(bodies):
        await client.open("/", [("content-length", "100000")], "POST", end=False).send(bytes(60_000))
    return client


@scenario
async def test_near_the_budget_windows_are_small_and_afterwards_what_they_were() -> None:
    async with WorkerProcess.running(*PATIENT) as worker, contextlib.AsyncExitStack() as stack:
        before = await stack.enter_async_context(await worker.h2())
        heavy = await hold(worker, stack, 80)
        await until(lambda: heavy.conn.remote_settings[INITIAL_WINDOW] == NARROW, "the client that holds much has less")
        newcomer = await stack.enter_async_context(await worker.h2())
        await until(lambda: newcomer.conn.remote_settings[INITIAL_WINDOW] == NARROW, "new clients have less")
        assert newcomer.conn.outbound_flow_control_window <= MIB, "a share for each connection"
        assert before.conn.remote_settings[INITIAL_WINDOW] == WINDOW, "who holds nothing is left alone"
        assert worker.numbers()["memory_narrowed"] > 0
        assert "memory budget near step=credit" in worker.text()
        assert heavy.transport is not None
        heavy.transport.abort()
        await until(lambda: newcomer.conn.remote_settings[INITIAL_WINDOW] == WINDOW, "windows are what they were", 20)
        await worker.instance()
        upload = newcomer.open("/", method="POST", end=False)
        await soon(upload.send(bytes(2 * MIB), end=True), "all of it is sent")
        assert (await soon(upload.done(), "the answer")).status == 200
        await worker.quiet()


@scenario
async def test_in_the_second_step_what_waits_is_not_read_and_goes_on_with_its_slot() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n"
    async with WorkerProcess.running(*PATIENT) as worker, contextlib.AsyncExitStack() as stack:
        uploads = [await stack.enter_async_context(await worker.client()) for _ in range(130)]
        for upload in uploads:
            await upload.send(head + bytes(60_000))
        await until(lambda: worker.numbers()["memory_paused"] > 0, "reading is paused", 20)
        assert "memory budget near step=pause" in worker.text()
        assert worker.numbers()["memory_refused"] == 0, "nobody is refused yet"
        for upload in uploads[5:]:
            upload.abort()
        for upload in uploads[:5]:
            upload.writer.write(bytes(340_000))
        await worker.instance()
        for upload in uploads[:5]:
            assert (await soon(upload.response("POST"), "the answer", 20)).status == 200
        await worker.quiet()


@scenario
async def test_a_large_head_is_read_on_when_memory_is_free_again() -> None:
    async with WorkerProcess.running(*PATIENT) as worker, contextlib.AsyncExitStack() as stack:
        late = await stack.enter_async_context(await worker.client())
        await late.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x-large: " + b"a" * 40_000 + b"\r\n")
        heavy = await hold(worker, stack, 100)
        await until(lambda: worker.numbers()["memory_paused"] > 1, "reading is paused", 20)
        await worker.instance()
        late.writer.write(b"x-more: b\r\n\r\n")
        assert heavy.transport is not None
        heavy.transport.abort()
        assert (await soon(late.response(), "the answer", 20)).status == 200
        await worker.quiet()


@scenario
async def test_an_http2_connection_that_holds_much_is_refused_new_requests_and_no_other_is() -> None:
    async with WorkerProcess.running(*PATIENT) as worker, contextlib.AsyncExitStack() as stack:
        heavy = await hold(worker, stack, 110)
        await until(lambda: worker.numbers()["memory_paused"] > 0, "the connection is halted", 20)
        refused = await soon(heavy.get("/"), "an answer")
        assert (refused.status, refused.error) == (503, "over_memory_budget")
        await worker.instance()
        assert (await soon(ask("h2", worker.ports["http"]), "the answer")).status == 200
        await worker.quiet()


@scenario
async def test_what_is_closing_already_counts_as_freed_when_the_next_look_comes_soon() -> None:
    loop = asyncio.get_running_loop()
    config = configuration.load({}, ["--function-name", "f", "--upload-grace", "600"])
    board = Board.create(2, instances=64, pools=4)
    name = board.claim_pool(b"f", 1)
    assert name is not None
    attached = Board.attach(os.dup(board.fd), worker=0)
    hub = Hub(loop)
    matcher = Matcher(attached, 5000, 60.0, lambda: None, lambda _: None)
    door = Door(hub, matcher, attached, config, [])
    door.pool = matcher.add_pool(0, b"f", name[1])
    server = await loop.create_server(lambda: cast("asyncio.Protocol", H1Wire(door, b"http")), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(4):
                clients.append(await stack.enter_async_context(await H2Client.dial(port)))
                for _ in range(10):
                    await clients[-1].open("/", [("content-length", "100000")], "POST", end=False).send(bytes(60_000))
            each = 10 * 65536
            await until(lambda: sum(door.measure()) >= 4 * each, "all of it is held")
            assert door.shed(each, 1)[0] == 1
            # Nothing has happened in between: the one that was ended still has its bytes.
            assert door.shed(each, 1)[0] == 0, "they are as good as free"
            assert door.shed(2 * each, 1)[0] == 1
            await until(lambda: sum(client.lost.is_set() for client in clients) == 2, "two were ended")
            assert len(door.wires) == 2
    finally:
        # Its connections write into the board.
        await until(lambda: not door.wires, "all connections have ended")
        server.close()
        await server.wait_closed()
        attached.close()
        board.close()


def test_memory_can_be_given_back() -> None:
    assert trim() in (True, False)
