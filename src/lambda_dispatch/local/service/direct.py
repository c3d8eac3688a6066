"""The direct front: what Lambda does by itself behind a function URL, API Gateway or a load balancer.

Each request is one invoke of one environment, a new one when none is free, and waits for that cold start. Request and
response travel as JSON, binary bodies as base64, 6 MB at most in either direction; with the invoke mode
RESPONSE_STREAM the response comes as a stream, without that limit.
"""

from collections.abc import AsyncIterator, Callable

import orjson

from lambda_dispatch.local.invocation import Answer, Invocation
from lambda_dispatch.local.service.fleet import Fleet, Pool
from lambda_dispatch.local.service.service_error import INVOKE_PAYLOAD_LIMIT, ServiceError
from lambda_dispatch.local.service.shapes import headers_of, make_event, read_answer
from lambda_dispatch.local.service.tenants import tenant_of
from lambda_dispatch_net.http_server import BodyStream, BrokenStream, Request, Response

MODES = ("buffered", "response_stream")
PRELUDE_END = bytes(8)
MAX_PRELUDE = 64 * 1024  # bytes


class DirectFront:
    def __init__(
        self,
        fleet: Fleet,
        pool: Pool,
        write_log: Callable[[str], None],
        shape: str = "url",
        mode: str = "buffered",
    ) -> None:
        self._fleet = fleet
        self._pool = pool
        self._write_log = write_log
        self._shape = shape
        self._streams = mode == "response_stream"

    async def answer(self, request: Request) -> Response:
        if request.too_large:
            return _error(413, "Request Too Long")
        payload = orjson.dumps(make_event(request, self._shape))
        if len(payload) > INVOKE_PAYLOAD_LIMIT:
            return _error(413, "Request Too Long")
        trace_id = request.header("x-amzn-trace-id")
        try:
            # As an integration of a REST API does that maps a client's header to this one of the invoke. An invoke of
            # a function without tenants ignores it.
            isolates = self._pool.function.tenant_isolation
            tenant = tenant_of(request, self._pool.function) if isolates else None
            invocation = Invocation(payload, self._pool.function.arn, trace_id=trace_id, tenant=tenant)
            if self._streams:
                invocation.take_stream()
            self._fleet.invoke(self._pool, invocation)
        except ServiceError as error:
            return _error(error.status, error.message)
        try:
            response = await self._response(invocation)
        except ValueError as error:
            self._write_log(f"{request.method} {request.raw_path}: not a response to a {self._shape} event: {error}")
            return _error(502, "Internal Server Error")
        response.headers.append(("x-amzn-requestid", invocation.request_id))
        return response

    async def _response(self, invocation: Invocation) -> Response:
        stream = await invocation.first()  # the invoke goes on when the client does not wait for it
        if isinstance(stream, BodyStream):
            return await read_stream(stream)
        answer: Answer = stream
        if answer.error is not None:
            raise ValueError(answer.payload[:500].decode("utf-8", "replace"))
        return read_answer(answer.payload, self._shape)


async def read_stream(stream: BodyStream) -> Response:
    """A streamed result as a response: its prelude is the head."""
    head = b""
    async for piece in stream:
        head += piece
        if PRELUDE_END in head or len(head) > MAX_PRELUDE:
            break
    text, end, first = head.partition(PRELUDE_END)
    if not end:
        raise ValueError("a stream without a prelude and 8 NUL bytes")
    value = orjson.loads(text)
    status = value.get("statusCode", 200) if isinstance(value, dict) else None
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise ValueError(f"statusCode {status!r}")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            if first:
                yield first
            async for piece in stream:
                yield piece
            if stream.failed:
                raise BrokenStream("the function broke off")
        finally:
            stream.drop()

    return Response(status, b"", headers_of(value), stream=pieces(), chunked=True)


def _error(status: int, message: str) -> Response:
    return Response(status, orjson.dumps({"Message": message}), [("content-type", "application/json")])
