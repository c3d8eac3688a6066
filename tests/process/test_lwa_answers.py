"""The contract of AWS's Lambda Web Adapter, answer to result: one test per row, each with the row's name.

Embedded Lambda, extension and application are real processes; results are those that the Invoke API gives.
"""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.apps.raw_app import chunk, pattern
from tests.support.direct_lambda import invoke, open_gates, wait_for_requests, web
from tests.support.direct_rig import ALB, ALB_MULTI, SQS, STREAM, URL, V1, V2, ask, event, say
from tests.support.local_lambda import Running, running_lambda

HTTP_SHAPES = {"v1": V1, "v2": V2, "url": URL, "alb": ALB, "alb-multi": ALB_MULTI}
SIX_MB = 6 * 1024 * 1024
LIMIT = SIX_MB + 100  # bytes of a result; Lambda's own number


def answer(body: bytes, fields: str = "", status: str = "200 OK") -> str:
    """The path at which the application answers so."""
    return say(f"HTTP/1.1 {status}\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)


PASSED: dict[str, tuple[bytes, str, Any]] = {
    "JSON": (b'{"batchItemFailures": [1.50]}', "content-type: application/json\r\n", {"batchItemFailures": [1.5]}),
    "JSON without a type": (b"[1, null]", "", [1, None]),
    "not JSON": (b"no", "content-type: text/plain\r\n", None),
    "binary": (b"{}", "content-type: application/octet-stream\r\n", None),
    "encoded": (b"{}", "content-type: application/json\r\ncontent-encoding: gzip\r\n", None),
    "empty": (b"", "content-type: application/json\r\n", None),
}
PASS_NAMES = {row: f"pass-{number}" for number, row in enumerate(PASSED)}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    functions = {
        "web": {"AWS_LWA_ENABLE_COMPRESSION": "false"},
        "errors": {"AWS_LWA_ERROR_STATUS_CODES": "500, 502-504"},
        "squeeze": {"AWS_LWA_ENABLE_COMPRESSION": "true"},
        "stream": {**STREAM, "AWS_LWA_PASS_THROUGH_PATH": "/seen"},
        "stream-errors": {**STREAM, "AWS_LWA_ERROR_STATUS_CODES": "500-599"},
        "stream-squeeze": {**STREAM, "AWS_LWA_ENABLE_COMPRESSION": "true"},
    }
    for row, (body, fields, _) in PASSED.items():
        functions[PASS_NAMES[row]] = {"AWS_LWA_PASS_THROUGH_PATH": answer(body, fields)}
    with running_lambda(*[web({**given}, name) for name, given in functions.items()]) as started:
        yield started


def result(running: Running, shape: str, path: str, method: str = "GET", name: str = "web", **changes: Any) -> Any:
    return invoke(running, ask(shape, path, method, **changes), name)


def headers_of(told: dict[str, Any]) -> dict[str, str]:
    return told["headers"] or {name: values[0] for name, values in told["multiValueHeaders"].items()}


def body_of(told: dict[str, Any]) -> bytes:
    return base64.b64decode(told["body"]) if told["isBase64Encoded"] else told["body"].encode()


def each_shape(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("shape", HTTP_SHAPES.values(), ids=HTTP_SHAPES.keys())(test)


# The result of each kind of event -------------------------------------------------------------------------------------

FIELDS = "Content-Type: text/plain\r\nSet-Cookie: a=1; Path=/\r\nX-Tag: one\r\nset-cookie: b=2\r\nx-tag: two\r\n"
SEVERAL = {
    "content-type": ["text/plain"],
    "set-cookie": ["a=1; Path=/", "b=2"],
    "x-tag": ["one", "two"],
    "content-length": ["2"],
}
ONE = {"content-type": "text/plain", "x-tag": "one, two", "content-length": "2"}
BODY = {"body": "hi", "isBase64Encoded": False, "statusCode": 201}
RESULTS: dict[str, dict[str, Any]] = {
    "v1": {**BODY, "headers": {}, "multiValueHeaders": SEVERAL},
    "v2": {**BODY, "headers": ONE, "multiValueHeaders": {}, "cookies": SEVERAL["set-cookie"]},
    "alb": {
        **BODY,
        "headers": {**ONE, "set-cookie": "a=1; Path=/"},
        "multiValueHeaders": SEVERAL,
        "statusDescription": "201 Created",
    },
}
RESULTS |= {"url": RESULTS["v2"], "alb-multi": RESULTS["alb"]}


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_result(running: Running, name: str) -> None:
    assert result(running, HTTP_SHAPES[name], answer(b"hi", FIELDS, "201 Created")) == RESULTS[name]


@pytest.mark.parametrize("row", PASSED)
def test_pass_through_result(running: Running, row: str) -> None:
    assert invoke(running, event(SQS), PASS_NAMES[row]) == PASSED[row][2]


@each_shape
def test_transfer_encoding_is_removed(running: Running, shape: str) -> None:
    said = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\nconnection: x-hop\r\nx-hop: 1"
    told = result(running, shape, say(said + b"\r\n\r\n" + chunk(b"ab") + chunk(b"cd") + b"0\r\nx-trailer: 1\r\n\r\n"))
    assert (headers_of(told), told["body"]) == ({"content-type": "text/plain"}, "abcd")


TYPES = {
    "no type": ("", True),
    "text/": ("content-type: text/html; charset=utf-8\r\n", True),
    "application/json": ("content-type: application/json\r\n", True),
    "application/javascript": ("content-type: application/javascript\r\n", True),
    "application/xml": ("content-type: application/xml\r\n", True),
    "application/yaml": ("content-type: application/yaml\r\n", True),
    "+xml": ("content-type: image/svg+xml\r\n", True),
    "+json": ("content-type: application/problem+json; charset=utf-8\r\n", True),
    "+yaml": ("content-type: application/x+yaml\r\n", True),
    "x-lambda-http-content-encoding": ("content-type: x/y\r\nx-lambda-http-content-encoding: text\r\n", True),
    "another type": ("content-type: application/octet-stream\r\n", False),
    "content-encoding": ("content-type: text/plain\r\ncontent-encoding: br\r\n", False),
}


@each_shape
@pytest.mark.parametrize("row", TYPES)
def test_text_or_base64(running: Running, row: str, shape: str) -> None:
    fields, text = TYPES[row]
    told = result(running, shape, answer("é".encode(), fields))
    assert (told["isBase64Encoded"], body_of(told)) == (not text, "é".encode())


@each_shape
def test_binary_body(running: Running, shape: str) -> None:
    every = bytes(range(256)) * 8
    assert body_of(result(running, shape, answer(every, "content-type: image/png\r\n"))) == every


@each_shape
@pytest.mark.parametrize("status", [200, 204, 304, 301, 302, 303, 307, 308, 404, 500])
def test_status_and_empty_body(running: Running, status: int, shape: str) -> None:
    length = "" if status in (204, 304) else "content-length: 0\r\n"
    told = result(running, shape, say(f"HTTP/1.1 {status} R\r\nlocation: /to?a=1\r\n{length}\r\n".encode()))
    assert (told["statusCode"], told["body"], told["isBase64Encoded"]) == (status, "", False)
    assert headers_of(told)["location"] == "/to?a=1"


@each_shape
def test_head_has_the_length_and_no_body(running: Running, shape: str) -> None:
    told = result(running, shape, "/bytes/5000", "HEAD")
    assert (told["statusCode"], told["body"], headers_of(told)["content-length"]) == (200, "", "5000")


# Error statuses, applications that fail -------------------------------------------------------------------------------


@each_shape
def test_error_status_code_fails_the_invoke(running: Running, shape: str) -> None:
    for status in (500, 502, 503, 504):
        failed = running.invoke(ask(shape, answer(b"no", status=f"{status} No")), "errors")
        assert failed["FunctionError"] == "Unhandled"
        assert failed["body"]["errorMessage"] == f'{{"statusCode":{status},"body":"no"}}'
        assert failed["body"]["errorType"]


@each_shape
def test_error_status_code_without_match(running: Running, shape: str) -> None:
    for status in (501, 505, 404, 200):
        assert result(running, shape, answer(b"x", status=f"{status} No"), name="errors")["statusCode"] == status


@pytest.mark.parametrize("path", ["/drop", "/reset", "/garbage", "/bad-chunk", "/short", "/half-head"])
def test_an_application_that_breaks_off_fails_the_invoke(running: Running, path: str) -> None:
    failed = running.invoke(ask(URL, path, "POST", body="x"), "web")
    assert failed["FunctionError"] == "Unhandled" and "application" in failed["body"]["errorMessage"]
    assert result(running, URL, answer(b"fine"))["body"] == "fine"


# Six megabytes --------------------------------------------------------------------------------------------------------


def rest_of(running: Running) -> int:
    """Bytes of a result with an empty text body."""
    payload = json.dumps(ask(URL, "/text/1000000")).encode()
    return len(running.client.invoke(FunctionName="web", Payload=payload)["Payload"].read()) - 1_000_000


def test_a_result_of_exactly_the_limit_arrives(running: Running) -> None:
    size = LIMIT - rest_of(running)
    assert len(result(running, URL, f"/text/{size}")["body"]) == size


def test_a_result_one_byte_over_the_limit_is_a_function_error(running: Running) -> None:
    for path in (f"/text/{LIMIT - rest_of(running) + 1}", f"/bytes/{SIX_MB * 3 // 4}", "/bytes/100000000"):
        failed = running.invoke(ask(URL, path), "web")
        assert failed["body"]["errorType"] == "Function.ResponseSizeTooLarge"
        assert "response_stream" in failed["body"]["errorMessage"]


# Compression ----------------------------------------------------------------------------------------------------------

LONG = b"all work and no play makes jack a dull boy "
TEXT = "content-type: text/plain\r\n"


class Squeeze(NamedTuple):
    accepts: str
    body: bytes
    fields: str
    encoding: str | None


SQUEEZED = {
    "gzip": Squeeze("gzip", LONG, TEXT, "gzip"),
    "brotli": Squeeze("br, gzip", LONG, TEXT, "br"),
    "not accepted": Squeeze("identity", LONG, TEXT, None),
    "less than 32 bytes": Squeeze("gzip", b"x" * 31, TEXT, None),
    "32 bytes": Squeeze("gzip", b"x" * 32, TEXT, "gzip"),
    "encoded already": Squeeze("br", gzip.compress(LONG), f"{TEXT}content-encoding: gzip\r\n", "gzip"),
    "image": Squeeze("gzip", LONG, "content-type: image/png\r\n", None),
    "gRPC": Squeeze("gzip", LONG, "content-type: application/grpc\r\n", None),
    "event stream": Squeeze("gzip", LONG, "content-type: text/event-stream\r\n", None),
}


def decoded(encoding: str | None, body: bytes) -> bytes:
    if encoding == "br":
        return bytes(pytest.importorskip("brotli").decompress(body))
    return gzip.decompress(body) if encoding else body


@each_shape
@pytest.mark.parametrize("row", SQUEEZED)
def test_compression(running: Running, row: str, shape: str) -> None:
    accepts, body, fields, encoding = SQUEEZED[row]
    value = ask(shape, answer(body, fields))
    if "headers" in value:
        value["headers"]["accept-encoding"] = accepts
    if "multiValueHeaders" in value:
        value["multiValueHeaders"]["accept-encoding"] = [accepts]
    told = invoke(running, value, "squeeze")
    assert headers_of(told).get("content-encoding") == encoding
    assert decoded(encoding, body_of(told)) == (LONG if "content-encoding" in fields else body)


# Streams --------------------------------------------------------------------------------------------------------------


class Streamed(NamedTuple):
    said: bytes
    end: dict[str, Any]  # InvokeComplete

    @property
    def prelude(self) -> dict[str, Any]:
        return dict(json.loads(self.said.partition(bytes(8))[0]))

    @property
    def body(self) -> bytes:
        return self.said.partition(bytes(8))[2]


def stream(
    running: Running, value: object, name: str = "stream", on_piece: Callable[[bytes], object] = len
) -> Streamed:
    payload = json.dumps(value).encode()
    events = running.client.invoke_with_response_stream(FunctionName=name, Payload=payload)["EventStream"]
    said, end = b"", {}
    for each in events:
        if "PayloadChunk" in each:
            said += each["PayloadChunk"]["Payload"]
            on_piece(said)
        else:
            end = each["InvokeComplete"]
    return Streamed(said, end)


@each_shape
def test_stream_prelude_byte_for_byte(running: Running, shape: str) -> None:
    said = (
        b'HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nX-Quote: "a\\b"\r\nSet-Cookie: a=1; Path=/\r\n'
        b"x-name: A\xc3\xb1o\r\nset-cookie: b=2\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
    )
    told = stream(running, ask(shape, say(said)))
    assert told.said == (
        b'{"statusCode":201,"headers":{"content-type":"text/plain","x-quote":"\\"a\\\\b\\"","x-name":"A\xc3\xb1o",'
        b'"content-length":"5"},"cookies":["a=1; Path=/","b=2"]}\0\0\0\0\0\0\0\0hello'
    )
    assert told.end == {}


@each_shape
def test_stream_without_a_content_type_is_octet_stream(running: Running, shape: str) -> None:
    told = stream(running, ask(shape, say(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")))
    assert told.said == (
        b'{"statusCode":200,"headers":{"content-length":"1","content-type":"application/octet-stream"},"cookies":[]}'
        b"\0\0\0\0\0\0\0\0x"
    )


EMPTY = {
    "HEAD": ("/bytes/5000", "HEAD", 200),
    "204": ("/status/204", "GET", 204),
    "304": ("/status/304", "GET", 304),
    "redirect": (say(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"), "GET", 302),
    "empty body": ("/bytes/0", "GET", 200),
}


@pytest.mark.parametrize("row", EMPTY)
def test_stream_without_a_body(running: Running, row: str) -> None:
    path, method, status = EMPTY[row]
    told = stream(running, ask(URL, path, method))
    assert (told.prelude["statusCode"], told.body, told.end) == (status, b"", {})


@each_shape
def test_stream_binary_body_over_six_megabytes(running: Running, shape: str) -> None:
    assert stream(running, ask(shape, "/bytes/20000000")).body == pattern(20_000_000)


def test_stream_leaves_as_it_comes(running: Running) -> None:
    def first(said: bytes) -> None:
        if said.endswith(b"data: first\n\n"):
            open_gates(running)

    told = stream(running, ask(URL, "/gated"), on_piece=first)
    assert told.body == b"data: first\n\ndata: second\n\n"
    wait_for_requests(running, "/gated", 0)  # its environment is frozen again


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BROKEN = {
    "shorter than its length": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", b"short"),
    "without the last chunk": (CHUNKED + chunk(b"some"), b"some"),
    "a chunk that is none": (CHUNKED + chunk(b"some") + b"zz\r\n", b"some"),
}


@each_shape
@pytest.mark.parametrize("row", BROKEN)
def test_stream_that_breaks_off_ends_with_the_error(running: Running, row: str, shape: str) -> None:
    said, start = BROKEN[row]
    told = stream(running, ask(shape, f"/then/{said.hex()}"))
    assert told.body == start
    assert told.end["ErrorCode"] == "Runtime.StreamError"
    details = json.loads(told.end["ErrorDetails"])
    assert details["errorType"] == "Runtime.StreamError" and "application" in details["errorMessage"]


def test_stream_of_an_application_that_breaks_off_before_its_head(running: Running) -> None:
    told = stream(running, ask(URL, "/drop", "POST"))
    assert (told.said, told.end["ErrorCode"]) == (b"", "Unhandled")


def test_stream_with_an_error_status_fails_the_invoke(running: Running) -> None:
    told = stream(running, ask(URL, "/status/503"), "stream-errors")
    assert told.said == b"" and json.loads(told.end["ErrorDetails"])["errorMessage"] == (
        '{"statusCode":503,"body":"status"}'
    )


def test_stream_is_not_compressed(running: Running) -> None:
    value = ask(URL, "/text/5000")
    value["headers"]["accept-encoding"] = "gzip"
    told = stream(running, value, "stream-squeeze")
    assert "content-encoding" not in told.prelude["headers"] and len(told.body) == 5000
    assert any("option ignored variable=AWS_LWA_ENABLE_COMPRESSION" in line for line in running.lines)


def test_stream_of_a_pass_through_event(running: Running) -> None:
    told = stream(running, event(SQS))
    assert told.prelude["statusCode"] == 200 and json.loads(told.body)["body"] == len(json.dumps(event(SQS)))
