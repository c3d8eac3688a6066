"""How WebSockets end that the router ends: a Close to either side where frames meet, or a cut."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable

import pytest

from tests.process.test_worker_upgrade import accepts, upgraded
from tests.support.clients import RawClient
from tests.support.instance_peer import Call, Gone
from tests.support.loop import run, scenario, soon, until
from tests.support.websocket import CLOSE, FEATURES, TEXT, frame
from tests.support.worker_process import Given, WorkerProcess

MASK = b"\x01\x02\x03\x04"
GOING_AWAY, INTERNAL_ERROR, SERVICE_RESTART = 1001, 1011, 1012


def close(code: int) -> bytes:
    return frame(struct.pack("!H", code), CLOSE)


class Peer:
    """An application that speaks frames: it greets, echoes, and answers a Close."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.masked = True
        self.deaf = False  # answers no Close

    async def __call__(self, call: Call) -> None:
        data = b""
        while True:
            while len(data) < 2 or len(data) < 6 + (data[1] & 0x7F):
                piece = await call.read()
                if not piece:
                    await call.end()
                    return
                data += piece
            kind, size = data[0] & 0x0F, data[1] & 0x7F
            self.masked = self.masked and data[1] & 0x80 != 0
            mask, text = data[2:6], data[6 : 6 + size]
            data = data[6 + size :]
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
            self.heard.append((kind, text))
            if kind == CLOSE and self.deaf:
                continue
            await call.write(frame(text, kind))
            if kind == CLOSE:
                await call.end()
                return


async def instance(worker: WorkerProcess, handler: Callable[[Call], Awaitable[None]], channels: int = 1) -> Given:
    await worker.instance(accepts(handler), more_fields=FEATURES, channels=channels, limit=max(10, channels))
    return worker.given[-1]


def drain(worker: WorkerProcess, given: Given) -> None:
    assert worker.board.begin_drain(given.slot, given.generation, worker.now())
    worker.ring()


async def closed(client: RawClient) -> bytes:
    """All that still comes, until the router's side has ended."""
    return await soon(client.reader.read(), "the end", 12)


@scenario
async def test_sockets_of_an_instance_that_goes_are_closed_one_by_one_with_1012(worker: WorkerProcess) -> None:
    app = Peer()
    given = await instance(worker, app, 20)
    clients = [await worker.client() for _ in range(20)]
    for client in clients:
        await upgraded(client)
        await client.send(frame(b"hi", mask=MASK))
        assert await client.reader.readexactly(4) == frame(b"hi")
    times: list[float] = []

    async def watch(client: RawClient) -> None:
        assert await closed(client) == close(SERVICE_RESTART)
        times.append(asyncio.get_running_loop().time())
        await client.close()

    drain(worker, given)
    await asyncio.gather(*(watch(client) for client in clients))
    assert len({round(at, 1) for at in times}) > 5, "not all at once"
    assert [entry for entry in app.heard if entry[0] == CLOSE] == [(CLOSE, struct.pack("!H", 1012))] * 20
    assert app.masked
    await until(lambda: worker.numbers()["upgrades_by_router"] == 20, "all are counted")
    assert worker.numbers()["upgrades_open"] == 0
    await worker.quiet()


def test_what_is_in_flight_comes_before_the_close() -> None:
    """A frame of the client's is open when the worker lets go, and one of the application's."""
    told = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.write(frame(b"a long message")[:5])
        seen = b""
        while len(seen) < len(frame(b"hello", mask=MASK)) + 8:
            piece = await call.read()
            assert piece, "the client is still there"
            seen += piece
        assert seen[:11] == frame(b"hello", mask=MASK)
        assert seen[11:13] == bytes([0x80 | CLOSE, 0x80 | 2])
        told.set()
        await call.write(frame(b"a long message")[5:] + frame(b"one more") + frame(struct.pack("!H", 1012), CLOSE))
        await call.end()

    async def body() -> None:
        # No time to spread the ends over: all are let go of with the first idle connection.
        async with WorkerProcess.running("--lame-duck", "0", "--drain-deadline", "3") as worker:
            await instance(worker, slow)
            async with await worker.client() as client, await worker.client() as idle:
                assert (await idle.get("/health")).status == 200
                await upgraded(client)
                text = frame(b"hello", mask=MASK)
                await client.send(text[:4])
                assert await client.reader.readexactly(5) == frame(b"a long message")[:5]
                worker.terminate()
                assert await closed(idle) == b""
                assert not told.is_set(), "the client's frame is open"
                await client.send(text[4:] + frame(b"too late", mask=MASK))
                await soon(told.wait(), "the Close to the application")
                rest = await closed(client)
                assert rest == frame(b"a long message")[5:] + frame(b"one more") + close(SERVICE_RESTART)
            assert await worker.exit_code() == 0

    run(body(), 30)


