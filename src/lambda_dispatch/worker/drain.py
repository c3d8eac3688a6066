"""How a worker ends.

    terminated (SIGTERM)    /health says 503 and answers ask for no more on their connection, but everything that comes
                            is served for `lame_duck`: load balancers need that long to look elsewhere. Then no
                            connection is begun, and after HANDSHAKES, when those that had begun are through, clients
                            are refused. Idle connections close; what is in hand finishes, within `drain_deadline` of
                            the signal.
    replaced (SIGUSR2)      a successor accepts from the same sockets already: this one stops at once, and gives kept
                            connections the same time to come to an end of their own. Its instances are marked as
                            draining: the scaler replaces them first, and meanwhile all workers use them as a last
                            resort, at most for HAND_OVER.
    orphaned                the supervisor has died: as terminated, but without lame duck, so that another router can
                            have the ports at once.
    terminated again        no lame duck, and what is in hand gets HURRY.

A worker that is terminated lends its slots for as long as a sibling has clients. Last, parked channels get go-away, so
that instances move on, and the process ends when they have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_dispatch.control.control import LEAVE_SPREAD
from lambda_dispatch.telemetry import log
from lambda_dispatch_core.board.board import WORKER_DRAINING, WORKER_READY

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker

SECOND = 1_000_000_000
SERVING = (WORKER_READY, WORKER_DRAINING)
HURRY = 1 * SECOND
# What a connection gets that the client's kernel was already making when listening ended: the way to it and back.
HANDSHAKES = 3 * SECOND // 10
# What an upgraded connection gets to end by its protocol before the deadline.
LAST_WORDS = 3 * SECOND
# What instances get to read their go-away and close.
LEAVE = 2 * SECOND
# What the scaler gets to replace the instances of a worker that is replaced: a slow cold start. Never more than half of
# the drain deadline, so that what the instances have in hand then can still finish.
HAND_OVER = 10 * SECOND


class Drain:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.began = False
        self._lame_until = 0
        self._deadline = 0
        self._listening = True
        self._shut_until = 0  # clients' connections are not begun any more, and are refused from then on
        self._leaving_since = 0
        self._hand_over_until = 0

    def terminate(self) -> None:
        now = self.worker.hub.clock()
        if self.began:
            log.warning("drain hurried", reason="second SIGTERM", deadline=HURRY / SECOND)
            self._lame_until = now
            self._deadline = min(self._deadline, now + HURRY)
            return
        self._begin(now)
        log.info("drain started", lame_duck=self.worker.config.lame_duck, deadline=self.worker.config.drain_deadline)

    def orphaned(self) -> None:
        if not self.began:
            log.error("supervisor died", action="draining")
            now = self.worker.hub.clock()
            self._begin(now)
            self._lame_until = now

    def replaced(self) -> None:
        if not self.began:
            self._begin(self.worker.hub.clock())
            self._listening = False
            for listener in (*self.worker.fronts, *self.worker.controls):
                listener.leave()
            allowed = int(self.worker.config.drain_deadline * SECOND) // 2
            self._hand_over_until = self.worker.hub.clock() + min(HAND_OVER, allowed)
            self.worker.control.hand_over(self._hand_over_until)
            log.info("drain started", reason="replaced by a successor")

    def _begin(self, now: int) -> None:
        self.began = True
        self._lame_until = now + int(self.worker.config.lame_duck * SECOND)
        self._deadline = now + int(self.worker.config.drain_deadline * SECOND)
        self.worker.begin_drain()

    def _end_listening(self, now: int) -> None:
        """Instances may come to the end: a request in the queue may have no other instance."""
        if not self._listening:
            return
        if not self._shut_until:
            shut = [listener.shut() for listener in self.worker.fronts]
            self._shut_until = now + (HANDSHAKES if any(shut) else 0)
        if now >= self._shut_until:
            self._listening = False
            for listener in self.worker.fronts:
                listener.close()

    def step(self, now: int) -> None:
        """Called on every tick."""
        if not self.began:
            return
        worker = self.worker
        if self._leaving_since:
            if not worker.control.wires or now - self._leaving_since >= LEAVE:
                worker.done.set()
            return
        if now >= self._lame_until:
            self._end_listening(now)
            worker.door.close_idle()
            left = max(0, self._deadline - now - LAST_WORDS)
            worker.matcher.tunnels.leave_all(now, min(LEAVE_SPREAD, left))
        if now >= self._deadline and worker.door.wires:
            log.warning("drain deadline exceeded", aborted=len(worker.door.wires))
            worker.door.cut_all()
        if self._hand_over_until:
            # Also those that have opened since.
            worker.control.hand_over(self._hand_over_until)
        if now >= self._deadline or not (self._listening or worker.clients_remain() or self._lends()):
            self._leaving_since = now
            worker.control.retire_all()

    def _lends(self) -> bool:
        """Whether others still need the slots of this worker."""
        worker = self.worker
        if worker.matcher.running:
            return True
        if self._hand_over_until:
            return worker.control.serves()
        board, me = worker.board, worker.boot.index
        siblings = (it.slot for it in board.list_workers() if it.slot != me and it.state in SERVING)
        return bool(worker.matcher.instances) and any(board.worker_numbers(slot)["connections"] for slot in siblings)
