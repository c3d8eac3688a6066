"""One invoke of a function, from the call to the REPORT line."""

import asyncio
import math
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from lambda_dispatch_net.http_server import BodyStream

SHORT = 1024  # bytes of a payload that is shown with its environment
LOG_TAIL = 4096  # bytes of log X-Amz-Log-Result carries


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: the payload, and whether the function failed (`Unhandled`)."""

    payload: bytes
    error: str | None = None


def failure(kind: str, message: str, request_id: str) -> Answer:
    """A failure Lambda itself reports, in its words."""
    body = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    return Answer(orjson.dumps(body), "Unhandled")


class Invocation:
    """`answer` is done when the caller can be answered, `finished` when the environment is free again or gone."""

    def __init__(
        self,
        payload: bytes,
        arn: str,
        *,
        request_id: str | None = None,
        version: str = "$LATEST",
        trace_id: str | None = None,
        client_context: str | None = None,
        cognito_identity: str | None = None,
        tenant: str | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.request_id = request_id or str(uuid.uuid4())
        self.payload = payload
        self.arn = arn
        self.version = version
        self.trace_id = trace_id or new_trace_id()
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.tenant = tenant
        self.deadline_ms = 0
        self.stream: asyncio.Future[BodyStream] | None = None  # for a caller that takes the response as it comes
        self.response: Answer | None = None  # the runtime's, from the moment it is there
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self.log = bytearray()
        self.duration_ms = 0.0
        self.init_ms = 0.0  # 0 when the environment was warm
        self.billed_ms = 0
        self.memory_mb = 0
        self.environment_id = ""
        self._began = 0.0

    def take_stream(self) -> None:
        """The caller takes a streamed response while it comes: first() brings it."""
        self.stream = asyncio.get_running_loop().create_future()

    async def first(self) -> BodyStream | Answer:
        """The response as a stream where there is one, else the answer. The invoke goes on without the caller."""
        waits: list[asyncio.Future[Any]] = [self.answer] if self.stream is None else [self.answer, self.stream]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if self.stream is not None and self.stream.done():
            return self.stream.result()
        return self.answer.result()

    def short_payload(self) -> str | None:
        """What it was invoked with, unless that is long."""
        return self.payload.decode("utf-8", "replace") if len(self.payload) <= SHORT else None

    def begin(self, now: float, deadline_ms: int) -> None:
        self._began = now
        self.deadline_ms = deadline_ms

    def settle(self, answer: Answer) -> None:
        """Lets the caller have the answer; a response the runtime gave stands against any failure after it."""
        if not self.answer.done():
            self.answer.set_result(self.response or answer)

    def finish(self, now: float, memory_size: int, memory_mb: int) -> str:
        """Ends the accounting; returns the REPORT line."""
        self.duration_ms = (now - self._began) * 1000 if self._began else 0.0  # it may have ended before it began
        self.memory_mb = memory_mb
        self.billed_ms = math.ceil(self.duration_ms + self.init_ms)
        init = f"Init Duration: {self.init_ms:.2f} ms\t" if self.init_ms else ""
        return (
            f"REPORT RequestId: {self.request_id}\tDuration: {self.duration_ms:.2f} ms\t"
            f"Billed Duration: {self.billed_ms} ms\tMemory Size: {memory_size} MB\t"
            f"Max Memory Used: {memory_mb} MB\t{init}"
        )

    def add_log(self, line: bytes) -> None:
        self.log += line
        if len(self.log) > 2 * LOG_TAIL:
            del self.log[:-LOG_TAIL]


def new_trace_id() -> str:
    root = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0"
