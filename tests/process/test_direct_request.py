"""Direct events to requests: each test is one row of the adapter's table, for the event shapes it holds for."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.direct_rig import ALB, ALB_MULTI, SQS, URL, V1, V2, WEBSOCKET, Rig, ask, event, run, seen

HTTP_SHAPES = (URL, V2, V1, ALB, ALB_MULTI)


def each(body: Callable[[Rig, str], Awaitable[None]], **settings: Any) -> None:
    """Runs the test's body for each shape, with one extension."""

    async def whole(r: Rig) -> None:
        for shape in HTTP_SHAPES:
            await body(r, shape)

    run(whole, **settings)


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


def test_any_other_json_is_posted_as_it_is_to_the_pass_through_path() -> None:
    async def body(r: Rig) -> None:
        for value in (event(SQS), event(WEBSOCKET), [1, 2], "text", 7, None, {}):
            text = json.dumps(value, indent=1).encode()
            told = await r.api.invoke(text).result()
            assert told["text"] == text.decode()
            head = bytes.fromhex(told["head"]).decode().split("\r\n")
            assert head[0] == "POST /seen/pass HTTP/1.1"
            assert "content-type: application/json" in head and "x-amzn-request-context: null" in head

    run(body, env={"AWS_LWA_PASS_THROUGH_PATH": "/seen/pass"})


def test_a_routers_payload_in_a_body_is_only_a_body() -> None:
    async def body(r: Rig, shape: str) -> None:
        payload = json.dumps(r.payload())
        request = await seen(r, ask(shape, "/head", "POST", body=payload))
        assert request.body == len(payload)
        assert r.router.posts == 0

    each(body)


def test_the_method_is_the_events() -> None:
    async def body(r: Rig, shape: str) -> None:
        for method in ("DELETE", "OPTIONS", "PATCH", "PROPFIND"):
            assert (await seen(r, ask(shape, "/head", method))).line == f"{method} /head HTTP/1.1"

    each(body)


def test_the_path_is_written_as_the_url_standard_writes_it() -> None:
    async def body(r: Rig, shape: str) -> None:
        for path, target in (
            ("/head/Año_1234", "/head/A%C3%B1o_1234"),
            ("/head/a%2Fb//c", "/head/a%2Fb//c"),
            ("/head/a b\"<>`{}?#", "/head/a%20b%22%3C%3E%60%7B%7D%3F%23"),
            ("/head/x/../y/./z", "/head/y/z"),
            ("/head/x/%2e%2E/y/.", "/head/y/"),
            ("/../../head", "/head"),
            ("\\head\\..\\head", "/head"),
            ("head/no-slash", "/head/no-slash"),
            ("/head/\x01\x7f", "/head/%01%7F"),
        ):  # fmt: skip
            assert (await seen(r, ask(shape, path))).line == f"GET {target} HTTP/1.1"

    each(body)


def test_an_empty_path_is_the_root() -> None:
    async def body(r: Rig) -> None:
        result = await r.api.invoke(ask(V1, "")).result()
        assert json.loads(base64.b64decode(result["body"]))["head"].startswith(b"GET / HTTP/1.1\r\n".hex())

    run(body)


def test_a_raw_query_goes_on_as_it_is_and_an_empty_one_leaves_no_question_mark() -> None:
    async def body(r: Rig) -> None:
        for raw, query in (
            ("a=1&a=2&&b", "?a=1&a=2&&b"),
            ("q=%zz&'x'=[y]", "?q=%zz&'x'=[y]"),
            ("a b=<é>#", "?a%20b=%3C%C3%A9%3E%23"),
            ("", ""),
        ):
            assert (await seen(r, ask(URL, "/head", rawQueryString=raw))).line == f"GET /head{query} HTTP/1.1"

    run(body)


def test_a_base64_body_arrives_as_bytes() -> None:
    async def body(r: Rig, shape: str) -> None:
        sent = bytes(range(256)) * 40
        text = base64.b64encode(sent).decode()
        value = ask(shape, "/echo-length", "POST", body=text, isBase64Encoded=True)
        result = await r.api.invoke(value).result()
        assert (base64.b64decode(result["body"]), result["isBase64Encoded"]) == (sent, True)
        plain = await r.api.invoke(ask(shape, "/echo-length", "PUT", body="é\r\n", isBase64Encoded=False)).result()
        assert base64.b64decode(plain["body"]) == "é\r\n".encode()

    each(body)


