"""GET /health: answered by the router itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from lambda_dispatch_core.board.board import POOL_FREE

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker

BREAKER = ("closed", "half open", "open")


class Health:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def answer(self, target: bytes) -> tuple[int, bytes]:
        """Status and text. A load balancer that reads 503 sends nothing new; what comes all the same is served."""
        ending = self.worker.drain.began
        status = 503 if ending else 200
        if b"verbose" not in target.partition(b"?")[2]:
            return status, b"draining" if ending else b"OK"
        board = self.worker.board
        pools = [
            {
                "pool": pool.name.decode("ascii", "replace"),
                "desired": pool.desired,
                "starting": pool.starting,
                "open": pool.open,
                "draining": pool.draining,
                "breaker": BREAKER[min(pool.breaker, 2)],
            }
            for pool in board.list_pools()
            if pool.state != POOL_FREE
        ]
        return status, orjson.dumps(
            {
                "status": "draining" if ending else "ok",
                "worker": self.worker.boot.index,
                "queued": self.worker.matcher.queued(),
                "running": self.worker.matcher.running,
                "pools": pools,
            }
        )
