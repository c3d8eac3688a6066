"""An instance as the router sees it: the extension's side of protocol.md sections 2 and 3, on python-hyper h2.

Deliberately not built on our engine. A handler serves each call; it may answer well, or break every rule:

    async def handler(call): await call.respond(200, body=b"hello")
    peer = await InstancePeer.dial(host, port, instance_id, handler, channels=4)
    await peer.parked(4)
"""

import asyncio
import contextlib
import socket
import ssl
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.support.h2_graceful import survives_goaway

GOAWAY_TARGET = "/_lambda_dispatch/goaway"
WIDE = 2**31 - 1 - 65535  # what makes the connection's window never the one that binds
TERMINATORS = (b"\r\n\r\n", b"\n\n")

Fields = Iterable[tuple[str, str]]

ANNOUNCED = (("x-lambda-dispatch-extension", "1"),)  # what our own extension sends on every call


class Gone(Exception):
    """The stream or the connection ended under a handler."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"reset by the router with code {code}" if code is not None else "connection lost")
        self.code = code


class Call:
    """One request on one channel."""

    def __init__(self, peer: "InstancePeer", stream: int, channel: int, head: bytes) -> None:
        self.peer = peer
        self.stream = stream
        self.channel = channel
        self.head = head
        line, *rest = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = line.split(" ", 2)
        self.fields = [(name.lower(), value) for name, value in (one.split(": ", 1) for one in rest)]
        self.request_ended = False
        self.request_trailers: list[tuple[str, str]] = []
        self.answer_ended = False
        self.given_up = False  # reset by this side: nothing more comes
        self.received = 0  # body bytes that came, read or not
        self.written = 0  # answer bytes that left, head included
        self._pieces: list[tuple[bytes, int]] = []
        self._came = asyncio.Event()
        self.reset_by_router: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def field(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for had, value in self.fields if had == name.lower()]

    # what the connection tells it

    def feed(self, data: bytes, credit: int) -> None:
        self.received += len(data)
        self._pieces.append((data, credit))
        self._came.set()

    def feed_end(self) -> None:
        self.request_ended = True
        self._came.set()

    def feed_reset(self, code: int | None) -> None:
        if not self.reset_by_router.done():
            self.reset_by_router.set_result(code)
        self._came.set()

    # what a handler does

    async def read(self) -> bytes:
        """The next piece of body, its credit returned; empty at the end."""
        while not self._pieces:
            if self.request_ended:
                return b""
            if self.reset_by_router.done():
                raise Gone(self.reset_by_router.result())
            self._came.clear()
            await self._came.wait()
        data, credit = self._pieces.pop(0)
        self.peer.acknowledge(self.stream, credit)
        return data if data else await self.read()

    async def body(self) -> bytes:
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def write(self, data: bytes, end: bool = False) -> None:
        """Sends as the router gives credit."""
        view = memoryview(data)
        while view:
            room = await self.peer.room(self)
            piece = view[:room]
            self.peer.send(self.stream, bytes(piece), False)
            self.written += len(piece)
            view = view[len(piece) :]
        if end:
            await self.end()

    async def end(self) -> None:
        if not self.answer_ended:
            self.answer_ended = True
            if self.reset_by_router.done():
                raise Gone(self.reset_by_router.result())
            self.peer.send(self.stream, b"", True)

    def trailers(self, fields: Fields) -> None:
        """Ends the answer with trailers."""
        self.answer_ended = True
        self.peer.send_trailers(self.stream, fields)

    async def respond(
        self, status: int = 200, fields: Fields = (), body: bytes = b"", reason: str = "OK", length: bool = True
    ) -> None:
        await self.write(self.head_text(status, fields, len(body) if length else None, reason) + body, end=True)

    def head_text(self, status: int = 200, fields: Fields = (), length: int | None = None, reason: str = "OK") -> bytes:
        lines = [
            f"HTTP/1.1 {status} {reason}",
            f"X-Lambda-Id: {self.peer.id}",
            f"X-Channel-Id: {self.peer.channel_ids[self.channel]}",
        ]
        lines += [f"{name}: {value}" for name, value in fields]
        if length is not None:
            lines.append(f"content-length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        self.answer_ended = self.given_up = True
        self.peer.reset(self.stream, code)

    async def gone(self) -> int | None:
        """Waits until the router gives this call up; the code it reset the stream with."""
        return await asyncio.shield(self.reset_by_router)


Handler = Callable[[Call], Awaitable[None]]


async def says_hello(call: Call) -> None:
    await call.body()
    await call.respond(200, [("content-type", "text/plain")], b"hello from " + call.target.encode("latin-1"))


def says_hello_after(go_on: asyncio.Event) -> Handler:
    async def handler(call: Call) -> None:
        await go_on.wait()
        await says_hello(call)

    return handler


class Answer:
    """What the router says to a ping, a close, or a channel it does not accept."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: list[tuple[str, str]] = []
        self.body = b""
        self.reset: int | None = None
        self.done = asyncio.Event()


