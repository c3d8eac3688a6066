"""A small HTTP/1.1 client for what answers on this machine: Lambda's own endpoints and the application's health check.
One request at a time per connection, which is kept open between requests."""

import asyncio
from typing import NamedTuple

MAX_BODY = 16 << 20  # Lambda's payloads end at 6 MB, as JSON text
MAX_LINES = 128


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class BadAnswer(Exception):
    """What came back is no HTTP/1.1 answer."""


class Connection:
    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Sends a request and reads its answer. A connection that was kept and has gone stale is replaced once."""
        head = f"{method} {path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if body or method == "POST":
            head += f"content-length: {len(body)}\r\n"
        message = head.encode("latin-1") + b"\r\n" + body
        kept = self._streams
        if kept is not None:
            try:
                return await self._exchange(kept, message)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
        self._streams = streams = await asyncio.open_connection(self.host, self.port)
        return await self._exchange(streams, message)

    async def _exchange(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], message: bytes) -> Answer:
        reader, writer = streams
        complete = False
        try:
            writer.write(message)
            await writer.drain()
            status, headers = await read_head(reader)
            body = await read_body(reader, headers)
            complete = True
        finally:
            if not complete:
                self.close()
        if headers.get("connection", "").lower() == "close" or "content-length" not in headers:
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        words = (await reader.readuntil(b"\n")).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
            raise BadAnswer("the status line is not HTTP/1.1")
        headers: dict[str, str] = {}
        for _ in range(MAX_LINES):
            line = (await reader.readuntil(b"\n")).strip()
            if not line:
                return int(words[1]), headers
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    except asyncio.LimitOverrunError:
        raise BadAnswer("a line of the head is longer than 64 KiB") from None
    raise BadAnswer(f"the head has more than {MAX_LINES} lines")


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await read_chunks(reader)
    length = headers.get("content-length")
    if length is None:
        body = await reader.read(MAX_BODY)
        while piece := await reader.read(MAX_BODY):
            body += piece
            if len(body) > MAX_BODY:
                raise BadAnswer(f"the body is longer than {MAX_BODY} bytes")
        return body
    if not (length.isascii() and length.isdigit() and len(length) <= 9) or int(length) > MAX_BODY:
        raise BadAnswer(f"content-length {length!r} is not a number up to {MAX_BODY}")
    return await reader.readexactly(int(length))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = (await reader.readuntil(b"\n")).partition(b";")[0].strip()
        if not line or len(line) > 8 or line.strip(b"0123456789abcdefABCDEF"):
            raise BadAnswer("a chunk's size is not a hexadecimal number")
        size = int(line, 16)
        if len(body) + size > MAX_BODY:
            raise BadAnswer(f"the body is longer than {MAX_BODY} bytes")
        if size == 0:
            while (await reader.readuntil(b"\n")).strip():
                pass
            return body
        body += await reader.readexactly(size)
        await reader.readuntil(b"\n")
