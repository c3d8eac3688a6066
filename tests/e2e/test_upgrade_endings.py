"""Two hundred open WebSockets, half of them over the hop between workers, and everything that can end them."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from lambda_dispatch_core.board.board import INSTANCE_OPEN
from tests.process.test_worker_tunnels import Peer, close
from tests.process.test_worker_upgrade import accepts
from tests.support.across import Fleet, fleet
from tests.support.clients import RawClient
from tests.support.extension_rig import Rig, rig
from tests.support.loop import run, soon, until
from tests.support.shipped import join
from tests.support.websocket import FEATURES, FIELDS
from tests.support.worker_process import WorkerProcess

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


@dataclass
class Shipped:
    """Two hundred sockets through worker and extension to an application, all real processes."""

    worker: WorkerProcess
    rig: Rig
    clients: list[RawClient]

    def descriptors(self) -> tuple[int, int]:
        return self.worker.descriptors(), self.rig.extension.files()

    def left(self) -> dict[str, int]:
        numbers, totals = self.worker.numbers(), self.worker.board.pool_totals(0)
        return {
            "open": numbers["upgrades_open"],
            "connections": numbers["connections"],
            "busy": SOCKETS - numbers["idle_channels"],
            "in flight": sum(place.in_flight for place in self.worker.board.list_instances()),
            "running, as the scaler sees it": totals.running + totals.queued,
        }

    def ended(self, *by: str) -> int:
        return sum(self.worker.numbers()[f"upgrades_{name}"] for name in by)


async def through_all(then: Callable[[Shipped], Awaitable[None]], *flags: str) -> None:
    async with WorkerProcess.running(*flags) as worker, rig() as r:
        join(worker, r, SOCKETS)
        it = Shipped(worker, r, [])
        await until(lambda: worker.numbers()["idle_channels"] == SOCKETS, "all channels parked")
        before = it.descriptors()
        for _ in range(SOCKETS):
            client = await worker.client()
            it.clients.append(client)
            await client.send(REQUEST.replace(b"/chat", b"/websocket"))
            assert (await soon(client.head(), "the answer")).status == 101
        assert (worker.running_now(), it.left()["busy"]) == (SOCKETS, SOCKETS)
        assert it.descriptors() == (before[0] + SOCKETS, before[1] + SOCKETS)
        await then(it)
        await until(lambda: not any(it.left().values()), f"nothing is left: {it.left()}", 20)
        await until(lambda: it.descriptors() == before, f"no descriptor is left: {it.descriptors()}, {before}", 20)
        for client in it.clients:
            await client.close()


@pytest.mark.timeout(90)
def test_an_application_that_crashes_leaves_nothing() -> None:
    async def crashes(it: Shipped) -> None:
        assert it.rig.app is not None
        it.rig.app.signal(signal.SIGKILL)
        assert Counter(await asyncio.gather(*(rest(client) for client in it.clients))) == {b"": SOCKETS}
        for client in it.clients:
            await client.close()
        await until(lambda: it.ended("by_application", "broken") == SOCKETS, "who ended them", 20)

    run(through_all(crashes), 80)


@pytest.mark.timeout(90)
def test_clients_of_which_half_reset_and_half_fall_silent_leave_nothing() -> None:
    """A client that sends no FIN is gone when UpgradeIdleTimeout has passed."""

    async def vanish(it: Shipped) -> None:
        for client in it.clients[::2]:
            client.reset()
        for client in it.clients[1::2]:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: it.ended("by_client", "by_router") == SOCKETS, "who ended them", 30)
        assert (it.ended("by_client"), it.ended("by_router")) == (SOCKETS // 2, SOCKETS // 2)

    run(through_all(vanish, "--upgrade-idle-timeout", "8"), 80)
