"""GET /health: answered by the router itself, with one word.

GET /health?ready also waits for the first open instance where MinInstances or its schedule asks for one: for load
balancers, which can reach no port but this one. Anyone who can reach the front port may ask, so it names no function
and no count; `lambda-dispatch status` does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lambda_dispatch.scaler.configured import floor_of
from lambda_dispatch.telemetry.view import has_opened

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker


class Health:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        # Once the router has been warm it stays ready: starts that fail later are a matter for alarms.
        self.warm = floor_of(worker.config, time.time()) == 0

    def answer(self, target: bytes) -> tuple[int, bytes]:
        """Status and text. A load balancer stops sending after a 503; requests that still arrive are served."""
        self.worker.take_up(self.worker.hub.clock())
        if self.worker.door.draining:
            return 503, b"draining"
        if target.partition(b"?")[2] == b"ready" and not self._is_warm():
            return 503, b"MinInstances or its schedule asks for instances and none is open yet"
        return 200, b"OK"

    def _is_warm(self) -> bool:
        self.warm = self.warm or has_opened(self.worker.board.numbers(0))
        return self.warm