@scenario
async def test_an_application_that_answers_no_close_does_not_keep_the_client(worker: WorkerProcess) -> None:
    app = Peer()
    app.deaf = True
    given = await instance(worker, app)
    async with await worker.client() as client:
        await upgraded(client)
        drain(worker, given)
        assert await closed(client) == close(SERVICE_RESTART)
    await worker.quiet()


@scenario
async def test_where_a_frame_of_the_application_stays_open_the_connection_is_cut(worker: WorkerProcess) -> None:
    async def stops(call: Call) -> None:
        await call.write(frame(b"a long message")[:5])
        await call.gone()

    given = await instance(worker, stops)
    async with await worker.client() as client:
        await upgraded(client)
        drain(worker, given)
        assert await closed(client) == frame(b"a long message")[:5]
    await worker.quiet()


@pytest.mark.parametrize(("how", "code"), [("reset", INTERNAL_ERROR), ("drop", SERVICE_RESTART)])
@scenario
async def test_a_lost_application_is_told_by_code(worker: WorkerProcess, how: str, code: int) -> None:
    async def breaks(call: Call) -> None:
        await call.write(frame(b"hi"))
        await call.read()
        if how == "reset":
            call.reset()
        else:
            call.peer.drop()

    await instance(worker, breaks)
    async with await worker.client() as client:
        await upgraded(client)
        await client.send(frame(b"x", TEXT, mask=MASK))
        assert await closed(client) == frame(b"hi") + close(code)
    await worker.quiet()


@scenario
async def test_within_a_frame_a_lost_application_is_a_cut(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.write(frame(b"hello")[:3])
        await call.read()
        call.reset()

    await instance(worker, breaks)
    async with await worker.client() as client:
        await upgraded(client)
        before = worker.numbers()["upgrades_broken"]
        await client.send(frame(b"x", mask=MASK))
        assert await closed(client) == frame(b"hello")[:3]
    await until(lambda: worker.numbers()["upgrades_broken"] > before, "it is counted")
    await worker.quiet()


@pytest.mark.parametrize(
    ("option", "code"), [("--upgrade-idle-timeout", GOING_AWAY), ("--upgrade-max-lifetime", SERVICE_RESTART)]
)
def test_idle_and_old_sockets_end(option: str, code: int) -> None:
    async def body() -> None:
        async with WorkerProcess.running(option, "1") as worker:
            app = Peer()
            await instance(worker, app)
            async with await worker.client() as client:
                await upgraded(client)
                assert await closed(client) == close(code)
            assert app.heard == [(CLOSE, struct.pack("!H", code))]
            await worker.quiet()

    run(body(), 30)


def test_one_that_speaks_is_not_idle() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--upgrade-idle-timeout", "2") as worker:
            await instance(worker, Peer(), 2)
            async with await worker.client() as speaks, await worker.client() as silent:
                await upgraded(speaks)
                await upgraded(silent)
                ends = asyncio.create_task(closed(silent))
                while not ends.done():
                    await speaks.send(frame(b"hi", mask=MASK))
                    assert await soon(speaks.reader.readexactly(4), "the echo") == frame(b"hi")
                assert await ends == close(GOING_AWAY)
            await worker.quiet()

    run(body(), 30)


def test_a_worker_that_is_terminated_closes_its_sockets_in_time() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--lame-duck", "0", "--drain-deadline", "8") as worker:
            app = Peer()
            await instance(worker, app, 20)
            clients = [await worker.client() for _ in range(20)]
            for client in clients:
                await upgraded(client)
            worker.terminate()
            for client in clients:
                assert await closed(client) == close(SERVICE_RESTART)
                await client.close()
            assert await worker.exit_code() == 0
            assert app.heard == [(CLOSE, struct.pack("!H", 1012))] * 20

    run(body(), 30)


@scenario
async def test_a_client_that_has_got_a_close_and_stays_is_not_waited_for(worker: WorkerProcess) -> None:
    async def leaves(call: Call) -> None:
        await call.write(close(1000))
        with contextlib.suppress(Gone):
            await call.end()

    await instance(worker, leaves)
    async with await worker.client() as client:
        await upgraded(client)
        assert await closed(client) == close(1000)
        await until(lambda: worker.numbers()["upgrades_by_application"] > 0, "it is counted")
        await worker.quiet()
