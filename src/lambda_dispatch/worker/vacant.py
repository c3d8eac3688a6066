"""Sockets of workers that do not accept: a sibling accepts from them until their own worker does again.

Each worker has a set of listening sockets, and the kernel spreads new connections over all sets. When a worker has died
and none has come in its place, or it is stopped or hangs, the connections of its set would wait. Every worker has the
other sets' descriptors too and looks at the board: a set without a live worker for VACANT is read by all who are ready.
The first to accept serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from lambda_dispatch.telemetry import log
from lambda_dispatch.worker.listener import Listener
from lambda_dispatch_core.board.board import WORKER_READY, Board

SECOND = 1_000_000_000
# A heartbeat comes with every tick, ten a second.
SILENT = SECOND
# Without a live worker for this long. A worker that was killed is back sooner.
VACANT = SECOND


class VacantSets:
    def __init__(
        self,
        board: Board,
        me: int,
        loop: asyncio.AbstractEventLoop,
        sets: dict[int, list[tuple[int, Listener]]],
        now: int,
    ) -> None:
        """`sets`: by number, its sockets as descriptor and the listener that serves what is accepted."""
        self._board = board
        self._me = me
        self._loop = loop
        self._sets = sets
        self._alive = dict.fromkeys(sets, now)  # when a live worker was last seen there
        self._serving: set[int] = set()
        self._sockets = {fd: socket.socket(fileno=fd) for sockets in sets.values() for fd, _ in sockets}

    def look(self, now: int) -> None:
        """Called on every tick."""
        if not self._sets:
            return
        for worker in self._board.list_workers():
            if worker.state == WORKER_READY and now - worker.heartbeat < SILENT and worker.listening in self._alive:
                self._alive[worker.listening] = now
        for number, seen in self._alive.items():
            vacant = now - seen >= VACANT
            if vacant and number not in self._serving:
                self._begin(number)
            elif not vacant and number in self._serving:
                self._end(number)

    def _begin(self, number: int) -> None:
        self._serving.add(number)
        log.warning("vacant sockets adopted", set=number, reason="no worker has accepted from them for a second")
        for fd, listener in self._sets[number]:
            self._loop.add_reader(fd, self._accept(fd, listener))

    def _end(self, number: int) -> None:
        self._serving.discard(number)
        log.info("adopted sockets returned", set=number)
        for fd, _ in self._sets[number]:
            self._loop.remove_reader(fd)

    def _accept(self, fd: int, listener: Listener) -> Callable[[], None]:
        sock = self._sockets[fd]
        return lambda: listener.accept_from(sock)

    def close(self) -> None:
        """This worker ends: what waits in the sockets it has adopted is still served, then they are left."""
        for number in list(self._serving):
            for fd, listener in self._sets[number]:
                listener.accept_from(self._sockets[fd])
            self._end(number)
        for sock in self._sockets.values():
            sock.close()
        self._sets = {}
        self._alive = {}
