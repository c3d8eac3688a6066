"""Streamed answers to direct events, byte for byte as the Runtime API gets them."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from tests.support.apps.raw_app import chunk, pattern
from tests.support.direct_rig import ALB, SQS, STREAM, URL, V1, Rig, ask, event, run, say, split
from tests.support.runtime_api import Invocation, RuntimeApi

NULS = bytes(8)


async def streamed(r: Rig, path: str, method: str = "GET", shape: str = URL) -> Invocation:
    invocation = r.api.invoke(ask(shape, path, method))
    await invocation.ended()
    assert invocation.error is None
    return invocation


def test_the_head_of_the_post_is_the_streaming_one() -> None:
    async def body(r: Rig) -> None:
        headers = (await streamed(r, say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"))).headers
        assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
        assert headers["lambda-runtime-function-response-mode"] == "streaming"
        assert headers["trailer"] == "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
        assert headers["content-type"] == "application/vnd.awslambda.http-integration-response"

    run(body, env=STREAM)


def test_the_prelude_byte_for_byte() -> None:
    async def body(r: Rig) -> None:
        answer = (
            b'HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nX-Quote: "a\\b"\r\nSet-Cookie: a=1; Path=/\r\n'
            b"x-name: A\xc3\xb1o\r\nset-cookie: b=2\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
        )
        invocation = await streamed(r, say(answer))
        assert invocation.chunks[:2] == [
            '{"statusCode":201,"headers":{"content-type":"text/plain","x-quote":"\\"a\\\\b\\"","x-name":"Año",'
            '"content-length":"5"},"cookies":["a=1; Path=/","b=2"]}'.encode(),
            NULS,
        ]
        assert b"".join(invocation.chunks[2:]) == b"hello"
        assert invocation.trailers == {}

    run(body, env=STREAM)


def test_without_a_content_type_it_is_octet_stream() -> None:
    async def body(r: Rig) -> None:
        invocation = await streamed(r, say(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"))
        assert invocation.raw == (
            b'{"statusCode":200,"headers":{"content-length":"1","content-type":"application/octet-stream"},"cookies":[]}'
            + NULS
            + b"x"
        )

    run(body, env=STREAM)


def test_every_kind_of_event_is_streamed_the_same_way() -> None:
    async def body(r: Rig) -> None:
        path = say(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nsame")
        expected = (await streamed(r, path)).raw
        for shape in (V1, ALB):
            assert (await streamed(r, path, shape=shape)).raw == expected
        other = r.api.invoke(event(SQS))
        await other.ended()
        assert split(other)[0]["statusCode"] == 200

    run(body, env={**STREAM, "AWS_LWA_PASS_THROUGH_PATH": "/seen"})


def test_bytes_leave_as_they_come() -> None:
    async def body(r: Rig) -> None:
        invocation = r.api.invoke(ask(URL, "/gated"))
        first = await invocation.streamed(1)
        while b"data: first\n\n" not in first:
            first = await invocation.streamed(len(first) + 1)
        assert not invocation.done.is_set()
        await r.open_gate()
        await invocation.ended()
        assert split(invocation)[1].startswith(b"data: first\n\n") and len(split(invocation)[1]) > 13

    run(body, env=STREAM)


def test_the_prelude_leaves_with_the_head() -> None:
    async def body(r: Rig) -> None:
        invocation = r.api.invoke(ask(URL, "/flush-head"))
        assert (await invocation.streamed(20)).endswith(NULS)
        await r.open_gate()
        await invocation.ended()
        assert len(split(invocation)[1]) == 4

    run(body, env=STREAM)


def test_large_bodies_arrive_whole() -> None:
    async def body(r: Rig) -> None:
        assert split(await streamed(r, "/bytes/20000000"))[1] == pattern(20_000_000)
        chunks = split(await streamed(r, "/chunks/1000/100"))[1]
        assert len(chunks) == 100_000
        assert split(await streamed(r, "/until-close/300000"))[1] == pattern(300_000)

    run(body, env=STREAM)


def test_head_204_304_and_empty_bodies_have_a_prelude_and_nothing_more() -> None:
    async def body(r: Rig) -> None:
        for path, method, status in (
            ("/bytes/5000", "HEAD", 200),
            ("/status/204", "GET", 204),
            ("/status/304", "GET", 304),
            (say(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"), "GET", 302),
        ):
            invocation = await streamed(r, path, method)
            prelude, content = split(invocation)
            assert (prelude["statusCode"], content, invocation.trailers) == (status, b"", {})

    run(body, env=STREAM)


def fault(invocation: Invocation) -> dict[str, Any]:
    assert invocation.trailers["lambda-runtime-function-error-type"] == "Runtime.StreamError"
    told: dict[str, Any] = json.loads(base64.b64decode(invocation.trailers["lambda-runtime-function-error-body"]))
    assert told["errorType"] == "Runtime.StreamError"
    return told


def test_an_application_that_breaks_off_in_the_middle_ends_with_the_two_trailers() -> None:
    async def body(r: Rig) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        for answer, start in (
            (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", b"short"),
            (head + chunk(b"some"), b"some"),
            (head + chunk(b"some") + b"zz\r\n", b"some"),
        ):
            invocation = await streamed(r, f"/then/{answer.hex()}")
            assert split(invocation)[1] == start
            assert "application" in fault(invocation)["errorMessage"]
        assert split(await streamed(r, "/text/5"))[1] == b"all w"

    run(body, env=STREAM)


def test_an_application_that_breaks_off_before_its_head_is_an_invocation_error() -> None:
    async def body(r: Rig) -> None:
        failed = r.api.invoke(ask(URL, "/drop", "POST"))
        await failed.ended()
        assert failed.error is not None and failed.headers["lambda-runtime-function-error-type"] == "unhandled"

    run(body, env=STREAM)


def test_a_status_of_the_error_list_is_an_error_in_streams_too() -> None:
    async def body(r: Rig) -> None:
        failed = r.api.invoke(ask(URL, "/status/503"))
        await failed.ended()
        assert failed.error["errorMessage"] == '{"statusCode":503,"body":"status"}'

    run(body, env={**STREAM, "AWS_LWA_ERROR_STATUS_CODES": "500-599"})


def test_a_bad_event_is_answered_in_a_stream() -> None:
    async def body(r: Rig) -> None:
        invocation = await streamed(r, "/a\r\nb")
        prelude, content = split(invocation)
        assert (prelude["statusCode"], prelude["headers"]["content-type"]) == (400, "text/plain")
        assert b"the path" in content

    run(body, env=STREAM)


def test_streams_are_not_compressed_and_the_log_says_so() -> None:
    async def body(r: Rig) -> None:
        value = ask(URL, "/text/5000")
        value["headers"]["accept-encoding"] = "gzip"
        invocation = r.api.invoke(value)
        await invocation.ended()
        prelude, content = split(invocation)
        assert "content-encoding" not in prelude["headers"] and len(content) == 5000
        await r.extension.line("option ignored variable=AWS_LWA_ENABLE_COMPRESSION")

    run(body, env={**STREAM, "AWS_LWA_ENABLE_COMPRESSION": "true"})


def worked(pid: int) -> int:
    """Nanoseconds that the process has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


