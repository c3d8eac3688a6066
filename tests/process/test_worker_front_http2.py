"""The front door in HTTP/2, with python-hyper h2 as the client."""

import asyncio

import pytest
from h2.errors import ErrorCodes

from tests.support.clients import H2Client
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

PSEUDO = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "example.test")]


@scenario
async def test_many_requests_share_a_connection_and_overtake_each_other(worker: WorkerProcess) -> None:
    slow = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/0":
            await slow.wait()
        await call.respond(200, body=call.target.encode())

    await worker.instance(handler, channels=10)
    async with await worker.h2() as client:
        first = client.open("/0")
        others = [client.open(f"/{i}") for i in range(1, 50)]
        for i, stream in enumerate(others, 1):
            assert (await stream.done()).body == b"/%d" % i
        assert not first.ended
        slow.set()
        assert (await first.done()).body == b"/0"


@scenario
async def test_a_body_and_its_fields_reach_the_instance_as_http_1_1(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=await call.body())

    peer = await worker.instance(handler)
    async with await worker.h2() as client:
        assert (await client.get("/a?b", [("x-own", "1"), ("te", "trailers")], "POST", b"body")).body == b"body"
        assert (await client.get("/", [("content-length", "4")], "POST", b"body")).body == b"body"
    unknown, known = peer.calls
    assert (unknown.method, unknown.target, unknown.field("host")) == ("POST", "/a?b", "example.test")
    assert (unknown.all("transfer-encoding"), unknown.field("x-own"), unknown.field("te")) == (["chunked"], "1", None)
    assert (known.all("transfer-encoding"), known.all("content-length")) == ([], ["4"])
    assert unknown.all("x-forwarded-for") == ["127.0.0.1"]
    assert unknown.all("x-forwarded-proto") == ["http"]
    assert unknown.all("x-forwarded-port") == [str(worker.ports["http"])]


