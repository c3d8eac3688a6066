"""Requests as function URL events and back, without a process."""

import base64
import json

import pytest

from lambda_dispatch.local.service.shapes import make_event, read_answer
from lambda_dispatch_net.http_server import Request


def test_a_request_becomes_an_event_in_payload_format_2() -> None:
    request = Request(
        "POST",
        "/a%20b//c?x=1&x=2&y=%C3%A9",
        [("host", "h"), ("cookie", "a=1; b=2"), ("x-a", "1"), ("x-a", "2"), ("content-type", "text/plain")],
        body="é".encode(),
        peer="10.0.0.1",
    )
    event = make_event(request)
    assert event["version"] == "2.0"
    assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b//c", "x=1&x=2&y=%C3%A9")
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-a"] == "1,2"
    assert event["headers"]["x-forwarded-for"] == "10.0.0.1"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert (event["body"], event["isBase64Encoded"]) == ("é", False)


def test_a_binary_body_travels_as_base64() -> None:
    body = bytes(range(256))
    event = make_event(Request("PUT", "/", [("content-type", "image/png")], body=body))
    assert (base64.b64decode(event["body"]), event["isBase64Encoded"]) == (body, True)


def test_an_answer_becomes_a_response_with_its_cookies_apart() -> None:
    answer = {
        "statusCode": 519,
        "headers": {"Content-Type": "image/png", "Connection": "close"},
        "cookies": ["a=1", "b=2"],
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    }
    response = read_answer(json.dumps(answer).encode())
    assert (response.status, response.body) == (519, b"\x89PNG")
    assert response.headers == [("content-type", "image/png"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]


def test_an_answer_without_status_code_is_a_json_body() -> None:
    assert read_answer(b'{"a":1}').body == b'{"a":1}'
    assert read_answer(b'"text"').body == b"text"


@pytest.mark.parametrize(
    "payload",
    [b"no json", b'{"statusCode": "200"}', b'{"statusCode": 20}', b'{"statusCode":200,"headers":{"a":"b\\r\\nc: d"}}'],
)
def test_an_answer_that_is_no_response_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read_answer(payload)
