"""Answers whose client has gone: the channel is reset, or the rest runs out first."""

import asyncio

import pytest

from tests.support.clients import RawClient, ask
from tests.support.instance_peer import ANNOUNCED, Call, InstancePeer
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

ABANDONED = 8 << 20  # bytes; see control/channel.pyx


async def abandon(worker: WorkerProcess, request: bytes = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n") -> None:
    """Reads the head of the answer and leaves."""
    client = await RawClient.dial(worker.ports["http"])
    await client.send(request)
    assert (await client.head()).status == 200
    await client.close()


class Big:
    """Answers /big with `size` bytes, everything else with a greeting; notes how each /big ended."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.whole = 0

    async def __call__(self, call: Call) -> None:
        if call.target != "/big":
            await call.respond(200, body=b"hello")
            return
        await call.write(call.head_text(200, [], self.size))
        piece = bytes(64 * 1024)
        for _ in range(self.size // len(piece)):
            await call.write(piece)
        await call.end()
        self.whole += 1


def resets(peer: InstancePeer) -> int:
    return sum(call.reset_by_router.done() for call in peer.calls)


@scenario
async def test_the_rest_of_an_abandoned_answer_runs_out(worker: WorkerProcess) -> None:
    app = Big(4 << 20)
    peer = await worker.instance(app, channels=1)
    for n in range(3):
        await abandon(worker)
        await until(lambda n=n: app.whole == n + 1, "the whole answer was taken")  # type: ignore[misc]
    assert (await soon(ask("h1", worker.ports["http"]), "the same channel serves the next")).body == b"hello"
    assert resets(peer) == 0
    await worker.quiet()


@scenario
async def test_an_abandoned_answer_over_the_limit_is_reset(worker: WorkerProcess) -> None:
    app = Big(4 * ABANDONED)
    peer = await worker.instance(app, channels=1)
    await abandon(worker)
    await until(lambda: resets(peer) == 1, "the reset")
    assert ABANDONED < peer.calls[0].written < 2 * ABANDONED
    assert (await soon(ask("h1", worker.ports["http"]), "the next answer")).body == b"hello"
    await worker.quiet()


@scenario
async def test_an_abandoned_answer_that_does_not_go_on_is_reset(worker: WorkerProcess) -> None:
    async def stalls(call: Call) -> None:
        await call.write(call.head_text())
        await call.gone()

    peer = await worker.instance(stalls, channels=1)
    await abandon(worker)
    await until(lambda: resets(peer) == 1, "the reset", 20)
    await worker.quiet()


@scenario
async def test_an_answer_whose_head_is_not_even_there_runs_out(worker: WorkerProcess) -> None:
    gate = asyncio.Event()

    async def late(call: Call) -> None:
        await gate.wait()
        await call.respond(200, body=bytes(1 << 20))

    peer = await worker.instance(late, channels=1)
    gone = worker.numbers()["clients_gone"]
    client = await RawClient.dial(worker.ports["http"])
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: len(peer.calls) == 1, "the request has come")
    await client.close()
    await until(lambda: worker.numbers()["clients_gone"] == gone + 1, "the client is gone")
    assert worker.running_now() == 1, "the instance works on it, so its place is taken"
    gate.set()
    await soon(peer.parked(1), "the channel is parked again")
    assert resets(peer) == 0


@pytest.mark.parametrize("body", [b"half ", b""])
@scenario
async def test_a_request_that_is_not_whole_is_never_ended_as_if_it_were(worker: WorkerProcess, body: bytes) -> None:
    ended: list[bool] = []

    async def streams(call: Call) -> None:
        await call.write(call.head_text())
        try:
            await call.gone()
        finally:
            ended.append(call.request_ended)

    await worker.instance(streams, channels=1)
    await abandon(worker, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + body)
    await until(lambda: ended == [False], "the reset")


@scenario
async def test_our_own_extension_is_reset_at_once(worker: WorkerProcess) -> None:
    app = Big(4 << 20)
    peer = await worker.instance(app, channels=1, more_fields=ANNOUNCED)
    await abandon(worker)
    await until(lambda: resets(peer) == 1, "the reset")
    assert peer.calls[0].written < 1 << 20
    assert app.whole == 0


@scenario
async def test_an_answer_that_is_no_good_runs_out(worker: WorkerProcess) -> None:
    async def nonsense(call: Call) -> None:
        if call.target == "/ok":
            await call.respond(200, body=b"hello")
            return
        await call.write(b"this is not HTTP\r\n\r\n" + bytes(200_000))
        await call.end()

    peer = await worker.instance(nonsense, channels=1)
    answer = await ask("h1", worker.ports["http"])
    assert (answer.status, answer.error) == (502, "answer_malformed")
    assert (await soon(ask("h1", worker.ports["http"], "/ok"), "the next answer")).body == b"hello"
    assert resets(peer) == 0
