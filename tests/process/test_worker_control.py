"""The control port: who may park, what ping and close are answered, and how an instance goes."""

import asyncio
import signal
import uuid

import pytest

from lambda_dispatch_core.board.board import INSTANCE_DRAINING, INSTANCE_OPEN, INSTANCE_STARTING
from tests.support.clients import ask
from tests.support.instance_peer import Call, InstancePeer, says_hello_after
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import Given, WorkerProcess

spellings = pytest.mark.parametrize("long_spelling", [False, True], ids=["short", "long"])


IDLE = ("x-lambda-dispatch-if-idle", "1")


def state(worker: WorkerProcess, given: Given) -> int:
    return worker.board.instance(given.slot).state


async def stranger(worker: WorkerProcess, instance_id: str | None = None, **more: object) -> InstancePeer:
    """A connection that has parked nothing yet."""
    given = Given(0, 0, instance_id or str(uuid.uuid4()), [])
    return await InstancePeer.dial("127.0.0.1", worker.ports["control_http"], given.id, park=False, **more)  # type: ignore[arg-type]


@spellings
@scenario
async def test_the_first_channel_opens_the_instance_and_gets_its_200_at_once(
    worker: WorkerProcess, long_spelling: bool
) -> None:
    given = worker.start()
    assert state(worker, given) == INSTANCE_STARTING
    peer = await worker.dial(given, channels=3, long_spelling=long_spelling)
    await soon(peer.parked(3), "three 200s, before any request exists")
    assert state(worker, given) == INSTANCE_OPEN
    assert worker.board.instance(given.slot).idle == 3
    assert (await ask("h1", worker.ports["http"])).status == 200


@scenario
async def test_many_that_park_at_once_get_their_200_though_no_request_comes() -> None:
    # A worker that finds many sockets ready lets the 200s wait for company; here none comes, not even a PING.
    async with WorkerProcess.running("--ping-interval", "3600") as worker:
        assert worker.process is not None
        peers = [await worker.dial(worker.start(), channels=2, park=False) for _ in range(8)]
        for peer in peers:
            await peer.ping()
            peer.park(0)
            await soon(peer.parked(1), "the first 200")
        worker.process.send_signal(signal.SIGSTOP)
        for peer in peers:
            peer.park(1)
        worker.process.send_signal(signal.SIGCONT)
        for peer in peers:
            await soon(peer.parked(2), "the second 200")


@pytest.mark.parametrize("pool", ["default", "", None], ids=["default", "blank", "missing"])
@scenario
async def test_a_pool_that_is_blank_or_missing_is_the_default_one(worker: WorkerProcess, pool: str | None) -> None:
    peer = await worker.dial(worker.start(), pool=pool)
    await soon(peer.parked(), "the 200")
    assert (await ask("h1", worker.ports["http"])).status == 200
    assert await peer.ping() == 200


@scenario
async def test_a_pool_that_is_named_twice_is_the_default_one(worker: WorkerProcess) -> None:
    given = worker.start()
    peer = await worker.dial(given, park=False)
    own = peer.channel_ids[0]
    peer.park(0, fields=[("x-lambda-id", given.id), ("x-pool-id", "a"), ("x-pool-id", "b"), ("x-channel-id", own)])
    await soon(peer.parked(1), "the 200")


@scenario
async def test_a_channel_of_an_unknown_instance_is_a_409(worker: WorkerProcess) -> None:
    peer = await stranger(worker)
    try:
        for named in (peer.id, "", "no-uuid", peer.id.replace("-", ""), peer.id[:-1] + "g"):
            path = f"/api/chunked/request/{named}/{peer.channel_ids[0]}"
            stream = peer.park(0, path=path, fields=[("x-lambda-id", named)])
            answer = peer.answer_to(stream)
            await soon(answer.done.wait(), "the answer")
            assert answer.status == (409 if named else 404) or (named == "" and answer.status == 409)
            assert dict(answer.fields)["content-type"] == "text/plain"
            assert answer.body
    finally:
        await peer.leave()


@scenario
async def test_a_channel_of_another_pool_than_the_instance_is_a_409(worker: WorkerProcess) -> None:
    given = worker.start()
    peer = await worker.dial(given, pool="another")
    assert (await soon(peer.refused(), "the refusal"))[0][0] == 409
    assert state(worker, given) == INSTANCE_STARTING


@scenario
async def test_a_channel_without_x_lambda_id_is_a_400(worker: WorkerProcess) -> None:
    given = worker.start()
    peer = await worker.dial(given, park=False)
    stream = peer.park(0, fields=[("x-pool-id", "default")])
    answer = peer.answer_to(stream)
    await soon(answer.done.wait(), "the answer")
    assert (answer.status, dict(answer.fields)["content-type"]) == (400, "text/plain")
    assert state(worker, given) == INSTANCE_STARTING