def test_an_empty_body_has_a_length_only_where_the_method_has_a_body() -> None:
    async def body(r: Rig, shape: str) -> None:
        for method, length in (("POST", "0"), ("PUT", "0"), ("PATCH", "0"), ("GET", None), ("DELETE", None)):
            for empty in ("", None):
                request = await seen(r, ask(shape, "/head", method, body=empty))
                assert request.headers.get("content-length") == length

    each(body)


async def relayed(r: Rig) -> int:
    """Requests of the application that are neither health checks nor this one."""
    told = json.loads(base64.b64decode((await r.api.invoke(ask(URL, "/counts")).result())["body"]))
    return sum(count for path, count in told.items() if path not in ("/health", "/counts", "connections"))


def with_headers(shape: str, headers: dict[str, str], path: str = "/head", method: str = "GET") -> dict[str, Any]:
    """The event with these headers beside its own, in the field that its shape has."""
    value = ask(shape, path, method)
    if "multiValueHeaders" in value:
        value["multiValueHeaders"] |= {name: [text] for name, text in headers.items()}
    if "headers" in value:
        value["headers"] |= headers
    return value


def test_framing_and_hop_by_hop_fields_of_an_event_never_reach_the_application() -> None:
    async def body(r: Rig, shape: str) -> None:
        dropped = {
            "Content-Length": "999",
            "Transfer-Encoding": "chunked",
            "Connection": "close, X-Hop",
            "X-Hop": "1",
            "Keep-Alive": "timeout=5",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA",
            "TE": "trailers",
            "Trailer": "x-after",
            "Expect": "100-continue",
            "X-Lambda-Id": "spoofed",
        }
        request = await seen(r, with_headers(shape, {**dropped, "X-Kept": "yes"}, method="POST"))
        assert request.all("content-length") == ["0"]
        assert {name.lower() for name in dropped} & set(request.headers) == {"content-length"}
        assert request.headers["x-kept"] == "yes"

    each(body)


BAD_HEADERS: tuple[dict[str, str], ...] = (
    {"x-a": "b\r\nx-evil: 1"},
    {"x-a": "b\nc"},
    {"x-a": "b\0"},
    {"x-a": "\x01"},
    {"x-a": "\ud800"},
    {"x a": "b"},
    {"x-a\r\n": "b"},
    {"x-a:": "b"},
    {"X-Amz-Tenant-Id:blue, x": "b"},
    {"content-length ": "5"},
    {"": "b"},
)


def test_header_bytes_that_the_front_door_would_refuse_are_answered_with_400() -> None:
    async def body(r: Rig, shape: str) -> None:
        for headers in BAD_HEADERS:
            result = await r.api.invoke(with_headers(shape, headers)).result()
            assert result["statusCode"] == 400, headers
            assert not result["isBase64Encoded"] and len(result["body"]) > 10
        assert await relayed(r) == 0
        await r.extension.line("event refused")

    each(body)


def test_a_path_with_a_line_end_is_answered_with_400() -> None:
    async def body(r: Rig, shape: str) -> None:
        for path in ("/a\r\nx: y", "/a\nb", "/a\0", "/\ud800"):
            result = await r.api.invoke(ask(shape, path)).result()
            assert result["statusCode"] == 400 and "the path" in result["body"]
        assert await relayed(r) == 0

    each(body)


def test_parts_of_the_wrong_kind_are_answered_with_400() -> None:
    async def body(r: Rig, shape: str) -> None:
        for changes, word in (
            ({"body": "%%%", "isBase64Encoded": True}, "base64"),
            ({"body": 7}, "body"),
            ({"headers": []}, "headers"),
        ):
            result = await r.api.invoke({**ask(shape, "/head"), **changes}).result()
            assert result["statusCode"] == 400 and word in result["body"]

    each(body)


def test_a_method_that_is_none_is_answered_with_400() -> None:
    async def body(r: Rig) -> None:
        for method in ("GET /admin HTTP/1.1\r\nx:", "G T", ""):
            assert (await r.api.invoke(ask(URL, "/head", method)).result())["statusCode"] == 400

    run(body)


def test_a_head_that_is_too_large_is_answered_with_431() -> None:
    async def body(r: Rig) -> None:
        large = {f"x-{i}": "v" * 8000 for i in range(30)}
        assert (await r.api.invoke(with_headers(URL, large)).result())["statusCode"] == 431

    run(body)


LAMBDA = {
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:web",
    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
    "Lambda-Runtime-Client-Context": '{"client":{"installation_id":"i"},"custom":{},"environment":{}}',
    "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"a","cognitoIdentityPoolId":"b"}',
}


