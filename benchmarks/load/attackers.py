"""What an attacker sends: each attack is bounded in connections and bytes, and goes to a port on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

SETTINGS, WINDOW_UPDATE, HEADERS, GOAWAY, RST_STREAM, PING = 4, 8, 1, 7, 3, 6
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONNECT = 5.0  # s
AT_ONCE = 100  # connections that are being made


@dataclass
class Aim:
    """One contestant, as its attacker sees it."""

    port: int
    tls_port: int
    control_port: int = 0  # ours alone has one
    seconds: float = 8.0
    scale: float = 1.0  # of the numbers of connections
    told: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        self.told[what] = self.told.get(what, 0) + by


Attack = Callable[[Aim], Awaitable[None]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value: str) -> bytes:
    """An HPACK string as it is."""
    data = value.encode()
    assert len(data) < 127
    return bytes([len(data)]) + data


def get(path: str, authority: str) -> bytes:
    """:method GET, :scheme https, :path, :authority, none of them indexed."""
    return b"\x82\x87\x04" + text(path) + b"\x01" + text(authority)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connections(aim: Aim, count: int, port: int, **more: object) -> AsyncIterator[list[Streams]]:
    """So many connections, or as many as are accepted; all closed at the end."""
    gate = asyncio.Semaphore(AT_ONCE)
    count = max(1, int(count * aim.scale))

    async def one() -> Streams | None:
        async with gate:
            try:
                async with asyncio.timeout(CONNECT):
                    return await asyncio.open_connection("127.0.0.1", port, **more)  # type: ignore[arg-type]
            except (OSError, TimeoutError):
                aim.count("not connected")
                return None

    made = [streams for streams in await asyncio.gather(*(one() for _ in range(count))) if streams is not None]
    aim.count("connected", len(made))
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


async def still_open(made: list[Streams]) -> int:
    """How many of them the other side has not closed."""
    open_now = 0
    for reader, writer in made:
        with contextlib.suppress(
            OSError, TimeoutError, RuntimeError
        ):  # its last bytes may be unread, or read elsewhere
            async with asyncio.timeout(0.001):
                while await reader.read(1 << 20):
                    pass
        open_now += not reader.at_eof() and reader.exception() is None and not writer.is_closing()
    return open_now


async def pipelining(aim: Aim) -> None:
    """One HTTP/1.1 connection asks without end and reads nothing."""
    async with connections(aim, 1, aim.port, limit=1024) as made:
        _, writer = made[0]
        request = b"GET /65536 HTTP/1.1\r\nHost: a\r\n\r\n" * 100
        end = time.monotonic() + aim.seconds
        with contextlib.suppress(OSError, TimeoutError):
            while (left := end - time.monotonic()) > 0:
                writer.write(request)
                aim.count("requests", 100)
                async with asyncio.timeout(left):
                    await writer.drain()


async def pipelining_health(aim: Aim) -> None:
    """The same with a path that the router answers itself."""
    async with connections(aim, 1, aim.port, limit=1024) as made:
        _, writer = made[0]
        request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
        end = time.monotonic() + aim.seconds
        with contextlib.suppress(OSError, TimeoutError):
            while (left := end - time.monotonic()) > 0:
                writer.write(request)
                aim.count("requests", 1000)
                async with asyncio.timeout(left):
                    await writer.drain()


async def goaway(aim: Aim) -> None:
    """300 a second of the path that ends an instance, in each spelling that an extension accepts."""
    paths = ("/_lambda_dispatch/goaway", "http://a/_lambda_dispatch/goaway", "/_lambda_dispatch/goaway?x=1")
    end = time.monotonic() + aim.seconds

    async def ask(path: str) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(CONNECT):
                reader, writer = await asyncio.open_connection("127.0.0.1", aim.port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                aim.count("answers " + (await reader.readexactly(12)).decode("latin-1")[9:])
                writer.close()

    tasks = set()
    number = 0
    while time.monotonic() < end:
        tasks.add(asyncio.ensure_future(ask(paths[number % len(paths)])))
        number += 1
        await asyncio.sleep(1 / 300)
    await asyncio.gather(*tasks)


async def log_flood(aim: Aim) -> None:
    """Connections to the control port that speak something else: a log line each, into a pipe that is full."""
    end = time.monotonic() + aim.seconds
    while time.monotonic() < end:
        async with connections(aim, 200, aim.control_port or aim.port) as made:
            for _, writer in made:
                writer.write(b"GET / HTTP/1.0\r\n\r\n" * 3)
            await asyncio.sleep(0.2)


async def idle_clients(aim: Aim) -> None:
    """1,500 connections that say nothing, where the process has 1,000 descriptors."""
    async with connections(aim, 1500, aim.port) as made:
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))


async def idle_keep_alive(aim: Aim) -> None:
    """1,500 connections that had one answer and are kept."""
    async with connections(aim, 1500, aim.port) as made:
        for _, writer in made:
            writer.write(b"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))


async def control_pings(aim: Aim) -> None:
    """1,500 HTTP/2 connections to the control port that acknowledge every PING and never park anything."""
    async with connections(aim, 1500, aim.control_port) as made:
        for _, writer in made:
            writer.write(PREFACE + frame(SETTINGS, 0, 0))

        async def acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    if head[3] in (PING, SETTINGS) and not head[4] & ACK:
                        writer.write(frame(head[3], ACK, 0, payload if head[3] == PING else b""))

        tasks = [asyncio.ensure_future(acknowledge(*streams)) for streams in made]
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def slow_uploads(aim: Aim) -> None:
    """400 uploads of 1 MB at 300 bytes a second each."""
    async with connections(aim, 400, aim.port) as made:
        for _, writer in made:
            writer.write(b"POST /swallow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        end = time.monotonic() + aim.seconds
        while time.monotonic() < end:
            for _, writer in made:
                if not writer.is_closing():
                    writer.write(b"x" * 150)
            await asyncio.sleep(0.5)
        aim.count("still open", await still_open(made))


async def unread_h2(aim: Aim, count: int = 40, streams: int = 120, path: str = "/168000") -> None:
    """Over TLS: INITIAL_WINDOW_SIZE 0, so many GETs of 168 kB per connection, then only what keeps it open."""
    import ssl

    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    async with connections(aim, count, aim.tls_port, ssl=tls, limit=4096) as made:
        for _, writer in made:
            writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
            for number in range(streams):
                writer.write(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * number, get(path, "a")))
            aim.count("requests", streams)

        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    if head[3] in (PING, SETTINGS) and not head[4] & ACK:
                        writer.write(frame(head[3], ACK, 0, payload if head[3] == PING else b""))
                    elif head[3] in (RST_STREAM, GOAWAY):
                        aim.count("resets" if head[3] == RST_STREAM else "GOAWAYs")

        tasks = [asyncio.ensure_future(read(*streams)) for streams in made]
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def slow_heads(aim: Aim) -> None:
    """2,000 requests whose heads grow, field after field, and never end."""
    line = b"x-%08d: " + b"a" * 1000 + b"\r\n"
    async with connections(aim, 2000, aim.port) as made:
        for _, writer in made:
            writer.write(b"GET /4 HTTP/1.1\r\nHost: a\r\n")
        rounds = max(1, int(aim.seconds))
        for number in range(rounds):
            for _, writer in made:
                if not writer.is_closing():
                    writer.write(b"".join(line % (number * 100 + n) for n in range(20)))
            await asyncio.sleep(aim.seconds / rounds)
        aim.count("still open", await still_open(made))


async def handshakes(aim: Aim) -> None:
    """5,000 TLS connections whose ClientHello stops in its middle."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x20" + b"\x13\x01" * 16 + b"\x01\x00" + b"\x10\x00"
    hello = b"\x16\x03\x01\x11\x00" + b"\x01\x00\x10\xfc" + body
    async with connections(aim, 5000, aim.tls_port) as made:
        for _, writer in made:
            writer.write(hello)
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))


