"""The application's answers as results of direct events, in the shape that each event expects."""

import asyncio
import base64
import gzip
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.apps.raw_app import chunk
from tests.support.direct_rig import ALB, ALB_MULTI, SQS, URL, V1, V2, Rig, ask, event, run, say
from tests.support.extension_rig import rig

HTTP_SHAPES = (URL, V2, V1, ALB, ALB_MULTI)
SIX_MB = 6 * 1024 * 1024


def answer(body: bytes, fields: str = "", status: str = "200 OK") -> str:
    return say(f"HTTP/1.1 {status}\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)


async def result(r: Rig, shape: str, path: str, method: str = "GET", **changes: Any) -> Any:
    return await r.api.invoke(ask(shape, path, method, **changes)).result()


COOKIES = "Content-Type: text/plain\r\nSet-Cookie: a=1; Path=/\r\nX-Tag: one\r\nset-cookie: b=2\r\nx-tag: two\r\n"


def test_the_result_of_a_function_url_and_api_gateway_v2() -> None:
    async def body(r: Rig) -> None:
        for shape in (URL, V2):
            assert await result(r, shape, answer(b"hi", COOKIES, "201 Created")) == {
                "statusCode": 201,
                "headers": {"content-type": "text/plain", "x-tag": "one, two", "content-length": "2"},
                "multiValueHeaders": {},
                "cookies": ["a=1; Path=/", "b=2"],
                "body": "hi",
                "isBase64Encoded": False,
            }

    run(body)


def test_the_result_of_api_gateway_v1() -> None:
    async def body(r: Rig) -> None:
        assert await result(r, V1, answer(b"hi", COOKIES, "201 Created")) == {
            "statusCode": 201,
            "headers": {},
            "multiValueHeaders": {
                "content-type": ["text/plain"],
                "set-cookie": ["a=1; Path=/", "b=2"],
                "x-tag": ["one", "two"],
                "content-length": ["2"],
            },
            "body": "hi",
            "isBase64Encoded": False,
        }

    run(body)


def test_the_result_of_a_load_balancer() -> None:
    async def body(r: Rig) -> None:
        for shape in (ALB, ALB_MULTI):
            assert await result(r, shape, answer(b"hi", COOKIES, "201 Made")) == {
                "statusCode": 201,
                "statusDescription": "201 Created",
                "headers": {
                    "content-type": "text/plain",
                    "set-cookie": "a=1; Path=/",
                    "x-tag": "one, two",
                    "content-length": "2",
                },
                "multiValueHeaders": {
                    "content-type": ["text/plain"],
                    "set-cookie": ["a=1; Path=/", "b=2"],
                    "x-tag": ["one", "two"],
                    "content-length": ["2"],
                },
                "body": "hi",
                "isBase64Encoded": False,
            }
        assert (await result(r, ALB, answer(b"", status="599 Odd")))["statusDescription"] == "599"

    run(body)


@pytest.mark.parametrize(
    ("said", "body_said", "value"),
    [
        ("content-type: application/json\r\n", b'{"batchItemFailures": [1.50]}', {"batchItemFailures": [1.5]}),
        ("", b"[1, null]", [1, None]),
        ("content-type: text/plain\r\n", b"not JSON", None),
        ("content-type: application/json\r\n", b"NaN", None),
        ("content-type: application/octet-stream\r\n", b"{}", None),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", b"{}", None),
        ("content-type: application/json\r\n", b"", None),
    ],
)
def test_the_result_of_any_other_event_is_the_applications_json(said: str, body_said: bytes, value: Any) -> None:
    async def body(r: Rig) -> None:
        invocation = r.api.invoke(event(SQS))
        assert await invocation.result() == value
        assert invocation.raw == (body_said if value is not None else b"null")

    run(body, env={"AWS_LWA_PASS_THROUGH_PATH": answer(body_said, said)})


TYPES = (
    ("", True),
    ("content-type: text/html; charset=utf-8\r\n", True),
    ("content-type: TEXT/CSS\r\n", True),
    ("content-type: application/json\r\n", True),
    ("content-type: application/javascript\r\n", True),
    ("content-type: application/xml; charset=utf-8\r\n", True),
    ("content-type: application/yaml\r\n", True),
    ("content-type: application/problem+json; charset=utf-8\r\n", True),
    ("content-type: image/svg+xml\r\n", True),
    ("content-type: application/x+yaml\r\n", True),
    ("content-type: application/x-custom\r\nx-lambda-http-content-encoding: text\r\n", True),
    ("content-type: application/x-custom\r\n", False),
    ("content-type: application/octet-stream\r\n", False),
    ("content-type: image/png\r\n", False),
    ("content-type: text/plain\r\ncontent-encoding: br\r\n", False),
)


def test_a_body_is_text_or_base64_by_its_type() -> None:
    async def body(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            for said, text in TYPES:
                told = await result(r, shape, answer("é".encode(), said))
                assert (told["isBase64Encoded"], said) == (not text, said)
                assert told["body"] == ("é" if text else base64.b64encode("é".encode()).decode())

    run(body)


def test_text_that_is_not_utf_8_arrives_byte_for_byte() -> None:
    async def body(r: Rig) -> None:
        told = await result(r, URL, answer(b"caf\xe9", "content-type: text/plain; charset=iso-8859-1\r\n"))
        assert (told["isBase64Encoded"], base64.b64decode(told["body"])) == (True, b"caf\xe9")

    run(body)


def test_every_byte_of_a_binary_body_arrives() -> None:
    async def body(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            every = bytes(range(256)) * 8
            told = await result(r, shape, answer(every, "content-type: application/octet-stream\r\n"))
            assert base64.b64decode(told["body"]) == every

    run(body)


def test_transfer_encoding_and_hop_by_hop_fields_end_at_the_extension() -> None:
    async def body(r: Rig) -> None:
        told = await result(r, URL, "/cookies")
        assert set(told["headers"]) & {"connection", "keep-alive", "x-hop"} == set()
        said = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        told = await result(r, URL, say(said + chunk(b"ab") + chunk(b"cd") + b"0\r\nx-trailer: 1\r\n\r\n"))
        assert (told["headers"], told["body"]) == ({"content-type": "text/plain"}, "abcd")

    run(body)


def test_statuses_redirects_and_empty_bodies() -> None:
    async def body(r: Rig) -> None:
        statuses = (200, 204, 304, 301, 302, 307, 404, 418, 500, 503)
        for shape, status in itertools.product(HTTP_SHAPES, statuses):
            length = "" if status in (204, 304) else "content-length: 0\r\n"
            said = f"HTTP/1.1 {status} Reason\r\nlocation: /elsewhere?a=1\r\n{length}\r\n"
            told = await result(r, shape, say(said.encode()))
            headers = told["headers"] or {name: values[0] for name, values in told["multiValueHeaders"].items()}
            assert (told["statusCode"], told["body"], told["isBase64Encoded"]) == (status, "", False)
            assert headers["location"] == "/elsewhere?a=1"

    run(body)


def test_the_answer_to_head_has_its_length_and_no_body() -> None:
    async def body(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            told = await result(r, shape, "/bytes/5000", "HEAD")
            headers = told["headers"] or {name: values[0] for name, values in told["multiValueHeaders"].items()}
            assert (told["statusCode"], told["body"], headers["content-length"]) == (200, "", "5000")
        assert (await result(r, URL, "/echo-length", "POST", body="next"))["statusCode"] == 200

    run(body)


def test_interim_answers_are_passed_over() -> None:
    async def body(r: Rig) -> None:
        told = await result(r, URL, "/interim", "POST", body="x")
        assert (told["statusCode"], base64.b64decode(told["body"])) == (200, b"x")

    run(body)


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    async def body(r: Rig) -> None:
        told = await result(r, URL, say(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall", close=True))
        assert told["body"] == "all"

    run(body)


# Error statuses and errors -------------------------------------------------------------------------------------------


def test_a_status_of_the_error_list_fails_the_invoke_and_another_does_not() -> None:
    async def body(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            failed = r.api.invoke(ask(shape, answer('"no\né"'.encode(), status="503 No")))
            await failed.ended()
            assert failed.response is None
            assert failed.headers["lambda-runtime-function-error-type"] == "unhandled"
            assert failed.error["errorMessage"] == '{"statusCode":503,"body":"\\"no\\né\\""}'
            assert failed.error["errorType"]
            assert (await result(r, shape, answer(b"x", status="501 No")))["statusCode"] == 501

    run(body, env={"AWS_LWA_ERROR_STATUS_CODES": "500, 502-504"})


def test_an_application_that_breaks_off_fails_the_invoke_and_the_next_one_is_served() -> None:
    async def body(r: Rig) -> None:
        for path in ("/drop", "/reset", "/garbage", "/bad-chunk", "/short", "/half-head"):
            failed = r.api.invoke(ask(URL, path, "POST", body="x"))
            await failed.ended()
            assert failed.headers["lambda-runtime-function-error-type"] == "unhandled"
            assert "application" in failed.error["errorMessage"]
            assert (await result(r, URL, answer(b"fine")))["body"] == "fine"

    run(body)


def test_a_request_on_a_stale_connection_is_sent_again() -> None:
    async def body(r: Rig) -> None:
        assert base64.b64decode((await result(r, URL, "/stale"))["body"]) == b"fresh"
        assert base64.b64decode((await result(r, URL, "/stale"))["body"]) == b"fresh"

    run(body)


def test_an_application_that_is_gone_fails_the_invoke_and_the_environment() -> None:
    async def body(r: Rig) -> None:
        assert r.app is not None
        await result(r, URL, answer(b"fine"))
        await r.app.end()
        failed = r.api.invoke(ask(URL, "/"))
        await failed.ended()
        assert "refuses connections" in failed.error["errorMessage"]
        assert await r.extension.exited() == 1

    run(body)


# Limits ----------------------------------------------------------------------------------------------------


def test_a_result_over_six_megabytes_is_a_function_error_that_says_what_to_do() -> None:
    async def body(r: Rig) -> None:
        for path in (f"/text/{SIX_MB + 1}", f"/bytes/{SIX_MB * 3 // 4}", "/bytes/100000000"):
            failed = r.api.invoke(ask(URL, path))
            await failed.ended()
            assert failed.error["errorType"] == "Function.ResponseSizeTooLarge"
            assert "response_stream" in failed.error["errorMessage"]
            assert (await result(r, URL, answer(b"fine")))["body"] == "fine"

    run(body)


def test_a_result_of_nearly_six_megabytes_arrives() -> None:
    async def body(r: Rig) -> None:
        for path, size in ((f"/text/{SIX_MB - 2000}", SIX_MB - 2000), ("/chunks/45/100000/x+y", 4_500_000)):
            told = await result(r, URL, path)
            assert len(base64.b64decode(told["body"]) if told["isBase64Encoded"] else told["body"]) == size

    run(body)


def test_an_event_of_six_megabytes_arrives() -> None:
    async def body(r: Rig) -> None:
        told = await result(r, URL, "/seen", "POST", body="x" * (SIX_MB - 4000))
        assert json.loads(told["body"])["body"] == SIX_MB - 4000

    run(body)


# Compression ----------------------------------------------------------------------------------------------------


def accepting(shape: str, path: str, accepts: str, method: str = "GET") -> dict[str, Any]:
    value = ask(shape, path, method)
    if "headers" in value:
        value["headers"]["accept-encoding"] = accepts
    else:
        value["multiValueHeaders"]["accept-encoding"] = [accepts]
    return value


def compressed(body: Callable[[Rig], Awaitable[None]]) -> None:
    run(body, env={"AWS_LWA_ENABLE_COMPRESSION": "true"})


def decoded(told: dict[str, Any]) -> bytes:
    body = base64.b64decode(told["body"]) if told["isBase64Encoded"] else told["body"].encode()
    headers = told["headers"] or {name: values[0] for name, values in told["multiValueHeaders"].items()}
    match headers.get("content-encoding"):
        case "gzip":
            return gzip.decompress(body)
        case "br":
            return bytes(pytest.importorskip("brotli").decompress(body))
    return body


LONG = b"all work and no play makes jack a dull boy "


def test_compression_by_accept_encoding() -> None:
    async def body(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            path = answer(LONG, 'content-type: text/plain\r\netag: "v1"\r\n')
            told = await r.api.invoke(accepting(shape, path, "gzip")).result()
            headers = told["headers"] or {name: values[0] for name, values in told["multiValueHeaders"].items()}
            assert (headers["content-encoding"], headers["vary"]) == ("gzip", "accept-encoding")
            assert "content-length" not in headers and headers["etag"] == 'W/"v1"'
            assert told["isBase64Encoded"] and decoded(told) == LONG
            for accepts in ("", "identity", "gzip;q=0", "deflate", "gzip;q=0.5, identity"):
                told = await r.api.invoke(accepting(shape, path, accepts)).result()
                assert (told["isBase64Encoded"], told["body"]) == (False, LONG.decode())

    compressed(body)


def test_brotli_where_the_client_takes_it() -> None:
    pytest.importorskip("brotli", reason="the brotli package is not installed")

    async def body(r: Rig) -> None:
        path = answer(LONG, "content-type: text/plain\r\n")
        for accepts, encoding in (("gzip, br", "br"), ("br;q=0.5, gzip", "gzip"), ("*", "br"), ("br", "br")):
            told = await r.api.invoke(accepting(URL, path, accepts)).result()
            assert told["headers"]["content-encoding"] == encoding
            assert decoded(told) == LONG

    compressed(body)


def test_what_is_never_compressed() -> None:
    async def body(r: Rig) -> None:
        for said in (
            "content-type: text/plain\r\ncontent-encoding: gzip\r\n",
            "content-type: image/png\r\n",
            "content-type: application/grpc\r\n",
            "content-type: text/event-stream\r\n",
            "content-type: text/plain\r\ncache-control: no-transform\r\n",
        ):
            told = await r.api.invoke(accepting(URL, answer(LONG, said), "gzip, br")).result()
            assert told["headers"].get("content-encoding", "") == ("gzip" if "encoding: gzip" in said else "")
            raw = base64.b64decode(told["body"]) if told["isBase64Encoded"] else told["body"].encode()
            assert raw == LONG

    compressed(body)


def test_less_than_32_bytes_are_not_compressed() -> None:
    async def body(r: Rig) -> None:
        for size, encoding in ((31, None), (32, "gzip")):
            path = answer(b"x" * size, "content-type: text/plain\r\n")
            told = await r.api.invoke(accepting(URL, path, "gzip")).result()
            assert told["headers"].get("content-encoding") == encoding

    compressed(body)


def test_a_body_over_the_limit_arrives_when_it_fits_compressed() -> None:
    async def body(r: Rig) -> None:
        told = await r.api.invoke(accepting(URL, f"/text/{2 * SIX_MB}", "gzip")).result()
        assert len(decoded(told)) == 2 * SIX_MB

    compressed(body)


# Life ----------------------------------------------------------------------------------------------------


async def dispatched(r: Rig) -> None:
    """One request by the router, in an invoke of its own."""
    invocation = r.invoke(1)
    assert (await r.exchange("GET", "/text/5")).body == b"all w"
    await (await r.router.parked()).go_away()
    assert (await invocation.result())["RequestCount"] == 1


def test_direct_off_refuses_events_and_serves_the_router() -> None:
    async def body(r: Rig) -> None:
        for value in (event(URL), event(SQS), {}):
            failed = r.api.invoke(value)
            await failed.ended()
            assert failed.error["errorType"] == "DirectEventRefused"
            assert "LAMBDA_DISPATCH_DIRECT" in failed.error["errorMessage"]
        await dispatched(r)

    run(body, env={"LAMBDA_DISPATCH_DIRECT": "off"})


def test_an_environment_that_is_only_dispatched_to_loads_nothing_for_events() -> None:
    async def body(r: Rig) -> None:
        def loaded() -> bool:
            return "direct_relay" in Path(f"/proc/{r.extension.process.pid}/maps").read_text()

        await dispatched(r)
        assert not loaded()
        await result(r, URL, answer(b"x"))
        assert loaded()

    run(body)


def test_one_environment_serves_events_and_the_router_in_turn() -> None:
    async def body(r: Rig) -> None:
        for turn in range(3):
            assert (await result(r, URL, answer(b"direct %d" % turn)))["body"] == f"direct {turn}"
            await dispatched(r)

    run(body)


def test_many_loops_serve_many_events_at_once_each_with_its_own_body() -> None:
    async def body(r: Rig) -> None:
        gated = [r.api.invoke(ask(URL, "/gated-head")) for _ in range(7)]
        plain = [r.api.invoke(ask(URL, "/echo-length", "POST", body=f"body {n}" * n)) for n in range(50)]
        for n, invocation in enumerate(plain):
            assert base64.b64decode((await invocation.result())["body"]) == (f"body {n}" * n).encode()
        assert not any(invocation.done.is_set() for invocation in gated)
        await r.open_gate()
        for invocation in gated:
            assert base64.b64decode((await invocation.result())["body"]) == b"late"

    run(body, env={"AWS_LAMBDA_MAX_CONCURRENCY": "8"})


def test_the_first_event_waits_for_an_application_that_starts_slowly() -> None:
    async def body(r: Rig) -> None:
        assert (await result(r, URL, answer(b"up")))["body"] == "up"

    env = {"AWS_LWA_ASYNC_INIT": "true"}
    run(body, env=env, app=("-m", "tests.support.apps.raw_app", "--unhealthy", "20"))


def test_connections_to_the_application_are_kept_between_events_but_not_in_a_snapshot() -> None:
    async def connections(**env: str) -> int:
        async with rig(env=env) as r:
            await r.ready()
            for _ in range(5):
                await result(r, URL, answer(b"x"))
            before = json.loads(base64.b64decode((await result(r, URL, "/counts"))["body"]))
            return int(before["connections"])

    assert asyncio.run(connections()) + 4 <= asyncio.run(connections(AWS_LAMBDA_INITIALIZATION_TYPE="snap-start"))
