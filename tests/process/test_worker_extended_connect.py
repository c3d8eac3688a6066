"""WebSocket over HTTP/2: CONNECT with a :protocol (RFC 8441), which the application sees as an Upgrade."""

import base64
import contextlib

import h2.settings
import pytest

from tests.process.test_worker_tunnels import MASK, Peer, close, instance
from tests.process.test_worker_upgrade import accepts, echo
from tests.support.clients import H2Client, H2Stream
from tests.support.instance_peer import ANNOUNCED, Call, Gone
from tests.support.loop import run, scenario, soon, until
from tests.support.websocket import FEATURES, frame
from tests.support.worker_process import WorkerProcess

HEAD = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat?a=b"),
    (":authority", "example.test"),
    ("sec-websocket-version", "13"),
    ("origin", "http://example.test"),
]


async def offered(client: H2Client) -> None:
    """CONNECT may only name a protocol once the settings have said so."""
    setting = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
    await until(lambda: client.conn.remote_settings.get(setting) == 1, "the setting")


async def connected(client: H2Client) -> H2Stream:
    await offered(client)
    return client.open_raw(HEAD, end=False)


@scenario
async def test_an_extended_connect_is_an_upgrade_for_the_application(worker: WorkerProcess) -> None:
    peer = await worker.instance(accepts(echo), more_fields=FEATURES, channels=2)
    async with await worker.h2() as client:
        stream = await connected(client)
        assert await soon(stream.headed(), "the answer") == 200
        assert stream.all("sec-websocket-accept") == stream.all("upgrade") == stream.all("connection") == []
        data = b"hello" + bytes(100_000)
        await stream.send(data)
        await soon(stream.has(len(data)), "the echo")
        assert stream.body == data
        other = await connected(client)
        assert await soon(other.headed(), "another on the same connection") == 200
        assert worker.running_now() == 2
        await stream.send(b"", end=True)
        await soon(stream.done(), "the end")
        other.reset()
    call = peer.calls[0]
    assert (call.method, call.target, call.field("upgrade")) == ("GET", "/chat?a=b", "websocket")
    assert call.field("host") == "example.test"
    assert call.field("sec-websocket-version") == "13"
    assert len(base64.b64decode(call.field("sec-websocket-key") or "")) == 16
    assert call.field("sec-websocket-key") != peer.calls[1].field("sec-websocket-key")
    await worker.quiet()


@scenario
async def test_a_refusal_passes_whole_and_a_2xx_that_is_none_does_not(worker: WorkerProcess) -> None:
    async def answers(call: Call) -> None:
        await call.respond(int(call.target[1:4]), [("x-why", "so")], b"no")
        with contextlib.suppress(Gone):
            assert await call.body() == b""

    await worker.instance(answers, more_fields=FEATURES)
    async with await worker.h2() as client:
        await offered(client)
        for status, answered, error in ((403, 403, None), (200, 502, "answer_upgrade"), (302, 302, None)):
            head = [(name, f"/{status}" if name == ":path" else value) for name, value in HEAD]
            stream = await soon(client.open_raw(head, end=False).done(), "the answer")
            assert (stream.status, stream.error) == (answered, error)
    await worker.quiet()


@scenario
async def test_without_an_extension_that_can_it_is_not_supported(worker: WorkerProcess) -> None:
    await worker.instance(accepts(echo), more_fields=ANNOUNCED)
    async with await worker.h2() as client:
        stream = await soon((await connected(client)).done(), "the answer")
        assert (stream.status, stream.error) == (501, "connect_not_supported")
        assert (await client.get("/plain")).status == 426
    await worker.quiet()


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({":protocol": "irc"}, False),
        ({":path": "/health"}, False),
        ({}, True),
        ({"content-length": "4"}, False),
    ],
    ids=["another protocol", "a health check", "ended at once", "with a length"],
)
@scenario
async def test_what_is_no_upgrade_is_not_supported(worker: WorkerProcess, change: dict[str, str], end: bool) -> None:
    peer = await worker.instance(accepts(echo), more_fields=FEATURES)
    async with await worker.h2() as client:
        await offered(client)
        head = [*{**dict(HEAD), **change}.items()]
        stream = await soon(client.open_raw(head, end=end).done(), "the answer")
        assert (stream.status, stream.error) == (501, "connect_not_supported")
    assert peer.calls == []
    await worker.quiet()


