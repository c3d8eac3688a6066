"""TLS connections between accept and the end of their handshake.

A TLS object costs some 50 KB, a connection that has sent nothing a few hundred bytes. So it is made when the whole
ClientHello is there: until then the bytes stay in the kernel, which says by SO_RCVLOWAT when there are enough. At most
UNDER_WAY handshakes are under way in a worker. More wait in the kernel; when the oldest is older than PATIENCE, it is
aborted in favour of the next.
"""

import asyncio
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from lambda_dispatch.telemetry import log
from lambda_dispatch.worker.client_hello import REFUSAL, offered
from lambda_dispatch_net.wire import Hub

SECOND = 1_000_000_000
UNDER_WAY = 512
PATIENCE = SECOND
# What a client gets to answer our close_notify before its connection is reset: nothing of its is read for long.
SHUTDOWN_TIMEOUT = 1.0

HANDSHAKE_RECORD = 0x16
RECORD_HEAD = 5
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
# A ClientHello is 200 to 2,000 bytes; a record has at most 16 KiB (RFC 8446 5.1).
LARGEST = 16 * 1024


class Handshakes:
    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._hub = hub
        self._loop = loop
        self.set_timeout(timeout)
        self._epoll = select.epoll()
        self._silent: OrderedDict[int, Arrival] = OrderedDict()  # without a whole ClientHello, by descriptor
        self._ready: deque[Arrival] = deque()  # with one, waiting for its turn
        self._under_way: OrderedDict[asyncio.Task[None], int] = OrderedDict()  # and when it began
        loop.add_reader(self._epoll.fileno(), self._on_bytes)

    def set_timeout(self, timeout: float) -> None:
        self._timeout = int(timeout * SECOND)

    def begin(self, arrival: "Arrival") -> None:
        self._hub.pending += 1
        arrival.listener.arriving += 1
        fd = arrival.sock.fileno()
        self._silent[fd] = arrival
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def __len__(self) -> int:
        return len(self._silent) + len(self._ready) + len(self._under_way)

    def sweep(self, now: int) -> None:
        """Closes what has sent no whole ClientHello in time. Called on every tick."""
        while self._silent:
            fd, arrival = next(iter(self._silent.items()))
            if now - arrival.since < self._timeout:
                break
            self._forget(fd)
            self._end(arrival)
        self._proceed(now)

    def reclaim(self, most: int, before: int) -> int:
        """Closes up to `most` connections that have sent nothing since before that time, oldest first."""
        closed = 0
        while closed < most and self._silent:
            fd, arrival = next(iter(self._silent.items()))
            if arrival.since > before:
                break
            self._forget(fd)
            self._end(arrival)
            closed += 1
        return closed

    def _on_bytes(self) -> None:
        now = self._hub.clock()
        for fd, events in self._epoll.poll(0):
            arrival = self._silent[fd]
            more = _missing(arrival.sock)
            if more > 0 and not events & ENDED:
                arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, more)
                continue
            self._forget(fd)
            if more == 0 and self._refuses(arrival):
                self._end(arrival)
            elif more == 0:
                self._ready.append(arrival)
            else:
                self._end(arrival)
        self._proceed(now)

    def _refuses(self, arrival: "Arrival") -> bool:
        """Tells a client that offers only protocols we do not speak, as RFC 7301 3.2 wants it."""
        try:
            names = offered(arrival.sock.recv(RECORD_HEAD + LARGEST, socket.MSG_PEEK))
            if names is None or not arrival.protocols or not arrival.protocols.isdisjoint(names):
                return False
            # Read, so that the alert is not lost to a reset.
            arrival.sock.recv(RECORD_HEAD + LARGEST)
            arrival.sock.send(REFUSAL)
        except OSError:
            return True
        log.limited(log.WARNING, "handshake refused", reason="the client offers no protocol spoken here (ALPN)")
        return True

    def _forget(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._silent[fd]

    def _end(self, arrival: "Arrival") -> None:
        arrival.sock.close()
        self._leave(arrival)

    def _leave(self, arrival: "Arrival") -> None:
        self._hub.pending -= 1
        arrival.listener.arriving -= 1

    def _proceed(self, now: int) -> None:
        while self._ready:
            if len(self._under_way) >= UNDER_WAY:
                oldest, began = next(iter(self._under_way.items()))
                if now - began < PATIENCE:
                    return
                del self._under_way[oldest]
                oldest.cancel()
                log.limited(log.WARNING, "handshake aborted", reason="too many handshakes under way", limit=UNDER_WAY)
            arrival = self._ready.popleft()
            arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            task = self._loop.create_task(self._shake(arrival))
            self._under_way[task] = now
            task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._under_way.pop(task, None)
        if self._ready:
            self._proceed(self._hub.clock())

    async def _shake(self, arrival: "Arrival") -> None:
        # The wire counts itself from its first call on, which comes when the handshake is done.
        try:
            await self._loop.connect_accepted_socket(
                arrival.make,
                arrival.sock,
                ssl=arrival.context,
                ssl_handshake_timeout=self._timeout / SECOND,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except OSError:
            arrival.sock.close()
        finally:
            self._leave(arrival)


class Counts(Protocol):
    arriving: int


class Arrival:
    __slots__ = ("context", "listener", "make", "protocols", "since", "sock")

    def __init__(
        self,
        sock: socket.socket,
        listener: Counts,
        make: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext,
        since: int,
        protocols: frozenset[bytes] = frozenset(),
    ) -> None:
        self.protocols = protocols  # that are spoken; empty: not compared
        self.sock = sock
        self.listener = listener
        self.make = make
        self.context = context
        self.since = since


def _missing(sock: socket.socket) -> int:
    """How many bytes must be there for the next look; 0: enough for a TLS object; -1: the client is gone."""
    try:
        head = sock.recv(RECORD_HEAD, socket.MSG_PEEK)
    except BlockingIOError:
        return 1
    except OSError:
        return -1
    if not head:
        return -1
    if head[0] != HANDSHAKE_RECORD:
        return 0  # not TLS: OpenSSL says so in its alert
    if len(head) < RECORD_HEAD:
        return RECORD_HEAD
    whole = RECORD_HEAD + min(int.from_bytes(head[3:5]), LARGEST)
    there: int = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]
    return 0 if there >= whole else whole