async def queued(aim: Aim) -> None:
    """3,000 requests with bodies of 100 kB at once, for an application that answers none of them."""
    body = b"x" * 100_000
    async with connections(aim, 3000, aim.port) as made:
        for _, writer in made:
            head = f"POST /never/{uuid.uuid4()} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body) + 1}\r\n\r\n"
            writer.write(head.encode() + body)
        await asyncio.sleep(aim.seconds)
        aim.count("still open", await still_open(made))


@dataclass(frozen=True)
class Case:
    title: str
    attack: Attack
    peers: bool = True  # nginx and HAProxy can play
    descriptors: int = 0  # limit of open files of the process under attack
    full_pipe: bool = False  # its standard error is a pipe that nothing reads


CASES = {
    "pipelining": Case("1: one connection pipelines GET /65536 and reads nothing", pipelining),
    "pipelining-health": Case("1: one connection pipelines GET /health and reads nothing", pipelining_health, False),
    "goaway": Case("2: the go-away path, 300 a second", goaway, False),
    "log": Case("3: standard error is a full pipe, wrong connections to the control port", log_flood, False, 0, True),
    "descriptors": Case("4: 1,500 silent connections, 1,000 descriptors", idle_clients, True, 1000),
    "keep-alive": Case("4: 1,500 idle keep-alive connections, 1,000 descriptors", idle_keep_alive, True, 1000),
    "control-pings": Case("4: 1,500 control connections that only acknowledge PING", control_pings, False, 1000),
    "slow-uploads": Case("6: 400 uploads at 300 B/s", slow_uploads),
    "unread-h2": Case("6: 40 HTTP/2 connections, 120 GETs of 168 kB each, window 0", unread_h2),
    "heads": Case("11: 2,000 heads that grow and never end", slow_heads),
    "handshakes": Case("11: 5,000 TLS handshakes that stop in the ClientHello", handshakes),
    "queued": Case("11: 3,000 uploads of 100 kB whose last byte is missing", queued),
}
