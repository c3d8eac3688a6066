"""Direct events for an extension as a real process; their shapes stand in direct_events/, written from AWS's pages."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.support.extension_rig import Rig, rig
from tests.support.runtime_api import Invocation

SHAPES = Path(__file__).parent / "direct_events"
URL, V2, V1 = "lambda_function_url_request", "apigw_v2_proxy_request_minimal", "apigw_proxy_request"
ALB, ALB_MULTI = "alb_request", "alb_request_multi_value_query_parameters"
WEBSOCKET, SQS, SCHEDULED = "websocket_message", "sqs", "scheduled"
STREAM = {"AWS_LWA_INVOKE_MODE": "response_stream"}


def event(shape: str, **changes: Any) -> dict[str, Any]:
    """A shape with other top-level values; None takes one away."""
    value = json.loads((SHAPES / f"{shape}.json").read_text())
    value.update(changes)
    return {name: given for name, given in value.items() if given is not None}


def ask(shape: str, path: str, method: str = "GET", **changes: Any) -> dict[str, Any]:
    """A shape that asks for a path, without query and body."""
    plain = {"body": None, "cookies": None, "rawQueryString": "", "queryStringParameters": None}
    value = event(shape, **{**plain, "multiValueQueryStringParameters": None, **changes})
    if "rawPath" in value:
        value["rawPath"] = path
        value["requestContext"]["http"]["method"] = method
    else:
        value["path"], value["httpMethod"] = path, method
    return value


def say(answer: bytes, close: bool = False) -> str:
    """The path at which the test application says exactly this."""
    return f"/say/{answer.hex()}" + ("/close" if close else "")


class Seen:
    """A request as the application's /head has seen it."""

    def __init__(self, result: Any) -> None:
        body = base64.b64decode(result["body"]) if result["isBase64Encoded"] else result["body"].encode()
        told = json.loads(body)
        head = bytes.fromhex(told["head"]).decode("utf-8").split("\r\n")
        self.line = head[0]
        self.fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:])]
        self.headers = {name.lower(): value for name, value in self.fields}
        self.body: int = told["body"]

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name]


async def seen(r: Rig, value: object, fields: dict[str, str] | None = None) -> Seen:
    return Seen(await r.api.invoke(value, fields=fields).result())


def split(invocation: Invocation) -> tuple[dict[str, Any], bytes]:
    """Prelude and body of a streamed response."""
    prelude, end, body = invocation.raw.partition(bytes(8))
    assert end
    return json.loads(prelude), body


def run(body: Callable[[Rig], Awaitable[None]], **settings: Any) -> None:
    """Runs the test's body with an extension that waits for invokes."""

    async def whole() -> None:
        async with rig(**settings) as r:
            await r.ready()
            await body(r)

    asyncio.run(whole())
