"""Requests that need more than HTTP where only some instances can give it: they wait for one of those."""

import asyncio

import pytest

from tests.process.test_worker_grpc import GRPC, SPEAKS, answers_with_trailers, own
from tests.process.test_worker_upgrade import HOST, accepts, echo, upgraded
from tests.support.clients import H2Client, H2Stream, RawClient, ask
from tests.support.instance_peer import Call, InstancePeer
from tests.support.loop import run, scenario, soon, until
from tests.support.websocket import FEATURES, FIELDS
from tests.support.worker_process import WorkerProcess

UPGRADE = f"GET /chat HTTP/1.1\r\n{HOST}{FIELDS}\r\n".encode()


async def original(worker: WorkerProcess, channels: int = 2) -> InstancePeer:
    """It announces nothing."""
    return await worker.instance(accepts(echo), channels=channels)


async def waiting(worker: WorkerProcess, clients: int = 1) -> list[RawClient]:
    """Clients whose upgrade waits, after one that has taken the only slot there was: the first of the list."""
    taker = await worker.client()
    await upgraded(taker)
    others = [await worker.client() for _ in range(clients)]
    for other in others:
        await other.send(UPGRADE)
    await worker.waits(clients)
    return [taker, *others]


async def left(client: RawClient) -> None:
    client.writer.write_eof()
    assert await soon(client.reader.read(), "the end of the socket") == b""
    await client.close()


@scenario
async def test_an_upgrade_waits_for_an_instance_that_can_and_is_in_no_others_way(worker: WorkerProcess) -> None:
    cannot = await original(worker)
    can = await worker.instance(accepts(echo), more_fields=FEATURES)
    before = worker.now()
    first, second, third = await waiting(worker, 2)
    async with await worker.client() as plain:
        await until(lambda: worker.board.list_workers()[0].oldest_queued >= before, "since when the oldest waits")
        for _ in range(3):
            assert (await plain.get("/plain")).status == 426
    for client in (second, third):
        await left(first)
        assert (await soon(client.head(), "the answer")).status == 101
        await client.send(b"ping")
        assert await soon(client.reader.readexactly(4), "the echo") == b"ping"
        first = client
    await left(first)
    assert (len(can.calls), [call.target for call in cannot.calls]) == (3, ["/plain"] * 3)
    await worker.quiet()


@scenario
async def test_when_no_instance_can_any_more_it_becomes_a_plain_request(worker: WorkerProcess) -> None:
    cannot = await original(worker)
    await worker.instance(accepts(echo), more_fields=FEATURES)
    given = worker.given[-1]
    first, second = await waiting(worker)
    worker.close_instance(given)
    assert (await soon(second.response(), "the answer")).status == 426
    assert cannot.calls[0].all("upgrade") == []
    for client in (first, second):
        await client.close()
    await worker.quiet()


@pytest.mark.parametrize("able", [True, False])
@scenario
async def test_one_that_starts_is_waited_for_when_the_newest_could(worker: WorkerProcess, able: bool) -> None:
    await original(worker)
    await worker.instance(accepts(echo), more_fields=FEATURES)
    given = worker.given[-1]
    first, second = await waiting(worker)
    starting = worker.start()
    worker.close_instance(given)
    # A request behind it has passed every step that could have answered the one that waits.
    assert await soon(first.reader.read(), "the first socket's end") != b"", "a Close"
    async with await worker.client() as plain:
        assert (await plain.get("/plain")).status == 426
    assert worker.queued() == 1
    await worker.dial(starting, accepts(echo), more_fields=FEATURES if able else ())
    answer = await soon(second.head() if able else second.response(), "the answer")
    assert answer.status == (101 if able else 426)
    for client in (first, second):
        await client.close()
    await worker.quiet()


@scenario
async def test_a_fleet_in_which_none_can_answers_at_once_even_while_it_grows(worker: WorkerProcess) -> None:
    await original(worker)
    worker.start()
    async with await worker.client() as client:
        assert (await client.get("/chat", FIELDS)).status == 426
    await worker.quiet()


