"""Who may speak for an instance: its secret, the address of its first call, and how much it may hold."""

import asyncio
import base64
import os
import resource
import socket
import uuid

import pytest

from tests.support.clients import ask
from tests.support.instance_peer import Answer, InstancePeer
from tests.support.loop import scenario, soon
from tests.support.worker_process import Given, WorkerProcess


def with_secret(worker: WorkerProcess) -> tuple[Given, tuple[tuple[str, str], ...]]:
    given = worker.start()
    secret = os.urandom(16)
    worker.board.set_secret(given.slot, secret)
    return given, (("x-lambda-dispatch-secret", base64.urlsafe_b64encode(secret).decode().rstrip("=")),)


async def parks(peer: InstancePeer, channel: int = 0, **more: str) -> int:
    stream = peer.park(channel, **more)  # type: ignore[arg-type]
    answer: Answer = peer.answer_to(stream)
    await peer.sees(lambda: answer.status != 0)
    return answer.status


WRONG = base64.urlsafe_b64encode(bytes(range(16))).decode()
BAD = ["", "x", WRONG, WRONG[:22], WRONG + "AAAA", "A" * 22, "A" * 4000]


@scenario
async def test_an_instance_whose_extension_knows_no_secret_may_park(worker: WorkerProcess) -> None:
    given, _ = with_secret(worker)
    peer = await worker.dial(given, park=False)
    assert [await soon(parks(peer), "a 200"), await peer.ping()] == [200, 200]


@scenario
async def test_a_wrong_secret_is_never_accepted(worker: WorkerProcess) -> None:
    given, right = with_secret(worker)
    peer = await worker.dial(given, park=False, channels=20)
    for wrong in BAD:
        peer.more_fields = [("x-lambda-dispatch-secret", wrong)]
        assert await soon(parks(peer), "the refusal") == 403
        assert await peer.ping() == 403
        assert (await peer.get(f"/api/chunked/close/{peer.id}")).status == 403
    value = right[0][1]
    for at in range(len(value)):
        other = "A" if value[at] != "A" else "B"
        peer.more_fields = [("x-lambda-dispatch-secret", value[:at] + other + value[at + 1 :])]
        assert await peer.ping() == 403
    assert "control call refused" in worker.text()
    assert given.id not in worker.text()
    peer.more_fields = list(right)
    assert await soon(parks(peer), "the 200") == 200
    assert await peer.ping() == 200


@scenario
async def test_the_secret_once_presented_must_always_be_presented(worker: WorkerProcess) -> None:
    given, right = with_secret(worker)
    peer = await worker.dial(given, park=False, more_fields=right, channels=4)
    assert await soon(parks(peer), "the 200") == 200
    thief = await worker.dial(given, park=False, channels=4)
    assert await soon(parks(thief), "the refusal") == 403
    assert await thief.ping() == 403
    assert (await thief.get(f"/api/chunked/close/{given.id}")).status == 403
    # On the connection that presented it, too.
    peer.more_fields = []
    assert await soon(parks(peer, 1), "the refusal") == 403
    peer.more_fields = list(right)
    assert await soon(parks(peer, 2), "the 200") == 200
    assert (await soon(ask("h1", worker.ports["http"]), "an answer")).status == 200


@scenario
async def test_padding_of_the_secret_is_accepted(worker: WorkerProcess) -> None:
    given, right = with_secret(worker)
    peer = await worker.dial(given, more_fields=[(right[0][0], right[0][1] + "==")])
    await soon(peer.parked(1), "the 200")


@scenario
async def test_an_instance_without_a_secret_accepts_none(worker: WorkerProcess) -> None:
    peer = await worker.dial(worker.start(), park=False, more_fields=[("x-lambda-dispatch-secret", "A" * 22)])
    assert await soon(parks(peer), "the refusal") == 403


@scenario
async def test_where_the_secret_is_required_a_call_without_it_is_refused() -> None:
    async with WorkerProcess.running("--control-secret", "required") as worker:
        given, right = with_secret(worker)
        peer = await worker.dial(given, park=False)
        assert await soon(parks(peer), "the refusal") == 403
        assert await peer.ping() == 403
        peer.more_fields = list(right)
        assert await soon(parks(peer), "the 200") == 200


# Addresses. Every address of 127/8 is ours


async def from_address(worker: WorkerProcess, given: Given, address: str, **more: object) -> InstancePeer:
    peer = InstancePeer(given.id, **more)  # type: ignore[arg-type]
    peer.authority = "router"
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((address, 0))
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", worker.ports["control_http"]))
    await loop.create_connection(lambda: peer, sock=sock)
    given.peers.append(peer)
    return peer