class InstancePeer(asyncio.Protocol):
    def __init__(
        self,
        instance_id: str,
        handler: Handler = says_hello,
        *,
        channels: int = 1,
        pool: str | None = "default",
        window: int | None = None,
        long_spelling: bool = False,
        more_fields: Fields = (),
    ) -> None:
        self.id = instance_id
        self.handler = handler
        self.pool = pool
        self.long_spelling = long_spelling
        self.more_fields = list(more_fields)  # on every control call
        self.channels = channels
        self.channel_ids = [str(uuid.uuid4()) for _ in range(channels)]
        self.calls: list[Call] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.refusals: list[tuple[int, bytes]] = []
        self.told_to_go = asyncio.Event()
        self.lost = asyncio.Event()
        self.retired = False  # parks no more
        self.goaway_frame: int | None = None
        self.authority = ""
        self._waiting: dict[int, tuple[int, bytearray]] = {}  # parked streams: channel, head so far
        self._accepted: set[int] = set()
        self._serving: dict[int, Call] = {}
        self._answers: dict[int, Answer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._credit = asyncio.Event()
        self.failures: list[BaseException] = []
        self._transport: asyncio.Transport | None = None
        self._conn = survives_goaway(
            h2.connection.H2Connection(
                h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
            )
        )
        if window is not None:
            self._conn.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.window = window

    @classmethod
    async def dial(
        cls,
        host: str,
        port: int,
        instance_id: str,
        handler: Handler = says_hello,
        *,
        tls: ssl.SSLContext | None = None,
        park: bool = True,
        receive_buffer: int | None = None,
        **more: Any,
    ) -> "InstancePeer":
        peer = cls(instance_id, handler, **more)
        peer.authority = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await loop.sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        await loop.create_connection(lambda: peer, sock=sock, ssl=tls, server_hostname="localhost" if tls else None)
        if park:
            for channel in range(peer.channels):
                peer.park(channel)
        return peer

    # channels

    def park(self, channel: int, *, fields: list[tuple[str, str]] | None = None, path: str | None = None) -> int:
        """Opens a channel's stream, without waiting for the router's answer. Returns the stream."""
        own = self.channel_ids[channel]
        if path is None:
            path = f"/api/chunked/request/{self.id}/{own}"
            if self.long_spelling:
                path = f"/api/chunked/request/poolId/{self.pool}/lambdaId/{self.id}/channelId/{own}"
        if fields is None:
            fields = [("x-lambda-id", self.id), ("x-channel-id", own)]
            if self.pool is not None:
                fields.append(("x-pool-id", self.pool))
            fields += self.more_fields
        stream = self._conn.get_next_available_stream_id()
        self._waiting[stream] = (channel, bytearray())
        self._answers[stream] = Answer()
        self._conn.send_headers(stream, self._head("POST", path) + fields)
        self.flush()
        return stream

    async def parked(self, n: int | None = None) -> None:
        """Waits until n channels (default: all) stand parked and accepted."""
        want = self.channels if n is None else n
        await self.sees(lambda: self.idle() >= want)

    def idle(self) -> int:
        return len(self._accepted & self._waiting.keys())

    def waits(self) -> bool:
        """Whether a channel is parked, or is being parked."""
        return bool(self._waiting)

    def answer_to(self, stream: int) -> Answer:
        return self._answers[stream]

    async def refused(self, n: int = 1) -> list[tuple[int, bytes]]:
        await self.sees(lambda: len(self.refusals) >= n)
        return self.refusals

    async def served(self, n: int) -> None:
        """Waits until n calls have come."""
        await self.sees(lambda: len(self.calls) >= n)

    # other requests

    async def get(self, path: str, fields: list[tuple[str, str]] | None = None, method: str = "GET") -> Answer:
        if fields is None:
            fields = [("x-lambda-id", self.id)] + ([("x-pool-id", self.pool)] if self.pool is not None else [])
            fields += self.more_fields
        stream = self._conn.get_next_available_stream_id()
        answer = self._answers[stream] = Answer()
        self._conn.send_headers(stream, self._head(method, path) + fields, end_stream=True)
        self.flush()
        await answer.done.wait()
        return answer

    async def ping(self) -> int:
        path = f"poolId/{self.pool}/lambdaId/{self.id}" if self.long_spelling else self.id
        return (await self.get(f"/api/chunked/ping/{path}")).status

    async def ask_to_close(self) -> int:
        path = f"poolId/{self.pool}/lambdaId/{self.id}" if self.long_spelling else self.id
        answer = await self.get(f"/api/chunked/close/{path}")
        self.retired = True
        return answer.status

    # the connection

    def drop(self) -> None:
        """Cuts the connection with a reset, as an environment that crashes does."""
        if self._transport is not None:
            self._transport.abort()

    def stop_reading(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def start_reading(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    async def leave(self) -> None:
        """Ends the connection and waits for its end and its handlers'."""
        self.retired = True
        if self._transport is not None:
            self._transport.abort()
            await self.lost.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def raw(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def flush(self) -> None:
        data = self._conn.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, stream: int, data: bytes, end: bool) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self._conn.send_data(stream, data, end_stream=end)
        self.flush()

    def send_trailers(self, stream: int, fields: Fields) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self._conn.send_headers(stream, list(fields), end_stream=True)
        self.flush()

    def reset(self, stream: int, code: int) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self._conn.reset_stream(stream, code)
        self._waiting.pop(stream, None)
        self._serving.pop(stream, None)
        self.flush()

    def acknowledge(self, stream: int, n: int) -> None:
        if n:
            with contextlib.suppress(h2.exceptions.StreamClosedError, KeyError):
                self._conn.acknowledge_received_data(n, stream)
            self.flush()

    async def room(self, call: Call) -> int:
        """Bytes that may be sent now, at least one; waits for credit."""
        while True:
            if call.reset_by_router.done():
                raise Gone(call.reset_by_router.result())
            try:
                room = min(self._conn.local_flow_control_window(call.stream), self._conn.max_outbound_frame_size)
            except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
                raise Gone(None) from None
            if room > 0:
                return room
            self._credit.clear()
            credit = asyncio.ensure_future(self._credit.wait())
            await asyncio.wait((credit, call.reset_by_router), return_when=asyncio.FIRST_COMPLETED)
            credit.cancel()

    def credit(self, stream: int) -> int:
        """What the router lets this stream send now."""
        return self._conn.local_flow_control_window(stream)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._conn.initiate_connection()
        self._conn.increment_flow_control_window(WIDE)
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._conn.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.failures.append(error)
            self.drop()
            return
        for event in events:
            self._take(event)
        self.flush()
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        for call in list(self._serving.values()):
            call.feed_reset(None)
        for answer in self._answers.values():
            answer.done.set()
        self._credit.set()
        self.lost.set()
        self._announce()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                answer = self._answers[stream]
                answer.fields = [(str(name), str(value)) for name, value in headers]
                answer.status = int(dict(answer.fields)[":status"])
                if stream in self._waiting and answer.status == 200:
                    self._accepted.add(stream)
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._data(stream, data, length)
            case h2.events.TrailersReceived(stream_id=stream, headers=headers):
                if call := self._serving.get(stream):
                    call.request_trailers = [(str(name), str(value)) for name, value in headers]
            case h2.events.StreamEnded(stream_id=stream):
                self._ended(stream)
            case h2.events.StreamReset(stream_id=stream, error_code=code):
                self._was_reset(stream, int(code))
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self._credit.set()
            case h2.events.ConnectionTerminated(error_code=code):
                self.goaway_frame = int(code)

    def _data(self, stream: int, data: bytes, length: int) -> None:
        call = self._serving.get(stream)
        if call is not None:
            call.feed(data, length)
        elif stream in self._waiting and stream in self._accepted:
            self.acknowledge(stream, length)
            channel, head = self._waiting[stream]
            head += data
            at = bytes(head).find(b"\r\n\r\n")
            if at >= 0:
                del self._waiting[stream]
                self._begin(stream, channel, bytes(head[:at]), bytes(head[at + 4 :]))
        else:
            self.acknowledge(stream, length)
            answer = self._answers.get(stream)
            if answer is not None:
                answer.body += data

    def _begin(self, stream: int, channel: int, head: bytes, rest: bytes) -> None:
        call = Call(self, stream, channel, head)
        if call.target == GOAWAY_TARGET:
            self.retired = True
            self.told_to_go.set()
            self.send(stream, b"", True)
            return
        self.calls.append(call)
        self._serving[stream] = call
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if rest:
            call.feed(rest, 0)
        task = asyncio.get_running_loop().create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: Call) -> None:
        try:
            await self.handler(call)
            await call.end()
            while not (call.request_ended or call.given_up or call.reset_by_router.done()):
                await call.read()
        except Gone:
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failures.append(error)
            call.reset(h2.errors.ErrorCodes.INTERNAL_ERROR)
        finally:
            self.in_flight -= 1
            self._serving.pop(call.stream, None)
            self._answers.pop(call.stream, None)
            self._accepted.discard(call.stream)
        if not self.retired and self._transport is not None and not self._transport.is_closing():
            self.park(call.channel)
        self._announce()

    def _ended(self, stream: int) -> None:
        call = self._serving.get(stream)
        if call is not None:
            call.feed_end()
            return
        answer = self._answers.get(stream)
        if answer is None:
            return
        answer.done.set()
        if stream in self._waiting and stream not in self._accepted:
            del self._waiting[stream]
            self.refusals.append((answer.status, answer.body))
            self.send(stream, b"", True)
        elif stream in self._waiting:
            del self._waiting[stream]
            self.send(stream, b"", True)

    def _was_reset(self, stream: int, code: int) -> None:
        self._waiting.pop(stream, None)
        call = self._serving.get(stream)
        if call is not None:
            call.feed_reset(code)
        answer = self._answers.get(stream)
        if answer is not None:
            answer.reset = code
            answer.done.set()

    def _head(self, method: str, path: str) -> list[tuple[str, str]]:
        return [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", self.authority),
            ("content-type", "application/octet-stream"),
        ]

    async def sees(self, condition: Callable[[], bool]) -> None:
        """Waits until something of this peer is so; looked at whenever bytes came or a handler ended."""
        if not condition():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((condition, future))
            await future

    def _announce(self) -> None:
        for watcher in list(self._watchers):
            condition, future = watcher
            if condition() or future.done():
                self._watchers.remove(watcher)
                if not future.done():
                    future.set_result(None)
