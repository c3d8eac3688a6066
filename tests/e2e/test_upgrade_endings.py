"""Two hundred open WebSockets, half of them over the hop between workers, and everything that can end them."""

import asyncio
import contextlib
import signal
from collections import Counter

import pytest

from lambda_dispatch_core.board.board import INSTANCE_OPEN
from tests.process.test_worker_tunnels import Peer, close
from tests.process.test_worker_upgrade import accepts
from tests.support.across import Fleet, fleet
from tests.support.clients import RawClient
from tests.support.loop import run, soon, until
from tests.support.websocket import FEATURES, FIELDS

SOCKETS = 200
REQUEST = f"GET /chat HTTP/1.1\r\nHost: example.test\r\n{FIELDS}\r\n".encode()


async def opened(it: Fleet) -> RawClient:
    client = await RawClient.dial(it.port)
    await client.send(REQUEST)
    assert (await soon(client.head(), "the answer")).status == 101
    return client


async def rest(client: RawClient) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await soon(client.reader.read(), "the end", 20)
    return b"reset"


def drained(it: Fleet) -> None:
    for place in it.board.list_instances():
        if place.state == INSTANCE_OPEN:
            assert it.board.begin_drain(place.slot, place.generation, 1)


def crashed(it: Fleet) -> None:
    for peer in it.peers:
        peer.drop()


ENDINGS = {
    "the instances go": drained,
    "the workers are replaced": lambda it: it.router.signal(signal.SIGUSR1),
    "the router ends": lambda it: it.router.signal(signal.SIGTERM),
    "the instances are lost": crashed,
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("what", ENDINGS)
def test_each_client_is_told_by_a_close_with_1012(what: str) -> None:
    async def scenario() -> None:
        async with fleet(2, lame_duck=0.2, drain_deadline=12.0, channel_count=100) as it:
            for _ in range(2):
                await it.instance(accepts(Peer()), SOCKETS // 2, more_fields=FEATURES)
            clients = [await opened(it) for _ in range(SOCKETS)]
            assert it.hops() > 0
            assert sum(place.in_flight for place in it.board.list_instances()) == SOCKETS
            ENDINGS[what](it)
            ends = Counter(await asyncio.gather(*(rest(client) for client in clients)))
            assert ends == {close(1012): SOCKETS}
            for client in clients:
                await client.close()
            if what == "the router ends":
                assert it.router.wait() == 0
            else:
                await until(it.idle, "the reservations to return", 20)

    run(scenario(), 80)


@pytest.mark.timeout(60)
def test_clients_that_vanish_leave_nothing() -> None:
    async def scenario() -> None:
        async with fleet(2, channel_count=100) as it:
            for _ in range(2):
                await it.instance(accepts(Peer()), SOCKETS // 2, more_fields=FEATURES)
            clients = [await opened(it) for _ in range(SOCKETS)]
            for client in clients:
                client.reset()
            await until(it.idle, "the reservations to return", 20)
            await until(
                lambda: all(it.board.worker_numbers(slot)["upgrades_open"] == 0 for slot in range(2)), "none is open"
            )
            assert sum(it.board.worker_numbers(slot)["upgrades_by_client"] for slot in range(2)) == SOCKETS

    run(scenario(), 50)
