"""An ASGI application on the smallest server that can run one. Prints its port when it listens.

python -m tests.support.apps.asgi_app
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tests.support.apps.raw_app import CHUNK_END, Request, chunk

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    kind = (b"content-type", b"text/plain")
    start = {"type": "http.response.start", "status": 200, "headers": [kind]}
    await send(start)
    if scope["path"] == "/echo":
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif scope["path"] == "/stream":
        for i in range(100):
            await send({"type": "http.response.body", "body": b"%d\n" % i, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        told = {
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        }
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})


async def run(request: Request) -> None:
    async def receive() -> dict[str, Any]:
        data = await request.read()
        return {"type": "http.request", "body": data, "more_body": not request.ended}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            fields = b"".join(b"%b: %b\r\n" % pair for pair in message["headers"])
            await request.say(b"HTTP/1.1 %d OK\r\n%btransfer-encoding: chunked\r\n\r\n" % (message["status"], fields))
        else:
            await request.say(chunk(message["body"]) + (b"" if message.get("more_body") else CHUNK_END))

    path, _, query = request.target.partition("?")
    scope = {
        "type": "http",
        "method": request.method,
        "path": path,
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.fields],
    }
    await application(scope, receive, send)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            request = Request(head[:-4], reader, writer)
            await run(request)
            await request.body()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        with suppress(ConnectionError):
            writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
