"""Clients of the front door: raw sockets with a strict reader, python-hyper h2, and curl."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest

from tests.support.h2_graceful import survives_goaway

READ_AHEAD = 1 << 20
# What python-hyper h2 takes for an attack is, at its default, less than the router lets through.
HEADER_LIST = 1 << 20


class BadAnswer(AssertionError):
    """The router wrote something that is not HTTP."""


@dataclass
class Response:
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    version: str = "HTTP/1.1"

    def field(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for had, value in self.fields if had.lower() == name]

    @property
    def error(self) -> str | None:
        return self.field("x-lambda-dispatch-error")


class RawClient:
    """One HTTP/1.1 connection, byte by byte as the test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(
        cls, port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, buffer: int | None = None
    ) -> "RawClient":
        """`buffer`: the stream's own read-ahead in bytes, for clients that are slow on purpose."""
        more: dict[str, Any] = {"limit": READ_AHEAD if buffer is None else buffer}
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname="localhost" if tls else None, **more
        )
        return cls(reader, writer)

    async def __aenter__(self) -> "RawClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Ends the connection with a RST, past everything that still waits to be sent."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, path: str = "/", fields: str = "", method: str = "GET", body: bytes = b"") -> Response:
        await self.send(f"{method} {path} HTTP/1.1\r\nHost: example.test\r\n{fields}\r\n".encode("latin-1") + body)
        return await self.response(method)

    async def head(self) -> Response:
        """The next response's head."""
        text = await self.reader.readuntil(b"\r\n\r\n")
        line, *rest = text[:-4].decode("latin-1").split("\r\n")
        version, status, reason = (line + " ").split(" ", 2)
        if not version.startswith("HTTP/1.") or len(status) != 3:
            raise BadAnswer(line)
        fields = []
        for one in rest:
            name, colon, value = one.partition(":")
            if not colon or not name or name != name.strip() or "\r" in value or "\n" in value:
                raise BadAnswer(one)
            fields.append((name, value.strip()))
        return Response(int(status), reason.strip(), fields, version=version)

    async def response(self, method: str = "GET", interim: list[Response] | None = None) -> Response:
        """The next final response, its framing checked."""
        answer = await self.head()
        while answer.status < 200:
            if interim is not None:
                interim.append(answer)
            answer = await self.head()
        lengths, codings = answer.all("content-length"), answer.all("transfer-encoding")
        if len(lengths) > 1 or (lengths and codings):
            raise BadAnswer(f"framing: content-length {lengths}, transfer-encoding {codings}")
        if method == "HEAD" or answer.status in (204, 304):
            if codings and answer.status != 304 and method != "HEAD":
                raise BadAnswer("a body is announced where none may be")
            return answer
        if codings:
            if codings != ["chunked"]:
                raise BadAnswer(f"transfer-encoding {codings}")
            pieces = []
            while piece := await self.chunk():
                pieces.append(piece)
            answer.body = b"".join(pieces)
        elif lengths:
            answer.body = await self.reader.readexactly(int(lengths[0]))
        else:
            answer.body = await self.reader.read()
        return answer

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        line = await self.reader.readuntil(b"\r\n")
        size = int(line[:-2], 16)
        data = await self.reader.readexactly(size)
        if await self.reader.readexactly(2) != b"\r\n":
            raise BadAnswer("a chunk does not end where its size says")
        return data

    async def ended(self) -> bool:
        """Waits for the connection's end; True when nothing more came before it."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    @property
    def port(self) -> int:
        return int(self.writer.get_extra_info("sockname")[1])


class H2Stream:
    def __init__(self, client: "H2Client", number: int) -> None:
        self.client = client
        self.id = number
        self.interim: list[list[tuple[str, str]]] = []
        self.fields: list[tuple[str, str]] = []
        self.status = 0
        self.body = bytearray()
        self.trailers: list[tuple[str, str]] | None = None
        self.bare = False  # END_STREAM came with the head
        self.reset_code: int | None = None
        self.ended = False
        self.unread = 0  # bytes whose credit is held back
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def _until(self, condition: Any) -> None:
        while not condition():
            if self.reset_code is not None or self.client.lost.is_set():
                break
            self._changed.clear()
            await self._changed.wait()

    async def headed(self) -> int:
        await self._until(lambda: self.status)
        return self.status

    async def has(self, n: int) -> bytes:
        await self._until(lambda: len(self.body) >= n or self.ended)
        return bytes(self.body)

    async def done(self) -> "H2Stream":
        await self._until(lambda: self.ended)
        return self

    def field(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for had, value in self.fields if had == name]

    @property
    def error(self) -> str | None:
        return self.field("x-lambda-dispatch-error")

    async def send(self, data: bytes, end: bool = False) -> None:
        """Body bytes as the router gives credit."""
        conn = self.client.conn
        while data:
            try:
                room = min(conn.local_flow_control_window(self.id), conn.max_outbound_frame_size, len(data))
            except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
                return
            if room > 0:
                try:
                    conn.send_data(self.id, data[:room])
                except h2.exceptions.StreamClosedError:
                    return  # the router has ended it
                self.client.flush()
                data = data[room:]
            else:
                self._changed.clear()
                await self._changed.wait()
        if end:
            with contextlib.suppress(h2.exceptions.StreamClosedError):
                conn.end_stream(self.id)
            self.client.flush()

    def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self.client.conn.reset_stream(self.id, code)
        self.client.flush()

    def read_on(self) -> None:
        """Gives back all credit that was held."""
        n, self.unread = self.unread, 0
        if n:
            self.client.conn.acknowledge_received_data(n, self.id)
            self.client.flush()


class H2Client(asyncio.Protocol):
    """One HTTP/2 connection on python-hyper h2."""

    def __init__(self, credit: bool) -> None:
        self.credit = credit  # give the router credit as data comes; otherwise streams' read_on() does
        self.conn = survives_goaway(
            h2.connection.H2Connection(
                h2.config.H2Configuration(
                    client_side=True,
                    header_encoding="utf-8",
                    validate_outbound_headers=False,
                    normalize_outbound_headers=False,
                )
            )
        )
        self.conn.decoder.max_header_list_size = HEADER_LIST
        self.streams: dict[int, H2Stream] = {}
        self.goaways: list[tuple[int, int]] = []  # error code, last stream
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def dial(
        cls, port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, credit: bool = True
    ) -> "H2Client":
        client = cls(credit)
        await asyncio.get_running_loop().create_connection(
            lambda: client, host, port, ssl=tls, server_hostname="localhost" if tls else None
        )
        return client

    async def __aenter__(self) -> "H2Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.transport is not None:
            self.transport.abort()
        await self.lost.wait()

    def open(
        self, path: str = "/", fields: list[tuple[str, str]] | None = None, method: str = "GET", end: bool = True
    ) -> H2Stream:
        head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "example.test")]
        return self.open_raw(head + (fields or []), end)

    def open_raw(self, head: list[tuple[str, str]], end: bool = True) -> H2Stream:
        number = self.conn.get_next_available_stream_id()
        stream = self.streams[number] = H2Stream(self, number)
        self.conn.send_headers(number, head, end_stream=end)
        self.flush()
        return stream

    async def get(
        self, path: str = "/", fields: list[tuple[str, str]] | None = None, method: str = "GET", body: bytes = b""
    ) -> H2Stream:
        stream = self.open(path, fields, method, end=not body)
        if body:
            await stream.send(body, end=True)
        return await stream.done()

    def flush(self) -> None:
        data = self.conn.data_to_send()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.conn.initiate_connection()
        self.conn.increment_flow_control_window(2**31 - 1 - 65535)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            match event:
                case h2.events.InformationalResponseReceived(headers=headers) if stream:
                    stream.interim.append([(str(n), str(v)) for n, v in headers])
                case h2.events.ResponseReceived(headers=headers, stream_ended=ended) if stream:
                    stream.bare = ended is not None
                    stream.fields = [(str(n), str(v)) for n, v in headers]
                    stream.status = int(dict(stream.fields)[":status"])
                case h2.events.TrailersReceived(headers=headers) if stream:
                    stream.trailers = [(str(n), str(v)) for n, v in headers]
                case h2.events.DataReceived(data=piece, flow_controlled_length=n) if stream:
                    stream.body += piece
                    if self.credit:
                        with contextlib.suppress(h2.exceptions.StreamClosedError):
                            self.conn.acknowledge_received_data(n, stream.id)
                    else:
                        stream.unread += n
                case h2.events.StreamEnded() if stream:
                    stream.ended = True
                case h2.events.StreamReset(error_code=code) if stream:
                    stream.reset_code = int(code)
                case h2.events.ConnectionTerminated(error_code=code, last_stream_id=last):
                    self.goaways.append((int(code), int(last)))
        self.flush()
        for stream in self.streams.values():
            stream.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.lost.set()
        for stream in self.streams.values():
            stream.changed()


async def curl(*arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, str]:
    """Exit code, standard output, standard error."""
    if shutil.which("curl") is None:
        pytest.skip("no curl: apt-get install curl")
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        *arguments,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out, err.decode()


class Broken(Exception):
    """The answer began and did not end: the client could tell."""


async def ask(
    speaks: str,
    port: int,
    path: str = "/",
    fields: list[tuple[str, str]] | None = None,
    method: str = "GET",
    body: bytes = b"",
) -> Response:
    """One request on a connection of its own, in HTTP/1.1 (`h1`) or HTTP/2 (`h2`), and the whole answer."""
    if speaks == "h1":
        async with await RawClient.dial(port) as client:
            text = "".join(f"{name}: {value}\r\n" for name, value in fields or [])
            if body:
                text += f"content-length: {len(body)}\r\n"
            try:
                return await client.get(path, text, method, body)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Broken from error
    async with await H2Client.dial(port) as h2_client:
        stream = await h2_client.get(path, fields, method, body)
        if not stream.ended:
            raise Broken
        plain = [(name, value) for name, value in stream.fields if not name.startswith(":")]
        return Response(stream.status, "", plain, bytes(stream.body), stream.trailers or [])
