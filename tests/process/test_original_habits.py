"""What other extensions of this protocol do that ours does not: each is a habit the router has to live with."""

import asyncio

import pytest

from lambda_dispatch_core.board.board import INSTANCE_DRAINING, INSTANCE_OPEN
from tests.support.clients import RawClient, ask
from tests.support.instance_peer import ANNOUNCED, Call, Gone
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import Given, WorkerProcess

# A request whose client leaves before its body is whole: what is left of it cannot run out, so its channel is reset.
UNFINISHED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf "


def state(worker: WorkerProcess, given: Given) -> int:
    return worker.board.instance(given.slot).state


@scenario
async def test_a_channel_whose_host_lacks_the_port_of_its_authority_is_parked(worker: WorkerProcess) -> None:
    given = worker.start()
    peer = await worker.dial(given, park=False)
    assert peer.authority.startswith("127.0.0.1:")
    fields = [
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("host", "127.0.0.1"),
        ("x-pool-id", "default"),
        ("x-lambda-id", given.id),
        ("x-channel-id", peer.channel_ids[0]),
    ]
    peer.park(0, fields=fields)
    await soon(peer.parked(1), "the 200")
    assert worker.board.instance(given.slot).state == INSTANCE_OPEN
    assert (await ask("h1", worker.ports["http"])).status == 200


# One connection, kept from invoke to invoke


@scenario
async def test_the_connection_of_an_invoke_that_has_returned_serves_the_next_one(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=2)
    assert (await ask("h1", worker.ports["http"])).status == 200
    await peer.parked(2)
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    assert await peer.ping() == 409  # and so everything before it has come, the ends of the channels too
    worker.close_instance(worker.given[0])
    given = worker.start()
    peer.id, peer.retired = given.id, False
    for channel in range(2):
        peer.park(channel)
    await soon(peer.parked(2), "the 200s of the next invoke")
    assert state(worker, given) == INSTANCE_OPEN
    assert (await ask("h1", worker.ports["http"])).status == 200
    assert not peer.lost.is_set()


