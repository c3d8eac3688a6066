"""Lambda's two endpoints inside an environment: the Extensions API and the Runtime API."""

import asyncio
import json
from typing import Any, NamedTuple

from lambda_dispatch_extension.local_http import Answer, BadAnswer, Connection

NAME = "lambda-dispatch"
RUNTIME = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
ERRORS = (OSError, asyncio.IncompleteReadError, BadAnswer)


class ApiError(Exception):
    """One of Lambda's endpoints did not do what was asked."""


class Next(NamedTuple):
    request_id: str
    deadline: float | None  # seconds since the epoch
    body: bytes


def endpoint(value: str) -> tuple[str, int]:
    """Host and port of AWS_LAMBDA_RUNTIME_API."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ApiError(f"AWS_LAMBDA_RUNTIME_API={value!r} is not HOST:PORT; Lambda sets it, a local test has to")
    return host, int(port)


class Api:
    """One connection to the endpoint; make one per loop that waits on it."""

    def __init__(self, host: str, port: int) -> None:
        self.connection = Connection(host, port)
        self.host = f"{host}:{port}"

    async def _call(self, method: str, path: str, headers: dict[str, str], value: object = None) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        try:
            answer = await self.connection.request(method, path, {"host": self.host, **headers}, body)
        except ERRORS as error:
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error
        if answer.status not in (200, 202):
            raise ApiError(f"{method} {path}: status {answer.status}: {answer.body[:200].decode('latin-1')}")
        return answer

    def close(self) -> None:
        self.connection.close()

    # Extensions API

    async def register(self) -> str:
        """Registers for SHUTDOWN; the identifier that the other calls need."""
        answer = await self._call(
            "POST", f"{EXTENSION}/register", {"lambda-extension-name": NAME}, {"events": ["SHUTDOWN"]}
        )
        return answer.headers.get("lambda-extension-identifier", "")

    async def next_event(self, identifier: str) -> str:
        """Waits for the next event; its type."""
        answer = await self._call("GET", f"{EXTENSION}/event/next", {"lambda-extension-identifier": identifier})
        event = json.loads(answer.body or b"{}")
        return str(event.get("eventType", "")) if isinstance(event, dict) else ""

    # Runtime API

    async def next(self) -> Next:
        answer = await self._call("GET", f"{RUNTIME}/invocation/next", {})
        deadline = answer.headers.get("lambda-runtime-deadline-ms", "")
        return Next(
            answer.headers.get("lambda-runtime-aws-request-id", ""),
            int(deadline) / 1000 if deadline.isascii() and deadline.isdigit() and len(deadline) <= 15 else None,
            answer.body,
        )

    async def respond(self, request_id: str, value: dict[str, Any]) -> None:
        await self._call("POST", f"{RUNTIME}/invocation/{request_id}/response", {}, value)

    async def fail(self, request_id: str, kind: str, message: str) -> None:
        await self._error(f"{RUNTIME}/invocation/{request_id}/error", kind, message)

    async def fail_init(self, kind: str, message: str) -> None:
        await self._error(f"{RUNTIME}/init/error", kind, message)

    async def _error(self, path: str, kind: str, message: str) -> None:
        value = {"errorType": kind, "errorMessage": message, "stackTrace": []}
        await self._call("POST", path, {"lambda-runtime-function-error-type": f"Extension.{kind}"}, value)