@scenario
async def test_one_that_leaves_while_it_waits_takes_no_slot(worker: WorkerProcess) -> None:
    await original(worker)
    can = await worker.instance(accepts(echo), more_fields=FEATURES)
    first, second, third = await waiting(worker, 2)
    second.reset()
    await worker.waits(1)
    await left(first)
    assert (await soon(third.head(), "the answer")).status == 101
    await left(third)
    assert len(can.calls) == 2
    await worker.quiet()


def test_it_is_bounded_in_number_and_time_like_any_queue() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--max-queue", "1", "--incoming-request-timeout", "1") as worker:
            await original(worker)
            await worker.instance(accepts(echo), more_fields=FEATURES)
            first, second = await waiting(worker)
            async with await worker.client() as client:
                answer = await client.get("/chat", FIELDS)
                assert (answer.status, answer.error) == (503, "queue_full")
            answer = await soon(second.response(), "the answer")
            assert (answer.status, answer.error) == (504, "queue_timeout")
            for client in (first, second):
                await client.close()
            await worker.quiet()

    run(body(), 30)


def test_one_that_is_sent_again_keeps_its_place_in_a_full_queue() -> None:
    async def body() -> None:
        refuses, answers = asyncio.Event(), asyncio.Event()

        async def refuse(call: Call) -> None:
            await refuses.wait()
            call.reset(7)  # REFUSED_STREAM

        async def answer(call: Call) -> None:
            await answers.wait()
            await call.respond()

        async with WorkerProcess.running("--max-queue", "1") as worker:
            leaving = await worker.instance(refuse, more_fields=FEATURES)
            again = await worker.client()
            await again.send(UPGRADE)
            await until(lambda: len(leaving.calls) == 1, "the upgrade at the first instance")
            await worker.instance(accepts(echo), more_fields=FEATURES)
            taker = await worker.client()
            await upgraded(taker)
            cannot = await worker.instance(answer)
            plain = [asyncio.create_task(ask("h1", worker.ports["http"])) for _ in range(2)]
            await until(lambda: len(cannot.calls) == 1, "an ordinary request at the instance that cannot")
            await worker.waits(1)
            leaving.retired = True
            refuses.set()
            await worker.waits(2)
            answers.set()
            assert [(await soon(one, "the answer")).status for one in plain] == [200, 200]
            await worker.waits(1)
            await left(taker)
            assert (await soon(again.head(), "the answer")).status == 101
            await left(again)
            await worker.quiet()

    run(body(), 30)


async def one_at_work_and_one_that_waits(
    worker: WorkerProcess, client: H2Client, can: InstancePeer
) -> tuple[H2Stream, H2Stream]:
    first = client.open("/a.B/C", GRPC, "POST", end=False)
    await until(lambda: len(can.calls) == 1, "the first call")
    second = client.open("/a.B/C", GRPC, "POST", end=True)
    await worker.waits(1)
    return first, second


def test_a_grpc_call_is_bounded_likewise() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--max-queue", "1", "--incoming-request-timeout", "1") as worker:
            await original(worker)
            can = await worker.instance(answers_with_trailers, more_fields=SPEAKS)
            async with await worker.h2() as client:
                first, second = await one_at_work_and_one_that_waits(worker, client, can)
                assert own(await client.get("/a.B/C", GRPC, "POST"))[::2] == ("14", "queue_full")
                assert own(await soon(second.done(), "the answer"))[::2] == ("14", "queue_timeout")
                await first.send(b"x", end=True)
                assert dict((await first.done()).trailers or [])["grpc-status"] == "0"
            await worker.quiet()

    run(body(), 30)


@scenario
async def test_a_grpc_call_waits_likewise(worker: WorkerProcess) -> None:
    await original(worker)
    can = await worker.instance(answers_with_trailers, more_fields=SPEAKS)
    async with await worker.h2() as client:
        first, second = await one_at_work_and_one_that_waits(worker, client, can)
        await first.send(b"x", end=True)
        for stream in (first, second):
            assert dict((await stream.done()).trailers or [])["grpc-status"] == "0"
    assert len(can.calls) == 2
    await worker.quiet()
