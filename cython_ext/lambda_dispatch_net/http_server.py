"""A small HTTP/1.1 server on httptools: whole requests in, whole responses out, every size bounded.

For short exchanges: what the embedded Lambda speaks (Invoke API, Runtime API, Extensions API, direct mode), status and
metrics. A body is collected before the handler sees it, unless `streams` takes it piece by piece. One request per
connection is in a handler at a time; pipelined requests wait, and reading stops when they are many. A handler is
cancelled when its client goes away: work that must outlive the client belongs in a task of its own.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

MAX_HEAD = 64 * 1024  # request line and headers together, and trailers; boto3 and curl stay below 8 KiB
MAX_DISCARD = 64 * 1024 * 1024  # of a body over its limit, what is still read so that the client gets to see the 413
MAX_PIPELINED = 16  # complete requests waiting on one connection before reading from it stops
MAX_WAITING = 256 * 1024  # bytes of a streamed body that are not taken yet; then the connection is not read
MAX_UNSENT = 1024 * 1024  # bytes of a stream that its client has not taken; then the connection is aborted
BACKLOG = 1024  # environments and callers connect in bursts

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Request:
    method: str
    target: str
    headers: Headers = field(default_factory=list)
    trailers: Headers = field(default_factory=list)
    body: bytes = b""
    too_large: bool = False  # the body was over the server's limit and is not here
    peer: str = ""
    keep_alive: bool = True

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key == name:
                return value
        for key, value in self.trailers:
            if key == name:
                return value
        return None


@dataclass(slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=list)
    close: bool = False
    stream: AsyncIterator[bytes] | None = None  # instead of a body: sent piece by piece, ends with the connection
    chunked: bool = False  # the stream is sent in chunks, as fast as its client takes it, and the connection stays


Handler = Callable[[Request], Awaitable[Response]]


class BrokenStream(Exception):
    """A response's stream ends before its time: so does the connection."""


class BodyStream:
    """A request's body while it arrives, to be iterated over once. `failed`: it did not come whole, or says so."""

    def __init__(self) -> None:
        self.failed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes in there
        self._dropped = False
        self._came = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def feed(self, data: bytes) -> None:
        if self._dropped:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        self._came.set()
        if self._waiting > MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()

    def end(self, *, failed: bool = False) -> None:
        if not self.ended.done():
            self.failed = failed
            self.ended.set_result(None)
            self._came.set()

    def drop(self) -> None:
        """What still comes is of no use."""
        self._dropped = True
        self._pieces.clear()
        self._resume()

    def _resume(self) -> None:
        self._waiting = 0
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def __aiter__(self) -> "BodyStream":
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.ended.done() or self._dropped:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._waiting > MAX_WAITING:
            self._resume()
        self._waiting = 0
        return data


def reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def encode(response: Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {reason_phrase(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status >= 200 and response.status not in (204, 304) and response.stream is None:
        lines.append(f"content-length: {len(response.body)}")
    if response.chunked and response.stream is not None and response.status not in (204, 304):
        lines.append("transfer-encoding: chunked")
    if not keep_alive:
        lines.append("connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head if head_only or response.status in (204, 304) else head + response.body


def refuse_web_page(request: Request, own_host: str) -> Response | None:
    """403 for what a page in a browser sends here on its own: a cross-site request, or one by DNS rebinding.

    A server on loopback is reachable by every page that its user opens. A page cannot leave out `Origin` and
    `Sec-Fetch-Site`, and a name that an attacker's DNS points at this machine arrives in `Host`.
    """
    hosts = [value for name, value in request.headers if name == "host"]
    for host in hosts:
        if not _is_local_name(host, own_host):
            return _refusal(f"Host {host!r} is not a name of this server; use its IP address or localhost")
    origin = request.header("origin")
    if origin is not None and origin not in {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}:
        return _refusal(f"request from a web page of another origin ({origin!r})")
    if request.header("sec-fetch-site") == "cross-site":
        return _refusal("request from a web page of another site (Sec-Fetch-Site: cross-site)")
    return None


def _refusal(why: str) -> Response:
    return Response(403, f"refused: {why}\n".encode(), [("content-type", "text/plain")])


def _is_local_name(host: str, own_host: str) -> bool:
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    name = name.strip("[]").lower().removesuffix(".")
    if name in ("localhost", own_host.lower(), socket.gethostname().lower()) or name.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)  # DNS rebinding needs a name
        return True
    return "." not in name and name != ""  # a container's: public DNS has no such names


class _Connection(asyncio.Protocol):
    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._resumed: asyncio.Future[None] | None = None
        self._closing = False
        self._heads = 0
        self._idle: asyncio.TimerHandle | None = None
        self._stream: BodyStream | None = None
        self._start_message()

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        if not self._server.joined(self):
            self._closing = True
            self._transport.abort()
            return
        self._await_progress()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)
        self._closing = True
        if self._stream is not None:
            self._stream.end(failed=True)
        if self._task is not None:
            self._task.cancel()
        if self._idle is not None:
            self._idle.cancel()
        self.resume_writing()

    def _await_progress(self) -> None:
        """From here on the client has the server's idle time to send a whole request, or to take its response."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._server.idle and not self._closing:
            self._idle = asyncio.get_running_loop().call_later(self._server.idle, self.abort)

    def _progress(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._head_done:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                # Only what can be a head is fed: a request that fits is complete within MAX_HEAD bytes.
                fits = max(0, len(data) - (self._head_size - MAX_HEAD))
                heads = self._heads
                self._feed(data[:fits])
                if self._heads == heads:
                    self._refuse(431, f"request head is over {MAX_HEAD} bytes")
                    return
                data = data[fits:]
        self._without_body += len(data)
        self._feed(data)
        if self._head_done and self._without_body > MAX_HEAD:
            self._refuse(431, f"trailers are over {MAX_HEAD} bytes")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An Upgrade is ignored, as HTTP allows; what follows cannot be told from it, so the connection closes.
            if self._waiting:
                self._waiting[-1].keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(400, f"not an HTTP/1.1 request: {error}")

    def _refuse(self, status: int, why: str) -> None:
        if self._closing:
            return
        self._closing = True
        response = Response(status, (why + "\n").encode(), [("content-type", "text/plain")])
        self._transport.write(encode(response, keep_alive=False))
        self._transport.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # parser callbacks

    def _start_message(self) -> None:
        self._url = b""
        self._headers: Headers = []
        self._trailers: Headers = []
        self._body = bytearray()
        self._body_size = 0
        self._without_body = 0  # bytes read since the last of the body: trailers, when they are many
        self._head_size = 0
        self._head_done = False

    def on_message_begin(self) -> None:
        head_size = self._head_size
        self._start_message()
        self._head_size = head_size

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        target = self._trailers if self._head_done else self._headers
        target.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._heads += 1
        self._without_body = 0
        if self._server.streams is not None:
            self._stream = self._server.streams(self._request())
            if self._stream is not None:
                self._stream.begin(self._transport)
        if any(name == "expect" and value.lower() == "100-continue" for name, value in self._headers):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        if self._stream is not None:
            self._stream.feed(body)
            return
        self._body_size += len(body)
        if self._body_size <= self._server.max_body:
            self._body += body
        else:
            self._body.clear()
            if self._body_size > self._server.max_body + MAX_DISCARD:
                self._refuse(413, f"body is over {self._server.max_body} bytes")

    def on_message_complete(self) -> None:
        if self._closing:
            return
        request = self._request()
        self._stream = None
        self._start_message()
        self._progress()
        self._waiting.append(request)
        if len(self._waiting) >= MAX_PIPELINED:
            self._transport.pause_reading()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    def _request(self) -> Request:
        return Request(
            method=self._parser.get_method().decode("latin-1"),
            target=self._url.decode("latin-1"),
            headers=self._headers,
            trailers=self._trailers,
            body=bytes(self._body),
            too_large=self._body_size > self._server.max_body,
            peer=self._peer,
            keep_alive=self._parser.should_keep_alive(),
        )

    # serving

    async def _serve(self) -> None:
        try:
            while self._waiting and not self._closing:
                request = self._waiting.popleft()
                if len(self._waiting) == MAX_PIPELINED - 1:
                    self._transport.resume_reading()
                response = await self._server.answer(request)
                ends = response.close or (response.stream is not None and not response.chunked)
                keep = request.keep_alive and not ends and not self._server.closing
                self._transport.write(encode(response, keep_alive=keep, head_only=request.method == "HEAD"))
                if response.stream is not None and response.chunked:
                    bodiless = request.method == "HEAD" or response.status in (204, 304)
                    await self._send_chunks(response.stream, bodiless)
                elif response.stream is not None:
                    await self._send_stream(response.stream)
                if not keep:
                    self._closing = True
                    self._transport.close()
                else:
                    await self._wait_for_room()
        finally:
            self._task = None
            if not self._waiting:
                self._await_progress()

    async def _wait_for_room(self) -> None:
        if self._paused:
            self._await_progress()
            self._resumed = asyncio.get_running_loop().create_future()
            await self._resumed
            self._progress()

    async def _send_chunks(self, pieces: AsyncIterator[bytes], bodiless: bool) -> None:
        try:
            async for piece in pieces:
                if self._closing:
                    return
                if piece and not bodiless:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await self._wait_for_room()
            if not bodiless:
                self._transport.write(b"0\r\n\r\n")
        except BrokenStream:
            self._closing = True
            self._transport.abort()
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def _send_stream(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                if self._closing:
                    return
                if self._transport.get_write_buffer_size() > MAX_UNSENT:
                    self._transport.abort()
                    return
                self._transport.write(piece)
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    def close(self) -> None:
        if self._task is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class HttpServer:
    """Listens on one address and answers each request with what `handler` returns; a failing handler answers 500.

    `for_pages` says that web pages of any origin may ask, as they may ask any web application.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_body: int,
        max_connections: int = 1 << 20,
        idle: float = 0.0,
        failed: Callable[[BaseException], None] | None = None,
        for_pages: bool = False,
        streams: Callable[[Request], BodyStream | None] | None = None,
    ) -> None:
        """`streams` gets each request when its head is there, and may return what takes its body.

        More than `max_connections` are aborted at once; `idle` seconds without progress end one; 0: never."""
        self.max_body = max_body
        self.max_connections = max_connections
        self.idle = idle
        self.closing = False
        self.port = 0
        self._handler = handler
        self._for_pages = for_pages
        self.streams = streams
        self._host = ""
        self._failed = failed
        self._connections: set[_Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._host = host
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, backlog=BACKLOG, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def start_on(self, sock: socket.socket) -> None:
        """As start(), on a socket that listens already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=sock, backlog=BACKLOG)
        self.port = sock.getsockname()[1]

    def joined(self, connection: _Connection) -> bool:
        """False when there are too many."""
        if len(self._connections) >= self.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def left(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def answer(self, request: Request) -> Response:
        try:
            refused = None if self._for_pages else refuse_web_page(request, self._host)
            return refused or await self._handler(request)
        except Exception as error:
            if self._failed is not None:
                self._failed(error)
            return Response(500, b"internal error\n", [("content-type", "text/plain")])

    async def close(self, *, grace: float = 0.0) -> None:
        """Stops listening, lets requests in a handler finish for `grace` seconds, then drops every connection."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()


def parse_query(query: str) -> dict[str, str]:
    """The last value of each key; the Invoke API has no repeated ones."""
    pairs: Iterable[str] = filter(None, query.split("&"))
    split = (pair.partition("=") for pair in pairs)
    return {unquote(key): unquote(value.replace("+", " ")) for key, _, value in split}
