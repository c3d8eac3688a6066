"""Events as the services in front of Lambda make them of a request, and their reading of results.

Function URL and API Gateway v2 share payload format 2.0; API Gateway v1 and load balancers have a format of their own.
"""

import base64
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import orjson

from lambda_dispatch.local.function import ACCOUNT
from lambda_dispatch_net.http_server import Headers, Request, Response, parse_query

SHAPES = ("url", "v2", "v1", "alb", "alb-multi")
TEXT_TYPES = (
    "text/",
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-www-form-urlencoded",
)
NOT_COPIED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"})
TARGET_GROUP = f"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:targetgroup/local/0000000000000000"


def make_event(request: Request, shape: str = "url") -> dict[str, Any]:
    """A request as the service hands it to a function."""
    return {"v1": v1_event, "alb": alb_event, "alb-multi": alb_multi_event}.get(shape, v2_event)(request)


def v2_event(request: Request) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in seen_headers(request):
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";")]
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.raw_path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": headers.get("host", ""),
            "domainPrefix": "local",
            "http": {
                "method": request.method,
                "path": request.raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.peer,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": "local",
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if request.query:
        event["queryStringParameters"] = parse_query(request.query)
    if request.body:
        event["body"], event["isBase64Encoded"] = encode_body(request.body, headers.get("content-type", ""))
    return event


def v1_event(request: Request) -> dict[str, Any]:
    headers = grouped(seen_headers(request))
    query = grouped(pairs_of(request.query, unquote_plus))
    body, encoded = encode_body(request.body, headers.get("content-type", [""])[0])
    now = time.time()
    return {
        "resource": "/{proxy+}",
        "path": request.path,
        "httpMethod": request.method,
        "headers": lasts(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": lasts(query) or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {"proxy": request.path[1:]},
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": headers.get("host", [""])[0],
            "httpMethod": request.method,
            "identity": {"sourceIp": request.peer, "userAgent": headers.get("user-agent", [""])[0]},
            "path": f"/prod{request.path}",
            "protocol": "HTTP/1.1",
            "requestId": "local",
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "requestTimeEpoch": int(now * 1000),
            "resourcePath": "/{proxy+}",
            "stage": "prod",
        },
        "body": body if request.body else None,
        "isBase64Encoded": encoded,
    }


def alb_event(request: Request) -> dict[str, Any]:
    event = alb_multi_event(request)
    event["headers"] = lasts(event.pop("multiValueHeaders"))
    event["queryStringParameters"] = lasts(event.pop("multiValueQueryStringParameters"))
    return event


def alb_multi_event(request: Request) -> dict[str, Any]:
    headers = grouped(seen_headers(request))
    body, encoded = encode_body(request.body, headers.get("content-type", [""])[0])
    return {
        "requestContext": {"elb": {"targetGroupArn": TARGET_GROUP}},
        "httpMethod": request.method,
        "path": request.raw_path,
        "multiValueQueryStringParameters": grouped(pairs_of(request.query, str)),  # not decoded
        "multiValueHeaders": headers,
        "body": body,
        "isBase64Encoded": encoded,
    }


def seen_headers(request: Request) -> Headers:
    found = [(name, value) for name, value in request.headers if name not in ("connection", "transfer-encoding")]
    names = {name for name, _ in found}
    for name, value in (("x-forwarded-for", request.peer), ("x-forwarded-proto", "http")):
        if name not in names:
            found.append((name, value))
    return found


def pairs_of(query: str, decode: Callable[[str], str]) -> list[tuple[str, str]]:
    split = (item.partition("=") for item in query.split("&") if item)
    return [(decode(name), decode(value)) for name, _, value in split]


def grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def lasts(several: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in several.items()}


def encode_body(body: bytes, content_type: str) -> tuple[str, bool]:
    if not body:
        return "", False
    if content_type.lower().startswith(TEXT_TYPES):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def read_answer(payload: bytes, shape: str = "url") -> Response:
    """A function's result as an HTTP response; in payload format 2.0 one without a statusCode is a JSON body."""
    value = orjson.loads(payload)
    if not isinstance(value, dict) or "statusCode" not in value:
        if shape not in ("url", "v2"):
            raise ValueError("no statusCode")
        body = value.encode() if isinstance(value, str) else payload
        return Response(200, body, [("content-type", "application/json")])
    status = value["statusCode"]
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise ValueError(f"statusCode {status!r}")
    body_text = value.get("body") or ""
    if not isinstance(body_text, str):
        body_text = orjson.dumps(body_text).decode()
    body = base64.b64decode(body_text) if value.get("isBase64Encoded") else body_text.encode()
    return Response(status, body, headers_of(value, shape))


def headers_of(value: dict[str, Any], shape: str = "url") -> Headers:
    fields: list[tuple[str, Any]] = []
    if shape != "alb-multi":
        fields += (value.get("headers") or {}).items()
    if shape in ("v1", "alb-multi"):
        fields += (value.get("multiValueHeaders") or {}).items()
    headers: Headers = []
    for name, given in fields:
        for one in given if isinstance(given, list) else [given]:
            headers.append((str(name).lower(), str(one)))
    for cookie in value.get("cookies") or []:
        headers.append(("set-cookie", str(cookie)))
    if any("\r" in text or "\n" in text for header in headers for text in header):
        raise ValueError("a header with a line end in it")
    return [header for header in headers if header[0] not in NOT_COPIED]