@scenario
async def test_an_instance_is_bound_to_the_address_of_its_first_call(worker: WorkerProcess) -> None:
    given, _ = with_secret(worker)
    peer = await from_address(worker, given, "127.0.0.1", channels=2)
    assert await soon(parks(peer), "the 200") == 200
    thief = await from_address(worker, given, "127.0.0.2")
    assert await soon(parks(thief), "the refusal") == 403
    assert await thief.ping() == 403
    assert (await thief.get(f"/api/chunked/close/{given.id}")).status == 403
    assert await soon(parks(peer, 1), "the 200") == 200


@scenario
async def test_a_call_with_the_secret_may_come_from_anywhere(worker: WorkerProcess) -> None:
    given, right = with_secret(worker)
    for address in ("127.0.0.1", "127.0.0.2"):
        peer = await from_address(worker, given, address, more_fields=right)
        assert await soon(parks(peer), "the 200") == 200


@scenario
async def test_the_address_may_be_left_out_of_it() -> None:
    async with WorkerProcess.running("--no-control-bind-address") as worker:
        given = worker.start()
        for address in ("127.0.0.1", "127.0.0.2"):
            peer = await from_address(worker, given, address)
            assert await soon(parks(peer), "the 200") == 200


# How much


@scenario
async def test_an_instance_parks_as_many_channels_as_it_was_asked_for(worker: WorkerProcess) -> None:
    worker.board.set_pool_limits(0, limit=10, channels=3, min_instances=0, max_instances=10)
    try:
        given = worker.start()
        peer = await worker.dial(given, park=False, channels=5)
        assert [await soon(parks(peer, n), "an answer") for n in range(4)] == [200, 200, 200, 429]
        second = await worker.dial(given, park=False, channels=1)
        assert await soon(parks(second), "the refusal") == 429
        for _ in range(20):
            assert (await soon(ask("h1", worker.ports["http"]), "an answer")).status == 200
        await soon(peer.parked(3), "all of them are parked again")
    finally:
        worker.board.set_pool_limits(0, limit=10, channels=0, min_instances=0, max_instances=10)


@scenario
async def test_an_instance_has_a_bounded_number_of_connections(worker: WorkerProcess) -> None:
    given = worker.start()
    statuses = [await soon(parks(await worker.dial(given, park=False)), "an answer") for _ in range(10)]
    assert statuses == [200] * 8 + [429] * 2


@pytest.mark.parametrize("kind", ["ping", "close", "request"])
@scenario
async def test_the_pool_in_the_path_must_be_the_instances(worker: WorkerProcess, kind: str) -> None:
    pool = worker.board.claim_pool(b"another", worker.now())
    assert pool is not None
    given = worker.start()
    peer = await worker.dial(given, channels=2, long_spelling=True)
    await soon(peer.parked(2), "the 200s")
    if kind == "request":
        path = f"/api/chunked/request/poolId/another/lambdaId/{given.id}/channelId/c"
        assert await soon(parks(peer, 0, path=path), "the refusal") == 409
    else:
        answer = await peer.get(f"/api/chunked/{kind}/poolId/another/lambdaId/{given.id}")
        assert answer.status == (409 if kind == "ping" else 200)
        assert not worker.board.instance(given.slot).close_requested


# Connections that speak for nobody


@scenario
async def test_a_connection_that_makes_no_valid_call_is_closed() -> None:
    async with WorkerProcess.running("--head-timeout", "1", "--ping-interval", "0.2") as worker:
        peer = await worker.instance()
        idle = [await worker.dial(Given(0, 0, str(uuid.uuid4()), worker.given[0].peers), park=False) for _ in range(3)]
        assert await idle[0].ping() == 409
        # A call that never ends is no valid one.
        idle[1].park(0, path="/api/chunked/nothing")
        for one in idle:
            await soon(one.lost.wait(), "the end of the connection", 15)
        assert not peer.lost.is_set()
        assert (await ask("h1", worker.ports["http"])).status == 200
        assert worker.text().count("control connection closed") >= 1


@scenario
async def test_connections_without_an_instance_are_bounded_and_the_oldest_goes() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))  # a quarter of it: 100 connections
    try:
        async with WorkerProcess.running() as worker:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            peer = await worker.instance()
            given = Given(0, 0, str(uuid.uuid4()), worker.given[0].peers)
            strangers = [await worker.dial(given, park=False) for _ in range(101)]
            await soon(strangers[0].lost.wait(), "the end of the oldest")
            assert await strangers[-1].ping() == 409, "the newest stays"
            assert not peer.lost.is_set()
            assert (await ask("h1", worker.ports["http"])).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
