"""One HTTP/1.1 request per connection, whose answer may take a quarter of an hour.

An open call costs one socket, one protocol object and, over TLS, one session: no thread and no pool. Nothing is
retried here; whether to try again is the guard's decision.
"""

import array
import asyncio
import base64
import fcntl
import socket
import ssl
import termios
import time
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from lambda_dispatch.telemetry import log
from lambda_dispatch_net.http_response import BadResponse, ResponseReader

SLOW_CONNECT = 2.0  # s before a warning
SLOW_SEND = 2.0  # s after which bytes that the other side has not taken are a warning
UNACKNOWLEDGED = 20_000  # ms: TCP gives up when nothing is acknowledged for so long (TCP_USER_TIMEOUT)
CONNECT_TIMEOUT = 5.0  # s for address, connection, proxy and TLS together
ADDRESS_LIFETIME = 5.0  # s an address is used before the name is looked up again; Lambda's change by the minute
MOST_BODY = 64 * 1024  # bytes of an answer that are kept; the extension's is 200
MOST_HEAD = 64 * 1024
# A connection on which nothing moves for minutes is forgotten by NAT devices (350 s on AWS) without a word.
KEEPALIVE_IDLE = 15
KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3


class NotSent(Exception):
    """The request has certainly not reached anybody."""


class Lost(Exception):
    """The connection ended before the answer was complete: what the request started may go on."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case; of a repeated one the last
    body: bytes


class Endpoint(NamedTuple):
    tls: bool
    host: str
    port: int
    proxy: tuple[str, int, str] | None  # host, port, Proxy-Authorization or ""

    @classmethod
    def of(cls, url: str) -> Self:
        """An endpoint's URL, and the proxy that the environment prescribes for it."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        return cls(tls, host, parts.port or (443 if tls else 80), _proxy(parts.scheme, host))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def _proxy(scheme: str, host: str) -> tuple[str, int, str] | None:
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    authorization = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return parts.hostname or "", parts.port or 80, authorization


class _Call(asyncio.Protocol):
    """Reads one answer. Of a body longer than MOST_BODY the rest is dropped."""

    __slots__ = ("_reader", "answer")

    def __init__(self, tunnel: bool) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._reader = ResponseReader(most_head=MOST_HEAD, most_body=MOST_BODY, bodyless=tunnel, cut_body=True)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except BadResponse as error:
            self._fail(Lost(str(error)))
        else:
            self._look()

    def connection_lost(self, error: Exception | None) -> None:
        self._reader.end()
        self._look()
        self._fail(Lost(f"connection lost: {error or 'closed by the other side'}"))

    def _look(self) -> None:
        reader = self._reader
        if reader.done and not self.answer.done():
            self.answer.set_result(Answer(reader.status, dict(reader.headers), bytes(reader.body)))

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Transport:
    """Sends requests to one endpoint, each over a connection of its own."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        self.endpoint = endpoint
        self._context = context if endpoint.tls else None
        self._addresses: list[tuple[socket.AddressFamily, tuple[object, ...]]] = []
        self._looked_up = 0.0
        self._look_up: asyncio.Task[None] | None = None
        self._turn = 0

    async def post(self, path: str, headers: Mapping[str, str], body: bytes, patience: float) -> Answer:
        """The answer to one POST. NotSent when it has not left, Lost when it may have arrived."""
        through_proxy = self.endpoint.proxy is not None and not self.endpoint.tls
        target = f"http://{self.endpoint.authority}{path}" if through_proxy else path
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if through_proxy and self.endpoint.proxy and self.endpoint.proxy[2]:
            lines.append(f"proxy-authorization: {self.endpoint.proxy[2]}")
        head = "\r\n".join((*lines, f"content-length: {len(body)}", "connection: close", "", ""))

        slow = asyncio.get_running_loop().call_later(SLOW_CONNECT, self._warn, "connect", SLOW_CONNECT)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                transport, call = await self._connect()
        except (OSError, Lost, TimeoutError) as error:
            raise NotSent(f"{self.endpoint.authority}: {error or 'no connection in time'}") from error
        finally:
            slow.cancel()
        slow = asyncio.get_running_loop().call_later(SLOW_SEND, self._check_sent, transport)
        try:
            transport.write(head.encode("latin-1") + body)
            async with asyncio.timeout(patience):
                return await call.answer
        except TimeoutError as error:
            raise Lost(f"no answer within {patience:g} s") from error
        finally:
            slow.cancel()
            transport.abort()

    def _check_sent(self, transport: asyncio.Transport) -> None:
        """Lambda answers when the function ends, so silence means nothing; bytes that stay here do."""
        opened = transport.get_extra_info("socket")
        if opened is None or opened.fileno() < 0:
            return
        queued = array.array("i", [0])
        fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, queued)
        if queued[0] or transport.get_write_buffer_size():
            self._warn("send", SLOW_SEND)

    def _warn(self, phase: str, seconds: float) -> None:
        log.limited(
            log.WARNING,
            "Lambda endpoint unresponsive",
            endpoint=self.endpoint.authority,
            phase=phase,
            after_s=seconds,
            check="routes, security groups, the VPC endpoint and the proxy",
        )

    async def _connect(self) -> tuple[asyncio.Transport, _Call]:
        loop = asyncio.get_running_loop()
        host, authority = self.endpoint.host, self.endpoint.authority
        tunnel = self.endpoint.tls and self.endpoint.proxy is not None
        call = _Call(tunnel)
        opened = await self._open_socket()
        if not tunnel:
            name = host if self._context else None
            transport, _ = await loop.create_connection(
                lambda: call, sock=opened, ssl=self._context, server_hostname=name
            )
            return transport, call

        assert self.endpoint.proxy is not None and self._context is not None
        plain, _ = await loop.create_connection(lambda: call, sock=opened)
        try:
            where = f"{host}:{self.endpoint.port}" if ":" not in host else authority
            allowed = f"proxy-authorization: {self.endpoint.proxy[2]}\r\n" if self.endpoint.proxy[2] else ""
            plain.write(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n{allowed}\r\n".encode("latin-1"))
            answer = await call.answer
            if answer.status != 200:
                raise OSError(f"the proxy answered CONNECT with {answer.status}")
            inner = _Call(tunnel=False)
            secured = await loop.start_tls(plain, inner, self._context, server_hostname=host)
            if secured is None:
                raise OSError("connection lost in the TLS handshake")
        except BaseException:
            plain.abort()
            raise
        return secured, inner

    async def _open_socket(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        if not self._addresses or time.monotonic() - self._looked_up > ADDRESS_LIFETIME:
            # Two hundred calls at once share one look-up.
            if self._look_up is None:
                self._look_up = loop.create_task(self._resolve())
                self._look_up.add_done_callback(self._looked)
            await asyncio.shield(self._look_up)
        trouble: OSError = OSError("no address")
        self._turn += 1
        for index in range(len(self._addresses)):
            family, address = self._addresses[(self._turn + index) % len(self._addresses)]
            opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
                await loop.sock_connect(opened, address)
            except OSError as error:
                opened.close()
                trouble = error
            except BaseException:
                opened.close()
                raise
            else:
                return opened
        raise trouble

    async def _resolve(self) -> None:
        proxy = self.endpoint.proxy
        host, port = (proxy[0], proxy[1]) if proxy else (self.endpoint.host, self.endpoint.port)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._addresses = [(socket.AddressFamily(family), address) for family, _, _, _, address in found]
        self._looked_up = time.monotonic()

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._look_up = None
        if not task.cancelled():
            task.exception()  # the waiting task has the exception
