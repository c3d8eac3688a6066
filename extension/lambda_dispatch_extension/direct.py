"""One direct event, from the invoke to its answer: an invoke that is not the router's but a request by itself.

Loaded with the first of them: an environment that is only dispatched to never imports this.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from lambda_dispatch_extension import answers, events, kinds
from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.collect import NoAnswer
from lambda_dispatch_extension.direct_relay import Exchange, chunk
from lambda_dispatch_extension.invoke import AppDown
from lambda_dispatch_extension.lambda_api import Api, Next
from lambda_dispatch_extension.log import say_limited
from lambda_dispatch_extension.options import Options

# Lambda refuses a longer result; of the application's answer no more than this is collected.
RESULT_MOST = 6 * 1024 * 1024 + 100  # bytes
PLAIN = b"text/plain"


class ResultTooLarge(Exception):
    """The answer cannot be given in one piece."""


class Direct:
    def __init__(self, options: Options, config: str, pool: AppPool, api: Api, invocation: Next, kind: str) -> None:
        self.options = options
        self.config = config  # events.env_config() of this environment
        self.pool = pool
        self.api = api
        self.invocation = invocation
        self.kind = kind
        self.app_died = ""  # why the application is gone

    async def run(self, event: Any, app_ready: Callable[[], Awaitable[None]]) -> None:
        """Answers the invoke. AppDown when the application refuses connections: then it has no answer yet."""
        await app_ready()
        try:
            request = events.request(self.kind, event, self.invocation, self.options, self.config)
        except events.BadEvent as error:
            say_limited("event refused", kind=self.kind, cause=error)
            await self._answer_ourselves(error.status, f"{error}\n".encode())
            return
        exchange = Exchange(self.pool, request.message, head_request=request.is_head, repeatable=request.repeatable)
        try:
            await self._relay(exchange, request)
        except NoAnswer as error:
            if self.app_died or error.refused:
                raise AppDown(self.app_died or str(error)) from error
            say_limited("request failed", kind=self.kind, cause=error)
            await self._fail("AppConnectionError", str(error))
        except ResultTooLarge as error:
            say_limited("request failed", kind=self.kind, cause=error)
            await self._fail("Function.ResponseSizeTooLarge", str(error))
        finally:
            exchange.close()

    async def _relay(self, exchange: Exchange, request: events.Request) -> None:
        options = self.options
        await exchange.head()
        status, fields = exchange.status, answers.passed_on(exchange.fields)
        if options.error_statuses and options.is_error(status):
            body = (await self._collect(exchange)).decode("utf-8", "replace")
            said = json.dumps({"statusCode": status, "body": body}, ensure_ascii=False, separators=(",", ":"))
            await self._fail("ErrorStatus", said)
            return
        if options.streams:
            await self._stream(exchange, status, fields)
            return
        squeeze = None
        if options.compression:
            from lambda_dispatch_extension.direct_compression import squeeze_for

            squeeze = squeeze_for(request.accept_encoding, request.is_head, status, fields)
        if squeeze is None:
            body_bytes = await self._collect(exchange)
        else:
            body_bytes = await self._collect(exchange, squeeze.add) + squeeze.end()
            fields = squeeze.fields
        await self._respond(status, fields, body_bytes)

    async def _collect(self, exchange: Exchange, change: Callable[[bytes], bytes] = bytes) -> bytes:
        pieces, length = [], 0
        while True:
            piece = change(exchange.take())
            pieces.append(piece)
            length += len(piece)
            if length > RESULT_MOST:
                raise too_large(f"more than {RESULT_MOST}")
            if exchange.ended:
                return b"".join(pieces)
            await exchange.more()

    async def _respond(self, status: int, fields: answers.Fields, body: bytes) -> None:
        result = answers.buffered(self.kind, status, fields, body)
        if len(result) > RESULT_MOST:
            raise too_large(str(len(result)))
        await self.api.respond_with(self.invocation.request_id, result)

    async def _stream(self, exchange: Exchange, status: int, fields: answers.Fields) -> None:
        head = answers.stream_head(self.api.host, self.api.response_path(self.invocation.request_id))
        try:
            answer, why = await exchange.stream(self.api.pool, head + answers.prelude(status, fields))
        except NoAnswer as error:
            # The next call finds out whether the Runtime API is gone or only this invoke is over.
            say_limited("response refused", kind=self.kind, cause=error)
            return
        if exchange.broken:
            say_limited("request failed", kind=self.kind, cause=exchange.broken)
        if answer not in (200, 202):
            # The client is gone, the answer is too long, the time is over: all of it concerns this invoke alone.
            say_limited("response refused", kind=self.kind, status=answer, cause=why.decode("latin-1")[:200])

    async def _answer_ourselves(self, status: int, body: bytes) -> None:
        """A response that the application has no part in, in the shape that the event expects."""
        if self.kind == kinds.PASS_THROUGH:
            await self._fail("BadEvent", body.decode().strip())
            return
        fields = [(b"content-type", PLAIN), (b"content-length", str(len(body)).encode())]
        if not self.options.streams:
            await self._respond(status, fields, body)
            return
        path = self.api.response_path(self.invocation.request_id)
        head = answers.stream_head(self.api.host, path)
        await self.api.send(head + answers.prelude(status, fields) + chunk(body) + chunk(b""), f"POST {path}")

    async def _fail(self, kind: str, message: str) -> None:
        await self.api.fail(self.invocation.request_id, kind, message, unhandled=True)

    # Called by the service --------------------------------------------------------------------------------------------

    def begin_shutdown(self, in_flight: float) -> None:
        """The environment ends; the service waits that long for the answer."""

    def on_app_died(self, why: str) -> None:
        """Its connections end with it; a child of its that holds ours may still answer."""
        self.app_died = why


def too_large(size: str) -> ResultTooLarge:
    return ResultTooLarge(
        f"the result has {size} bytes, and Lambda takes at most {RESULT_MOST}: set AWS_LWA_INVOKE_MODE=response_stream "
        "and the function URL's invoke mode RESPONSE_STREAM, let the answer be compressed, or dispatch it by the router"
    )
