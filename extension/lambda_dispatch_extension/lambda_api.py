"""Lambda's two endpoints inside an environment: the Extensions API and the Runtime API."""

import json
from typing import Any, NamedTuple

from lambda_dispatch_extension.app_link import AppPool
from lambda_dispatch_extension.collect import NoAnswer, request
from lambda_dispatch_net.wire import Hub

NAME = "lambda-dispatch"
RUNTIME = "/2018-06-01/runtime"
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

    async def _call(
        self, method: str, path: str, headers: dict[str, str] | None = None, value: object = None
    ) -> tuple[dict[str, str], bytes]:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\n"
        head += "".join(f"{name}: {text}\r\n" for name, text in (headers or {}).items())
        body = b"" if value is None else json.dumps(value).encode()
        if method == "POST":
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        try:
            status, fields, answer = await request(self.pool, f"{head}\r\n".encode("latin-1") + body)
        except NoAnswer as error:
            raise ApiError(f"{method} {path}: {error}") from error
        if status not in (200, 202):
            raise ApiError(f"{method} {path}: status {status}: {answer[:200].decode('latin-1')}", status)
        return fields, answer

    def abort(self) -> None:
        self.pool.abort()

    # Extensions API

    async def register(self, name: str, events: list[str]) -> str:
        """Registers for the events; the identifier that the other calls need."""
        fields, _ = await self._call(
            "POST", f"{EXTENSION}/register", {"lambda-extension-name": name}, {"events": events}
        )
        return fields.get("lambda-extension-identifier", "")

    async def next_event(self, identifier: str) -> str:
        """Waits for the next event; its type."""
        _, body = await self._call("GET", f"{EXTENSION}/event/next", {"lambda-extension-identifier": identifier})
        event = json.loads(body or b"{}")
        return str(event.get("eventType", "")) if isinstance(event, dict) else ""

    # Runtime API

    async def next(self) -> Next:
        fields, body = await self._call("GET", f"{RUNTIME}/invocation/next")
        deadline = fields.get("lambda-runtime-deadline-ms", "")
        return Next(
            fields.get("lambda-runtime-aws-request-id", ""),
            int(deadline) / 1000 if deadline.isascii() and deadline.isdigit() and len(deadline) <= 15 else None,
            body,
        )

    async def respond(self, request_id: str, value: dict[str, Any]) -> None:
        await self._call("POST", f"{RUNTIME}/invocation/{request_id}/response", value=value)

    async def fail(self, request_id: str, kind: str, message: str) -> None:
        await self._error(f"{RUNTIME}/invocation/{request_id}/error", kind, message)

    async def fail_init(self, kind: str, message: str) -> None:
        await self._error(f"{RUNTIME}/init/error", kind, message)

    async def _error(self, path: str, kind: str, message: str) -> None:
        value = {"errorType": kind, "errorMessage": message, "stackTrace": []}
        await self._call("POST", path, {"lambda-runtime-function-error-type": f"Extension.{kind}"}, value)
