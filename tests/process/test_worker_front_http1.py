"""The front door in HTTP/1.1, byte by byte: what is refused, what is passed on, and what it says to the instance."""

import asyncio

import pytest

from tests.support.clients import RawClient
from tests.support.instance_peer import ANNOUNCED, Call
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess

HOST = b"Host: example.test\r\n"


async def refused(worker: WorkerProcess, request: bytes, status: int, error: str) -> None:
    """The request gets this status and the connection ends; no instance sees it."""
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.send(request)
        answer = await client.response()
        assert (answer.status, answer.field("connection")) == (status, "close")
        assert answer.error == error
        assert answer.field("content-type") == "text/plain"
        assert answer.body and b"\n" not in answer.body
        client.writer.write_eof()
        assert await soon(client.ended(), "the end of the connection")
    assert peer.calls == []


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (
            b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "length_and_encoding",
        ),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
            "bad_content_length",
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 4\r\n\r\nabcd", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\nabcdefghij", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n", 400, "bad_content_length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 400, "bad_transfer_encoding"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "bad_transfer_encoding"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n", 400, "bad_transfer_encoding"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad_field_name"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_transfer_encoding"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-Folded: a\r\n b\r\n\r\n", 400, "folded_field"),
        (b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n", 400, "folded_field"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400, "bad_line_end"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400, "bad_field_value"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bad_line_end"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n", 400, "bad_line_end"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Bad Name: a\r\n\r\n", 400, "bad_field_name"),
        (b"GET / HTTP/1.1\r\n" + HOST + b": empty\r\n\r\n", 400, "bad_field_name"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400, "bad_field_name"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Host: other.test\r\n\r\n", 400, "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
        (b"GET / \r\n" + HOST + b"\r\n", 400, "bad_version"),
        (b"GET /\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
        (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400, "bad_request_line"),
        (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_method"),
        (b"GET nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_version"),
        (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "unsupported_version"),
        (b"GET / HTTP/1.10\r\n" + HOST + b"\r\n", 400, "bad_version"),
        (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400, "bad_version"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400, "bad_method"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Expect: something-else\r\n\r\n", 417, "expectation_failed"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 170_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 300 + b"\r\n", 431, "too_many_fields"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "line_too_long"),
    ],
    ids=lambda value: (
        value[:60].decode("latin-1").encode("unicode_escape").decode() if isinstance(value, bytes) else ""
    ),
)
@scenario
async def test_a_malformed_head_is_refused_and_ends_the_connection(
    worker: WorkerProcess, request_: bytes, status: int, error: str
) -> None:
    await refused(worker, request_, status, error)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"-1\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"\r\n",
        b"fffffffffffffffff\r\n",
        b"3;" + b"e" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        b"0\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    ],
    ids=lambda value: value[:24].decode("latin-1").encode("unicode_escape").decode(),
)
@scenario
async def test_a_malformed_chunk_is_refused_and_never_looks_like_a_whole_body(
    worker: WorkerProcess, body: bytes
) -> None:
    whole: list[bytes] = []

    async def handler(call: Call) -> None:
        whole.append(await call.body())

    await worker.instance(handler)
    async with await worker.client() as client:
        await client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        answer = await client.response()
        assert (answer.status, answer.error, answer.field("connection")) == (400, "bad_chunk", "close")
        client.writer.write_eof()
        assert await soon(client.ended(), "the end of the connection")
    assert whole == []


@scenario
async def test_what_follows_a_refused_request_on_its_connection_is_not_a_request(worker: WorkerProcess) -> None:
    await refused(
        worker,
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
        400,
        "length_and_encoding",
    )


# What is understood


@scenario
async def test_a_head_that_comes_byte_by_byte_is_one_request(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        for byte in b"POST /slow HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc":
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).body == b"hello from /slow"
    assert peer.calls[0].received == 3


@scenario
async def test_answers_to_pipelined_requests_come_in_the_order_of_the_requests(worker: WorkerProcess) -> None:
    first = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/0":
            await first.wait()
        await call.respond(200, body=call.target.encode())

    await worker.instance(handler, channels=4)
    async with await worker.client() as client:
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, HOST) for i in range(20)))
        first.set()
        for i in range(20):
            assert (await client.response()).body == b"/%d" % i


@scenario
async def test_requests_with_bodies_may_be_pipelined(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=await call.body())

    await worker.instance(handler)
    async with await worker.client() as client:
        wanted = []
        data = b""
        for i in range(10):
            body = b"%d" % i * (i * 700)
            wanted.append(body)
            if i % 2:
                data += b"POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (HOST, len(body), body)
            else:
                chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
                data += b"POST / HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (HOST, chunk)
        for start in range(0, len(data), 997):
            await client.send(data[start : start + 997])
        assert [(await client.response()).body for _ in range(10)] == wanted


