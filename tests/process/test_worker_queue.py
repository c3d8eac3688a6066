"""Requests and slots meeting: the queue, the limit per instance, who is chosen, and clients that do not wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from h2.errors import ErrorCodes

from tests.support.clients import Response, ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


class Gate:
    """A handler whose calls wait until they are let through."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._open: dict[str, asyncio.Event] = {}
        self.all = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        own = self._open.setdefault(call.target, asyncio.Event())
        await asyncio.wait(
            [asyncio.ensure_future(own.wait()), asyncio.ensure_future(self.all.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await call.respond(200, body=call.target.encode())

    def let(self, target: str) -> None:
        self._open.setdefault(target, asyncio.Event()).set()


def asks(worker: WorkerProcess, count: int, speaks: str = "h1", prefix: str = "/") -> list[asyncio.Task[Response]]:
    return [asyncio.create_task(ask(speaks, worker.ports["http"], f"{prefix}{i}")) for i in range(count)]


def say(worker: WorkerProcess, packs: int) -> None:
    """As the scaler does at each look."""
    worker.board.publish_demand(0, desired_raw=3, tokens_milli=0, decisions=(), exits=(), packs=packs)


@both
@scenario
async def test_a_request_waits_for_the_first_instance(worker: WorkerProcess, speaks: str) -> None:
    worker.rung()
    (asked,) = asks(worker, 1, speaks)
    await worker.waits(1)
    assert worker.rung()
    await worker.instance(wait=False)
    assert (await asked).body == b"hello from /0"


@scenario
async def test_waiting_requests_are_served_in_the_order_they_came(worker: WorkerProcess) -> None:
    asked = []
    for i in range(10):
        asked += asks(worker, 1, prefix=f"/{i}-")
        await worker.waits(i + 1)
    peer = await worker.instance(wait=False)
    await asyncio.gather(*asked)
    assert [call.target for call in peer.calls] == [f"/{i}-0" for i in range(10)]


@scenario
async def test_a_freed_slot_takes_the_head_of_the_queue(worker: WorkerProcess) -> None:
    gate = Gate()
    peer = await worker.instance(gate, channels=1)
    first = asks(worker, 1, prefix="/first")
    await peer.served(1)
    second = asks(worker, 1, prefix="/second")
    await worker.waits(1)
    third = asks(worker, 1, prefix="/third")
    await worker.waits(2)
    gate.let("/first0")
    await peer.served(2)
    assert gate.calls[1].target == "/second0"
    gate.all.set()
    await asyncio.gather(*first, *second, *third)


@scenario
async def test_the_limit_of_an_instance_is_never_exceeded_whatever_it_parks(worker: WorkerProcess) -> None:
    gate = Gate()
    peer = await worker.instance(gate, channels=12, limit=3)
    asked = asks(worker, 10)
    await peer.served(3)
    await worker.waits(7)
    assert peer.in_flight == 3
    for call in list(gate.calls):
        gate.let(call.target)
    await peer.served(6)
    gate.all.set()
    await asyncio.gather(*asked)
    assert peer.most_in_flight == 3


@scenario
async def test_requests_go_to_the_instance_with_the_fewest_in_flight(worker: WorkerProcess) -> None:
    gate = Gate()
    peers = [await worker.instance(gate, channels=6, limit=6) for _ in range(3)]
    asked: list[asyncio.Task[Response]] = []
    for i in range(12):
        asked += asks(worker, 1, prefix=f"/{i}-")
        await until(lambda n=i + 1: len(gate.calls) == n, "the request is at an instance")  # type: ignore[misc]
        loads = [peer.in_flight for peer in peers]
        assert max(loads) - min(loads) <= 1, loads
    gate.all.set()
    await asyncio.gather(*asked)


@scenario
async def test_as_the_scaler_says_one_instance_is_filled_before_the_next(worker: WorkerProcess) -> None:
    gate = Gate()
    peers = [await worker.instance(gate, channels=6, limit=6) for _ in range(3)]
    say(worker, packs=4)
    asked: list[asyncio.Task[Response]] = []
    for i in range(14):
        asked += asks(worker, 1, prefix=f"/{i}-")
        await until(lambda n=i + 1: len(gate.calls) == n, "the request is at an instance")  # type: ignore[misc]
        full, rest = divmod(i + 1, 4)
        if i < 12:
            loads = sorted((peer.in_flight for peer in peers), reverse=True)
            assert loads == [*[4] * full, *[rest] * (full < 3), *[0] * (2 - full)], loads
    assert sorted(peer.in_flight for peer in peers) == [4, 5, 5]
    say(worker, packs=0)
    gate.let(next(peer for peer in peers if peer.in_flight == 4).calls[0].target)
    await until(lambda: sorted(peer.in_flight for peer in peers) == [3, 5, 5], "an answer")
    asked += asks(worker, 1, prefix="/spread")
    await until(lambda: sorted(peer.in_flight for peer in peers) == [4, 5, 5], "the least busy has it")
    gate.all.set()
    await asyncio.gather(*asked)


@scenario
async def test_a_full_instance_is_skipped_and_used_again_when_a_channel_is_free(worker: WorkerProcess) -> None:
    gate = Gate()
    small = await worker.instance(gate, channels=1, limit=1)
    large = await worker.instance(gate, channels=8, limit=8)
    asked = asks(worker, 9)
    await until(lambda: len(gate.calls) == 9, "all are served")
    assert (small.in_flight, large.in_flight) == (1, 8)
    gate.let(small.calls[0].target)
    await small.parked(1)
    again = asks(worker, 1, prefix="/again")
    await small.served(2)
    gate.all.set()
    await asyncio.gather(*asked, *again)


@scenario
async def test_a_hundred_clients_on_few_slots_are_all_answered_once(worker: WorkerProcess) -> None:
    peers = [await worker.instance(channels=4, limit=2) for _ in range(3)]
    answers = await asyncio.gather(*asks(worker, 60, "h1"), *asks(worker, 40, "h2", "/h2-"))
    assert sorted(answer.body for answer in answers) == sorted(
        [b"hello from /%d" % i for i in range(60)] + [b"hello from /h2-%d" % i for i in range(40)]
    )
    assert sum(len(peer.calls) for peer in peers) == 100
    assert max(peer.most_in_flight for peer in peers) <= 2


# Clients that do not wait


@both
@scenario
async def test_a_client_that_goes_while_it_waits_leaves_the_queue(worker: WorkerProcess, speaks: str) -> None:
    await worker.quiet()  # who left before this test is counted by now
    gone = worker.numbers()["clients_gone"]
    if speaks == "h1":
        client = await worker.client()
        await client.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        await worker.waits(1)
        await client.close()
    else:
        async with await worker.h2() as client2:
            stream = client2.open("/gone")
            await worker.waits(1)
            stream.reset()
            await worker.waits(0)
    await worker.waits(0)
    peer = await worker.instance()
    assert (await ask(speaks, worker.ports["http"], "/stays")).status == 200
    assert [call.target for call in peer.calls] == ["/stays"]
    assert worker.numbers()["clients_gone"] >= gone + 1


@both
@scenario
async def test_a_client_whose_connection_breaks_while_it_waits_leaves_the_queue(
    worker: WorkerProcess, speaks: str
) -> None:
    if speaks == "h1":
        client = await worker.client()
        await client.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        await worker.waits(1)
        client.abort()
    else:
        async with await worker.h2() as client2:
            client2.open("/gone")
            client2.open("/gone")
            await worker.waits(2)
    await worker.waits(0)


@scenario
async def test_a_client_that_goes_while_its_body_waits_leaves_the_queue(worker: WorkerProcess) -> None:
    client = await worker.client()
    # More than the router keeps, so that it stops reading; no more than the kernel takes behind that, or the FIN would
    # not arrive.
    client.writer.write(b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(120_000))
    await worker.waits(1)
    client.abort()
    await worker.waits(0)


@both
@pytest.mark.parametrize("stage", ["before the answer", "within the head", "within the body", "within the upload"])
@scenario
async def test_a_client_that_goes_while_it_is_served_is_a_reset_at_the_instance(
    worker: WorkerProcess, speaks: str, stage: str
) -> None:
    codes: list[int | None] = []

    async def handler(call: Call) -> None:
        if call.target == "/next":
            await call.respond(200)
            return
        if stage == "within the head":
            await call.write(b"HTTP/1.1 200 O")
        elif stage == "within the body":
            await call.write(call.head_text(length=100) + b"part")
        codes.append(await call.gone())

    peer = await worker.instance(handler)
    length = b"Content-Length: 100\r\n" if stage == "within the upload" else b""
    if speaks == "h1":
        client = await worker.client()
        await client.send(b"POST /gone HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n")
        await peer.served(1)
        if stage == "within the body":
            await client.head()
        client.abort()
    else:
        async with await worker.h2() as client2:
            stream = client2.open("/gone", method="POST", end=not length)
            await peer.served(1)
            if stage == "within the body":
                await stream.headed()
            stream.reset()
            await until(lambda: bool(codes), "the reset")
    await until(lambda: bool(codes), "the reset at the instance")
    assert codes == [ErrorCodes.CANCEL]
    await worker.quiet()
    # Its channel parks again and serves the next.
    assert (await ask(speaks, worker.ports["http"], "/next")).status == 200


@scenario
async def test_a_slot_freed_by_a_client_that_left_serves_the_next_in_line(worker: WorkerProcess) -> None:
    gate = Gate()
    peer = await worker.instance(gate, channels=2, limit=1)
    client = await worker.client()
    await client.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.served(1)
    asked = asks(worker, 1, prefix="/next")
    await worker.waits(1)
    client.abort()
    await soon(peer.served(2), "the next request")
    gate.all.set()
    assert (await asked[0]).body == b"/next0"


# Not for ever


async def with_worker(work: Callable[[WorkerProcess], Awaitable[None]], *flags: str) -> None:
    async with WorkerProcess.running(*flags) as worker:
        await work(worker)
        await worker.quiet()


@scenario
async def test_a_request_that_waits_too_long_is_a_504_and_is_never_sent() -> None:
    async def work(worker: WorkerProcess) -> None:
        for speaks in ("h1", "h2"):
            before = worker.numbers()["queue_timeouts"]
            answer = await ask(speaks, worker.ports["http"], "/late")
            assert (answer.status, answer.error, answer.body) == (504, "queue_timeout", b"Gateway timeout")
            assert worker.numbers()["queue_timeouts"] == before + 1
        gate = Gate()
        peer = await worker.instance(gate)
        (asked,) = asks(worker, 1)
        await peer.served(1)
        # Once it is served, the time-out of the queue is no concern of it.
        refused = await ask("h1", worker.ports["http"], "/behind")
        assert refused.status == 504
        gate.all.set()
        assert (await asked).status == 200
        assert [call.target for call in peer.calls] == ["/0"]

    await with_worker(work, "--incoming-request-timeout", "0.3")


@scenario
async def test_a_full_queue_is_a_503_that_says_when_to_come_again() -> None:
    async def work(worker: WorkerProcess) -> None:
        waiting = asks(worker, 3)
        await worker.waits(3)
        for speaks in ("h1", "h2"):
            answer = await ask(speaks, worker.ports["http"], "/surplus")
            assert (answer.status, answer.error) == (503, "queue_full")
            assert int(answer.field("retry-after") or "") >= 1
        await worker.instance(wait=False)
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3
        assert (await ask("h1", worker.ports["http"])).status == 200

    await with_worker(work, "--max-queue", "3")
