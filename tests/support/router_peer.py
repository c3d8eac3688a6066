"""A router for the extension to talk to, on python-hyper's h2 and real sockets.

It accepts channels, sends requests down them and reads the answers, and misbehaves where a test tells it to. It shares
no code with what it tests.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

PATIENCE = 20.0  # s; a test that waits longer has failed
Headers = list[tuple[str, str]]


@dataclass
class Answer:
    status: int
    reason: str
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Policy:
    """What the router answers; a test changes it at will."""

    accept: Callable[["PeerChannel"], int] = lambda channel: 200
    ping: int = 200
    close: int = 200
    answer_close: bool = True
    answer_pings: bool = True
    answer_channels: bool = True
    go_away_on_close: bool = True
    credit: bool = True  # what arrives is acknowledged at once
    initial_window: int = 65535
    max_streams: int | None = None


class Reset(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"reset with {code}")
        self.code = code


@dataclass(eq=False)
class PeerChannel:
    link: "PeerLink"
    stream: int
    path: str
    headers: dict[str, str]
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset_code: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    sent_end: bool = False
    uncredited: int = 0

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]

    # towards the extension

    async def send(self, data: bytes, end: bool = False) -> None:
        """Sends body bytes as fast as credit allows."""
        await self.link.send(self, data, end)

    def send_frames(self, pieces: list[bytes], end: bool = False) -> None:
        """Sends each piece as a frame of its own, all of them at once."""
        connection = self.link.connection
        for piece in pieces:
            connection.send_data(self.stream, piece)
        if end:
            connection.end_stream(self.stream)
        self.link.flush()

    async def request(
        self, method: str, path: str, headers: Headers | None = None, body: bytes = b"", end: bool = True
    ) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers or [])
        await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body, end)

    async def go_away(self) -> None:
        ids = f"X-Lambda-Id: {self.headers['x-lambda-id']}\r\nX-Channel-Id: {self.id}\r\n"
        await self.send(f"GET /_lambda_dispatch/goaway HTTP/1.1\r\n{ids}\r\n".encode(), end=True)

    def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        self.link.connection.reset_stream(self.stream, code)
        self.link.flush()

    # from the extension

    async def wait(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not ready():
                if self.reset_code is not None:
                    raise Reset(self.reset_code)
                if self.link.lost and not self.ended:
                    raise ConnectionError("the extension closed the connection")
                self.changed.clear()
                await self.changed.wait()

    async def head(self) -> Answer:
        """Waits for the answer's head; the body stays in `data`."""
        await self.wait(lambda: b"\r\n\r\n" in self.data)
        head, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status, *reason = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        self.data[:] = rest
        return Answer(int(status), reason[0] if reason else "", pairs, b"")

    async def answer(self) -> Answer:
        answer = await self.head()
        await self.wait(lambda: self.ended)
        answer.body = bytes(self.data)
        return answer

    async def read(self, n: int) -> bytes:
        await self.wait(lambda: len(self.data) >= n or self.ended)
        taken = bytes(self.data[:n])
        del self.data[:n]
        return taken

    async def until_reset(self) -> int:
        """Waits until the extension resets the stream; the code."""
        with suppress(Reset):
            await self.wait(lambda: False)
        assert self.reset_code is not None
        return self.reset_code

    def credit(self) -> None:
        """Acknowledges what has arrived (where the policy does not)."""
        if self.uncredited:
            self.link.connection.acknowledge_received_data(self.uncredited, self.stream)
            self.uncredited = 0
            self.link.flush()

    async def exchange(self, method: str, path: str, headers: Headers | None = None, body: bytes = b"") -> Answer:
        """Sends a whole request and returns the whole answer."""
        if body and not any(name.lower() == "content-length" for name, _ in headers or []):
            headers = [*(headers or []), ("content-length", str(len(body)))]
        sending = asyncio.ensure_future(self.request(method, path, headers, body))
        try:
            return await self.answer()
        finally:
            await sending


