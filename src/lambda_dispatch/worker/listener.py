"""A listening socket of a worker: how connections come in, and how that ends without losing one that is on its way.

On its way a connection is in a handshake of the kernel's, then in the accept queue, then perhaps in a TLS handshake.
Closing a listening socket resets what is in the first two. So the end has two steps:

    shut     the kernel begins no new handshake. A client's kernel repeats what was ignored after a second, and finds
             a successor or is refused. Handshakes that are under way finish, and are accepted
    close    the queue is emptied and the socket closed: later connections are refused at once

Linux has two ways to shut a socket, and both are taken, since neither is always to be had:

    a socket filter that drops SYNs. Current kernels want CAP_NET_ADMIN for one on TCP
    the least TTL a packet must have left (RFC 5082). It needs no privilege, and is looked at where a packet begins
    something or belongs to an open connection, not where one completes a handshake. Most hosts send with 64 or 128;
    who sends with 255 and is no router away still comes in. Accepted connections inherit it, and are freed from it

Elsewhere a socket cannot be shut, and is closed as it stands.
"""

import asyncio
import ctypes
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any, cast

from lambda_dispatch.worker.handshakes import Arrival, Handshakes
from lambda_dispatch_net.wire import Entrance, Hub

BACKLOG = 4096
# Connections accepted in one go, before others have their turn. The accept queue is not longer.
AT_ONCE = 4096

HIGHEST_TTL = 255
# Constants of linux/in.h, linux/in6.h and asm-generic/socket.h that the socket module does not have.
IP_MINTTL = 21
IPV6_MINHOPCOUNT = 73
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27

# Classic BPF, over the TCP header: (operation, jump if true, jump if false, operand).
DROP_SYNS = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # of them, SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


class Listener:
    """A plain socket is accepted from by the loop's server. Over TLS we accept, see handshakes.py."""

    def __init__(
        self,
        hub: Hub,
        sock: socket.socket,
        make: Callable[[], Any],  # a Wire; its `entrance` is set
        entrance: Entrance,
        context: ssl.SSLContext | None = None,
        handshakes: Handshakes | None = None,
        protocols: frozenset[bytes] = frozenset(),  # ALPN
    ) -> None:
        self._protocols = protocols
        self.sock = sock
        self.entrance = entrance
        self.arriving = 0  # TLS connections whose handshake is not done
        self._hub = hub
        self._loop = cast("asyncio.AbstractEventLoop", hub.loop)
        self._make = make
        self._context = context
        self._handshakes = handshakes
        self._server: asyncio.Server | None = None
        self._ended: asyncio.Task[None] | None = None  # done when all connections accepted by the server have ended
        self._last: socket.socket | None = None  # what we accept from: always over TLS, else once the server is closed
        self._adopted: set[asyncio.Task[None]] = set()  # connections accepted by us whose protocol has not begun

    async def serve(self) -> None:
        self.sock.setblocking(False)
        # The process that had this socket before may have shut it and not come to the end.
        drop_syns(self.sock, False)
        require_ttl(self.sock, 0)
        if self._context is not None:
            self._last = self.sock
            self._loop.add_reader(self._last, self._accept_all)
            return
        self._server = await self._loop.create_server(self._factory, sock=self.sock, backlog=BACKLOG)
        # Asked before close(): a server that is closed calls itself ended, whatever it has accepted.
        self._ended = self._loop.create_task(self._server.wait_closed())

    def _factory(self) -> asyncio.BaseProtocol:
        wire = self._make()
        wire.entrance = self.entrance
        return cast("asyncio.BaseProtocol", wire)

    @property
    def busy(self) -> bool:
        """Whether connections that came in here are still there, or still on their way through a TLS handshake."""
        return bool(self._adopted) or self.arriving > 0 or (self._ended is not None and not self._ended.done())

    def shut(self) -> bool:
        """Begins no new handshakes. False where that cannot be had: then there is nothing to wait for."""
        filtered = drop_syns(self.sock, True)
        if not require_ttl(self.sock, HIGHEST_TTL) and not filtered:
            return False
        if self._last is None:
            self._loop.add_reader(self._take_over(), self._accept_all)
        return True

    def close(self) -> None:
        """Accepts what the kernel has, and refuses everything else."""
        if self._last is None:
            self._take_over()
        else:
            self._loop.remove_reader(self._last)
        self._accept_all()
        assert self._last is not None
        self._last.close()

    def leave(self) -> None:
        """Leaves it, with all that waits in it, to the others that have it open."""
        if self._server is not None:
            self._server.close()
        else:
            self._loop.remove_reader(self.sock)
            self.sock.close()

    def _take_over(self) -> socket.socket:
        assert self._server is not None
        self._last = self.sock.dup()
        self._server.close()
        return self._last

    def _accept_all(self) -> None:
        assert self._last is not None
        self.accept_from(self._last)

    def accept_from(self, listening: socket.socket) -> None:
        """Accepts what waits in this socket, as if it had come to our own."""
        for _ in range(AT_ONCE):
            try:
                sock = listening.accept()[0]
            except ConnectionAbortedError:
                continue
            except OSError:
                return  # none is left, or a descriptor for one
            sock.setblocking(False)
            require_ttl(sock, 0)
            if self._context is None:
                task = self._loop.create_task(self._adopt(sock))
                self._adopted.add(task)
                task.add_done_callback(self._adopted.discard)
            elif self._full():
                self.entrance.refuse()
                sock.close()
            else:
                assert self._handshakes is not None
                arrival = Arrival(sock, self, self._factory, self._context, self._hub.now, self._protocols)
                self._handshakes.begin(arrival)

    def _full(self) -> bool:
        entrance = self.entrance
        if entrance.limit and entrance.open + self.arriving >= entrance.limit:
            return self._hub.on_full is None or not self._hub.on_full(entrance)
        return self._hub.is_full(entrance)

    async def _adopt(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, sock)
        except OSError:
            sock.close()


def drop_syns(sock: socket.socket, on: bool) -> bool:
    """Packets that begin a connection are ignored. False where that cannot be had."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in DROP_SYNS))
    try:
        if on:
            where = struct.pack("HP", len(DROP_SYNS), ctypes.addressof(program))
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, where)
        else:
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    except OSError:
        return False
    return True


def require_ttl(sock: socket.socket, least: int) -> bool:
    """Packets that have less left than this are ignored. False where there is no such thing."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, least)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, least)
    except OSError:
        return False
    return True
