"""Lambda's two endpoints inside an environment: the Extensions API and the Runtime API."""

import json
from typing import Any, NamedTuple

from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.collect import NoAnswer, request
from lambda_dispatch_net.wire import Hub

NAME = "lambda-dispatch"
RUNTIME = "/2018-06-01/runtime"
NEXT = f"{RUNTIME}/invocation/next"
EXTENSION = "/2020-01-01/extension"
CONNECT = 5.0  # s
IDLE = 60.0  # s that a connection is kept


class ApiError(Exception):
    """One of Lambda's endpoints did not do what was asked."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.status = status  # 0: there was no answer


class Next(NamedTuple):
    request_id: str
    deadline: float | None  # seconds since the epoch
    body: bytes
    fields: dict[str, str]  # of the answer's head, names in lower case


def endpoint(value: str) -> tuple[str, int]:
    """Host and port of AWS_LAMBDA_RUNTIME_API."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ApiError(
            f"AWS_LAMBDA_RUNTIME_API={value!r} is not HOST:PORT; Lambda sets it, a local test must set it too"
        )
    return host, int(port)


class Api:
    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self.pool = AppPool(hub, host, port, connect_timeout=CONNECT, idle_timeout=IDLE)
        self.host = f"{host}:{port}"
        self._next = f"GET {NEXT} HTTP/1.1\r\nhost: {self.host}\r\n\r\n".encode("latin-1")

    async def _call(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> tuple[dict[str, str], bytes]:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\n"
        head += "".join(f"{name}: {text}\r\n" for name, text in (headers or {}).items())
        if method == "POST":
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return await self.send(f"{head}\r\n".encode("latin-1") + body, f"{method} {path}")

    async def send(self, message: bytes, what: str) -> tuple[dict[str, str], bytes]:
        """One whole request; fields and body of its answer."""
        try:
            status, fields, answer = await request(self.pool, message)
        except NoAnswer as error:
            raise ApiError(f"{what}: {error}") from error
        if status not in (200, 202):
            raise ApiError(f"{what}: status {status}: {answer[:200].decode('latin-1')}", status)
        return fields, answer

    def abort(self) -> None:
        self.pool.abort()

    # Extensions API

    async def register(self, name: str, events: list[str]) -> str:
        """Registers for the events; the identifier that the other calls need."""
        fields, _ = await self._call(
            "POST", f"{EXTENSION}/register", {"lambda-extension-name": name}, json.dumps({"events": events}).encode()
        )
        return fields.get("lambda-extension-identifier", "")

    async def next_event(self, identifier: str) -> str:
        """Waits for the next event; its type."""
        _, body = await self._call("GET", f"{EXTENSION}/event/next", {"lambda-extension-identifier": identifier})
        event = json.loads(body or b"{}")
        return str(event.get("eventType", "")) if isinstance(event, dict) else ""

    # Runtime API

    async def next(self) -> Next:
        fields, body = await self.send(self._next, f"GET {NEXT}")
        deadline = fields.get("lambda-runtime-deadline-ms", "")
        return Next(
            fields.get("lambda-runtime-aws-request-id", ""),
            int(deadline) / 1000 if deadline.isascii() and deadline.isdigit() and len(deadline) <= 15 else None,
            body,
            fields,
        )

    def response_path(self, request_id: str) -> str:
        return f"{RUNTIME}/invocation/{request_id}/response"

    async def respond(self, request_id: str, value: dict[str, Any]) -> None:
        await self.respond_with(request_id, json.dumps(value).encode())

    async def respond_with(self, request_id: str, result: bytes) -> None:
        """The invoke's result, JSON already."""
        path = self.response_path(request_id)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(result)}\r\n\r\n"
        )
        await self.send(head.encode("latin-1") + result, f"POST {path}")

    async def fail(self, request_id: str, kind: str, message: str, *, unhandled: bool = False) -> None:
        """unhandled: it is named so to Lambda, as by AWS's Web Adapter, and not as an error of the extension's."""
        await self._error(
            f"{RUNTIME}/invocation/{request_id}/error", kind, message, "unhandled" if unhandled else f"Extension.{kind}"
        )

    async def fail_init(self, kind: str, message: str) -> None:
        await self._error(f"{RUNTIME}/init/error", kind, message, f"Extension.{kind}")

    async def _error(self, path: str, kind: str, message: str, named: str) -> None:
        value = {"errorType": kind, "errorMessage": message, "stackTrace": []}
        await self._call("POST", path, {"lambda-runtime-function-error-type": named}, json.dumps(value).encode())
