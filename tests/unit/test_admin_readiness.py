"""/readyz waits for an open instance where MinInstances asks for one, and only once."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from lambda_dispatch.admin.readiness import Readiness
from lambda_dispatch.admin.server import Admin
from lambda_dispatch.config import RouterConfig
from lambda_dispatch_core.board import board as b
from lambda_dispatch_net.http_server import Request


def view(workers: int = 1, function: str = "app", opened: int = 0) -> Any:
    numbers = SimpleNamespace(cold_start=SimpleNamespace(counts=(0, opened, 0)))
    return SimpleNamespace(
        workers_in=lambda state: workers if state == "ready" else 0,
        pools=[SimpleNamespace(function=function, numbers=numbers)],
    )


def test_without_min_instances_a_ready_worker_is_enough() -> None:
    readiness = Readiness("app", 0)
    assert readiness.lacks(view(workers=0)) == "no worker is ready"
    assert readiness.lacks(view()) == ""


def test_with_min_instances_the_first_open_one_makes_it_ready_for_good() -> None:
    readiness = Readiness("app", 1)
    assert "MinInstances" in readiness.lacks(view())
    assert "MinInstances" in readiness.lacks(view(function="another", opened=3))
    assert readiness.lacks(view(opened=1)) == ""
    assert readiness.lacks(view(workers=0, opened=1)) == "no worker is ready"


def test_a_worker_that_has_become_ready_since_the_last_view_is_seen() -> None:
    async def ask(admin: Admin) -> tuple[int, bytes]:
        answer = await admin.answer(Request("GET", "/readyz"))
        return answer.status, bytes(answer.body)

    board = b.Board.create(2)
    try:
        board.start_worker(0, 0, time.monotonic_ns())
        admin = Admin(board, RouterConfig(function_name="app"))
        assert asyncio.run(ask(admin)) == (503, b"no worker is ready\n")
        board.set_worker_state(0, b.WORKER_READY)
        assert asyncio.run(ask(admin)) == (200, b"OK\n")
    finally:
        board.close()