async def still(r: Rig) -> None:
    """Waits until the extension has nothing to do: its processor time does not grow."""
    before, same = worked(r.extension.process.pid), 0
    while same < 5:
        await asyncio.sleep(0.05)
        now = worked(r.extension.process.pid)
        before, same = now, same + 1 if now == before else 0


def test_a_runtime_api_that_does_not_read_stops_the_application() -> None:
    class Slow(RuntimeApi):
        def __init__(self) -> None:
            super().__init__(["lambda-dispatch"])
            self.gate = asyncio.Event()

        async def _chunks(self, path: str, headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
            await self.gate.wait()
            return await super()._chunks(path, headers, reader)

    slow = Slow()

    async def body(r: Rig) -> None:
        invocation = r.api.invoke(ask(URL, "/bytes/50000000"))
        before = r.extension.resident()
        await still(r)
        assert r.extension.resident() - before < 4096
        slow.gate.set()
        await invocation.ended()
        assert split(invocation)[1] == pattern(50_000_000)

    run(body, env=STREAM, api=slow)


def test_an_early_answer_of_the_runtime_api_ends_the_stream_and_the_next_event_is_served() -> None:
    class Refusing(RuntimeApi):
        async def _chunks(self, path: str, headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
            if path.endswith("request-0/response"):
                return b""
            return await super()._chunks(path, headers, reader)

        async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
            if path.endswith("request-0/response"):
                return 413, {"connection": "close"}, b'{"errorType": "TooLarge"}'
            return await super()._answer(method, path, headers, body)

    async def body(r: Rig) -> None:
        r.api.invoke(ask(URL, "/bytes/50000000"))
        await r.extension.line("response refused")
        assert split(await streamed(r, "/text/5"))[1] == b"all w"

    run(body, env=STREAM, api=Refusing(["lambda-dispatch"]))
