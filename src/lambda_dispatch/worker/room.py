"""How many connections a worker may have, and what it does when they are too many.

Two bounds: MaxConnections per port, and the descriptors of the process. Of these RESERVE are kept for files, siblings
and the log, and clients leave a share to instances, without whom no request is served. At a bound, connections that
have had nothing in hand for IDLE are closed, oldest first; where there are none, the new connection is refused. Both
are counted, and logged through the rate limiter.
"""

import os
import resource

from lambda_dispatch.front.door import Door
from lambda_dispatch.telemetry import log
from lambda_dispatch.worker.handshakes import Handshakes
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Entrance, Hub

SECOND = 1_000_000_000
RESERVE = 64
# One in so many descriptors is left to instances' connections.
SHARE_OF_INSTANCES = 8
# Who has just connected is not idle: its first request is on the way. Longer, and a burst of silent connections keeps
# everybody out for as long.
IDLE = SECOND // 10
# One in so many is closed at a time, so that looking for the oldest does not cost as much as serving.
BATCH = 64


class Room:
    def __init__(self, hub: Hub, door: Door, board: Board, handshakes: Handshakes, limit: int, siblings: int) -> None:
        """`limit`: MaxConnections; 0 for none. `siblings`: connections to and from them at most."""
        self._hub = hub
        self._door = door
        self._board = board
        self._handshakes = handshakes
        self._limit = limit
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        in_use = len(os.listdir("/proc/self/fd"))
        hub.room = max(1, descriptors - in_use - RESERVE - siblings)
        hub.on_full = self._make_room

    def entrance(self, kind: str) -> Entrance:
        control = kind.startswith("control")
        return Entrance(kind, self._limit, 0 if control else self._hub.room // SHARE_OF_INSTANCES)

    def _make_room(self, entrance: Entrance) -> bool:
        before = self._hub.clock() - IDLE
        batch = max(1, (self._limit or self._hub.room) // BATCH)
        closed = self._handshakes.reclaim(batch, before)
        if not closed:
            closed = self._door.reclaim(batch, before, entrance if self._limit else None)
        self._board.count_room(closed, 0 if closed else 1)
        log.limited(
            log.WARNING,
            "connection limit reached",
            port=entrance.name,
            limit=self._limit or self._hub.room,
            bound="MaxConnections" if self._limit else "descriptors",
            action=f"{closed} idle connections closed" if closed else "new connection refused",
        )
        return closed > 0
