"""The demo application: an ordinary HTTP/1.1 server that knows nothing of Lambda and needs only the standard library.

    python3 app.py                       listens on 127.0.0.1, port LAMBDA_DISPATCH_PORT, else PORT, else 3001
    INIT_DELAY=8 python3 app.py          the first /health takes 8 seconds, as an application that has to warm up

GET / lists the routes.
"""

import asyncio
import json
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs

HEAD_LIMIT = 256 * 1024  # bytes of a request head; also the read buffer of a connection
PIECE = 64 * 1024  # bytes of a body in hand at once
WHOLE_LIMIT = 40 * 1024 * 1024  # bytes /echo-slow keeps before it answers
UNREAD_LIMIT = 1024 * 1024  # bytes of a body no route read that are read so that the connection can be kept
MAX_DELAY = 900_000  # milliseconds

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 431: "Header Fields Too Large"}


class BadRequest(Exception):
    pass


class Request:
    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        try:
            self.line, *lines = head.decode("latin-1").split("\r\n")
            self.method, self.target, self.version = self.line.split(" ")
            self.headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        except ValueError:
            raise BadRequest from None
        self.path, _, self.query = self.target.partition("?")
        self.chunked = "chunked" in self.header("transfer-encoding", "").lower()
        length = self.header("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            raise BadRequest
        self.length = None if self.chunked else int(length)
        self.read = 0
        self._ended = self.length == 0
        connection = self.header("connection", "").lower()
        self.keep_alive = "close" not in connection and (self.version == "HTTP/1.1" or "keep-alive" in connection)

    def header(self, name: str, default: str) -> str:
        return next((value for key, value in self.headers if key == name), default)

    def milliseconds(self, name: str, default: int) -> int:
        text = parse_qs(self.query).get(name, [""])[0]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            return default
        return min(int(text), MAX_DELAY)

    async def body(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they come."""
        if self._ended:
            return
        pieces = self._chunks() if self.chunked else self._counted()
        async for piece in pieces:
            self.read += len(piece)
            yield piece
        self._ended = True

    async def _counted(self) -> AsyncIterator[bytes]:
        left = self.length or 0
        while left:
            piece = await self._reader.read(min(left, PIECE))
            if not piece:
                raise ConnectionError
            left -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size_text = (await self._reader.readuntil(b"\r\n")).split(b";")[0].strip()
            if not size_text or size_text.strip(b"0123456789abcdefABCDEF") or len(size_text) > 15:
                raise BadRequest
            left = int(size_text, 16)
            if left == 0:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return
            while left:
                piece = await self._reader.read(min(left, PIECE))
                if not piece:
                    raise ConnectionError
                left -= len(piece)
                yield piece
            await self._reader.readexactly(2)

    async def skip_body(self) -> bool:
        """Reads what no route read; False when that is too much to be worth the connection."""
        if self._ended:
            return True
        if self.read or (self.length or 0) > UNREAD_LIMIT:
            return False
        async for _ in self.body():
            if self.read > UNREAD_LIMIT:
                return False
        return True


class Response:
    def __init__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self._request = request
        self._writer = writer
        self._chunked = False
        self.started = False

    async def start(self, status: int, content_type: str, length: int | None = None, *more: str) -> None:
        """Sends the head at once; without a length the body is chunked."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Odd')}", *more]
        if content_type:
            lines.append(f"content-type: {content_type}")
        if length is not None:
            lines.append(f"content-length: {length}")
        elif self._request.version == "HTTP/1.1":
            lines.append("transfer-encoding: chunked")
            self._chunked = True
        else:
            self._request.keep_alive = False
        if not self._request.keep_alive:
            lines.append("connection: close")
        self.started = True
        self._writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def write(self, piece: bytes) -> None:
        if not piece or self._request.method == "HEAD":
            return
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        await self._writer.drain()

    async def end(self) -> None:
        if self._chunked and self._request.method != "HEAD":
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def send(self, body: str | bytes, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> None:
        content = body.encode() if isinstance(body, str) else body
        await self.start(status, content_type, len(content))
        await self.write(content)


class Init:
    """The first /health does the work; all the others wait for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._done: asyncio.Task[None] | None = None

    async def perform(self) -> None:
        if self._done is None:
            self._done = asyncio.create_task(asyncio.sleep(self._seconds))
        await asyncio.shield(self._done)


init = Init(float(os.environ.get("INIT_DELAY", "0")))


async def health(request: Request, response: Response) -> None:
    await init.perform()
    await response.send("OK")


async def health_quick(request: Request, response: Response) -> None:
    await response.send("OK")


async def ping(request: Request, response: Response) -> None:
    await response.send("pong")


async def headers(request: Request, response: Response) -> None:
    joined: dict[str, str] = {}
    for name, value in request.headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    await response.send(json.dumps(joined, indent=2) + "\n", content_type="application/json")


async def delay(request: Request, response: Response) -> None:
    milliseconds = request.milliseconds("delay", 20)
    await asyncio.sleep(milliseconds / 1000)
    await response.send(f"Delayed for {milliseconds} ms")


async def chunked_response(request: Request, response: Response) -> None:
    await response.start(200, "text/plain")
    await response.write(b"INITIAL PAYLOAD RESPONSE\n")
    await asyncio.sleep(request.milliseconds("delay", 5000) / 1000)
    await response.write(b"FINAL PAYLOAD RESPONSE\n")
    await response.end()


async def echo(request: Request, response: Response) -> None:
    await response.start(200, request.header("content-type", ""), request.length)
    async for piece in request.body():
        await response.write(piece)
    await response.end()


async def echo_slow(request: Request, response: Response) -> None:
    whole = bytearray()
    async for piece in request.body():
        whole += piece
        if len(whole) > WHOLE_LIMIT:
            request.keep_alive = False
            await response.send(f"more than {WHOLE_LIMIT} bytes\n", 413)
            return
    await response.send(bytes(whole), content_type=request.header("content-type", ""))


async def double_echo(request: Request, response: Response) -> None:
    length = None if request.length is None else 2 * request.length
    await response.start(200, request.header("content-type", ""), length)
    async for piece in request.body():
        await response.write(piece + piece)
    await response.end()


async def half_echo(request: Request, response: Response) -> None:
    """Every second byte, so that the answer does not depend on how the body was cut."""
    length = None if request.length is None else request.length // 2
    await response.start(200, request.header("content-type", ""), length)
    skip = 1
    async for piece in request.body():
        await response.write(piece[skip::2])
        skip = (skip - len(piece)) % 2
    await response.end()


async def debug(request: Request, response: Response) -> None:
    dump = "\n".join([request.line, *(f"{name}: {value}" for name, value in request.headers), "\n"]).encode("latin-1")
    if request.length == 0:
        await response.send(dump, content_type="text/plain")
        return
    await response.start(200, "text/plain", None if request.length is None else len(dump) + request.length)
    await response.write(dump)
    async for piece in request.body():
        await response.write(piece)
    await response.end()


async def odd_status(request: Request, response: Response) -> None:
    await response.send("I'm a teapot", 519)


async def sse(request: Request, response: Response) -> None:
    await response.start(200, "text/event-stream", None, "cache-control: no-store")
    for number in range(request.milliseconds("count", 10)):
        if number:
            await asyncio.sleep(request.milliseconds("interval", 1000) / 1000)
        data = json.dumps({"number": number, "time": time.time(), "pid": os.getpid()})
        await response.write(f"id: {number}\nevent: tick\ndata: {data}\n\n".encode())
    await response.end()


async def instance(request: Request, response: Response) -> None:
    where = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "not in Lambda")
    body = {"pid": os.getpid(), "log_stream": where, "port": port()}
    await response.send(json.dumps(body) + "\n", content_type="application/json")


def draw_png(side: int = 256) -> bytes:
    """A small picture, drawn here so that no file has to be carried along."""
    rows = bytearray()
    for y in range(side):
        rows.append(0)  # this row is not filtered
        for x in range(side):
            ring = ((x - side // 2) ** 2 + (y - side // 2) ** 2) >> 9
            rows += bytes((x & 255, y & 255, 200 if ring % 2 else 60))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    )


_image = b""


async def image(request: Request, response: Response) -> None:
    global _image
    _image = _image or draw_png()
    await response.send(_image, content_type="image/png")


async def index(request: Request, response: Response) -> None:
    lines = [f"{' '.join(methods):9} {path:18} {what}" for path, (methods, what, _) in ROUTES.items()]
    await response.send("\n".join(["lambda-dispatch demo application", "", *lines, ""]))


Handler = Callable[[Request, Response], Awaitable[None]]
GET = ("GET", "HEAD")
ROUTES: dict[str, tuple[tuple[str, ...], str, Handler]] = {
    "/": (GET, "this list", index),
    "/health": (GET, "OK, after INIT_DELAY seconds the first time", health),
    "/health-quick": (GET, "OK at once", health_quick),
    "/ping": (GET, "pong", ping),
    "/headers": (GET, "the request's headers as JSON", headers),
    "/delay": (GET, "?delay=MS, default 20", delay),
    "/chunked-response": (GET, "two chunks, ?delay=MS apart, default 5000", chunked_response),
    "/echo": (("POST",), "the body, streamed back", echo),
    "/echo-slow": (("POST",), "the body, kept whole and then sent back", echo_slow),
    "/double-echo": (("POST",), "every piece of the body twice, streamed", double_echo),
    "/half-echo": (("POST",), "every second byte of the body, streamed", half_echo),
    "/debug": ((), "request line, headers and body, any method", debug),
    "/odd-status": (GET, "status 519", odd_status),
    "/public/image.png": (GET, "a picture", image),
    "/sse": (GET, "server-sent events, ?count=10&interval=MS", sse),
    "/instance": (GET, "which environment answered", instance),
}


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await serve_request(reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, BadRequest, TimeoutError):
        pass  # the client left, or broke off in the middle; the answer cannot be finished
    except asyncio.CancelledError:
        pass
    finally:
        writer.close()


async def serve_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        request = Request(head[:-4], reader)
    except asyncio.LimitOverrunError:
        writer.write(b"HTTP/1.1 431 Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        return False
    except BadRequest:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        return False
    response = Response(request, writer)
    methods, _, handler = ROUTES.get(request.path, ((), "", None))
    if handler is None or (methods and request.method not in methods):
        await response.send(f"no {request.method} {request.path} here; GET / lists what there is\n", 404)
    else:
        if request.header("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await handler(request, response)
    await writer.drain()
    return await request.skip_body() and request.keep_alive


def port() -> int:
    return int(os.environ.get("LAMBDA_DISPATCH_PORT") or os.environ.get("PORT") or "3001")


async def main() -> None:
    server = await asyncio.start_server(serve_connection, "127.0.0.1", port(), limit=HEAD_LIMIT, backlog=1024)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ:  # there, many of these run, and who started them says what is where
        print(f"demo application on http://127.0.0.1:{port()}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except OSError as error:
        sys.exit(f"demo application: port {port()}: {error.strerror or error}")
