"""Frames by hand: to build any bytes a peer might send, and to read what comes back, with no library between.

A Wire is a client's end of a connection to the small server of h2_server.py, either straight into its session or over
TCP. `exchange` sends frames, and PINGs behind them; when those are answered, or the connection has ended, everything
the server had to say about the frames has been said.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Protocol

import hpack  # type: ignore[import-untyped, unused-ignore]

from tests.support.h2_pair import Pairs
from tests.support.h2_server import answering, serving

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Kind(IntEnum):
    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


class Flag(IntFlag):
    NONE = 0
    END_STREAM = 1
    ACK = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 0x20


class Code(IntEnum):
    (
        NO_ERROR,
        PROTOCOL_ERROR,
        INTERNAL_ERROR,
        FLOW_CONTROL_ERROR,
        SETTINGS_TIMEOUT,
        STREAM_CLOSED,
        FRAME_SIZE_ERROR,
        REFUSED_STREAM,
        CANCEL,
        COMPRESSION_ERROR,
        CONNECT_ERROR,
        ENHANCE_YOUR_CALM,
    ) = range(12)


END = Flag.END_STREAM
WHOLE = Flag.END_HEADERS
BOTH = Flag.END_HEADERS | Flag.END_STREAM
REQUEST: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"here")]
POST: Pairs = [(b":method", b"POST"), *REQUEST[1:]]


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    def __bytes__(self) -> bytes:
        return head(len(self.payload), self.kind, self.flags, self.stream) + self.payload


def u32(n: int) -> bytes:
    return n.to_bytes(4, "big")


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    return length.to_bytes(3, "big") + bytes([kind, flags]) + u32(stream)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return bytes(Frame(kind, flags, stream, payload))


def block(pairs: Pairs) -> bytes:
    """A header block that leaves every table alone: literals without indexing, no Huffman code."""
    return b"".join(b"\x00" + string(name) + string(value) for name, value in pairs)


def string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, more = len(text) - 127, b""
    while rest >= 128:
        more += bytes([rest % 128 | 128])
        rest //= 128
    return b"\x7f" + more + bytes([rest]) + text


def headers(stream: int, pairs: Pairs | None = None, flags: int = BOTH) -> bytes:
    return frame(Kind.HEADERS, flags, stream, block(REQUEST if pairs is None else pairs))


def data(stream: int, payload: bytes = b"", flags: int = END) -> bytes:
    return frame(Kind.DATA, flags, stream, payload)


def rst(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, u32(code))


def window(stream: int, credit: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, u32(credit))


def priority(stream: int, on: int = 0, weight: int = 16) -> bytes:
    return frame(Kind.PRIORITY, 0, stream, u32(on) + bytes([weight]))


def settings(*pairs: tuple[int, int], flags: int = 0, stream: int = 0) -> bytes:
    return frame(Kind.SETTINGS, flags, stream, b"".join(n.to_bytes(2, "big") + u32(v) for n, v in pairs))


def ping(payload: bytes = b"8 bytes!", flags: int = 0) -> bytes:
    return frame(Kind.PING, flags, 0, payload)


def goaway(last: int = 0, code: int = 0, words: bytes = b"") -> bytes:
    return frame(Kind.GOAWAY, 0, 0, u32(last) + u32(code) + words)


def continuation(stream: int, payload: bytes, flags: int = WHOLE) -> bytes:
    return frame(Kind.CONTINUATION, flags, stream, payload)


def split(stream: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the start of a byte stream, and what is left."""
    frames = []
    while len(stream) >= 9:
        length = int.from_bytes(stream[:3], "big")
        if len(stream) < 9 + length:
            break
        id = int.from_bytes(stream[5:9], "big")
        frames.append(Frame(stream[3], stream[4], id, stream[9 : 9 + length]))
        stream = stream[9 + length :]
    return frames, stream


@dataclass
class Reply:
    """What the server said, sorted."""

    frames: list[Frame]
    closed: bool
    heads: dict[int, list[Pairs]] = field(default_factory=dict)

    def of(self, kind: int, stream: int | None = None) -> list[Frame]:
        return [f for f in self.frames if f.kind == kind and stream in (None, f.stream)]

    @property
    def goaway(self) -> int | None:
        """The code of a GOAWAY, after which the connection was closed."""
        found = self.of(Kind.GOAWAY)
        assert bool(found) == self.closed
        return int.from_bytes(found[0].payload[4:8], "big") if found else None

    @property
    def resets(self) -> dict[int, int]:
        return {f.stream: int.from_bytes(f.payload, "big") for f in self.of(Kind.RST_STREAM)}

    def status(self, stream: int) -> bytes | None:
        return dict(self.heads[stream][0])[b":status"] if stream in self.heads else None

    def body(self, stream: int) -> bytes:
        return b"".join(f.payload for f in self.of(Kind.DATA, stream))

    def ended(self, stream: int) -> bool:
        return any(f.flags & END for f in self.frames if f.stream == stream and f.kind in (Kind.DATA, Kind.HEADERS))


class Link(Protocol):
    def send(self, stream: bytes) -> None: ...
    def receive(self) -> bytes: ...
    def close(self) -> None: ...


class Direct:
    """No socket: the server's session itself."""

    def __init__(self) -> None:
        self.session = answering()

    def send(self, stream: bytes) -> None:
        self.session.feed(stream)

    def receive(self) -> bytes:
        taken = self.session.take()
        assert taken or self.session.session.failed, "the server says nothing"
        return taken

    def close(self) -> None:
        self.session.lost()


class Socket:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def send(self, stream: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(stream)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.socket.close()


class Wire:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.decoder = hpack.Decoder()
        self.rest = b""
        self.pings = 0

    def start(self, *pairs: tuple[int, int]) -> Reply:
        """The preface, our SETTINGS and the acknowledgement of the server's."""
        return self.exchange(PREFACE, settings(*pairs), settings(flags=Flag.ACK))

    def exchange(self, *parts: bytes) -> Reply:
        """Sends frames; all that the server says because of them."""
        reply = Reply([], False)
        self.link.send(b"".join(parts))
        # Two, one after the other: what waited for credit is served when all that was read has been looked at.
        for _ in range(2):
            self.pings += 1
            mark = Frame(Kind.PING, 0, 0, b"barrier" + bytes([self.pings]))
            self.link.send(bytes(mark))
            self.read_until(Frame(Kind.PING, Flag.ACK, 0, mark.payload), reply)
            if reply.closed:
                break
        return reply

    def read_until(self, last: Frame, reply: Reply) -> None:
        while True:
            more = self.link.receive()
            frames, self.rest = split(self.rest + more)
            for one in frames:
                if one == last:
                    return
                reply.frames.append(one)
                if one.kind == Kind.HEADERS:
                    decoded = self.decoder.decode(one.payload, raw=True)
                    reply.heads.setdefault(one.stream, []).append([(bytes(n), bytes(v)) for n, v in decoded])
            if not more:
                reply.closed = True
                return


@contextlib.contextmanager
def server_thread() -> Iterator[int]:
    """The small server on a thread of its own; yields its port."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with serving() as port:
            ports.append(port)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
