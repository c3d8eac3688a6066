"""The contract of AWS's Lambda Web Adapter, event to request: one test per row, each with the row's name.

Embedded Lambda, extension and application are real processes; events come in by the Invoke API.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.direct_lambda import invoke, web
from tests.support.direct_rig import ALB, ALB_MULTI, SCHEDULED, SQS, URL, V1, V2, WEBSOCKET, Seen, ask, event
from tests.support.local_lambda import Running, running_lambda

BASE, PASS, AUTH, TENANT, STAGE = "base", "pass", "auth", "tenant", "stage"
FUNCTIONS = {
    "web": {},
    BASE: {"AWS_LWA_REMOVE_BASE_PATH": "/prod"},
    PASS: {"AWS_LWA_PASS_THROUGH_PATH": "/seen/pass", "AWS_LWA_REMOVE_BASE_PATH": "/seen"},
    AUTH: {"AWS_LWA_AUTHORIZATION_SOURCE": "auth-token"},
    STAGE: {"AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH": "true"},
    TENANT: {},
}
HTTP_SHAPES = {"v1": V1, "v2": V2, "url": URL, "alb": ALB, "alb-multi": ALB_MULTI}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    functions = [
        web({**environment}, name, tenant_isolation=name == TENANT, memory=512)
        for name, environment in FUNCTIONS.items()
    ]
    with running_lambda(*functions) as started:
        yield started


def seen(running: Running, value: object, function: str = "web", **more: Any) -> Seen:
    """The request that the application gets of an event."""
    result = invoke(running, value, function, **more)
    if "isBase64Encoded" not in result:  # of a pass-through event it is the application's JSON
        result = {"body": json.dumps(result), "isBase64Encoded": False}
    return Seen(result)


class Line(NamedTuple):
    event: Any
    line: str  # of the request
    function: str = "web"


LINES: dict[str, Line] = {
    # Detection, in the adapter's order
    "detection: API Gateway v1": Line(event(V1), "PUT /head/pets?name=Ana&name=Fido+%26+Rex&size=xl HTTP/1.1"),
    "detection: API Gateway v2": Line(event(V2), "GET /head HTTP/1.1"),
    "detection: function URL": Line(event(URL), "POST /head/orders?tag=new&tag=paid&note=%C3%A9+%26 HTTP/1.1"),
    "detection: load balancer": Line(event(ALB), "GET /head/list?q=caf%C3%A9+au+lait&empty= HTTP/1.1"),
    "detection: pass-through, WebSocket": Line(event(WEBSOCKET), "POST /seen/pass HTTP/1.1", PASS),
    "detection: pass-through, queue": Line(event(SQS), "POST /seen/pass HTTP/1.1", PASS),
    "detection: pass-through, schedule": Line(event(SCHEDULED), "POST /seen/pass HTTP/1.1", PASS),
    "detection: v1 before v2": Line(
        {
            **ask(V1, "/head/one"),
            "rawPath": "/head/two",
            "requestContext": {"httpMethod": "GET", "http": {"method": "GET"}},
        },
        "GET /head/one HTTP/1.1",
    ),
    "detection: v2 before load balancer": Line(
        {**ask(ALB, "/head/alb"), "rawPath": "/head/two", "requestContext": {"elb": {}, "http": {"method": "GET"}}},
        "GET /head/two HTTP/1.1",
    ),
    "detection: pass-through without a context of HTTP": Line(
        {**event(ALB), "requestContext": {}}, "POST /seen/pass HTTP/1.1", PASS
    ),
    # Method
    "method: v1, httpMethod": Line(ask(V1, "/head", "DELETE"), "DELETE /head HTTP/1.1"),
    "method: v2, requestContext.http.method": Line(ask(V2, "/head", "PATCH"), "PATCH /head HTTP/1.1"),
    "method: function URL, requestContext.http.method": Line(ask(URL, "/head", "OPTIONS"), "OPTIONS /head HTTP/1.1"),
    "method: load balancer, httpMethod": Line(ask(ALB, "/head", "PUT"), "PUT /head HTTP/1.1"),
    "method: pass-through, POST": Line({"httpMethod": "GET"}, "POST /seen/pass HTTP/1.1", PASS),
    # Path
    "path: v1 without its stage": Line(ask(V1, "/head/x"), "GET /head/x HTTP/1.1"),
    "path: v1 without its stage, AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH": Line(
        ask(V1, "/head/x"), "GET /head/x HTTP/1.1", STAGE
    ),
    "path: v2, rawPath": Line({**ask(V2, "/head/x"), "path": "/no"}, "GET /head/x HTTP/1.1"),
    "path: load balancer": Line(ask(ALB, "/head/x"), "GET /head/x HTTP/1.1"),
    "path: pass-through, AWS_LWA_PASS_THROUGH_PATH, its base path stays": Line({}, "POST /seen/pass HTTP/1.1", PASS),
    # Query
    "query: v1, several values before single ones": Line(
        {
            **ask(V1, "/head"),
            "multiValueQueryStringParameters": {"a": ["1", "2"]},
            "queryStringParameters": {"a": "2", "b": "3"},
        },
        "GET /head?a=1&a=2 HTTP/1.1",
    ),
    "query: v1, single values where there are no others": Line(
        {**ask(V1, "/head"), "queryStringParameters": {"a b": "é&="}}, "GET /head?a+b=%C3%A9%26%3D HTTP/1.1"
    ),
    "query: v1 is encoded and not decoded before": Line(
        {**ask(V1, "/head"), "queryStringParameters": {"a": "%41+"}}, "GET /head?a=%2541%2B HTTP/1.1"
    ),
    "query: v2, rawQueryString as it is": Line(
        {**ask(V2, "/head"), "rawQueryString": "b=%41&b&&a=+", "queryStringParameters": {"c": "d"}},
        "GET /head?b=%41&b&&a=+ HTTP/1.1",
    ),
    "query: load balancer is decoded first": Line(
        {**ask(ALB, "/head"), "queryStringParameters": {"a%20b": "%41+%26"}}, "GET /head?a+b=A+%26 HTTP/1.1"
    ),
    "query: load balancer, several values": Line(event(ALB_MULTI), "GET /head/list?id=1&id=2%2C3&na+me=x%26y HTTP/1.1"),
    "query: pass-through has none": Line({"rawQueryString": "a=b"}, "POST /seen/pass HTTP/1.1", PASS),
    **{
        f"query: empty, no question mark, {name}": Line(ask(shape, "/head"), "GET /head HTTP/1.1")
        for name, shape in HTTP_SHAPES.items()
    },
}
PATHS = {
    "path is percent-encoded": ("web", '/head/Año "x"', "/head/A%C3%B1o%20%22x%22"),
    "path that is encoded stays": ("web", "/head/a%2Fb%20c", "/head/a%2Fb%20c"),
    "path without dot segments": ("web", "/head/a/../b/./c", "/head/b/c"),
    "path without its base path": (BASE, "/prod/head/x", "/head/x"),
    "path without its base path, once": (BASE, "/prod/prod/x", "/prod/x"),
    "path without its base path, whole segments": (BASE, "/production", "/production"),
    "path without its base path, root": (BASE, "/prod", "/"),
    "path without its base path, no match": (BASE, "/head/prod", "/head/prod"),
}
LINES |= {
    f"{row}, {name}": Line(ask(shape, path), f"GET {target} HTTP/1.1", function)
    for row, (function, path, target) in PATHS.items()
    for name, shape in HTTP_SHAPES.items()
}


@pytest.mark.parametrize("row", LINES.values(), ids=LINES.keys())
def test_request_line(running: Running, row: Line) -> None:
    assert seen(running, row.event, row.function).line == row.line


def test_pass_through_path_by_default(running: Running) -> None:
    assert invoke(running, {}) is None  # the application does not answer with JSON there
    counts = invoke(running, ask(URL, "/counts"))
    assert json.loads(base64.b64decode(counts["body"]))["/events"] == 1


# Headers --------------------------------------------------------------------------------------------------------------


class Fields(NamedTuple):
    event: Any
    expected: dict[str, list[str]]  # of the request, by name
    function: str = "web"


def with_headers(shape: str, headers: dict[str, str]) -> dict[str, Any]:
    """The event with these headers beside its own, in the member that its shape has."""
    value = ask(shape, "/head")
    if "multiValueHeaders" in value:
        value["multiValueHeaders"] |= {name: [text] for name, text in headers.items()}
    if "headers" in value:
        value["headers"] |= headers
    return value


FRAMING = ["content-length", "transfer-encoding", "connection", "x-hop", "keep-alive", "upgrade", "te", "trailer"]
FIELDS: dict[str, Fields] = {
    "headers: v1, all values": Fields(event(V1), {"x-tag": ["first", "second"], "accept": ["application/json"]}),
    "headers: v1, single values where there are no others": Fields(
        event(V1, multiValueHeaders=None), {"x-tag": ["second"]}
    ),
    "headers: v2, cookies in one field": Fields(
        {**ask(V2, "/head"), "cookies": ["a=1", "b=2"]}, {"cookie": ["a=1;b=2"]}
    ),
    "headers: function URL, cookies in one field": Fields(event(URL), {"cookie": ["session=abc;theme=dark"]}),
    "headers: load balancer": Fields(event(ALB), {"cookie": ["a=1; b=2"], "x-forwarded-port": ["443"]}),
    "headers: load balancer, all values": Fields(event(ALB_MULTI), {"accept": ["text/html", "application/json"]}),
    "headers: pass-through, content-type": Fields({}, {"content-type": ["application/json"]}, PASS),
    "headers: pass-through, request context is null": Fields({}, {"x-amzn-request-context": ["null"]}, PASS),
    "host: v1": Fields(event(V1), {"host": ["r3st1d.execute-api.eu-west-1.amazonaws.com"]}),
    "host: v2": Fields(event(V2), {"host": ["a1b2c3.execute-api.eu-west-1.amazonaws.com"]}),
    "host: function URL": Fields(event(URL), {"host": ["abcdefghijklmnop.lambda-url.eu-west-1.on.aws"]}),
    "host: load balancer": Fields(event(ALB), {"host": ["lb-1234567890.eu-west-1.elb.amazonaws.com"]}),
    **{
        f"{row}, {name}": Fields(with_headers(shape, given), expected, function)
        for name, shape in HTTP_SHAPES.items()
        for row, function, given, expected in (
            ("authorization source is moved", AUTH, {"Auth-Token": "Bearer t", "authorization": "Basic x"},
             {"authorization": ["Bearer t"], "auth-token": []}),
            ("authorization source is missing", AUTH, {"authorization": "Basic x"}, {"authorization": ["Basic x"]}),
            ("authorization is as it came", "web", {"auth-token": "t", "authorization": "x"},
             {"authorization": ["x"], "auth-token": ["t"]}),
            ("no tenant, a client's own is dropped", "web", {"x-amz-tenant-id": "spoofed"}, {"x-amz-tenant-id": []}),
            ("framing headers are dropped", "web",
             {"content-length": "9", "transfer-encoding": "chunked", "connection": "x-hop, close", "x-hop": "1",
              "keep-alive": "5", "upgrade": "h2c", "te": "trailers", "trailer": "x"},
             {name: [] for name in FRAMING}),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("row", FIELDS.values(), ids=FIELDS.keys())
def test_header(running: Running, row: Fields) -> None:
    request = seen(running, row.event, row.function)
    assert {name: request.all(name) for name in row.expected} == row.expected


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_x_amzn_request_context(running: Running, name: str) -> None:
    value = with_headers(HTTP_SHAPES[name], {"X-Amzn-Request-Context": "{}"})
    (context,) = seen(running, value).all("x-amzn-request-context")
    assert json.loads(context) == value["requestContext"]


@pytest.mark.parametrize("name", [*HTTP_SHAPES, "pass-through"])
def test_x_amzn_lambda_context(running: Running, name: str) -> None:
    passes = name == "pass-through"
    function = PASS if passes else "web"
    value = {"x": 1} if passes else with_headers(HTTP_SHAPES[name], {"X-Amzn-Lambda-Context": "{}"})
    given = base64.b64encode(b'{"custom":{"a":"b"}}').decode()
    answer = running.invoke(value, function, ClientContext=given)
    told = answer["body"]
    (text,) = Seen({"body": json.dumps(told), "isBase64Encoded": False} if passes else told).all(
        "x-amzn-lambda-context"
    )
    context = json.loads(text)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert context["request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert context["xray_trace_id"] == headers["x-amzn-trace-id"]
    assert context["invoked_function_arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    assert context["deadline"] > 1_700_000_000_000
    assert (context["client_context"], context["identity"]) == ({"custom": {"a": "b"}}, None)
    config = context["env_config"]
    assert (config["function_name"], config["memory"], config["version"]) == (function, 512, "$LATEST")
    assert config["log_group"] == f"/aws/lambda/{function}" and "[$LATEST]" in config["log_stream"]
    assert "tenant_id" not in context


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_x_amz_tenant_id(running: Running, name: str) -> None:
    request = seen(running, with_headers(HTTP_SHAPES[name], {"X-Amz-Tenant-Id": "spoofed"}), TENANT, TenantId="blue")
    assert request.all("x-amz-tenant-id") == ["blue"]
    assert json.loads(request.headers["x-amzn-lambda-context"])["tenant_id"] == "blue"


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_x_amzn_trace_id(running: Running, name: str) -> None:
    answer = running.invoke(with_headers(HTTP_SHAPES[name], {"X-Amzn-Trace-Id": "Root=0"}), "web")
    trace = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"]
    assert Seen(answer["body"]).all("x-amzn-trace-id") == [trace]


def test_authorization_source_missing_is_logged(running: Running) -> None:
    seen(running, ask(URL, "/head"), AUTH)
    assert any("authorization source missing header=auth-token" in line for line in running.lines)


# Header sanity --------------------------------------------------------------------------------------------------------

BAD = {
    "CR LF in a header": {"x-a": "b\r\nx-evil: 1"},
    "LF in a header": {"x-a": "b\nc"},
    "NUL in a header": {"x-a": "b\0"},
    "a header's name with a blank": {"x a": "b"},
    "a header's name with a line end": {"x-a\r\nx-evil": "b"},
    "a header's name with a colon": {"x-a:": "b"},
}


@pytest.mark.parametrize("name", HTTP_SHAPES)
@pytest.mark.parametrize("row", BAD)
def test_refused_with_400(running: Running, row: str, name: str) -> None:
    result = invoke(running, with_headers(HTTP_SHAPES[name], BAD[row]))
    assert (result["statusCode"], result["isBase64Encoded"]) == (400, False)


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_a_path_with_a_line_end_is_refused_with_400(running: Running, name: str) -> None:
    result = invoke(running, ask(HTTP_SHAPES[name], "/head\r\nx-evil: 1"))
    assert result["statusCode"] == 400 and "the path" in result["body"]


# Body -----------------------------------------------------------------------------------------------------------------

EVERY = bytes(range(256)) * 16
BODIES: dict[str, tuple[dict[str, Any], bytes]] = {
    "body: text": ({"body": "é\r\n", "isBase64Encoded": False}, "é\r\n".encode()),
    "body: base64": ({"body": base64.b64encode(EVERY).decode(), "isBase64Encoded": True}, EVERY),
    "body: empty": ({"body": "", "isBase64Encoded": False}, b""),
    "body: null": ({"body": None}, b""),
    "body: none": ({}, b""),
    "body: a router's payload is a body": (
        {"body": '{"Id":"x","DispatcherUrl":"http://127.0.0.1:1/"}'}, b'{"Id":"x","DispatcherUrl":"http://127.0.0.1:1/"}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HTTP_SHAPES)
@pytest.mark.parametrize("row", BODIES)
def test_body(running: Running, row: str, name: str) -> None:
    changes, expected = BODIES[row]
    result = invoke(running, {**ask(HTTP_SHAPES[name], "/echo-length", "POST"), **changes})
    body = base64.b64decode(result["body"]) if result["isBase64Encoded"] else result["body"].encode()
    assert body == expected


def test_body_of_a_pass_through_event_is_the_event(running: Running) -> None:
    for value in (event(SQS), event(WEBSOCKET), event(SCHEDULED), [1, {"a": None}], "text", 7, {}):
        assert json.loads(invoke(running, value, PASS)["text"].encode("latin-1")) == value


@pytest.mark.parametrize("name", HTTP_SHAPES)
def test_an_event_of_nearly_six_megabytes(running: Running, name: str) -> None:
    size = 6 * 1024 * 1024 - 5000
    result = invoke(running, ask(HTTP_SHAPES[name], "/head", "POST", body="x" * size))
    assert Seen(result).body == size


def test_an_event_over_six_megabytes_is_refused_by_lambda(running: Running) -> None:
    with pytest.raises(running.client.exceptions.RequestTooLargeException):
        running.invoke(ask(URL, "/head", "POST", body="x" * 6 * 1024 * 1024), "web")
