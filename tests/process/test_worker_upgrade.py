"""Upgrade through a worker: who gets it, what travels then, and what is refused or read as plain HTTP."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import certs
from tests.support.clients import RawClient
from tests.support.instance_peer import ANNOUNCED, Call, Gone
from tests.support.loop import scenario, soon, until
from tests.support.websocket import ACCEPT, FEATURES, FIELDS
from tests.support.worker_process import WorkerProcess

WINDOW = 192 * 1024
HOST = "Host: example.test\r\n"
SWITCHED = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", ACCEPT)]


def accepts(then: Callable[[Call], Awaitable[None]]) -> Callable[[Call], Awaitable[None]]:
    async def handler(call: Call) -> None:
        if call.field("upgrade") is None:
            await call.body()
            await call.respond(426, [("upgrade", "websocket")], b"only by upgrade")
            return
        await call.write(call.head_text(101, SWITCHED, reason="Switching Protocols"))
        with contextlib.suppress(Gone):
            await then(call)

    return handler


async def echo(call: Call) -> None:
    while piece := await call.read():
        await call.write(piece)
    await call.end()


async def upgraded(client: RawClient, fields: str = FIELDS) -> None:
    await client.send(f"GET /chat HTTP/1.1\r\n{HOST}{fields}\r\n".encode())
    answer = await client.head()
    assert answer.status == 101, answer


@scenario
async def test_after_101_bytes_go_both_ways_and_each_direction_ends_by_itself(worker: WorkerProcess) -> None:
    peer = await worker.instance(accepts(echo), more_fields=FEATURES)
    async with await worker.client() as client:
        await client.send(f"GET /chat?a=b HTTP/1.1\r\n{HOST}{FIELDS}Origin: http://x\r\n\r\n".encode())
        answer = await client.head()
        assert (answer.status, answer.reason) == (101, "Switching Protocols")
        assert (answer.all("connection"), answer.all("upgrade")) == (["Upgrade"], ["websocket"])
        assert answer.field("sec-websocket-accept") == ACCEPT
        assert answer.all("content-length") == answer.all("transfer-encoding") == answer.all("x-lambda-id") == []
        for piece in (b"\x81\x05hello", b"\0" * 70_000, b"GET / HTTP/1.1\r\n\r\n"):
            await client.send(piece)
            assert await soon(client.reader.readexactly(len(piece)), "the echo") == piece
        client.writer.write_eof()
        assert await soon(client.reader.read(), "the end") == b""
    call = peer.calls[0]
    assert call.head.startswith(b"GET /chat?a=b HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: example")
    assert (call.all("connection"), call.all("upgrade")) == (["Upgrade"], ["websocket"])
    assert (call.field("sec-websocket-version"), call.field("origin")) == ("13", "http://x")
    assert call.all("transfer-encoding") == call.all("content-length") == []
    await worker.quiet()


@scenario
async def test_the_application_may_end_its_side_first(worker: WorkerProcess) -> None:
    heard = []

    async def says_goodbye(call: Call) -> None:
        await call.write(b"goodbye")
        await call.end()
        heard.append(await call.body())

    await worker.instance(accepts(says_goodbye), more_fields=FEATURES)
    async with await worker.client() as client:
        await upgraded(client)
        assert await soon(client.reader.read(), "its end") == b"goodbye"
        await client.send(b"and more")
        client.writer.write_eof()
        await until(lambda: heard == [b"and more"], "what the client said after that")
    await worker.quiet()


@scenario
async def test_a_refused_handshake_passes_whole_and_the_connection_goes_on(worker: WorkerProcess) -> None:
    async def refuses(call: Call) -> None:
        await call.respond(403, [("x-why", "origin")], b"not from there")
        assert await call.body() == b"", "the request has ended"

    await worker.instance(refuses, more_fields=FEATURES)
    async with await worker.client() as client:
        for _ in range(2):
            answer = await client.get("/chat", FIELDS)
            assert (answer.status, answer.body, answer.field("x-why")) == (403, b"not from there", "origin")
        answer = await client.get("/plain")
        assert answer.status == 403
    await worker.quiet()


@scenario
async def test_with_only_extensions_that_cannot_it_is_a_plain_request(worker: WorkerProcess) -> None:
    peer = await worker.instance(accepts(echo), more_fields=ANNOUNCED)
    async with await worker.client() as client:
        answer = await client.get("/chat", FIELDS)
        assert (answer.status, answer.body) == (426, b"only by upgrade")
        assert (await client.get("/chat", FIELDS)).status == 426, "the connection goes on"
    call = peer.calls[0]
    assert call.head.startswith(b"GET /chat HTTP/1.1\r\nHost: example.test\r\n")
    assert call.all("connection") == call.all("upgrade") == []
    assert call.request_ended
    await worker.quiet()


@scenario
async def test_of_many_instances_one_that_can_is_chosen(worker: WorkerProcess) -> None:
    cannot = [await worker.instance(accepts(echo), more_fields=ANNOUNCED) for _ in range(3)]
    can = await worker.instance(accepts(echo), more_fields=FEATURES, channels=4)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await upgraded(await stack.enter_async_context(await worker.client()))
        assert len(can.calls) == 4
    assert sum(len(peer.calls) for peer in cannot) == 0
    await worker.quiet()


@scenario
async def test_an_upgrade_waits_in_the_queue_like_any_request(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        await client.send(f"GET /chat HTTP/1.1\r\n{HOST}{FIELDS}\r\n".encode())
        await worker.waits(1)
        await worker.instance(accepts(echo), more_fields=FEATURES, wait=False)
        assert (await soon(client.head(), "the answer")).status == 101
        await client.send(b"ping")
        assert await soon(client.reader.readexactly(4), "the echo") == b"ping"
    await worker.quiet()


@scenario
async def test_what_a_client_said_before_it_vanished_is_delivered_and_then_its_end(worker: WorkerProcess) -> None:
    heard = []

    async def listens(call: Call) -> None:
        heard.append(await call.body())
        await call.end()

    await worker.instance(accepts(listens), more_fields=FEATURES)
    client = await worker.client()
    await upgraded(client)
    await client.send(b"last words")
    await until(lambda: worker.numbers()["bytes_in"] > 0, "the words to be read")
    client.reset()
    await until(lambda: len(heard) == 1, "the end")
    assert heard[0] in (b"last words", b""), "a reset may overtake what the kernel holds"
    await worker.quiet()


@scenario
async def test_an_application_that_goes_on_without_its_client_is_reset(worker: WorkerProcess) -> None:
    async def never_ends(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(accepts(never_ends), more_fields=FEATURES)
    client = await worker.client()
    await upgraded(client)
    client.reset()
    await until(lambda: peer.calls[0].request_ended, "the client's end")
    assert await soon(peer.calls[0].gone(), "the reset") == 8, "CANCEL"
    await worker.quiet()


@scenario
async def test_an_instance_that_breaks_off_ends_the_clients_connection(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.read()
        call.reset()

    await worker.instance(accepts(breaks), more_fields=FEATURES)
    async with await worker.client() as client:
        await upgraded(client)
        await client.send(b"x")
        await soon(client.reader.read(), "the end")
    await worker.quiet()


@scenario
async def test_a_client_is_held_back_by_an_application_that_does_not_read(worker: WorkerProcess) -> None:
    """Credit as for any body: no more than a window is in the router."""
    calls: list[Call] = []

    async def stalls(call: Call) -> None:
        calls.append(call)
        await asyncio.Event().wait()

    await worker.instance(accepts(stalls), more_fields=FEATURES, window=WINDOW)
    before = worker.resident()
    client = await worker.client()
    await upgraded(client)
    client.writer.transport.set_write_buffer_limits(high=1 << 26)
    client.writer.write(bytes(24 << 20))
    # The head took a part of the window.
    await until(lambda: calls[0].received + len(calls[0].head) + 4 >= WINDOW, "a window of bytes")
    assert calls[0].received < WINDOW
    assert worker.resident() - before < 4 << 20
    client.reset()
    await worker.quiet()


@scenario
async def test_an_application_is_held_back_by_a_client_that_does_not_read(worker: WorkerProcess) -> None:
    calls: list[Call] = []

    async def floods(call: Call) -> None:
        calls.append(call)
        await call.write(bytes(24 << 20))

    await worker.instance(accepts(floods), more_fields=FEATURES)
    before = worker.resident()
    async with await worker.client(buffer=4096) as client:
        await upgraded(client)
        await until(lambda: calls[0].written > WINDOW, "the first window")
        last = -1
        while last != calls[0].written:
            last = calls[0].written
            await asyncio.sleep(0.2)
        assert calls[0].written < 12 << 20, "what the kernel holds, and a window"
        assert worker.resident() - before < 4 << 20
        client.reset()
    await worker.quiet()


# What is no upgrade, or none that may pass --------------------------------------------------------------------------


@scenario
async def test_bytes_behind_the_request_before_the_101_are_refused(worker: WorkerProcess) -> None:
    """They could be a request that some proxy in front took for the body of a tunnel."""
    async with await worker.client() as client:
        request = f"GET /chat HTTP/1.1\r\n{HOST}{FIELDS}\r\n"
        await client.send(f"{request}GET /admin HTTP/1.1\r\n{HOST}\r\n".encode())
        answer = await client.response()
        assert (answer.status, answer.error, answer.field("connection")) == (400, "bytes_before_upgrade", "close")
        client.writer.write_eof()
        assert await soon(client.ended(), "the end of the connection")
    await worker.quiet()


@scenario
async def test_bytes_that_come_while_the_application_thinks_are_refused(worker: WorkerProcess) -> None:
    calls: list[Call] = []

    async def thinks(call: Call) -> None:
        calls.append(call)
        await call.gone()

    await worker.instance(thinks, more_fields=FEATURES)
    async with await worker.client() as client:
        await client.send(f"GET /chat HTTP/1.1\r\n{HOST}{FIELDS}\r\n".encode())
        await until(lambda: bool(calls), "the request")
        await client.send(b"GET /admin HTTP/1.1\r\n\r\n")
        answer = await client.response()
        assert (answer.status, answer.error) == (400, "bytes_before_upgrade")
        await soon(calls[0].gone(), "the reset")
        assert calls[0].received == 0
    await worker.quiet()


PLAIN = {
    "with a body": ("POST", FIELDS + "Content-Length: 4\r\n", b"body"),
    "with a length of none": ("GET", FIELDS + "Content-Length: 0\r\n", b""),
    "with a chunked body": ("GET", FIELDS + "Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n0\r\n\r\n"),
    "another method": ("POST", FIELDS, b""),
    "Connection names another field": ("GET", FIELDS.replace("Upgrade\r\nUp", "Upgrade, X-Secret\r\nUp", 1), b""),
    "Connection does not name it": ("GET", FIELDS.replace("Connection: Upgrade", "Connection: keep-alive"), b""),
    "h2c": (
        "GET",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"",
    ),
    "a protocol that is not allowed": ("GET", FIELDS.replace("websocket", "irc"), b""),
    "two protocols": ("GET", FIELDS.replace("Upgrade: websocket", "Upgrade: websocket, irc"), b""),
    "two Upgrade fields": ("GET", FIELDS + "Upgrade: websocket\r\n", b""),
    "one that expects 100": ("GET", FIELDS + "Expect: 100-continue\r\n", b""),
}


@pytest.mark.parametrize("case", PLAIN)
@scenario
async def test_an_upgrade_that_is_none_is_read_as_plain_http(worker: WorkerProcess, case: str) -> None:
    method, fields, body = PLAIN[case]
    peer = await worker.instance(accepts(echo), more_fields=FEATURES)
    async with await worker.client() as client:
        await client.send(f"{method} /chat HTTP/1.1\r\n{HOST}{fields}X-Secret: 1\r\n\r\n".encode() + body)
        answer = await client.response()
        assert (answer.status, answer.body) == (426, b"only by upgrade")
        assert (await client.get("/next")).status == 426, "the connection is still in step"
    call = peer.calls[0]
    assert call.all("connection") == call.all("upgrade") == call.all("http2-settings") == []
    assert call.request_ended
    assert call.received == (4 if body else 0)
    await worker.quiet()


@scenario
async def test_an_upgrade_on_http_1_0_is_read_as_plain_http(worker: WorkerProcess) -> None:
    peer = await worker.instance(accepts(echo), more_fields=FEATURES)
    async with await worker.client() as client:
        await client.send(f"GET /chat HTTP/1.0\r\n{HOST}{FIELDS}\r\n".encode())
        assert (await client.response()).status == 426
    assert peer.calls[0].all("upgrade") == []


@pytest.mark.parametrize("fields", [[], [("Connection", "Upgrade"), ("Upgrade", "irc")]])
@scenario
async def test_a_101_to_something_else_is_a_502(worker: WorkerProcess, fields: list[tuple[str, str]]) -> None:
    async def switches(call: Call) -> None:
        with contextlib.suppress(Gone):
            await call.write(call.head_text(101, fields))
            await call.gone()

    await worker.instance(switches, more_fields=FEATURES)
    async with await worker.client() as client:
        answer = await client.get("/chat", FIELDS)
        assert (answer.status, answer.error) == (502, "answer_upgrade")
    async with await worker.client() as client:
        answer = await client.get("/plain")
        assert (answer.status, answer.error) == (502, "answer_upgrade")
    await worker.quiet()


@scenario
async def test_over_tls_both_sides_end_together(tmp_path: Path) -> None:
    heard = []

    async def greets(call: Call) -> None:
        await call.write(b"welcome")
        heard.append(await call.read())
        await call.write(b"goodbye")
        await call.end()
        heard.append(await call.body())

    pair = certs.make(tmp_path)
    async with WorkerProcess.running(certs=pair) as worker:
        await worker.instance(accepts(greets), more_fields=FEATURES, tls=pair.client_context("h2"))
        async with await worker.client(tls=pair.client_context("http/1.1")) as client:
            await upgraded(client)
            assert await soon(client.reader.readexactly(7), "the greeting") == b"welcome"
            await client.send(b"hello")
            assert await soon(client.reader.read(), "the end") == b"goodbye"
        await worker.quiet()
        await until(lambda: heard == [b"hello", b""], "the end of the client's side")
