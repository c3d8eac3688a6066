"""Every counter and gauge of a worker slot is moved by what its description says. One that nothing moves is a lie."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import h2.settings
import pytest
from h2.errors import ErrorCodes

from lambda_dispatch_core.board.board import COUNTERS, GAUGES
from tests.process.test_worker_grpc import GRPC, SPEAKS, answers_with_trailers
from tests.process.test_worker_upgrade import accepts, echo, upgraded
from tests.support.across import ask as ask_fleet
from tests.support.across import fleet
from tests.support.clients import ask
from tests.support.instance_peer import ANNOUNCED, Call
from tests.support.loop import run, soon, until
from tests.support.websocket import FEATURES
from tests.support.worker_process import WorkerProcess

FLAGS = ("--body-grace", "0.5", "--min-read-rate", "1000", "--max-queue", "1", "--incoming-request-timeout", "2")
Move = Callable[[WorkerProcess], Awaitable[object]]


async def one_request(worker: WorkerProcess) -> None:
    await worker.instance()
    assert (await ask("h1", worker.ports["http"])).status == 200


def answers(status: int) -> Move:
    async def move(worker: WorkerProcess) -> None:
        async def handler(call: Call) -> None:
            await call.respond(status)

        await worker.instance(handler)
        assert (await ask("h1", worker.ports["http"])).status == status

    return move


async def an_interim_response(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
        await call.respond()

    await worker.instance(handler)
    for speaks in ("h1", "h2"):
        before = worker.numbers()["status_1xx"]
        assert (await ask(speaks, worker.ports["http"])).status == 200
        assert worker.numbers()["status_1xx"] == before + 1


async def a_malformed_request(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.response()).status == 400


async def a_large_head(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        assert (await client.get("/", "x: y\r\n" * 1000)).status == 431


async def a_failing_instance(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        call.reset(ErrorCodes.INTERNAL_ERROR)

    await worker.instance(handler)
    before = worker.board.pool_totals(0)
    assert (await ask("h1", worker.ports["http"])).status == 502
    after = worker.board.pool_totals(0)
    assert (after.failures, after.completions) == (before.failures + 1, before.completions + 1)


async def a_full_queue_and_a_timeout(worker: WorkerProcess) -> None:
    waiting = asyncio.create_task(ask("h1", worker.ports["http"]))
    await worker.waits(1)
    assert (await ask("h1", worker.ports["http"])).status == 503
    assert (await waiting).status == 504


async def a_client_that_leaves(worker: WorkerProcess) -> None:
    gone = worker.numbers()["clients_gone"]
    client = await worker.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await worker.waits(1)
    client.abort()
    await until(lambda: worker.numbers()["clients_gone"] > gone, "the client is gone")


async def a_refused_stream(worker: WorkerProcess) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        if len(calls) == 1:
            call.reset(ErrorCodes.REFUSED_STREAM)
        else:
            await call.respond()

    await worker.instance(handler, channels=2)
    failures, resends = worker.board.pool_totals(0).failures, worker.numbers()["resends"]
    assert (await ask("h1", worker.ports["http"])).status == 200
    assert worker.board.pool_totals(0).failures == failures
    assert worker.numbers()["resends"] == resends + 1


async def an_upgraded_connection(worker: WorkerProcess) -> None:
    await worker.instance(accepts(echo), more_fields=FEATURES)
    async with await worker.client() as client:
        await upgraded(client)
        await until(lambda: worker.numbers()["upgrades_open"] == 1, "it is open")
        await client.send(b"hello")
        await client.reader.readexactly(5)
        client.writer.write_eof()
        await client.reader.read()
    await until(lambda: worker.numbers()["upgrades_open"] == 0, "it is over")


async def a_grpc_call(worker: WorkerProcess) -> None:
    await worker.instance(answers_with_trailers, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = client.open("/a.B/C", GRPC, "POST", end=False)
        await until(lambda: worker.numbers()["grpc_open"] == 1, "it is open")
        await stream.send(b"hello", end=True)
        await stream.done()
    await until(lambda: worker.numbers()["grpc_open"] == 0, "it is over")


async def a_grpc_client_that_leaves(worker: WorkerProcess) -> None:
    peer = await worker.instance(answers_with_trailers, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = client.open("/a.B/C", GRPC, "POST", end=False)
        await until(lambda: len(peer.calls) == 1, "the call at the instance")
        stream.reset()
    await until(lambda: worker.numbers()["grpc_open"] == 0, "it is over")


async def a_grpc_call_for_no_instance(worker: WorkerProcess) -> None:
    await worker.instance(more_fields=ANNOUNCED)
    async with await worker.h2() as client:
        await client.get("/a.B/C", GRPC, "POST", b"x")


async def a_broken_grpc_call(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.write(call.head_text(200, [("content-type", "application/grpc")]) + b"half")
        call.reset()

    await worker.instance(breaks, more_fields=SPEAKS)
    async with await worker.h2() as client:
        await client.get("/a.B/C", GRPC, "POST", b"x")


async def a_health_check(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        await client.get("/health")


async def a_slow_body(worker: WorkerProcess) -> None:
    await worker.instance()
    async with await worker.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nab")
        assert (await soon(client.response(), "the answer")).status == 408


async def an_unread_answer(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=bytes(100_000))

    await worker.instance(handler)
    async with await worker.h2(credit=False) as client:
        client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        client.open("/")
        await until(lambda: worker.numbers()["slow_readers"] > 0, "the stream is given up")


MOVES: dict[str, tuple[Move, tuple[str, ...]]] = {
    "one request": (
        one_request,
        (
            *("requests", "status_2xx", "dispatched_local", "accepted", "bytes_in", "bytes_out"),
            *("instance_bytes_in", "instance_bytes_out", "channels_parked", "instance_accepted"),
        ),
    ),
    "an interim response": (an_interim_response, ("status_1xx",)),
    "302": (answers(302), ("status_3xx",)),
    "404": (answers(404), ("status_4xx",)),
    "500": (answers(500), ("status_5xx",)),
    "a malformed request": (a_malformed_request, ("bad_requests",)),
    "a large head": (a_large_head, ("heads_too_large",)),
    "a failing instance": (a_failing_instance, ("bad_gateways",)),
    "a full queue and a timeout": (a_full_queue_and_a_timeout, ("rejected", "queue_timeouts")),
    "a client that leaves": (a_client_that_leaves, ("clients_gone",)),
    "a refused stream": (a_refused_stream, ("resends",)),
    "an upgraded connection": (
        an_upgraded_connection,
        ("upgrades_opened", "upgrades_by_client", "upgrade_bytes_in", "upgrade_bytes_out"),
    ),
    "a gRPC call": (a_grpc_call, ("grpc_opened", "grpc_by_application", "grpc_bytes_in", "grpc_bytes_out")),
    "a gRPC client that leaves": (a_grpc_client_that_leaves, ("grpc_by_client",)),
    "a gRPC call for no instance": (a_grpc_call_for_no_instance, ("grpc_by_router",)),
    "a broken gRPC call": (a_broken_grpc_call, ("grpc_broken",)),
    "a health check": (a_health_check, ("health_checks",)),
    "a slow body": (a_slow_body, ("slow_senders",)),
    "an unread answer": (an_unread_answer, ("slow_readers",)),
}
ACROSS = ("dispatched_sibling", "served_siblings")
# Moved by a test beside this file, which needs a worker with limits of its own.
ELSEWHERE = {
    "connections_reclaimed": "test_worker_room.py",
    "connections_refused": "test_worker_room.py",
    "memory_narrowed": "test_worker_memory.py",
    "memory_paused": "test_worker_memory.py",
    "memory_refused": "test_worker_memory.py",
    "upgrades_by_application": "test_worker_tunnels.py",
    "upgrades_by_router": "test_worker_tunnels.py",
    "upgrades_broken": "test_worker_tunnels.py",
    "handshakes": "test_worker_room.py",
    "memory_held": "test_worker_memory.py",
}


@pytest.mark.parametrize("what", MOVES)
def test_what_happens_moves_its_counters(worker: WorkerProcess, what: str) -> None:
    move, names = MOVES[what]
    before = worker.numbers()

    async def scenario() -> None:
        await move(worker)
        for name in names:
            await until(lambda name=name: worker.numbers()[name] > before[name], f"{name} grows")  # type: ignore[misc]

    run(scenario())


def test_a_request_that_a_sibling_serves_moves_the_counters_of_both() -> None:
    async def scenario() -> None:
        async with fleet(2) as it:
            await it.instance()
            while not it.hops():
                assert (await ask_fleet(it.port))[0] == 200
            assert all(it.sum(name) > 0 for name in ACROSS)

    run(scenario(), 30)


def test_gauges_show_what_is_open_now(worker: WorkerProcess) -> None:
    async def scenario() -> None:
        await worker.instance(channels=3)
        async with await worker.client() as client:
            await until(lambda: worker.numbers()["connections"] == 1, "the client's connection")
            assert worker.numbers()["instance_connections"] == 1
            await until(lambda: worker.numbers()["idle_channels"] == 3, "the channels")
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nab")
            await until(lambda: worker.numbers()["uploads_held"] == 1, "the upload is held")
            async with await worker.h2() as other:
                await other.get("/health")
                numbers = worker.numbers()
                assert (numbers["connections"], numbers["connections_http2"]) == (2, 1)
            await until(lambda: worker.numbers()["connections_http2"] == 0, "the other client is gone")
        await until(lambda: worker.numbers()["uploads_held"] == 0, "nothing is held")

    run(scenario())


def test_no_counter_is_left_out() -> None:
    moved = {name for _, names in MOVES.values() for name in names} | set(ACROSS)
    open_now = {
        "upgrades_open",
        "grpc_open",
        "connections",
        "connections_http2",
        "instance_connections",
        "idle_channels",
        "uploads_held",
    }
    assert moved | open_now | set(ELSEWHERE) == set(COUNTERS) | set(GAUGES)
    for name, file in ELSEWHERE.items():
        assert f'worker.numbers()["{name}"]' in (Path(__file__).parent / file).read_text()