@scenario
async def test_a_connection_that_no_next_invoke_comes_over_is_closed(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    assert await peer.ping() == 409
    worker.close_instance(worker.given[0])
    await soon(peer.lost.wait(), "the end of the connection", 15)
    assert peer.goaway_frame == 0


# The application is gone: first the close call, then the end of the request


@scenario
async def test_close_is_answered_while_a_request_has_no_answer_yet(worker: WorkerProcess) -> None:
    async def closes_first(call: Call) -> None:
        assert await peer.ask_to_close() == 200
        await call.end()

    peer = await worker.instance(closes_first, channels=3)
    answer = await soon(ask("h1", worker.ports["http"]), "the answer")
    assert (answer.status, answer.error) == (502, "answer_missing")
    await until(lambda: peer.idle() == 0, "go-away on every channel")


# An answer taken into memory as a whole: the extension counts the request as done and parks the channel again, while
# most of the answer waits for the client


class Hoarder:
    """Serves one answer in the background, and parks its channel again at once."""

    def __init__(self, size: int) -> None:
        self.body = bytes(range(256)) * (size // 256)
        self.began = asyncio.Event()
        self.sending: list[asyncio.Task[None]] = []

    async def __call__(self, call: Call) -> None:
        await call.body()
        self.sending.append(asyncio.create_task(self._send(call)))
        call.given_up = call.answer_ended = True  # as far as the peer's own bookkeeping goes

    async def _send(self, call: Call) -> None:
        call.answer_ended = False
        await call.write(call.head_text(200, [], len(self.body)) + self.body[:1024])
        self.began.set()
        await call.write(self.body[1024:], end=True)


async def slow_download(worker: WorkerProcess, hoarder: Hoarder) -> RawClient:
    client = await RawClient.dial(worker.ports["http"])
    await client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    await hoarder.began.wait()
    return client


@scenario
async def test_close_is_answered_when_the_last_byte_of_an_answer_has_come(worker: WorkerProcess) -> None:
    hoarder = Hoarder(8 << 20)
    peer = await worker.instance(hoarder, channels=3)
    async with await slow_download(worker, hoarder) as client:
        await soon(peer.parked(3), "all channels parked, though one still answers")
        closing = asyncio.create_task(peer.ask_to_close())
        await until(lambda: state(worker, worker.given[0]) == INSTANCE_DRAINING, "the instance drains")
        await until(lambda: peer.idle() == 1, "go-away on all but the last channel")
        late = peer.answer_to(peer.park(0))
        assert await peer.ping() == 409
        assert not closing.done() and not late.done.is_set()
        assert (await soon(client.response(), "the rest of the answer")).body == hoarder.body
        assert await soon(closing, "the answer to close") == 200
        await soon(late.done.wait(), "the answer to the channel that came late")
        assert late.status == 409
        await until(lambda: peer.idle() == 0, "go-away on the last channel")


@scenario
async def test_an_instance_that_is_drained_keeps_a_channel_until_its_answers_are_over(worker: WorkerProcess) -> None:
    hoarder = Hoarder(8 << 20)
    peer = await worker.instance(hoarder, channels=3)
    given = worker.given[0]
    async with await slow_download(worker, hoarder) as client:
        await soon(peer.parked(3), "all channels parked, though one still answers")
        worker.board.begin_drain(given.slot, given.generation, worker.now())
        worker.ring()
        await until(lambda: peer.idle() == 1, "go-away on all but the last channel")
        assert (await soon(client.response(), "the rest of the answer")).body == hoarder.body
        await until(lambda: peer.idle() == 0, "go-away on the last channel")


# A channel that was reset is the beginning of the end


@scenario
async def test_an_instance_that_parks_no_more_after_a_reset_is_replaced(worker: WorkerProcess) -> None:
    async def streams(call: Call) -> None:
        await call.write(call.head_text() + b"a beginning")
        try:
            await call.gone()
        finally:
            peer.retired = True
        raise Gone(None)

    peer = await worker.instance(streams, channels=3)
    given = worker.given[0]
    client = await RawClient.dial(worker.ports["http"])
    await client.send(UNFINISHED)
    assert (await client.head()).status == 200
    await client.close()
    await until(lambda: state(worker, given) == INSTANCE_DRAINING, "it is to be replaced")
    assert worker.board.instance(given.slot).goaway_at > worker.now(), "until then it may serve"
    assert peer.idle() == 2


@scenario
async def test_an_instance_that_parks_a_reset_channel_again_stays(worker: WorkerProcess) -> None:
    async def streams(call: Call) -> None:
        if call.target == "/ping":
            await call.respond(200)
            return
        await call.write(call.head_text() + b"a beginning")
        await call.gone()

    peer = await worker.instance(streams, channels=3)
    given = worker.given[0]
    other = await worker.instance(streams, channels=1)
    for _ in range(3):
        client = await RawClient.dial(worker.ports["http"])
        await client.send(UNFINISHED)
        assert (await client.head()).status == 200
        await client.close()
    await peer.parked(3)
    await other.parked(1)
    began = worker.now()
    while worker.now() < began + 3_000_000_000:
        assert (await ask("h1", worker.ports["http"], "/ping")).status == 200
    assert state(worker, given) == INSTANCE_OPEN


@scenario
async def test_a_closing_instance_keeps_a_channel_while_a_request_has_no_answer_and_refuses_a_late_one_at_once(
    worker: WorkerProcess,
) -> None:
    gate = asyncio.Event()

    async def waits(call: Call) -> None:
        if call.target == "/slow":
            await gate.wait()
        await call.respond(200, body=b"hello")

    peer = await worker.instance(waits, channels=3)
    slow = asyncio.create_task(ask("h1", worker.ports["http"], "/slow"))
    await until(lambda: len(peer.calls) == 1, "the request has come")
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    await until(lambda: peer.idle() == 1, "go-away on all parked channels but one")
    late = peer.answer_to(peer.park(1))
    await soon(late.done.wait(), "the answer to the channel that came late")
    assert late.status == 409
    gate.set()
    assert (await soon(slow, "the answer")).body == b"hello"
    await until(lambda: peer.idle() == 0, "go-away on the last channel")


@scenario
async def test_a_drained_instance_keeps_a_channel_and_a_late_one_waits_while_a_request_has_no_answer(
    worker: WorkerProcess,
) -> None:
    gate = asyncio.Event()

    async def waits(call: Call) -> None:
        await gate.wait()
        await call.respond(200, body=b"hello")

    peer = await worker.instance(waits, channels=3)
    given = worker.given[0]
    slow = asyncio.create_task(ask("h1", worker.ports["http"], "/slow"))
    await until(lambda: len(peer.calls) == 1, "the request has come")
    worker.board.begin_drain(given.slot, given.generation, worker.now())
    worker.ring()
    await until(lambda: peer.idle() == 1, "go-away on all parked channels but one")
    late = peer.answer_to(peer.park(1))
    assert await peer.ping() == 409
    assert not late.done.is_set()
    gate.set()
    assert (await soon(slow, "the answer")).body == b"hello"
    await soon(late.done.wait(), "the answer to the channel that came late")
    assert late.status == 409
    await until(lambda: peer.idle() == 0, "go-away on the last channel")


# What it cannot parse ends its invoke


@pytest.mark.parametrize("speaks", ["h1", "h2"])
@scenario
async def test_a_target_is_encoded_for_an_extension_that_has_not_announced_itself(
    worker: WorkerProcess, speaks: str
) -> None:
    peer = await worker.instance()
    assert (await ask(speaks, worker.ports["http"], '/<a>`?a="b"', method="POST", body=b'"<`')).status == 200
    assert peer.calls[0].target == "/%3Ca%3E%60?a=%22b%22"
    assert peer.calls[0].received == 3


@scenario
async def test_what_such_an_extension_cannot_take_is_answered_by_the_router(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=1)
    many = [(f"x-{n}", "1") for n in range(70)]
    answer = await ask("h1", worker.ports["http"], "/", fields=many)
    assert (answer.status, answer.error) == (431, "too_many_fields")
    answer = await ask("h1", worker.ports["http"], "*", method="OPTIONS")
    assert (answer.status, answer.error) == (501, "asterisk_not_supported")
    assert not peer.calls
    # The channel was not used: it serves the next request.
    assert (await soon(ask("h1", worker.ports["http"], "/"), "an answer")).status == 200
    await worker.quiet()


@scenario
async def test_our_own_extension_takes_them(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=1, more_fields=ANNOUNCED)
    many = [(f"x-{n}", "1") for n in range(70)]
    assert (await ask("h1", worker.ports["http"], "/", fields=many)).status == 200
    assert (await ask("h1", worker.ports["http"], "*", method="OPTIONS")).status == 200
    assert peer.calls[1].target == "*"


@scenario
async def test_those_that_wait_are_refused_when_their_turn_comes_and_others_served(worker: WorkerProcess) -> None:
    many = [(f"x-{n}", "1") for n in range(70)]
    asked = [
        asyncio.create_task(ask("h1", worker.ports["http"], f"/{n}", fields=many if n % 2 else [])) for n in range(6)
    ]
    await worker.waits(6)
    await worker.instance(channels=1)
    answers = await soon(asyncio.gather(*asked), "the answers")
    assert [answer.status for answer in answers] == [200, 431] * 3
    await worker.quiet()
