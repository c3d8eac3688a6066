"""MemoryBudget: the bytes a worker holds for clients, bounded as a whole.

Each connection and request is bounded by itself; many of them together are bounded here. What is held is measured, not
counted as it comes and goes: the pass over all connections costs microseconds, nothing on the request path, and cannot
drift. It runs every second, and between two reads as soon as so many bytes have been read that the budget could be
exceeded: half of what is left to SHARE_FROM, at least a 64th of the budget. So what is not measured yet is bounded by
what was read meanwhile.

    part         what it is
    heads        heads that are not whole, and pipelined requests
    handshakes   TLS handshakes under way
    bodies       requests that wait for a slot or for an instance's credit
    answers      answers that the client has not taken

    from         step       what is done, and until when
    CREDIT_FROM  credit     HTTP/2 connections that hold bodies, and new ones, get smaller windows; HTTP/1.1 clients
                            without a slot are read less far ahead. Until CREDIT_TO
    PAUSE_FROM   pause      HTTP/1.1 clients that hold much without a slot are not read, HTTP/2 connections that hold
                            more than a fair share get 503 for new requests. Until CREDIT_FROM
    SHARE_FROM   share      connections that hold more than a share of the budget are ended
    SHED_FROM    shed       what holds most is ended, the oldest first, until SHED_TO is reached

A request that gets its slot is read again: what is held for it flows off. Ended: a request that waits is answered with
503, an HTTP/2 connection gets GOAWAY, any other is aborted. Beside that, memory that was freed after a peak is given
back to the system.
"""

import ctypes

from lambda_dispatch.front.door import Door
from lambda_dispatch.telemetry import log
from lambda_dispatch.worker.handshakes import Handshakes
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_net.wire import Hub

SECOND = 1_000_000_000
CREDIT_FROM = 0.25
CREDIT_TO = 0.125
PAUSE_FROM = 0.375
SHARE_FROM = 0.5
SHED_FROM = 0.75
SHED_TO = 0.5
# Of the budget, what one connection may hold while there is little.
SHARE = 16
# Of the budget, the bodies an HTTP/2 connection must hold for smaller windows to be worth a SETTINGS frame.
NARROW = 256
# Of the budget, what an HTTP/2 connection must hold to be refused new requests.
HALT_H2 = 64
# Bytes an HTTP/1.1 connection must hold to be halted: more than an ordinary head.
HALT = 16 * 1024
# A TLS object with its buffers.
HANDSHAKE = 50 * 1024
# Of the budget, what may be read at least until what is held is measured again.
MOVED = 64
# A peak is worth giving memory back for when it was this high, and what is held has fallen to a quarter of it.
PEAK = 8 * 1024 * 1024
PEAK_CONNECTIONS = 500


class MemoryBudget:
    def __init__(self, hub: Hub, door: Door, board: Board, handshakes: Handshakes, budget: int) -> None:
        self._hub = hub
        self._door = door
        self._board = board
        self._handshakes = handshakes
        self.set_budget(budget)
        self._due = 0
        self._exceeded = False
        self._narrow = False  # the step credit is taken
        self._halted = False  # the step pause is
        self._peak = 0  # bytes held at most, since it was last reported
        self._trim_peak = 0  # the same for bytes and connections, since memory was last given back
        self._trim_connections = 0
        hub.on_moved = lambda: self._look(hub.clock())
        hub.look_at = 0

    def set_budget(self, budget: int) -> None:
        self._budget = budget

    def look(self, now: int) -> None:
        """Called on every tick."""
        if now >= self._due:
            self._look(now)

    def _look(self, now: int) -> None:
        self._due = now + SECOND
        held = self._measure()
        narrowed = self._credit(held)
        paused = self._pause(held)
        refused = 0
        if held > SHARE_FROM * self._budget:
            refused = self._shrink(held)
            held = self._measure()
        elif self._exceeded and not self._narrow:
            self._exceeded = False
            log.info("memory budget met", held=held, peak=self._peak)
            self._peak = held
        self._board.show_memory(len(self._handshakes), held, narrowed, paused, refused)
        self._give_back(held)
        room = (int(SHARE_FROM * self._budget) - held) // 2
        self._hub.look_at = self._hub.bytes_in + max(room, self._budget // MOVED)

    def _measure(self) -> int:
        heads, bodies, answers = self._door.measure()
        self._parts = {
            "heads": heads,
            "handshakes": HANDSHAKE * self._handshakes.under_way,
            "bodies": bodies,
            "answers": answers,
        }
        held = sum(self._parts.values())
        self._peak = max(self._peak, held)
        return held

    def _credit(self, held: int) -> int:
        if held > CREDIT_FROM * self._budget:
            self._narrow = True
        elif held < CREDIT_TO * self._budget and self._narrow:
            self._narrow = False
        elif not self._narrow:
            return 0
        # A connection whose client has not acknowledged the last SETTINGS is asked again by the next look.
        changed = self._door.narrow_credit(self._narrow, self._budget // NARROW)
        return self._step("credit", held, changed) if self._narrow else 0

    def _pause(self, held: int) -> int:
        if held > PAUSE_FROM * self._budget:
            self._halted = True
            return self._step("pause", held, self._door.halt(HALT, self._budget // HALT_H2))
        if self._halted and held < CREDIT_FROM * self._budget:
            self._halted = False
            self._door.resume()
        return 0

    def _step(self, step: str, held: int, connections: int) -> int:
        if connections:
            self._exceeded = True
            log.limited(
                log.WARNING,
                "memory budget near",
                step=step,
                connections=connections,
                held=held,
                budget=self._budget,
                **self._parts,
            )
        return connections

    def _shrink(self, held: int) -> int:
        shed = held > SHED_FROM * self._budget
        wanted = held - int(SHED_TO * self._budget)
        ended, freed = self._door.shed(wanted, 1 if shed else self._budget // SHARE)
        if ended:
            self._exceeded = True
            log.limited(
                log.WARNING,
                "memory budget exceeded",
                step="shed" if shed else "share",
                ended=ended,
                freed=freed,
                held=held,
                budget=self._budget,
                **self._parts,
            )
        return ended

    def _give_back(self, held: int) -> None:
        connections = self._hub.wires + self._hub.pending
        self._trim_peak = max(self._trim_peak, held)
        self._trim_connections = max(self._trim_connections, connections)
        over = self._trim_peak > PEAK and held < self._trim_peak // 4
        fewer = self._trim_connections > PEAK_CONNECTIONS and connections < self._trim_connections // 4
        if over or fewer:
            self._trim_peak, self._trim_connections = held, connections
            trim()


def trim() -> bool:
    """Gives free pages of the heap back to the system. False where the C library cannot (musl does it by itself)."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:
        return False