@pytest.mark.parametrize(
    "head",
    [
        [(":method", "CONNECT"), (":protocol", "websocket"), (":authority", "a")],
        [(":method", "GET"), *HEAD[1:]],
        [(":method", "CONNECT"), *HEAD[2:]],
    ],
    ids=["without scheme and path", "with another method", "CONNECT with a path and no protocol"],
)
@scenario
async def test_a_connect_that_is_malformed_is_reset(worker: WorkerProcess, head: list[tuple[str, str]]) -> None:
    async with await worker.h2() as client:
        stream = client.open_raw(head, end=False)
        await stream.headed()
        assert stream.reset_code == 1, "PROTOCOL_ERROR"


@scenario
async def test_a_connect_without_a_protocol_is_not_supported(worker: WorkerProcess) -> None:
    async with await worker.h2() as client:
        stream = await soon(
            client.open_raw([(":method", "CONNECT"), (":authority", "a:80")], end=False).done(), "the answer"
        )
        assert (stream.status, stream.error) == (501, "connect_not_supported")


@scenario
async def test_bytes_before_the_answer_are_refused(worker: WorkerProcess) -> None:
    async def thinks(call: Call) -> None:
        with contextlib.suppress(Gone):
            await call.gone()

    peer = await worker.instance(thinks, more_fields=FEATURES)
    async with await worker.h2() as client:
        stream = await connected(client)
        await soon(peer.served(1), "the request")
        await stream.send(b"too early")
        await soon(stream.done(), "the answer")
        assert (stream.status, stream.error) == (400, "bytes_before_upgrade")
    await worker.quiet()


def test_nothing_is_offered_where_no_protocol_is_allowed() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--upgrade-allow", "none") as worker:
            await worker.instance(accepts(echo), more_fields=FEATURES)
            async with await worker.h2() as client:
                assert (await client.get("/plain")).status == 426
                assert not client.conn.remote_settings.enable_connect_protocol
                stream = client.open_raw(HEAD, end=False)
                await stream.headed()
                assert stream.reset_code == 1
            async with await worker.client() as plain:
                assert (await plain.get("/chat", "Connection: Upgrade\r\nUpgrade: websocket\r\n")).status == 426

    run(body())


def test_a_worker_that_is_terminated_closes_its_streams_with_1012() -> None:
    async def body() -> None:
        async with WorkerProcess.running("--lame-duck", "0", "--drain-deadline", "4") as worker:
            await instance(worker, Peer())
            async with await worker.h2() as client:
                stream = await connected(client)
                assert await stream.headed() == 200
                await stream.send(frame(b"hi", mask=MASK))
                await stream.has(4)
                worker.terminate()
                await soon(stream.done(), "the end")
                assert stream.body == frame(b"hi") + close(1012)
            assert await worker.exit_code() == 0

    run(body(), 30)


@scenario
async def test_interim_answers_pass_up_to_a_bound(worker: WorkerProcess) -> None:
    async def hints(call: Call) -> None:
        one = call.head_text(103, [("link", "</style.css>; rel=preload")], reason="Early Hints")
        for _ in range(40):
            await call.write(one)
        await call.respond(200, body=b"done")

    await worker.instance(hints, more_fields=FEATURES)
    async with await worker.h2() as client:
        stream = await soon(client.get("/"), "the answer")
        assert (stream.status, stream.body) == (200, b"done")
        assert [dict(fields)[":status"] for fields in stream.interim] == ["103"] * 16
        assert dict(stream.interim[0])["link"] == "</style.css>; rel=preload"
    async with await worker.client() as old:
        await old.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await old.head()).status == 200


@scenario
async def test_an_application_that_is_lost_after_its_close_has_ended_in_order(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.write(frame(b"hi") + close(1000))
        await call.read()
        call.reset()

    await worker.instance(accepts(breaks), more_fields=FEATURES)
    async with await worker.h2() as client:
        stream = await connected(client)
        await stream.has(len(frame(b"hi") + close(1000)))
        await stream.send(frame(b"x", mask=MASK))
        await stream.done()
        assert bytes(stream.body) == frame(b"hi") + close(1000)
        assert stream.reset_code in (None, 0), "NO_ERROR: the rest of the client's side is not wanted"
    await worker.quiet()
