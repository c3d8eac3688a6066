"""A stand-in for Lambda's Invoke API: takes each invoke, and answers it when and how the test says."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class Invoke:
    """One invoke that has arrived."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self._writer = writer

    @property
    def payload(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def id(self) -> str:
        return str(self.payload["Id"])

    def answer(self, status: int = 200, payload: object = None, **headers: str) -> None:
        body = json.dumps(payload).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.raw("\r\n".join((*lines, "", "")).encode() + body)

    def ended(self, reason: str, requests: int = 0) -> None:
        self.answer(200, {"Id": self.id, "ExitReason": reason, "RequestCount": requests, "InvokeDuration": 1})

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    def drop(self) -> None:
        self._writer.transport.abort()

    def half_close(self) -> None:
        self._writer.close()


class StandIn:
    def __init__(self) -> None:
        self.arrived: list[Invoke] = []
        self.url = ""
        self.on_invoke: Callable[[Invoke], Awaitable[None]] | None = None
        self._news = asyncio.Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self._ended = False

    async def end(self) -> None:
        """Cuts every connection, those too that were accepted and are not served yet."""
        self._ended = True
        for writer in list(self._open):
            writer.transport.abort()
        await self.quiet()

    async def invokes(self, count: int) -> list[Invoke]:
        """Once so many have arrived in all: all of them."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.arrived) >= count)
        return self.arrived

    async def quiet(self) -> None:
        """Once no connection is open."""
        async with self._news:
            await self._news.wait_for(lambda: not self._open)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._ended:
                return
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")[:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            invoke = Invoke(first.split(" ")[1], headers, body, writer)
            async with self._news:
                self.arrived.append(invoke)
                self._news.notify_all()
            if self.on_invoke is not None:
                await self.on_invoke(invoke)
            await reader.read()  # until the other side has gone
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            self._open.discard(writer)
            async with self._news:
                self._news.notify_all()


@asynccontextmanager
async def stand_in(context: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    it = StandIn()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0, ssl=context, backlog=4096)
    it.url = f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        await it.end()
        await server.wait_closed()