def test_request_context_and_lambda_context_are_inserted_over_a_clients_own() -> None:
    async def body(r: Rig, shape: str) -> None:
        spoofed = {"X-Amzn-Request-Context": "{}", "x-amzn-lambda-context": "{}", "X-Amzn-Trace-Id": "Root=0"}
        value = with_headers(shape, spoofed)
        request = await seen(r, value, LAMBDA)
        assert [json.loads(text) for text in request.all("x-amzn-request-context")] == [value["requestContext"]]
        (context,) = [json.loads(text) for text in request.all("x-amzn-lambda-context")]
        invocation = list(r.api.invocations.values())[-1]
        assert context["request_id"] == invocation.id
        assert context["deadline"] == int(invocation.deadline * 1000)
        assert context["invoked_function_arn"] == LAMBDA["Lambda-Runtime-Invoked-Function-Arn"]
        assert context["xray_trace_id"] == LAMBDA["Lambda-Runtime-Trace-Id"]
        assert context["client_context"]["client"] == {"installation_id": "i"}
        assert context["identity"]["cognitoIdentityId"] == "a"
        assert context["env_config"] == {
            "function_name": "web",
            "memory": 512,
            "version": "$LATEST",
            "log_stream": "stream",
            "log_group": "group",
        }
        assert "tenant_id" not in context
        assert request.all("x-amzn-trace-id") == [LAMBDA["Lambda-Runtime-Trace-Id"]]

    names = ("NAME", "MEMORY_SIZE", "VERSION")
    env = dict(zip((f"AWS_LAMBDA_FUNCTION_{name}" for name in names), ("web", "512", "$LATEST"), strict=True))
    each(body, env={**env, "AWS_LAMBDA_LOG_STREAM_NAME": "stream", "AWS_LAMBDA_LOG_GROUP_NAME": "group"})


def test_the_tenant_is_lambdas_and_never_a_clients() -> None:
    async def body(r: Rig, shape: str) -> None:
        value = with_headers(shape, {"X-Amz-Tenant-Id": "spoofed"})
        assert (await seen(r, value)).all("x-amz-tenant-id") == []
        request = await seen(r, value, {"Lambda-Runtime-Aws-Tenant-Id": "blue"})
        assert request.all("x-amz-tenant-id") == ["blue"]
        assert json.loads(request.headers["x-amzn-lambda-context"])["tenant_id"] == "blue"

    each(body)


def test_the_authorization_source_becomes_authorization() -> None:
    async def body(r: Rig, shape: str) -> None:
        request = await seen(r, with_headers(shape, {"Auth-Token": "Bearer t", "Authorization": "Basic x"}))
        assert request.all("authorization") == ["Bearer t"] and request.all("auth-token") == []
        missing = await seen(r, with_headers(shape, {"Authorization": "Basic x"}))
        assert missing.all("authorization") == ["Basic x"]
        await r.extension.line("authorization source missing header=auth-token")

    each(body, env={"AWS_LWA_AUTHORIZATION_SOURCE": "auth-token"})


def test_the_base_path_is_taken_off_in_whole_segments_and_once() -> None:
    async def body(r: Rig, shape: str) -> None:
        for path, target in (
            ("/prod/head/x", "/head/x"),
            ("/prod", "/"),
            ("/prod/", "/"),
            ("/prod/prod/x", "/prod/x"),
            ("/production", "/production"),
            ("/other/prod", "/other/prod"),
        ):
            assert (await seen(r, ask(shape, path))).line == f"GET {target} HTTP/1.1"

    each(body, env={"AWS_LWA_REMOVE_BASE_PATH": "/prod"})


def test_the_pass_through_path_keeps_its_base() -> None:
    async def body(r: Rig) -> None:
        told = await r.api.invoke(event(SQS)).result()
        assert bytes.fromhex(told["head"]).startswith(b"POST /seen/x HTTP/1.1\r\n")

    run(body, env={"AWS_LWA_REMOVE_BASE_PATH": "/seen", "AWS_LWA_PASS_THROUGH_PATH": "/seen/x"})


def test_an_event_without_a_host_gets_the_applications() -> None:
    async def body(r: Rig) -> None:
        assert (await seen(r, ask(ALB, "/head", headers={}))).all("host") == [f"127.0.0.1:{r.app_port}"]

    run(body)


def test_header_text_beyond_ascii_arrives_as_utf_8() -> None:
    async def body(r: Rig) -> None:
        assert (await seen(r, with_headers(URL, {"x-name": "Añé"}))).headers["x-name"] == "Añé"

    run(body)
