"""The end of a worker: nothing that was accepted is lost, and it does end."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from tests.support import certs
from tests.support.clients import Broken, RawClient, ask
from tests.support.instance_peer import Call, says_hello, says_hello_after
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

LONG = ("--lame-duck", "30")
SHORT = ("--lame-duck", "0.2")
TCP_CLOSE_WAIT = 8  # linux/tcp_states.h


def state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


@scenario
async def test_while_it_lingers_health_is_503_and_everything_else_is_served() -> None:
    async with WorkerProcess.running(*LONG) as worker:
        await worker.instance()
        async with await worker.client() as kept:
            assert (await kept.get("/")).field("connection") is None
            worker.terminate()
            async with await worker.client() as client:
                await until(lambda: worker.board.list_workers()[0].state == 3, "the worker drains")
                answer = await client.get("/health")
                assert (answer.status, answer.body, answer.field("connection")) == (503, b"draining", "close")
            answer = await kept.get("/kept")
            assert (answer.body, answer.field("connection")) == (b"hello from /kept", "close")
            assert await soon(kept.ended(), "the end of the kept connection")
        assert (await ask("h1", worker.ports["http"], "/new")).body == b"hello from /new"
        assert (await ask("h2", worker.ports["http"], "/new")).body == b"hello from /new"


@scenario
async def test_http_2_clients_are_warned_served_and_then_told_the_last_stream() -> None:
    async with WorkerProcess.running("--lame-duck", "1") as worker:
        go_on = asyncio.Event()

        peer = await worker.instance(says_hello_after(go_on), channels=3)
        async with await worker.h2() as client:
            first = client.open("/first")
            await peer.served(1)
            worker.terminate()
            await until(lambda: bool(client.goaways), "the first GOAWAY")
            assert client.goaways[0] == (ErrorCodes.NO_ERROR, 2**31 - 1)
            second = client.open("/second")
            await peer.served(2)
            await until(lambda: len(client.goaways) == 2, "the second GOAWAY")
            assert client.goaways[1] == (ErrorCodes.NO_ERROR, second.id)
            go_on.set()
            assert (await first.done()).body == b"hello from /first"
            assert (await second.done()).body == b"hello from /second"
            await soon(client.lost.wait(), "the end of the connection")
        assert await worker.exit_code() == 0


@scenario
async def test_what_is_queued_and_in_flight_is_answered_before_the_end() -> None:
    async with WorkerProcess.running(*SHORT) as worker:
        go_on = asyncio.Event()

        peer = await worker.instance(says_hello_after(go_on), channels=1)
        asked = [asyncio.create_task(ask("h1", worker.ports["http"], f"/{i}")) for i in range(5)]
        await peer.served(1)
        await worker.waits(4)
        worker.terminate()
        await until(lambda: worker.board.list_workers()[0].state == 3, "the worker drains")
        go_on.set()
        for i, answer in enumerate(await soon(asyncio.gather(*asked), "the answers")):
            assert answer.body == b"hello from /%d" % i
        await soon(peer.told_to_go.wait(), "go-away")
        await peer.leave()
        assert await worker.exit_code() == 0


@scenario
async def test_idle_connections_and_parked_channels_do_not_hold_it_up() -> None:
    async with WorkerProcess.running(*SHORT) as worker:
        peer = await worker.instance(channels=5)
        clients = [await worker.client() for _ in range(5)]
        for client in clients[1:]:
            await client.get("/health")
        h2 = await worker.h2()
        await h2.get("/health")
        worker.terminate()
        for client in clients:
            assert await soon(client.ended(), "the end of an idle connection")
            await client.close()
        await soon(h2.lost.wait(), "the end of the idle HTTP/2 connection")
        await soon(peer.told_to_go.wait(), "go-away")
        assert peer.idle() == 0
        assert await worker.exit_code() == 0


@scenario
async def test_an_idle_connection_is_ended_without_a_reset_for_what_crosses_its_end() -> None:
    async with WorkerProcess.running(*SHORT) as worker:
        client = await worker.client()
        await client.get("/health")
        h2 = await worker.h2()
        await h2.get("/health")
        worker.terminate()
        assert await soon(client.reader.read(), "our end of the idle connection") == b""
        await client.send(b"GET /crossed HTTP/1.1\r\nHost: example.test\r\n\r\n")
        # A reset would have come back by the time that these have been there and back.
        await until(lambda: len(h2.goaways) == 2, "the last GOAWAY")
        sock = client.writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert state(sock) == TCP_CLOSE_WAIT
        await client.close()
        await soon(h2.lost.wait(), "the end of the idle HTTP/2 connection")
        assert await worker.exit_code() == 0


@scenario
async def test_a_client_that_does_not_end_its_side_of_an_idle_connection_does_not_hold_it_up() -> None:
    async with WorkerProcess.running(*SHORT) as worker:
        with socket.create_connection(("127.0.0.1", worker.ports["http"])) as silent:
            await until(lambda: worker.numbers()["connections"] == 1, "the connection")
            worker.terminate()
            assert await worker.exit_code() == 0
            assert silent.recv(1) == b""


@scenario
async def test_a_connection_in_a_tls_handshake_when_listening_ends_is_waited_for(tmp_path: Path) -> None:
    pair = certs.make(tmp_path)
    async with WorkerProcess.running(*SHORT, certs=pair) as worker:
        sock = socket.create_connection(("127.0.0.1", worker.ports["https"]))
        sock.setblocking(False)
        worker.terminate()
        with pytest.raises(ConnectionRefusedError):
            while True:
                await (await worker.client()).close()
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=pair.client_context(), server_hostname="localhost"
        )
        async with RawClient(reader, writer) as client:
            assert (await client.get("/health")).body == b"draining"
        assert await worker.exit_code() == 0


@scenario
async def test_new_connections_are_refused_once_the_lame_duck_is_over() -> None:
    async with WorkerProcess.running(*SHORT) as worker:
        hold = asyncio.Event()

        async def handler(call: Call) -> None:
            await hold.wait()
            await says_hello(call)

        peer = await worker.instance(handler)
        asked = asyncio.create_task(ask("h1", worker.ports["http"]))
        await peer.served(1)
        worker.terminate()
        with pytest.raises((ConnectionError, Broken, asyncio.IncompleteReadError)):
            while True:
                async with await worker.client() as client:
                    await client.get("/health")
        hold.set()
        assert (await asked).status == 200
        await peer.leave()
        assert await worker.exit_code() == 0


@scenario
async def test_a_request_that_never_ends_is_cut_at_the_deadline() -> None:
    async with WorkerProcess.running(*SHORT, "--drain-deadline", "1") as worker:

        async def handler(call: Call) -> None:
            await call.gone()

        peer = await worker.instance(handler)
        asked = asyncio.create_task(ask("h1", worker.ports["http"]))
        await peer.served(1)
        worker.terminate()
        with pytest.raises(Broken):
            await soon(asked, "the end of the connection")
        await peer.leave()
        assert await worker.exit_code() == 0


@scenario
async def test_a_second_sigterm_hurries() -> None:
    async with WorkerProcess.running(*LONG, "--drain-deadline", "600") as worker:

        async def handler(call: Call) -> None:
            await call.gone()

        peer = await worker.instance(handler)
        asked = asyncio.create_task(ask("h1", worker.ports["http"]))
        await peer.served(1)
        worker.terminate()
        await until(lambda: worker.board.list_workers()[0].state == 3, "the worker drains")
        worker.terminate()
        with pytest.raises(Broken):
            await soon(asked, "the end of the connection")
        await peer.leave()
        assert await worker.exit_code() == 0


@scenario
async def test_a_worker_that_is_replaced_stops_accepting_at_once_and_serves_what_it_has() -> None:
    async with WorkerProcess.running(*LONG) as worker:
        go_on = asyncio.Event()

        peer = await worker.instance(says_hello_after(go_on))
        asked = asyncio.create_task(ask("h1", worker.ports["http"], "/kept"))
        await peer.served(1)
        assert worker.process is not None
        worker.process.send_signal(signal.SIGUSR2)
        await until(lambda: worker.board.list_workers()[0].state == 3, "the worker drains")
        with pytest.raises((ConnectionError, Broken, asyncio.IncompleteReadError)):
            async with await worker.client() as client:
                await client.get("/health")
        go_on.set()
        assert (await asked).body == b"hello from /kept"