@scenario
async def test_a_channel_that_names_two_instances_is_a_409(worker: WorkerProcess) -> None:
    given, other = worker.start(), worker.start()
    peer = await worker.dial(given, park=False)
    stream = peer.park(0, fields=[("x-lambda-id", other.id)])
    await soon(peer.answer_to(stream).done.wait(), "the answer")
    assert peer.answer_to(stream).status == 409


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("POST", "/"),
        ("GET", "/api/chunked"),
        ("GET", "/api/chunked/"),
        ("GET", "/api/chunked/pong/{id}"),
        ("POST", "/api/chunked/ping/{id}"),
        ("PUT", "/api/chunked/request/{id}/c"),
        ("GET", "/api/chunked/request/{id}/c"),
        ("GET", "/api/chunked/ping/{id}/more"),
        ("GET", "/api/chunked/ping/poolId/default/lambdaId"),
        ("POST", "/api/chunked/request/{id}"),
    ],
)
@scenario
async def test_an_unknown_route_on_the_control_port_is_a_404(worker: WorkerProcess, method: str, path: str) -> None:
    peer = await worker.instance()
    answer = await soon(peer.get(path.replace("{id}", peer.id), method=method), "the answer")
    assert answer.status == 404
    assert (await ask("h1", worker.ports["http"])).status == 200


@scenario
async def test_the_control_port_speaks_http_2_alone(worker: WorkerProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.ports["control_http"])
    writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    said = await soon(reader.read(), "the end of the connection")
    assert not said.startswith(b"HTTP/1.1 2")
    writer.close()
    await writer.wait_closed()


# Ping and close


@spellings
@scenario
async def test_a_ping_is_200_for_who_is_starting_or_open(worker: WorkerProcess, long_spelling: bool) -> None:
    given = worker.start()
    peer = await worker.dial(given, park=False, long_spelling=long_spelling)
    assert await peer.ping() == 200
    peer.park(0)
    await peer.parked(1)
    assert await peer.ping() == 200


@spellings
@scenario
async def test_a_ping_is_409_for_a_forgotten_instance_and_404_for_an_unknown_pool(
    worker: WorkerProcess, long_spelling: bool
) -> None:
    peer = await stranger(worker, long_spelling=long_spelling)
    try:
        assert await peer.ping() == 409
        peer.pool = "unknown-pool"
        assert await peer.ping() == 404
        assert (await peer.get(f"/api/chunked/close/{peer.id}")).status == 404
    finally:
        await peer.leave()


@spellings
@scenario
async def test_close_sends_go_away_down_every_parked_channel_and_then_answers_200(
    worker: WorkerProcess, long_spelling: bool
) -> None:
    peer = await worker.instance(channels=4, long_spelling=long_spelling)
    given = worker.given[0]
    assert await soon(peer.ask_to_close(), "the answer") == 200
    assert peer.told_to_go.is_set()
    assert peer.idle() == 0
    assert state(worker, given) == INSTANCE_DRAINING
    assert worker.board.instance(given.slot).close_requested
    stream = peer.park(0)
    await soon(peer.answer_to(stream).done.wait(), "the answer to one more channel")
    assert peer.answer_to(stream).status == 409
    assert await peer.ping() == 409


