"""GET /health: answered by the router itself, with one word.

Anyone who can reach the front port may ask, so it names no function and no count; `lambda-dispatch status` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker


class Health:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def answer(self, target: bytes) -> tuple[int, bytes]:
        """Status and text. A load balancer stops sending after a 503; requests that still arrive are served."""
        self.worker.take_up(self.worker.hub.clock())
        return (503, b"draining") if self.worker.door.draining else (200, b"OK")