class PeerLink(asyncio.Protocol):
    """One connection of an extension."""

    def __init__(self, router: "RouterPeer") -> None:
        self.router = router
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        )
        self.channels: dict[int, PeerChannel] = {}
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self.goaway_code: int | None = None
        self.room = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.router.links.append(self)
        policy = self.router.policy
        settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: policy.initial_window}
        if policy.max_streams is not None:
            settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = policy.max_streams
        self.connection.local_settings.update(settings)
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(2**30)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for channel in self.channels.values():
            channel.changed.set()
        self.room.set()
        self.router.changed.set()

    def flush(self) -> None:
        data = self.connection.data_to_send()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.connection.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.router.faults.append(repr(error))
            self.flush()
            assert self.transport is not None
            self.transport.close()
            return
        for event in events:
            self._handle(event)
        self.flush()
        self.router.changed.set()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._request(event.stream_id, dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            channel = self.channels.get(event.stream_id)
            length = event.flow_controlled_length
            if channel is None:
                return
            channel.data += event.data
            channel.changed.set()
            if self.router.policy.credit:
                self.connection.acknowledge_received_data(length, event.stream_id)
            else:
                channel.uncredited += length
        elif isinstance(event, h2.events.StreamEnded):
            if channel := self.channels.get(event.stream_id):
                channel.ended = True
                channel.changed.set()
        elif isinstance(event, h2.events.StreamReset):
            if channel := self.channels.get(event.stream_id):
                channel.reset_code = int(event.error_code)
                channel.changed.set()
            self.room.set()
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self.room.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway_code = int(event.error_code)

    def _request(self, stream: int, headers: dict[str, str]) -> None:
        path, policy, router = headers[":path"], self.router.policy, self.router
        if headers[":method"] == "POST" and path.startswith("/api/chunked/request/"):
            channel = PeerChannel(self, stream, path, headers)
            self.channels[stream] = channel
            router.posts += 1
            if not policy.answer_channels:
                return
            status = policy.accept(channel)
            if status != 200:
                self._answer(stream, status, b"no")
                return
            self.connection.send_headers(stream, [(":status", "200")])
            router.ready.put_nowait(channel)
        elif path.startswith("/api/chunked/ping/"):
            router.pings.append(headers)
            if policy.answer_pings:
                self._answer(stream, policy.ping, b"ping")
        elif path.startswith("/api/chunked/close/"):
            router.closes.append(headers)
            if policy.answer_close:
                self._answer(stream, policy.close, b"closed")
            if policy.go_away_on_close:
                router.spawn(router.go_away())
        else:
            router.faults.append(f"{headers[':method']} {path}")
            self._answer(stream, 404, b"")

    def _answer(self, stream: int, status: int, body: bytes) -> None:
        if self.goaway_code is None:
            with suppress(h2.exceptions.ProtocolError):  # GOAWAY may lie in the same read, not yet told as an event
                self.connection.send_headers(stream, [(":status", str(status)), ("content-type", "text/plain")])
                self.connection.send_data(stream, body, end_stream=True)

    def send_goaway(self, last_stream: int, code: int = 0) -> None:
        """GOAWAY past h2, which would let nothing follow."""
        assert self.transport is not None
        self.transport.write(hyperframe.frame.GoAwayFrame(0, last_stream, code).serialize())

    async def send(self, channel: PeerChannel, data: bytes, end: bool) -> None:
        view = memoryview(data)
        async with asyncio.timeout(PATIENCE):
            while True:
                if self.lost or channel.reset_code is not None:
                    raise ConnectionError("the channel is gone")
                room = min(
                    self.connection.local_flow_control_window(channel.stream),
                    self.connection.max_outbound_frame_size,
                    len(view),
                )
                if room or not view:
                    last = room == len(view)
                    self.connection.send_data(channel.stream, bytes(view[:room]), end_stream=end and last)
                    self.flush()
                    view = view[room:]
                    if last:
                        return
                    await asyncio.sleep(0)
                else:
                    self.room.clear()
                    await self.room.wait()


class RouterPeer:
    """Use it as `async with RouterPeer() as router`."""

    def __init__(self, policy: Policy | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.policy = policy or Policy()
        self.tls = tls
        self.links: list[PeerLink] = []
        self.ready: asyncio.Queue[PeerChannel] = asyncio.Queue()
        self.pings: list[dict[str, str]] = []
        self.closes: list[dict[str, str]] = []
        self.posts = 0
        self.faults: list[str] = []
        self.changed = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self.server = await asyncio.get_running_loop().create_server(
            lambda: PeerLink(self), "127.0.0.1", 0, ssl=self.tls
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server is not None
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.server.close()
        for link in self.links:
            if link.transport is not None:
                link.transport.abort()
        await self.server.wait_closed()
        await self.until(lambda: all(link.lost for link in self.links))
        if error is None:
            assert not self.faults, self.faults

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/api/chunked"

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not ready():
                self.changed.clear()
                await self.changed.wait()

    async def parked(self) -> PeerChannel:
        """The next channel that is parked and unused."""
        async with asyncio.timeout(PATIENCE):
            while True:
                channel = await self.ready.get()
                if channel.reset_code is None and not channel.ended and not channel.link.lost:
                    return channel

    async def all_parked(self, n: int) -> list[PeerChannel]:
        return [await self.parked() for _ in range(n)]

    def park_again(self, channel: PeerChannel) -> None:
        """Gives back a channel that parked() returned and that was not used."""
        self.ready.put_nowait(channel)

    async def exchange(self, method: str, path: str, headers: Headers | None = None, body: bytes = b"") -> Answer:
        return await (await self.parked()).exchange(method, path, headers, body)

    async def go_away(self) -> None:
        """Sends go-away down every channel that is parked and unused."""
        while not self.ready.empty():
            channel = self.ready.get_nowait()
            if channel.reset_code is None and not channel.ended and not channel.link.lost:
                with suppress(ConnectionError, h2.exceptions.ProtocolError):
                    await channel.go_away()
