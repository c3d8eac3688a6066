"""An application on bare sockets: a real process that answers by path, well or badly. Prints its port when it listens.

python -m tests.support.apps.raw_app [PORT] [--unhealthy N]
"""

import argparse
import asyncio
import fcntl
import json
import signal
import socket
import struct
import sys
import termios
from contextlib import suppress

from tests.support.loop import until
from tests.support.websocket import CLOSE, accept_of, frame

PIECE = 16384
SPOKEN = 180_000  # more than an extension takes without credit; the rest fits into its socket
CHUNK_END = b"0\r\n\r\n"


BLOCK = bytes((i * 7 + i // 251) & 0xFF for i in range(251 * 256))


def pattern(n: int, start: int = 0) -> bytes:
    """Bytes that tell when they are out of place."""
    at = start % len(BLOCK)
    if at + n <= len(BLOCK):
        return BLOCK[at : at + n]
    return (BLOCK[at:] + BLOCK * ((n - len(BLOCK) + at) // len(BLOCK) + 1))[:n]


def unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not got yet."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])


def unread(sock: socket.socket) -> int:
    """Bytes that have come and that no one has read."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0])


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Request:
    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head
        lines = head.split(b"\r\n")
        self.method, self.target, _ = lines[0].decode("latin-1").split(" ")
        self.path = self.target.partition("?")[0]
        self.fields = [
            (name.decode("latin-1"), value.strip().decode("latin-1"))
            for name, _, value in (line.partition(b":") for line in lines[1:] if line)
        ]
        self.headers = {name.lower(): value for name, value in self.fields}
        self.reader = reader
        self.writer = writer
        self.left = int(self.headers.get("content-length", "0"))
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        self.ended = not self.left and not self.chunked

    async def read(self) -> bytes:
        """A piece of the body; b"" at its end."""
        if self.ended:
            return b""
        if self.chunked:
            size = int((await self.reader.readline()).strip(), 16)
            data = await self.reader.readexactly(size) if size else b""
            await self.reader.readline()
            self.ended = not size
            return data
        data = await self.reader.read(min(self.left, PIECE))
        if not data:
            raise asyncio.IncompleteReadError(b"", self.left)
        self.left -= len(data)
        self.ended = not self.left
        return data

    async def body(self) -> bytes:
        out = bytearray()
        while data := await self.read():
            out += data
        return bytes(out)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes, fields: str = "content-type: application/octet-stream\r\n", status: str = "200 OK"
    ) -> None:
        length = "" if status.startswith(("204", "304")) else f"content-length: {len(body)}\r\n"
        head = f"HTTP/1.1 {status}\r\n{fields}{length}\r\n".encode("latin-1")
        await self.say(head + (b"" if self.method == "HEAD" else body))


class App:
    def __init__(self, unhealthy: int) -> None:
        self.unhealthy = unhealthy  # health checks still to be answered with 404
        self.counts: dict[str, int] = {}
        self.connections = 0
        self.gate = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = Request(head[:-4], reader, writer)
                self.counts[request.path] = self.counts.get(request.path, 0) + 1
                if not await self.handle(request):
                    break
                await request.body()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            with suppress(ConnectionError):
                writer.close()

    async def handle(self, r: Request) -> bool:
        """Answers; False when the connection is to be closed."""
        words = r.path.strip("/").split("/")
        name = "do_" + words[0].replace("-", "_")
        method = getattr(self, name, None)
        if method is None:
            await r.body()
            await r.answer(json.dumps({"head": r.head.hex(), "body": len(await r.body())}).encode())
            return True
        return (await method(r, *words[1:])) is not False

    # well-behaved

    async def do_health(self, r: Request) -> None:
        if self.unhealthy:
            self.unhealthy -= 1
            await r.answer(b"", status="404 Not Found")
        else:
            await r.answer(b"OK")

    async def do_counts(self, r: Request) -> None:
        await r.answer(json.dumps({**self.counts, "connections": self.connections}).encode())

    async def do_head(self, r: Request, *_: str) -> None:
        """The request's head as it came, in hex, and its body's length."""
        body = await r.body()
        await r.answer(json.dumps({"head": r.head.hex(), "body": len(body), "chunked": r.chunked}).encode())

    async def do_seen(self, r: Request, *_: str) -> None:
        """The same as JSON that says so."""
        body = await r.body()
        told = json.dumps({"head": r.head.hex(), "body": len(body), "text": body.decode("latin-1")})
        await r.answer(told.encode(), "content-type: application/json\r\n")

    async def do_text(self, r: Request, n: str, kind: str = "text/plain") -> None:
        body = (b"all work and no play " * (int(n) // 21 + 1))[: int(n)]
        await r.answer(body, f"content-type: {kind.replace('+', '/')}\r\nx-test: 1\r\n")

    async def do_fields(self, r: Request, n: str) -> None:
        """Text with the header fields that the request's body lists."""
        fields = (await r.body()).decode("latin-1")
        await r.answer((b"play " * (int(n) // 5 + 1))[: int(n)], fields)

    async def do_status(self, r: Request, status: str) -> None:
        await r.answer(b"" if status in ("204", "304") else b"status", status=f"{status} Reason Here")

    async def do_no_reason(self, r: Request) -> None:
        await r.say(b"HTTP/1.1 200\ncontent-length: 2\n\nok")

    async def do_bytes(self, r: Request, n: str) -> None:
        size = int(n)
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for at in range(0, 0 if r.method == "HEAD" else size, 65536):
            await r.say(pattern(min(65536, size - at), at))

    async def do_chunks(self, r: Request, count: str, size: str, kind: str = "text/plain") -> None:
        await r.say(f"HTTP/1.1 200 OK\r\ncontent-type: {kind.replace('+', '/')}\r\n".encode())
        await r.say(b"transfer-encoding: chunked\r\n\r\n")
        for i in range(int(count)):
            await r.say(chunk(pattern(int(size), i * int(size))))
        await r.say(CHUNK_END)

    async def do_say(self, r: Request, text: str, *_: str) -> bool | None:
        """Exactly these bytes, in hex, and keeps the connection; closes it after /say/HEX/close."""
        await r.body()
        await r.say(bytes.fromhex(text))
        return False if r.path.endswith("/close") else None

    async def do_then(self, r: Request, text: str) -> bool:
        """The head of these bytes at once, the rest a moment after, and the connection closes."""
        head, end, rest = bytes.fromhex(text).partition(b"\r\n\r\n")
        await r.say(head + end)
        await asyncio.sleep(0.05)
        await r.say(rest)
        return False

    async def do_echo(self, r: Request) -> None:
        """Sends each piece back as it comes."""
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while data := await r.read():
            await r.say(chunk(data))
        await r.say(CHUNK_END)

    async def do_echo_length(self, r: Request) -> None:
        await r.answer(await r.body())

    async def do_until_close(self, r: Request, n: str) -> bool:
        await r.say(b"HTTP/1.1 200 OK\r\n\r\n")
        await r.say(pattern(int(n)))
        return False

    async def do_http10(self, r: Request) -> bool:
        await r.say(b"HTTP/1.0 200 OK\r\n\r\nold")
        return False

    async def do_interim(self, r: Request) -> None:
        await r.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await r.answer(await r.body() or b"done")

    async def do_headers(self, r: Request, count: str, size: str) -> None:
        await r.body()
        fields = "".join(f"x-big-{i}: {'v' * int(size)}\r\n" for i in range(int(count)))
        await r.answer(b"big", fields)

    async def do_cookies(self, r: Request) -> None:
        await r.answer(
            b"",
            "Set-Cookie: a=1\r\nset-cookie: b=2\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n"
            "x-hop: 1\r\nX-Lambda-Id: forged\r\n",
        )

    async def do_gated(self, r: Request) -> None:
        """A first piece at once, the rest when /open is asked for."""
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await r.say(chunk(b"data: first\n\n"))
        await self.gate.wait()
        await r.say(chunk(b"data: second\n\n") + CHUNK_END)

    async def do_gated_head(self, r: Request) -> None:
        await self.gate.wait()
        await r.answer(b"late")

    async def do_flush_head(self, r: Request) -> None:
        """The head alone, the body when /open is asked for."""
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await self.gate.wait()
        await r.say(b"body")

    async def do_open(self, r: Request) -> None:
        self.gate.set()
        await r.answer(b"open")

    async def do_early(self, r: Request) -> None:
        """Answers before the body has come, then reads it."""
        await r.answer(b"early")

    async def do_upgrade(self, r: Request, how: str) -> bool | None:
        """Goes on in the protocol that is asked for: bytes back as they come, and `bye` at their end."""
        protocol = r.headers.get("upgrade")
        if protocol is None or r.headers.get("connection") != "Upgrade" or how == "refused":
            await r.answer(r.head.hex().encode(), status="426 Upgrade Required")
            return None
        greeting = b"" if how == "echo" else how.encode()
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\nX-Test: 1\r\n\r\n"
        await r.say(head.encode() + greeting)
        if how == "ends":
            r.writer.write_eof()
        if how == "deaf":
            await asyncio.Event().wait()
        said = b""
        while data := await r.reader.read(65536):
            said += data
            if how == "speaks":
                r.writer.write(pattern(SPOKEN))
                outside = r.writer.get_extra_info("socket")
                written = r.writer.transport.get_write_buffer_size
                await until(lambda: not written() and not unsent(outside), "it has arrived")  # noqa: B023
            if how in ("breaks", "speaks"):
                linger = struct.pack("ii", 1, 0)
                r.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                r.writer.transport.abort()
                self.counts[f"/upgrade/{how}/over"] = 1
                return False
            if how == "echo":
                await r.say(data)
        if how != "ends":
            await r.say(b"bye")
        self.counts["/upgrade/heard"] = len(said)
        return False

    async def do_websocket(self, r: Request) -> bool:
        """Echoes messages until a Close, and answers that."""
        accept = accept_of(r.headers["sec-websocket-key"])
        fields = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
        await r.say(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode())
        while True:
            first, size = await r.reader.readexactly(2)
            size &= 0x7F
            if size > 125:
                size = int.from_bytes(await r.reader.readexactly(2 if size == 126 else 8), "big")
            mask = await r.reader.readexactly(4)
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(await r.reader.readexactly(size)))
            await r.say(frame(data, first & 0x0F))
            if first & 0x0F == CLOSE:
                return False

    # badly behaved

    async def do_early_close(self, r: Request) -> bool:
        await r.answer(b"no", "connection: close\r\n", "413 Too Much")
        return False

    async def do_close_after(self, r: Request) -> bool:
        """Closes without having said so."""
        await r.body()
        await r.answer(b"bye")
        return False

    async def do_drop(self, r: Request) -> bool:
        await r.body()
        return False

    async def do_reset(self, r: Request) -> bool:
        r.writer.transport.abort()
        return False

    async def do_garbage(self, r: Request) -> bool:
        await r.say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        return False

    async def do_bad_chunk(self, r: Request) -> bool:
        await r.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
        await asyncio.sleep(60)
        return False

    async def do_short(self, r: Request) -> bool:
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")
        return False

    async def do_excess(self, r: Request) -> bool:
        """More than was announced: the connection is out of step."""
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
        return True

    async def do_half_head(self, r: Request) -> bool:
        await r.say(b"HTTP/1.1 200 OK\r\ncontent-le")
        return False

    async def do_stall(self, r: Request) -> bool:
        """Neither reads nor answers."""
        await self.gate.wait()
        await r.answer(str(len(await r.body())).encode())
        return True

    async def do_stale(self, r: Request) -> bool:
        """Answers the first request on a connection; the next finds the socket reset."""
        await r.body()
        await r.answer(b"fresh")
        await r.reader.readuntil(b"\n")
        r.writer.transport.abort()
        return False

    async def do_deaf(self, r: Request) -> bool:
        """Answers, and resets the connection when the next request has come to the socket: it is never read."""
        r.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await r.answer(b"deaf")
        inside = r.writer.get_extra_info("socket")
        await until(lambda: unread(inside) > 0, "the next request")
        r.writer.transport.abort()
        return False

    async def do_exit(self, r: Request) -> bool:
        sys.exit(3)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", type=int, default=0)
    parser.add_argument("--unhealthy", type=int, default=0)
    arguments = parser.parse_args()
    app = App(arguments.unhealthy)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(app.serve, "127.0.0.1", arguments.port, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    print("raw app: SIGTERM", flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