@scenario
async def test_a_go_away_names_the_instance_and_the_channel(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    heads: list[Call] = []
    begin = peer._begin

    def note(stream: int, channel: int, head: bytes, rest: bytes) -> None:
        heads.append(Call(peer, stream, channel, head))
        begin(stream, channel, head, rest)

    peer._begin = note  # type: ignore[method-assign]
    await peer.ask_to_close()
    (call,) = heads
    assert (call.method, call.target, call.version) == ("GET", "/_lambda_dispatch/goaway", "HTTP/1.1")
    assert call.field("x-lambda-id") == peer.id


@scenario
async def test_a_close_for_idleness_is_refused_while_a_request_is_there(worker: WorkerProcess) -> None:
    go_on = asyncio.Event()

    peer = await worker.instance(says_hello_after(go_on), channels=2)
    peer.more_fields.append(IDLE)
    asked = asyncio.create_task(ask("h1", worker.ports["http"], "/in-flight"))
    await peer.served(1)
    assert await soon(peer.ask_to_close(), "the answer to close") == 412
    given = worker.given[0]
    assert state(worker, given) == INSTANCE_OPEN
    assert not worker.board.instance(given.slot).close_requested
    peer.retired = False
    go_on.set()
    assert (await asked).status == 200
    await until(lambda: worker.board.in_flight_at(given.slot) == 0, "the slot is free")
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    assert state(worker, given) == INSTANCE_DRAINING


@scenario
async def test_an_instance_that_drains_already_closes_whatever_is_there(worker: WorkerProcess) -> None:
    go_on = asyncio.Event()
    peer = await worker.instance(says_hello_after(go_on), channels=2)
    peer.more_fields.append(IDLE)
    asked = asyncio.create_task(ask("h1", worker.ports["http"], "/in-flight"))
    await peer.served(1)
    given = worker.given[0]
    assert worker.board.begin_drain(given.slot, given.generation, worker.now())
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    go_on.set()
    assert (await asked).status == 200


@scenario
async def test_what_is_in_flight_when_an_instance_closes_is_finished(worker: WorkerProcess) -> None:
    go_on = asyncio.Event()

    peer = await worker.instance(says_hello_after(go_on), channels=2)
    asked = asyncio.create_task(ask("h1", worker.ports["http"], "/in-flight"))
    await peer.served(1)
    assert await soon(peer.ask_to_close(), "the answer to close") == 200
    later = asyncio.create_task(ask("h1", worker.ports["http"], "/later"))
    await worker.waits(1)
    go_on.set()
    assert (await asked).body == b"hello from /in-flight"
    assert len(peer.calls) == 1
    await worker.instance()
    assert (await later).body == b"hello from /later"


@scenario
async def test_close_of_an_unknown_instance_is_harmless(worker: WorkerProcess) -> None:
    await worker.instance()
    peer = await stranger(worker)
    try:
        assert await peer.ask_to_close() in (200, 409)
    finally:
        await peer.leave()
    assert (await ask("h1", worker.ports["http"])).status == 200


# The end by the scaler's word


@scenario
async def test_an_instance_that_is_drained_goes_away_and_is_not_used(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=3)
    other = await worker.instance(channels=1)
    given = worker.given[0]
    worker.board.begin_drain(given.slot, given.generation, worker.now())
    worker.ring()
    await soon(peer.told_to_go.wait(), "go-away")
    for _ in range(5):
        assert (await ask("h1", worker.ports["http"])).status == 200
    assert (len(peer.calls), len(other.calls)) == (0, 5)


@scenario
async def test_an_instance_to_be_replaced_is_used_only_while_there_is_no_other(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=3)
    given = worker.given[0]
    worker.board.begin_drain(given.slot, given.generation, worker.now() + 60_000_000_000)
    worker.ring()
    for _ in range(3):
        assert (await soon(ask("h1", worker.ports["http"]), "an answer")).status == 200
    assert len(peer.calls) == 3
    other = await worker.instance(channels=1)
    for _ in range(3):
        assert (await ask("h1", worker.ports["http"])).status == 200
        await until(lambda: worker.board.instance(worker.given[1].slot).idle == 1, "its one channel is back")
    assert (len(peer.calls), len(other.calls)) == (3, 3)


@scenario
async def test_when_an_invoke_returns_its_requests_fail_over_at_once(worker: WorkerProcess) -> None:
    async def vanishes(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(vanishes, channels=4)
    given = worker.given[0]
    asked = [asyncio.create_task(ask("h1", worker.ports["http"], f"/{i}")) for i in range(2)]
    await peer.served(2)
    peer.stop_reading()  # a vanished host says nothing more
    worker.close_instance(given)
    for answer in await soon(asyncio.gather(*asked), "the answers"):
        assert (answer.status, answer.error) == (502, "instance_ended")
    peer.start_reading()
    await soon(peer.lost.wait(), "the end of its connection")


@scenario
async def test_channels_may_be_spread_over_several_connections(worker: WorkerProcess) -> None:
    given = worker.start(limit=2)
    first = await worker.dial(given, channels=2)
    second = await worker.dial(given, channels=2)
    await first.parked()
    await second.parked()
    await asyncio.gather(*(ask("h1", worker.ports["http"]) for _ in range(20)))
    assert len(first.calls) + len(second.calls) == 20
    await until(lambda: worker.board.instance(given.slot).idle == 4, "all channels are parked again")
    first.drop()
    await until(lambda: worker.board.instance(given.slot).idle == 2, "the drop to be noticed")
    assert (await ask("h1", worker.ports["http"])).status == 200
    assert len(second.calls) > 0


@scenario
async def test_a_silent_instance_is_pinged_and_given_up() -> None:
    async with WorkerProcess.running("--ping-interval", "0.3", "--ping-timeout", "1") as worker:
        peer = await worker.instance(channels=2)
        silent = await worker.instance(channels=2)
        silent.stop_reading()
        await until(lambda: worker.board.instance(worker.given[1].slot).idle == 0, "the silent one's channels are gone")
        assert state(worker, worker.given[1]) == INSTANCE_DRAINING  # its siblings need not find out by themselves
        assert peer.idle() == 2
        for _ in range(3):
            assert (await ask("h1", worker.ports["http"])).status == 200
        silent.start_reading()
        await soon(silent.lost.wait(), "the end of the silent connection")
