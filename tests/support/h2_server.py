"""A small HTTP/2 server on a real socket: every request is answered 200 with a short body once it has ended.

Also a program: `python -m tests.support.h2_server PORT` serves until it is stopped, for tools such as h2load.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_pair import Event

BODY = b"hello\n"
HEAD = [(b":status", b"200"), (b"content-length", b"%d" % len(BODY)), (b"content-type", b"text/plain")]


def answering(**limits: int) -> PlainSession:
    """A session that answers requests from inside its events. The body of POST /hold is not consumed."""
    held = set()

    def on(event: Event) -> None:
        kind, *rest = event
        if kind == "head" and (b":path", b"/hold") in rest[1]:
            held.add(rest[0])
        if kind == "data" and rest[0] not in held:
            session.consumed(rest[0], len(rest[1]))
        if (kind in ("head", "data") and rest[2]) or kind == "trailers":
            session.send_head(rest[0], HEAD)
            session.send_data(rest[0], BODY, True)
        elif kind == "head_too_large":
            session.send_head(rest[0], [(b":status", b"431")], True)

    session = PlainSession(hook=on, **limits)
    return session


class Connection(asyncio.Protocol):
    def __init__(self, open_ones: "set[Connection]", make: Callable[[], PlainSession]) -> None:
        self.open_ones = open_ones
        self.session = make()
        self.ended = False
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_ones.add(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.session.feed(data)
        self.flush()
        # Not close(): bytes still under way would make the kernel reset the connection and our GOAWAY be lost with it.
        if self.session.session.failed and not self.ended:
            self.ended = True
            self.transport.write_eof()

    def flush(self) -> None:
        if not self.ended:
            self.transport.write(self.session.take())

    def pause_writing(self) -> None:
        self.session.block()

    def resume_writing(self) -> None:
        while self.session.session.blocked and not self.transport.is_closing():
            more = self.session.unblock(65536)
            self.flush()
            if not more:
                break

    def eof_received(self) -> None:
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.session.lost()
        self.open_ones.discard(self)
        self.gone.set_result(None)


@asynccontextmanager
async def serving(port: int = 0, make: Callable[[], PlainSession] = answering) -> AsyncIterator[int]:
    """The server, while the block runs; yields its port. Afterwards no connection is left."""
    open_ones: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(open_ones, make), "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for connection in list(open_ones):
            connection.transport.abort()
            await connection.gone


async def main(port: int) -> None:
    async with serving(port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
