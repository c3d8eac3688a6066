"""How a worker ends.

    terminated (SIGTERM)    /health says 503 and answers ask for no more on their connection, but everything that comes
                            is served for `lame_duck`: load balancers need that long to look elsewhere. Then nothing new
                            is accepted and idle connections close; what is in hand finishes, within `drain_deadline`
                            of the signal.
    replaced (SIGUSR2)      a successor accepts from the same sockets already: this one stops at once, and gives kept
                            connections the same time to come to an end of their own.
    terminated again        no lame duck, and what is in hand gets HURRY.

Last, parked channels get go-away, so that instances move on, and the process ends when they have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_dispatch.telemetry import log

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker

SECOND = 1_000_000_000
HURRY = 1 * SECOND
# What instances get to read their go-away and close.
LEAVE = 2 * SECOND


class Drain:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.began = False
        self._lame_until = 0
        self._deadline = 0
        self._listening = True
        self._leaving_since = 0

    def terminate(self) -> None:
        now = self.worker.hub.clock()
        if self.began:
            log.warning("told to end a second time: hurrying")
            self._lame_until = now
            self._deadline = min(self._deadline, now + HURRY)
            return
        self._begin(now)
        log.info("draining", lame_duck=self.worker.config.lame_duck, deadline=self.worker.config.drain_deadline)

    def replaced(self) -> None:
        if not self.began:
            self._begin(self.worker.hub.clock())
            self._stop_listening(succeeded=True)
            log.info("replaced by a successor: draining")

    def _begin(self, now: int) -> None:
        self.began = True
        self._lame_until = now + int(self.worker.config.lame_duck * SECOND)
        self._deadline = now + int(self.worker.config.drain_deadline * SECOND)
        self.worker.begin_drain()

    def _stop_listening(self, succeeded: bool = False) -> None:
        if self._listening:
            self._listening = False
            self.worker.stop_listening(succeeded)

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
            self._stop_listening()
            worker.door.close_idle()
        if now >= self._deadline and worker.door.wires:
            log.warning("drain deadline passed", connections=len(worker.door.wires))
            worker.door.cut_all()
        if not self._listening and not worker.door.wires and worker.matcher.running == 0:
            self._leaving_since = now
            worker.control.retire_all()
