"""Answers that have all their content-length promised while the stream they came on is still open."""

import asyncio

import pytest
from h2.errors import ErrorCodes

from tests.support.clients import ask
from tests.support.instance_peer import Call, Handler
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


def complete(gate: asyncio.Event, head: bytes, body: bytes = b"", tail: bytes = b"") -> Handler:
    """All that content-length promises; the end of the stream, and `tail` before it, only when the gate is open."""

    async def handler(call: Call) -> None:
        await call.body()
        await call.write(head + body)
        await gate.wait()
        await call.write(tail, end=True)

    return handler


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@both
@pytest.mark.parametrize(
    ("method", "head", "body"),
    [
        ("GET", HELLO, b"hello"),
        ("HEAD", HELLO, b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["content-length", "HEAD", "204", "nothing"],
)
@scenario
async def test_an_answer_that_is_all_there_is_whole_for_the_client_before_its_stream_ends(
    worker: WorkerProcess, speaks: str, method: str, head: bytes, body: bytes
) -> None:
    gate = asyncio.Event()
    peer = await worker.instance(complete(gate, head, body), channels=2, limit=2)
    before = worker.numbers()["clients_gone"]
    for _ in range(2):
        assert (await soon(ask(speaks, worker.ports["http"], "/", method=method), "the answer")).body == body
    assert worker.board.instance(worker.given[0].slot).in_flight == 2  # its channels are not back
    waits = asyncio.create_task(ask(speaks, worker.ports["http"], "/", method=method))
    await worker.waits(1)
    gate.set()
    assert (await soon(waits, "the third answer")).body == body
    await worker.quiet()
    assert len(peer.calls) == 3
    assert worker.numbers()["clients_gone"] == before


@scenario
async def test_a_kept_connection_goes_on_while_the_stream_of_the_last_answer_is_still_open(
    worker: WorkerProcess,
) -> None:
    gate = asyncio.Event()
    await worker.instance(complete(gate, HELLO, b"hello"), channels=3)
    async with await worker.client() as client:
        for _ in range(3):
            assert (await soon(client.get(), "the answer")).body == b"hello"
    gate.set()
    await worker.quiet()


@scenario
async def test_what_follows_an_answer_that_was_all_there_is_thrown_away_and_the_channel_returns(
    worker: WorkerProcess,
) -> None:
    gate = asyncio.Event()
    peer = await worker.instance(complete(gate, HELLO, b"hello", b"surplus" * 1000), channels=1)
    gate.set()
    for i in range(3):
        assert (await ask("h1", worker.ports["http"])).body == b"hello"
        await soon(peer.served(i + 1), "the end of the stream")
    await worker.quiet()
    assert not any(call.reset_by_router.done() for call in peer.calls)


@scenario
async def test_a_stream_that_does_not_end_behind_its_answer_is_reset(worker: WorkerProcess) -> None:
    gate = asyncio.Event()
    peer = await worker.instance(complete(gate, HELLO, b"hello", bytes(1_000_000)), channels=1)
    assert (await ask("h1", worker.ports["http"])).body == b"hello"
    gate.set()
    assert await soon(peer.calls[0].reset_by_router, "the reset") == ErrorCodes.CANCEL
    await worker.quiet()


@scenario
async def test_an_instance_that_is_lost_behind_its_answer_leaves_the_books_balanced(worker: WorkerProcess) -> None:
    peer = await worker.instance(complete(asyncio.Event(), HELLO, b"hello"), channels=2)
    assert (await ask("h1", worker.ports["http"])).body == b"hello"
    peer.drop()
    await worker.quiet()