@scenario
async def test_a_client_far_ahead_with_its_pipeline_is_not_read_for_ever(worker: WorkerProcess) -> None:
    hold = asyncio.Event()

    async def handler(call: Call) -> None:
        await hold.wait()
        await call.respond(200, body=b"x")

    await worker.instance(handler)
    one = b"GET / HTTP/1.1\r\n" + HOST + b"X-Fill: " + b"a" * 900 + b"\r\n\r\n"
    count = 12_000
    async with await worker.client() as client:
        client.writer.write(one * count)
        await asyncio.wait([asyncio.create_task(client.writer.drain())], timeout=0.5)
        # What the kernel's buffers take is not ours; what is beyond them must still be here.
        assert client.writer.transport.get_write_buffer_size() > 2_000_000
        assert worker.resident() < 150_000_000
        hold.set()
        client.abort()


@scenario
async def test_expect_100_continue_is_answered_while_the_body_is_awaited(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        await client.send(head)
        assert (await soon(client.head(), "100 Continue")).status == 100
        await client.send(b"body")
        assert (await client.response()).status == 200
    assert peer.calls[0].field("expect") is None
    assert peer.calls[0].received == 4


@scenario
async def test_a_final_answer_takes_the_place_of_100_continue(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        await client.send(
            b"POST /health HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: nonsense\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await client.head()).status == 400


@pytest.mark.parametrize(
    ("request_", "keeps"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", True),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: x, Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
    ids=["1.1", "1.1 close", "1.1 x, Close", "1.0", "1.0 keep-alive"],
)
@scenario
async def test_a_connection_is_kept_as_the_client_asks(worker: WorkerProcess, request_: bytes, keeps: bool) -> None:
    await worker.instance()
    async with await worker.client() as client:
        await client.send(request_)
        answer = await client.response()
        assert answer.status == 200
        if keeps:
            await client.send(request_)
            assert (await client.response()).status == 200
            if b"HTTP/1.0" in request_:
                assert answer.field("connection") == "keep-alive"
        else:
            assert answer.field("connection") == "close"
            assert await soon(client.ended(), "the end of the connection")


@scenario
async def test_http_1_0_gets_a_body_of_unknown_length_until_the_connection_ends(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text())
        for piece in (b"one ", b"two ", b"three"):
            await call.write(piece)

    await worker.instance(handler)
    async with await worker.client() as client:
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.response()
        assert answer.body == b"one two three"
        assert (answer.field("transfer-encoding"), answer.field("connection")) == (None, "close")


@scenario
async def test_an_absolute_target_is_a_path_and_its_authority_the_host(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        for target in (b"http://other.test:81/p?q", b"http://other.test:81", b"http://other.test:81?q"):
            await client.send(b"GET %s HTTP/1.1\r\nHost: other.test:81\r\n\r\n" % target)
            assert (await client.response()).status == 200
    assert [call.target for call in peer.calls] == ["/p?q", "/", "/?q"]
    assert [call.all("host") for call in peer.calls] == [["other.test:81"]] * 3


@scenario
async def test_options_star_reaches_the_instance_and_connect_does_not(worker: WorkerProcess) -> None:
    peer = await worker.instance(more_fields=ANNOUNCED)
    async with await worker.client() as client:
        await client.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.response()).status == 200
    assert peer.calls[0].target == "*"
    async with await worker.client() as client:
        await client.send(b"CONNECT example.test:80 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.response()).status == 501
    assert len(peer.calls) == 1


@scenario
async def test_trailers_and_chunk_extensions_are_read_and_left_out(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        for _ in range(2):
            await client.send(
                b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTrailer: x-after\r\n\r\n"
                b"3;name=value\r\nabc\r\n0\r\nx-after: 1\r\nx-lambda-name: evil\r\n\r\n"
            )
            assert (await client.response()).status == 200
    assert [call.received for call in peer.calls] == [3, 3]
    assert all("x-after" not in dict(call.fields) for call in peer.calls)


@scenario
async def test_what_concerns_the_hop_is_kept_from_the_instance(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.get(
            "/",
            "Connection: X-Named, keep-alive\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
            "Upgrade: websocket\r\nProxy-Connection: close\r\n"
            "Proxy-Authorization: x\r\nX-Lambda-Id: forged\r\nX-Channel-Id: forged\r\n"
            "X-Pool-Id: forged\r\nX-Kept: 1\r\n",
        )
    names = {name for name, _ in peer.calls[0].fields}
    assert names - {"proxy-authorization"} == {
        "host",
        "x-kept",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-port",
    }


@pytest.mark.parametrize("named", [b"host", b"content-length", b"x, Content-Length"])
@scenario
async def test_connection_cannot_name_away_what_frames_or_routes_the_request(
    worker: WorkerProcess, named: bytes
) -> None:
    await refused(
        worker,
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nConnection: " + named + b"\r\n\r\nab",
        400,
        "bad_connection",
    )


@scenario
async def test_connection_cannot_name_away_who_the_client_is(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.get("/", "Connection: x-forwarded-for, x-forwarded-proto\r\nX-Forwarded-For: 1.1.1.1\r\n")
    assert (peer.calls[0].field("x-forwarded-for") or "").endswith("127.0.0.1")
    assert peer.calls[0].field("x-forwarded-proto") == "http"


@scenario
async def test_the_client_is_named_in_the_forwarded_fields(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.get("/")
        await client.get("/", "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2, 10.0.0.3\r\n")
        await client.get("/", "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n")
    first, second, third = peer.calls
    port = str(worker.ports["http"])
    assert first.all("x-forwarded-for") == ["127.0.0.1"]
    assert (first.all("x-forwarded-proto"), first.all("x-forwarded-port")) == (["http"], [port])
    assert second.all("x-forwarded-for") == ["10.0.0.1, 10.0.0.2, 10.0.0.3, 127.0.0.1"]
    assert (third.all("x-forwarded-proto"), third.all("x-forwarded-port")) == (["https"], ["443"])


@scenario
async def test_a_body_of_unknown_length_is_announced_to_the_instance_and_sent_without_chunk_frames(
    worker: WorkerProcess,
) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=await call.body())

    peer = await worker.instance(handler)
    async with await worker.client() as client:
        await client.send(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert (await client.response()).body == b"abcde"
        await client.get(fields="Content-Length: 2\r\n", method="POST", body=b"ab")
        await client.get(fields="Content-Length: 0\r\n", method="POST")
    chunked, known, empty = peer.calls
    assert (chunked.all("transfer-encoding"), chunked.all("content-length")) == (["chunked"], [])
    assert (known.all("transfer-encoding"), known.all("content-length")) == ([], ["2"])
    assert empty.all("content-length") == ["0"]


@scenario
async def test_the_head_of_a_request_reaches_the_instance_before_its_body(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        await client.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n")
        await soon(peer.served(1), "the head at the instance")
        await client.send(b"abc")
        assert (await client.response()).body == b"hello from /early"


@scenario
async def test_health_is_answered_without_an_instance_by_get_and_head_alone(worker: WorkerProcess) -> None:
    async with await worker.client() as client:
        answer = await client.get("/health")
        assert (answer.status, answer.body) == (200, b"OK")
        answer = await client.get("/health", method="HEAD")
        assert (answer.status, answer.body, answer.field("content-length")) == (200, b"", "2")
        answer = await client.get("/health?verbose")
        assert answer.body == b"OK", "no function name and no count for any client that asks"
    peer = await worker.instance()
    async with await worker.client() as client:
        assert (await client.get("/health", method="POST")).body == b"hello from /health"
        assert (await client.get("/healthy")).body == b"hello from /healthy"
    assert len(peer.calls) == 2


@pytest.mark.parametrize("path", ["/api/chunked/ping/x", "/api/chunked/close/x", "/api/chunked/request/x/y"])
@scenario
async def test_the_front_door_never_serves_control_routes(worker: WorkerProcess, path: str) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        fields = f"x-lambda-id: {peer.id}\r\nx-pool-id: default\r\n"
        path = path.replace("x", peer.id, 1)
        for method in ("GET", "POST"):
            answer = await client.get(path, fields, method)
            assert answer.body == b"hello from " + path.encode()
    assert peer.idle() or not peer.told_to_go.is_set()


@scenario
async def test_no_debug_and_no_other_function_without_leave(worker: WorkerProcess) -> None:
    peer = await worker.instance()
    async with await worker.client() as client:
        answer = await client.get("/echo-local", "X-Lambda-Dispatch-Debug: true\r\nX-Lambda-Name: another\r\n")
        assert answer.body == b"hello from /echo-local"
    assert len(peer.calls) == 1


@scenario
async def test_empty_lines_before_a_request_are_forgiven_within_bounds(worker: WorkerProcess) -> None:
    await worker.instance()
    async with await worker.client() as client:
        await client.send(b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.response()).status == 200
        await client.send(b"\r\n" * 50 + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.response()).status == 400


@scenario
async def test_a_connection_that_says_nothing_may_end_without_a_word(worker: WorkerProcess) -> None:
    for _ in range(20):
        client: RawClient = await worker.client()
        await client.close()
    async with await worker.client() as client:
        assert (await client.get("/health")).status == 200
