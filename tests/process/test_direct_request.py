"""Direct events to requests: each test is one row of the adapter's table, for the event shapes it holds for."""

import json
from typing import Any

import pytest

from tests.support.direct_rig import ALB, ALB_MULTI, SQS, URL, V1, V2, WEBSOCKET, Rig, ask, event, run, seen

HTTP_SHAPES = (URL, V2, V1, ALB, ALB_MULTI)


def test_a_function_url_event_becomes_a_request() -> None:
    async def body(r: Rig) -> None:
        request = await seen(r, event(URL))
        assert request.line == "POST /head/orders?tag=new&tag=paid&note=%C3%A9+%26 HTTP/1.1"
        assert request.headers["host"] == "abcdefghijklmnop.lambda-url.eu-west-1.on.aws"
        assert request.all("cookie") == ["session=abc;theme=dark"]
        assert (request.headers["content-length"], request.body) == ("12", 12)

    run(body)


def test_api_gateway_v2_without_query_and_body() -> None:
    async def body(r: Rig) -> None:
        request = await seen(r, event(V2))
        assert request.line == "GET /head HTTP/1.1"
        assert "content-length" not in request.headers and "transfer-encoding" not in request.headers

    run(body)


def test_api_gateway_v1_takes_the_path_without_the_stage_and_all_of_the_values() -> None:
    async def body(r: Rig) -> None:
        request = await seen(r, event(V1))
        assert request.line == "PUT /head/pets?name=Ana&name=Fido+%26+Rex&size=xl HTTP/1.1"
        assert request.all("x-tag") == ["first", "second"]
        assert request.all("host") == ["r3st1d.execute-api.eu-west-1.amazonaws.com"]
        assert request.body == 4
        single = await seen(r, event(V1, multiValueQueryStringParameters=None, multiValueHeaders=None))
        assert single.line == "PUT /head/pets?name=Fido+%26+Rex&size=xl HTTP/1.1"
        assert single.all("x-tag") == ["second"]

    run(body)


def test_a_load_balancers_query_is_decoded_first() -> None:
    async def body(r: Rig) -> None:
        assert (await seen(r, event(ALB))).line == "GET /head/list?q=caf%C3%A9+au+lait&empty= HTTP/1.1"
        request = await seen(r, event(ALB_MULTI))
        assert request.line == "GET /head/list?id=1&id=2%2C3&na+me=x%26y HTTP/1.1"
        assert request.all("accept") == ["text/html", "application/json"]

    run(body)


@pytest.mark.parametrize("value", [event(SQS), event(WEBSOCKET), [1, 2], "text", 7, None, {}])
def test_any_other_json_is_posted_as_it_is_to_the_pass_through_path(value: Any) -> None:
    async def body(r: Rig) -> None:
        text = json.dumps(value, indent=1).encode()
        told = await r.api.invoke(text).result()
        assert told["text"] == text.decode()
        head = bytes.fromhex(told["head"]).decode().split("\r\n")
        assert head[0] == "POST /seen/pass HTTP/1.1"
        assert "content-type: application/json" in head and "x-amzn-request-context: null" in head

    run(body, env={"AWS_LWA_PASS_THROUGH_PATH": "/seen/pass"})


@pytest.mark.parametrize("shape", HTTP_SHAPES)
def test_a_routers_payload_in_a_body_is_only_a_body(shape: str) -> None:
    async def body(r: Rig) -> None:
        payload = json.dumps(r.payload())
        request = await seen(r, ask(shape, "/head", "POST", body=payload))
        assert request.body == len(payload)
        assert r.router.posts == 0

    run(body)
