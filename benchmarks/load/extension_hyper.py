"""The extension's relay with python-hyper h2 in the engine's place: the least that does the same work, for comparison.

    python -m benchmarks.load.extension_hyper ROUTER_PORT APP_PORT CHANNELS

Parks CHANNELS channels on one connection, relays each request to a kept connection of the application and the answer
back, parks again. Small bodies only; no limits, no compression, no errors.
"""

import asyncio
import sys
from collections import deque
from typing import Any

import h2.config
import h2.connection
import h2.events
import uvloop

HEAD_END = b"\r\n\r\n"


class AppConnection(asyncio.Protocol):
    def __init__(self, router: "RouterConnection") -> None:
        self.router = router
        self.stream = 0
        self.data = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(HEAD_END)
        if not end:
            return
        length = 0
        lines = []
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            if name not in (b"connection", b"keep-alive", b"transfer-encoding"):
                lines.append(line)
        if len(body) == length:
            self.data = b""
            status = head.partition(b"\r\n")[0]
            self.router.answer(self.stream, b"\r\n".join([status, self.router.ids, *lines]) + HEAD_END + body)
            self.router.idle.append(self)


class RouterConnection(asyncio.Protocol):
    def __init__(self, channels: int, app_port: int) -> None:
        self.channels = channels
        self.app_port = app_port
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.idle: deque[AppConnection] = deque()
        self.requests: dict[int, bytes] = {}
        self.ids = b"X-Lambda-Id: benchmark\r\nX-Channel-Id: channel"
        self.dirty = False
        self.transport: Any = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(2**30)
        for _ in range(self.channels):
            self.park()

    def park(self) -> None:
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(
            stream,
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"127.0.0.1:5003"),
                (b":path", b"/api/chunked/request/benchmark/channel"),
                (b"date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
                (b"content-type", b"application/octet-stream"),
                (b"x-pool-id", b"default"),
                (b"x-lambda-id", b"benchmark"),
                (b"x-channel-id", b"channel"),
            ],
        )
        self.touch()

    def touch(self) -> None:
        """One write per turn of the loop, as the engine does it."""
        if not self.dirty:
            self.dirty = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.dirty = False
        self.transport.write(self.connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.requests[event.stream_id] = self.requests.get(event.stream_id, b"") + event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.relay(event.stream_id, self.requests.pop(event.stream_id))
        self.touch()

    def relay(self, stream: int, request: bytes) -> None:
        head, _, body = request.partition(HEAD_END)
        lines = [
            line
            for line in head.split(b"\r\n")
            if line.partition(b":")[0].lower() not in (b"connection", b"keep-alive", b"te", b"transfer-encoding")
        ]
        lines += [b"x-pool-id: default", b"x-lambda-id: benchmark", b"x-channel-id: channel"]
        message = b"\r\n".join(lines) + HEAD_END + body
        if self.idle:
            app = self.idle.pop()
            app.stream = stream
            app.transport.write(message)
        else:
            self.loop.create_task(self.dial(stream, message))

    async def dial(self, stream: int, message: bytes) -> None:
        _, app = await self.loop.create_connection(lambda: AppConnection(self), "127.0.0.1", self.app_port)
        app.stream = stream
        app.transport.write(message)

    def answer(self, stream: int, data: bytes) -> None:
        self.connection.send_data(stream, data, end_stream=True)
        self.park()


async def main() -> None:
    router_port, app_port, channels = (int(word) for word in sys.argv[1:])
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: RouterConnection(channels, app_port), "127.0.0.1", router_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
