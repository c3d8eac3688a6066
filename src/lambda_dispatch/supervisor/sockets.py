"""Listening sockets: for each port one per worker, all of them the supervisor's.

They outlive the workers: what waits in a dead worker's accept queue is taken by its successor.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.errors import PortError

# A burst of connections waits here while a worker is replaced. The kernel caps it at net.core.somaxconn.
BACKLOG = 4096

KINDS = ("http", "https", "control_http", "control_https")


def wanted(config: RouterConfig) -> Iterator[tuple[str, int]]:
    """Kind and configured port of everything to listen on."""
    yield "http", config.http_port
    if config.tls:
        yield "https", config.https_port
    if config.allow_insecure_control:
        yield "control_http", config.control_http_port
    if config.control_tls:
        yield "control_https", config.control_https_port


class Listeners:
    """One set of sockets per worker; all sets are bound to the same ports."""

    def __init__(self, config: RouterConfig) -> None:
        self.ports = dict.fromkeys(KINDS, 0)
        self.sets: list[dict[str, socket.socket]] = [{} for _ in range(config.workers)]
        with ExitStack() as undo:
            undo.callback(self.close)
            for kind, port in wanted(config):
                family, address = _resolve(config.bind_host, port)
                if port:
                    _refuse_if_taken(family, address, port, kind)
                for one in self.sets:
                    sock = socket.socket(family, socket.SOCK_STREAM)
                    one[kind] = sock
                    _bind(sock, address, port, kind)
                    sock.listen(BACKLOG)
                    sock.setblocking(False)
                    if not self.ports[kind]:
                        self.ports[kind] = sock.getsockname()[1]
                        address = (address[0], self.ports[kind], *address[2:])
            undo.pop_all()

    def descriptors(self, index: int, kind: str) -> tuple[int, ...]:
        sock = self.sets[index].get(kind)
        return () if sock is None else (sock.fileno(),)

    def of_others(self, index: int) -> tuple[tuple[str, int, int], ...]:
        """(kind, set, descriptor) of all sets but this one."""
        return tuple(
            (kind, other, sock.fileno())
            for other, one in enumerate(self.sets)
            if other != index
            for kind, sock in one.items()
        )

    def close_set(self, index: int) -> None:
        for sock in self.sets[index].values():
            sock.close()
        self.sets[index].clear()

    def close(self) -> None:
        for index in range(len(self.sets)):
            self.close_set(index)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortError(f"BindHost {host!r} is no address of this machine: {error.strerror}") from error
    family, _, _, _, address = found[0]
    return family, address


def _bind(sock: socket.socket, address: tuple[object, ...], port: int, kind: str, share: bool = True) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        sock.bind(address)
        if not share:
            sock.listen(1)
    except OSError as error:
        why = {
            errno.EADDRINUSE: "something listens there already; stop it, or choose another port",
            errno.EACCES: "that needs a privilege; choose a port from 1024 on",
            errno.EADDRNOTAVAIL: "that is no address of this machine; set BindHost",
        }.get(error.errno or 0, error.strerror)
        raise PortError(f"cannot listen on {address[0]} port {port} ({kind}): {why}") from error


def _refuse_if_taken(family: socket.AddressFamily, address: tuple[object, ...], port: int, kind: str) -> None:
    # Sharing a port is for our own workers. Without this look a second router of the same user would be let in
    # silently, and take half of the first one's connections.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        _bind(probe, address, port, kind, share=False)
