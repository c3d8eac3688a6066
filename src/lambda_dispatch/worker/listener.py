"""A listening socket of a worker: how connections come in, and how that ends without losing one that is on its way.

On its way a connection is in a handshake of the kernel's, then in the accept queue, then perhaps in a TLS handshake.
Closing a listening socket resets what is in the first two. So the end has two steps:

    shut     the kernel begins no new handshake. A client's kernel repeats what was ignored after a second, and finds
             a successor or is refused. Handshakes that are under way finish, and are accepted
    close    the queue is emptied and the socket closed: whoever comes now is refused at once

What shuts it is the least TTL a packet must have left (RFC 5082). Linux looks at it where a packet begins something or
belongs to an open connection, and not where one completes a handshake. Nearly everybody sends with 64 or 128, so 255
lets in at most a neighbour that sends with that. It needs no privilege, which socket filters for TCP do by now.
Accepted connections inherit it and are freed from it. Elsewhere a socket cannot be shut, and is closed as it stands.
"""

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from typing import cast

BACKLOG = 4096

HIGHEST_TTL = 255
# Constants of linux/in.h and linux/in6.h that the socket module does not have.
IP_MINTTL = 21
IPV6_MINHOPCOUNT = 73


class Listener:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        make: Callable[[], object],
        context: ssl.SSLContext | None,
        handshake_timeout: float,
    ) -> None:
        self.sock = sock
        self._loop = loop
        self._factory = cast("Callable[[], asyncio.BaseProtocol]", make)
        self._context = context
        self._timeout = handshake_timeout if context else None
        self._server: asyncio.Server | None = None
        self._ended: asyncio.Task[None] | None = None  # done when all connections accepted by the server have ended
        self._last: socket.socket | None = None  # what is accepted from once the server has been closed
        self._adopted: set[asyncio.Task[None]] = set()  # connections accepted since then whose protocol has not begun

    async def serve(self) -> None:
        self.sock.setblocking(False)
        # Whoever had this socket before may have shut it and not come to the end.
        require_ttl(self.sock, 0)
        self._server = await self._loop.create_server(
            self._factory,
            sock=self.sock,
            ssl=self._context,
            backlog=BACKLOG,
            ssl_handshake_timeout=self._timeout,
        )
        # Asked before close(): a server that is closed calls itself ended, whatever it has accepted.
        self._ended = self._loop.create_task(self._server.wait_closed())

    @property
    def busy(self) -> bool:
        """Whether connections that came in here are still there, or still on their way through a TLS handshake."""
        return bool(self._adopted) or (self._ended is not None and not self._ended.done())

    def shut(self) -> bool:
        """Begins no new handshakes. False where that cannot be had: then there is nothing to wait for."""
        if not require_ttl(self.sock, HIGHEST_TTL):
            return False
        self._take_over()
        assert self._last is not None
        self._loop.add_reader(self._last, self._accept_all)
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
        assert self._server is not None
        self._server.close()

    def _take_over(self) -> None:
        assert self._server is not None
        self._last = self.sock.dup()
        self._server.close()

    def _accept_all(self) -> None:
        assert self._last is not None
        while True:
            try:
                sock = self._last.accept()[0]
            except ConnectionAbortedError:
                continue
            except OSError:
                return  # none is left, or a descriptor for one
            sock.setblocking(False)
            require_ttl(sock, 0)
            task = self._loop.create_task(self._adopt(sock))
            self._adopted.add(task)
            task.add_done_callback(self._adopted.discard)

    async def _adopt(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory, sock, ssl=self._context, ssl_handshake_timeout=self._timeout
            )
        except OSError:
            sock.close()


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
