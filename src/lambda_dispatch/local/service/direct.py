"""The direct front: what Lambda does by itself behind a function URL or a load balancer.

Each request is one invoke of one environment, a new one when none is free, and waits for that cold start. Request and
response travel as JSON (payload format 2.0), binary bodies as base64, 6 MB at most in either direction.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import orjson

from lambda_dispatch.local.function import ACCOUNT
from lambda_dispatch.local.invocation import Invocation
from lambda_dispatch.local.service.fleet import Fleet, Pool
from lambda_dispatch.local.service.service_error import INVOKE_PAYLOAD_LIMIT, ServiceError
from lambda_dispatch_net.http_server import Headers, Request, Response, parse_query

TEXT_TYPES = (
    "text/",
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-www-form-urlencoded",
)
NOT_COPIED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"})


class DirectFront:
    def __init__(self, fleet: Fleet, pool: Pool, write_log: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._pool = pool
        self._write_log = write_log

    async def answer(self, request: Request) -> Response:
        if request.too_large:
            return _error(413, "Request Too Long")
        payload = orjson.dumps(make_event(request))
        if len(payload) > INVOKE_PAYLOAD_LIMIT:
            return _error(413, "Request Too Long")
        invocation = Invocation(payload, self._pool.function.arn, trace_id=request.header("x-amzn-trace-id"))
        try:
            self._fleet.invoke(self._pool, invocation)
        except ServiceError as error:
            return _error(error.status, error.message)
        answer = await asyncio.shield(invocation.answer)  # goes on when the client does not wait for it
        if answer.error is not None:
            self._write_log(f"{request.method} {request.raw_path}: {answer.payload[:500].decode('utf-8', 'replace')}")
            return _error(502, "Internal Server Error")
        try:
            response = read_answer(answer.payload)
        except ValueError as error:
            self._write_log(f"{request.method} {request.raw_path}: not a response in payload format 2.0: {error}")
            return _error(502, "Internal Server Error")
        response.headers.append(("x-amzn-requestid", invocation.request_id))
        return response


def make_event(request: Request) -> dict[str, Any]:
    """A request as function URLs hand it to a function."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in request.headers:
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";")]
        elif name not in ("connection", "transfer-encoding"):
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    headers.setdefault("x-forwarded-for", request.peer)
    headers.setdefault("x-forwarded-proto", "http")
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


def encode_body(body: bytes, content_type: str) -> tuple[str, bool]:
    if content_type.lower().startswith(TEXT_TYPES):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def read_answer(payload: bytes) -> Response:
    """A function's answer as an HTTP response; one without a statusCode is a JSON body by itself."""
    value = orjson.loads(payload)
    if not isinstance(value, dict) or "statusCode" not in value:
        body = value.encode() if isinstance(value, str) else payload
        return Response(200, body, [("content-type", "application/json")])
    status = value["statusCode"]
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise ValueError(f"statusCode {status!r}")
    body_text = value.get("body") or ""
    if not isinstance(body_text, str):
        body_text = orjson.dumps(body_text).decode()
    body = base64.b64decode(body_text) if value.get("isBase64Encoded") else body_text.encode()
    return Response(status, body, _headers(value))


def _headers(value: dict[str, Any]) -> Headers:
    headers: Headers = []
    for name, given in (value.get("headers") or {}).items():
        for one in given if isinstance(given, list) else [given]:
            headers.append((str(name).lower(), str(one)))
    for cookie in value.get("cookies") or []:
        headers.append(("set-cookie", str(cookie)))
    if any("\r" in text or "\n" in text for header in headers for text in header):
        raise ValueError("a header with a line end in it")
    return [header for header in headers if header[0] not in NOT_COPIED]


def _error(status: int, message: str) -> Response:
    return Response(status, orjson.dumps({"Message": message}), [("content-type", "application/json")])
