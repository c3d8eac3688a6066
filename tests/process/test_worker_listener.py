"""How listening ends: on real sockets, with nobody on the way in lost."""

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from lambda_dispatch.worker import listener as module
from lambda_dispatch.worker.listener import Listener, drop_syns
from lambda_dispatch_net.wire import Entrance, Hub
from tests.support.loop import PATIENCE, soon, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere listening sockets cannot be shut")
NOBODY = 65534


def may_filter() -> bool:
    with socket.socket() as sock:
        return drop_syns(sock, True)


WAYS = pytest.mark.parametrize(
    "way", ["ttl", pytest.param("filter", marks=pytest.mark.skipif(not may_filter(), reason="needs CAP_NET_ADMIN"))]
)


@pytest.fixture
def one_way(way: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Shutting is done in this way alone."""
    if way == "ttl":
        monkeypatch.setattr(module, "drop_syns", lambda sock, on: False)
    else:
        monkeypatch.setattr(module, "require_ttl", lambda sock, least: False)
    return way


ADDRESSES = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")]


class Echo(asyncio.Protocol):
    def __init__(self, place: "Place") -> None:
        self.place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.place.accepted.append(self.transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Place:
    """A listening socket, as its owner and as a worker have it."""

    def __init__(self, bind: str) -> None:
        self.family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self.sock = socket.socket(self.family)
        if bind == "::":
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.sock.bind((bind, 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.clients: list[socket.socket] = []
        self.listeners: list[Listener] = []
        self.accepted: list[asyncio.Transport] = []

    async def serve(self) -> Listener:
        loop = asyncio.get_running_loop()
        listener = Listener(Hub(loop), self.sock.dup(), lambda: Echo(self), Entrance("a port"))
        await listener.serve()
        self.listeners.append(listener)
        return listener

    def dials(self, host: str, ttl: int = 64) -> socket.socket:
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.clients.append(client)
        client.setblocking(False)
        if ":" not in host:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        with contextlib.suppress(BlockingIOError):
            client.connect((host, self.port))
        return client

    async def connect(self, host: str) -> socket.socket:
        client = self.dials(host)
        await until(lambda: _state(client) == TCP_ESTABLISHED, "a connection")
        return client


TCP_ESTABLISHED, TCP_SYN_SENT, TCP_CLOSE = 1, 2, 7  # linux/tcp_states.h


def _state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


@contextlib.asynccontextmanager
async def listening(bind: str = "127.0.0.1") -> AsyncIterator[Place]:
    place = Place(bind)
    try:
        yield place
    finally:
        for listener in place.listeners:
            listener.leave()
        for transport in place.accepted:
            transport.abort()
        for sock in (place.sock, *place.clients):
            sock.close()


def on_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(PATIENCE):
            await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(within())


async def echoes(client: socket.socket, what: bytes = b"hello") -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, what)
    assert await soon(loop.sock_recv(client, 64), "the echo") == what


@linux
@WAYS
@pytest.mark.parametrize(("bind", "host"), ADDRESSES)
def test_a_handshake_that_was_under_way_when_it_was_shut_is_finished_and_served(
    one_way: str, bind: str, host: str
) -> None:
    async def work() -> None:
        async with listening(bind) as place:
            # For us the handshake goes on until the first bytes come; for the client it is over.
            place.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
            listener = await place.serve()
            early = [await place.connect(host) for _ in range(3)]
            assert listener.shut()
            for client in early:
                await echoes(client)
            assert listener.busy is False, "the server has accepted none"
            listener.close()
            await echoes(early[0], b"and again")

    on_uvloop(work)


@linux
@WAYS
@pytest.mark.parametrize(("bind", "host"), ADDRESSES)
def test_a_handshake_that_begins_when_it_is_shut_is_ignored_and_then_refused(
    one_way: str, bind: str, host: str
) -> None:
    async def work() -> None:
        async with listening(bind) as place:
            listener = await place.serve()
            assert listener.shut()
            late = place.dials(host)
            assert _state(late) == TCP_SYN_SENT
            listener.close()
            place.sock.close()
            await until(lambda: _state(late) == TCP_CLOSE, "the end of the attempt")
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED

    on_uvloop(work)


@linux
@WAYS
def test_a_handshake_that_was_ignored_is_taken_up_by_a_successor(one_way: str) -> None:
    async def work() -> None:
        async with listening() as place:
            listener = await place.serve()
            assert listener.shut()
            late = place.dials("127.0.0.1")
            listener.close()
            successor = await place.serve()
            await until(lambda: _state(late) == TCP_ESTABLISHED, "the connection")
            await echoes(late)
            assert successor.busy

    on_uvloop(work)


def test_what_waits_in_the_accept_queue_is_served_before_it_is_closed() -> None:
    async def work() -> None:
        async with listening() as place:
            listener = await place.serve()
            # The loop does not turn in between.
            early = [place.dials("127.0.0.1") for _ in range(20)]
            listener.close()
            assert listener.busy
            place.sock.close()
            for client in early:
                await echoes(client)

    on_uvloop(work)


def test_what_waits_in_the_accept_queue_of_one_that_is_left_is_for_the_others() -> None:
    async def work() -> None:
        async with listening() as place:
            listener = await place.serve()
            early = [place.dials("127.0.0.1") for _ in range(5)]
            listener.leave()
            await place.serve()
            for client in early:
                await echoes(client)

    on_uvloop(work)


def test_it_is_busy_until_its_last_connection_has_ended() -> None:
    async def work() -> None:
        async with listening() as place:
            listener = await place.serve()
            client = await place.connect("127.0.0.1")
            await echoes(client)
            listener.shut()
            listener.close()
            assert listener.busy
            client.close()
            await until(lambda: not listener.busy, "the connection's end is noticed")

    on_uvloop(work)


@linux
@pytest.mark.skipif(not may_filter(), reason="needs CAP_NET_ADMIN")
def test_a_neighbour_that_sends_with_the_highest_ttl_is_ignored_by_the_filter() -> None:
    async def work() -> None:
        async with listening() as place:
            listener = await place.serve()
            assert listener.shut()
            near = place.dials("127.0.0.1", ttl=module.HIGHEST_TTL)
            assert _state(near) == TCP_SYN_SENT
            listener.close()

    on_uvloop(work)


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="is nobody in particular already")
def test_shutting_needs_no_privilege() -> None:
    # In a process of its own: who gives up being root cannot take it back.
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "255\n"), done.stderr


async def _shut_as_nobody() -> None:
    async with listening() as place:
        listener = await place.serve()
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        assert listener.shut()
        print(place.sock.getsockopt(socket.IPPROTO_IP, module.IP_MINTTL))


if __name__ == "__main__":
    on_uvloop(_shut_as_nobody)