@scenario
async def test_cookies_that_came_apart_are_one_field_again(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.h2() as client:
        await client.get("/", [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")])
    assert peer.calls[0].all("cookie") == ["a=1; b=2; c=3"]


@scenario
async def test_trailers_end_a_request_and_are_left_out(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.h2() as client:
        stream = client.open("/", method="POST", end=False)
        await stream.send(b"abc")
        client.conn.send_headers(stream.id, [("x-after", "1")], end_stream=True)
        client.flush()
        assert (await stream.done()).status == 200
    assert peer.calls[0].received == 3
    assert peer.calls[0].field("x-after") is None


@pytest.mark.parametrize(
    "head",
    [
        [*PSEUDO, ("Upper", "x")],
        [*PSEUDO, ("connection", "close")],
        [*PSEUDO, ("transfer-encoding", "chunked")],
        [*PSEUDO, ("keep-alive", "1")],
        [*PSEUDO, ("te", "gzip")],
        [*PSEUDO, ("x", "a\r\nb: c")],
        [*PSEUDO, ("x", "a\0b")],
        [*PSEUDO, (":method", "POST")],
        [*PSEUDO, (":unknown", "x")],
        [("x", "first"), *PSEUDO],
        PSEUDO[1:],
        PSEUDO[:2] + PSEUDO[3:],
        [PSEUDO[0], PSEUDO[2], PSEUDO[3]],
        [PSEUDO[0], PSEUDO[1], (":path", ""), PSEUDO[3]],
        [*PSEUDO, ("content-length", "5")],
        [*PSEUDO, ("content-length", "1"), ("content-length", "2")],
        [*PSEUDO, ("", "x")],
        [*PSEUDO, ("a b", "x")],
    ],
    ids=lambda head: str(head[-1]) + str(len(head)),
)
@scenario
async def test_a_malformed_head_never_reaches_an_instance(worker: WorkerProcess, head: list[tuple[str, str]]) -> None:
    peer = await worker.instance()
    async with await worker.h2() as client:
        stream = await soon(client.open_raw(head).done(), "the end of the stream")
        assert stream.reset_code == ErrorCodes.PROTOCOL_ERROR or stream.status == 400
        good = await client.get("/good")
        assert good.body == b"hello from /good"
    assert [call.target for call in peer.calls] == ["/good"]


@pytest.mark.parametrize("path", ["/a b", "/a\tb", "nowhere", "http://a/b", "/\x7f"])
@scenario
async def test_a_path_that_would_be_another_request_in_http_1_1_is_a_reset(worker: WorkerProcess, path: str) -> None:
    peer = await worker.instance()
    async with await worker.h2() as client:
        stream = await soon(client.open(path).done(), "the answer")
        assert (stream.status, stream.reset_code) == (0, ErrorCodes.PROTOCOL_ERROR)
    assert peer.calls == []


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b"])
@scenario
async def test_an_authority_that_none_can_have_is_a_reset(worker: WorkerProcess, host: str) -> None:
    async with await worker.h2() as client:
        stream = await soon(client.open_raw([*PSEUDO[:3], (":authority", host)]).done(), "the answer")
        assert (stream.status, stream.reset_code) == (0, ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize("host", ["a,b", "a:99999"])
@scenario
async def test_an_authority_that_is_no_host_is_a_400(worker: WorkerProcess, host: str) -> None:
    async with await worker.h2() as client:
        stream = await soon(client.open_raw([*PSEUDO[:3], (":authority", host)]).done(), "the answer")
        assert (stream.status, stream.error) == (400, "bad_host")


@scenario
async def test_a_body_of_another_length_than_announced_is_a_fault_of_that_stream(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.body()
        await call.respond(200)

    await worker.instance(handler, channels=2)
    async with await worker.h2() as client:
        for body in (b"1234", b"123456"):
            stream = client.open("/", [("content-length", "5")], "POST", end=False)
            await stream.send(body, end=True)
            await soon(stream.done(), "the end of the stream")
            assert stream.reset_code == ErrorCodes.PROTOCOL_ERROR
        assert (await client.get("/")).status == 200


@scenario
async def test_a_head_that_is_too_large_is_a_431_and_the_connection_goes_on(worker: WorkerProcess) -> None:
    async with await worker.h2() as client:
        stream = await client.get("/", [(f"x-{i}", "a" * 9000) for i in range(20)])
        assert (stream.status, stream.error) == (431, "head_too_large")
        assert (await client.get("/health")).body == b"OK"


@scenario
async def test_health_and_gates_are_the_same_in_http_2(worker: WorkerProcess) -> None:
    async with await worker.h2() as client:
        stream = await client.get("/health")
        assert (stream.status, bytes(stream.body)) == (200, b"OK")
        stream = await client.get("/health", method="HEAD")
        assert (stream.status, bytes(stream.body), stream.field("content-length")) == (200, b"", "2")
        stream = await client.open_raw([(":method", "CONNECT"), (":authority", "a:1")]).done()
        assert (stream.status, stream.error) == (501, "connect_not_supported")


@scenario
async def test_a_stream_that_the_client_resets_reaches_the_instance_as_a_reset(worker: WorkerProcess) -> None:
    codes: list[int | None] = []

    async def handler(call: Call) -> None:
        codes.append(await call.gone())

    peer = await worker.instance(handler)
    async with await worker.h2() as client:
        stream = client.open()
        await peer.served(1)
        stream.reset()
        await until(lambda: bool(codes), "the reset reaches the instance")
        assert codes == [ErrorCodes.CANCEL]
        assert (await client.get("/health")).status == 200


@scenario
async def test_a_client_with_more_streams_than_allowed_is_refused_the_surplus(worker: WorkerProcess) -> None:
    async with await worker.h2() as client:
        await client.get("/health")
        allowed = client.conn.remote_settings.max_concurrent_streams
        assert 100 <= allowed <= 1000
        streams = [client.open(f"/{i}") for i in range(allowed)]
        await worker.waits(allowed)
        client.conn.remote_settings[3] = allowed + 10
        client.conn.remote_settings.acknowledge()
        surplus = client.open("/surplus")
        await surplus.done()
        assert surplus.reset_code == ErrorCodes.REFUSED_STREAM
        for stream in streams:
            stream.reset()
        await worker.waits(0)


@scenario
async def test_a_flood_of_resets_ends_the_connection_and_not_the_worker(worker: WorkerProcess) -> None:
    await worker.instance(channels=10)
    async with await worker.h2() as client:
        for _ in range(5000):
            if client.goaways or client.lost.is_set():
                break
            client.open("/").reset()
            await asyncio.sleep(0)
        await soon(client.lost.wait(), "the end of the connection")
        # The GOAWAY itself may be lost: what the client sent meanwhile makes the kernel answer with a reset.
        assert len(client.streams) < 5000
        assert {code for code, _ in client.goaways} <= {ErrorCodes.ENHANCE_YOUR_CALM}
    async with await worker.h2() as another:
        assert (await another.get("/health")).status == 200


@scenario
async def test_a_client_that_breaks_the_protocol_gets_a_goaway_and_its_requests_end(
    worker: WorkerProcess,
) -> None:
    async def handler(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(handler)
    client: H2Client
    async with await worker.h2() as client:
        client.open()
        await peer.served(1)
        assert client.transport is not None
        client.transport.write(b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x")
        await soon(client.lost.wait(), "the end of the connection")
        assert client.goaways[-1][0] == ErrorCodes.FRAME_SIZE_ERROR
    assert await soon(peer.calls[0].gone(), "the reset at the instance") == ErrorCodes.CANCEL


@scenario
async def test_expect_100_continue_is_answered_in_http_2_too(worker: WorkerProcess) -> None:
    await worker.instance()
    async with await worker.h2() as client:
        stream = client.open("/", [("expect", "100-continue")], "POST", end=False)
        await stream._until(lambda: stream.interim)
        assert stream.interim == [[(":status", "100")]]
        await stream.send(b"body", end=True)
        assert (await stream.done()).status == 200


@scenario
async def test_prior_knowledge_in_pieces_is_still_http_2(worker: WorkerProcess) -> None:
    await worker.instance()
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.ports["http"])
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for byte in preface:
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    head = await soon(reader.readexactly(9), "the router's SETTINGS")
    assert head[3] == 4
    writer.close()
    await writer.wait_closed()
