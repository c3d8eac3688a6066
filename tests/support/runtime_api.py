"""Lambda's Runtime and Extensions API for one environment, over real HTTP."""

import asyncio
import json
import time
from collections.abc import Container
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0  # s


@dataclass(eq=False)
class Invocation:
    id: str
    payload: bytes
    deadline: float  # seconds since the epoch
    done: asyncio.Event = field(default_factory=asyncio.Event)
    response: Any = None
    error: Any = None
    fields: dict[str, str] = field(default_factory=dict)  # more that `next` says of it
    headers: dict[str, str] = field(default_factory=dict)  # of the call that answered it
    raw: bytes | bytearray = b""  # that call's body
    chunks: list[bytes] = field(default_factory=list)  # of a streamed response, as they came
    trailers: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # a chunk came

    async def streamed(self, size: int) -> bytes:
        """What of a streamed response has come, once it is at least that long."""
        async with asyncio.timeout(PATIENCE):
            while len(self.raw) < size:
                self.changed.clear()
                await self.changed.wait()
        return bytes(self.raw)

    async def result(self) -> Any:
        """The response; fails when the invoke failed."""
        await self.ended()
        assert self.error is None, self.error
        return self.response

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.done.wait()


class RuntimeApi:
    """Use it as `async with RuntimeApi() as api`.

    external: the files of /opt/extensions; any other name is an internal extension, which may ask for no SHUTDOWN event
    (managed: for no event at all). closed: registration is refused. taken: another process polls for invokes.
    """

    def __init__(
        self, external: Container[str] = (), *, managed: bool = False, closed: bool = False, taken: bool = False
    ) -> None:
        self.external = external
        self.managed = managed
        self.closed = closed
        self.taken = taken
        self.refused: list[str] = []  # registrations, by the error they got
        self.registered: list[tuple[str, Any]] = []
        self.init_errors: list[Any] = []
        self.invocations: dict[str, Invocation] = {}
        self.nexts = 0
        self.ready = asyncio.Event()  # `next` was asked for
        self.init_failed = asyncio.Event()
        self.event_polled = asyncio.Event()
        self._waiting: asyncio.Queue[Invocation] = asyncio.Queue()
        self._shutdown = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    def invoke(self, payload: object, timeout: float = 60.0, fields: dict[str, str] | None = None) -> Invocation:
        """Queues an invoke; bytes are sent as they are. fields: more that `next` says of it."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        invocation = Invocation(f"request-{len(self.invocations)}", body, time.time() + timeout, fields=fields or {})
        self.invocations[invocation.id] = invocation
        self._waiting.put_nowait(invocation)
        return invocation

    def shut_down(self) -> None:
        self._shutdown.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while True:
                line = await reader.readline()
                if not line:
                    return
                method, path, _ = line.decode().split()
                headers = await _fields(reader)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if headers.get("transfer-encoding") == "chunked":
                    body = await self._chunks(path, headers, reader)
                status, extra, answer = await self._answer(method, path, headers, body)
                head = f"HTTP/1.1 {status} OK\r\ncontent-length: {len(answer)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in extra.items())
                writer.write(head.encode() + b"\r\n" + answer)
                await writer.drain()
                if extra.get("connection") == "close":
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # asyncio's streams would report a cancelled handler as an error
        finally:
            self._clients.discard(task)
            writer.close()

    async def _chunks(self, path: str, headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
        invocation = self.invocations[path.split("/")[-2]]
        invocation.headers = headers
        invocation.raw = bytearray()
        while size := int(await reader.readline(), 16):
            piece = await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
            invocation.chunks.append(piece)
            invocation.raw += piece
            invocation.changed.set()
        invocation.trailers = await _fields(reader)
        return bytes(invocation.raw)

    def _refusal(self, name: str, events: list[str]) -> str:
        if self.closed:
            return "Extension registration closed already"
        if name in self.external:
            return ""
        if self.managed and events:
            return "No events allowed for internal extensions"
        return "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension" if "SHUTDOWN" in events else ""

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        match [method, *path.strip("/").split("/")]:
            case ["POST", "2020-01-01", "extension", "register"]:
                name, events = headers["lambda-extension-name"], json.loads(body)["events"]
                if fault := self._refusal(name, events):
                    self.refused.append(fault)
                    return 403, {}, json.dumps({"errorType": "Extension.Refused", "errorMessage": fault}).encode()
                self.registered.append((name, json.loads(body)))
                return 200, {"Lambda-Extension-Identifier": "identifier-1"}, b"{}"
            case ["GET", "2020-01-01", "extension", "event", "next"]:
                assert headers["lambda-extension-identifier"] == "identifier-1"
                self.event_polled.set()
                await self._shutdown.wait()
                return 200, {}, json.dumps({"eventType": "SHUTDOWN", "shutdownReason": "spindown"}).encode()
            case ["GET", "2018-06-01", "runtime", "invocation", "next"]:
                self.nexts += 1
                self.ready.set()
                if self.taken:
                    return 403, {}, b'{"errorType": "InvalidStateTransition"}'
                invocation = await self._waiting.get()
                extra = {
                    "Lambda-Runtime-Aws-Request-Id": invocation.id,
                    "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
                    **invocation.fields,
                }
                return 200, extra, invocation.payload
            case ["POST", "2018-06-01", "runtime", "invocation", id, "response"]:
                answered = self.invocations[id]
                answered.headers, answered.raw = headers, body
                if not answered.chunks:
                    answered.response = json.loads(body)
                answered.done.set()
                return 202, {}, b'{"status":"OK"}'
            case ["POST", "2018-06-01", "runtime", "invocation", id, "error"]:
                failed = self.invocations[id]
                failed.headers, failed.error = headers, json.loads(body)
                failed.done.set()
                return 202, {}, b'{"status":"OK"}'
            case ["POST", "2018-06-01", "runtime", "init", "error"]:
                self.init_errors.append(json.loads(body))
                self.init_failed.set()
                return 202, {}, b'{"status":"OK"}'
        return 404, {}, b"{}"


async def _fields(reader: asyncio.StreamReader) -> dict[str, str]:
    fields: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        fields[name.lower()] = value.strip()
    return fields
