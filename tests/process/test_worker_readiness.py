"""GET /health?ready waits for the first open instance where MinInstances asks for one; GET /health does not."""

import os
import uuid

from lambda_dispatch_core.board.board import Board
from tests.support.loop import scenario
from tests.support.worker_process import LIFE, WorkerProcess

WAITS = (503, b"MinInstances or its schedule asks for instances and none is open yet")
READY = (200, b"OK")


async def look(worker: WorkerProcess, path: str) -> tuple[int, bytes]:
    async with await worker.client() as client:
        answer = await client.get(path)
        return answer.status, answer.body


@scenario
async def test_the_first_open_instance_makes_a_worker_ready_for_good() -> None:
    async with WorkerProcess.running("--min-instances", "1") as worker:
        assert await look(worker, "/health?ready") == WAITS
        assert await look(worker, "/health") == READY
        assert await look(worker, "/health?verbose") == READY
        worker.start()
        assert await look(worker, "/health?ready") == WAITS
        await worker.instance()
        assert await look(worker, "/health?ready") == READY
        await worker.clear()
        assert await look(worker, "/health?ready") == READY


@scenario
async def test_a_floor_by_schedule_waits_too() -> None:
    async with WorkerProcess.running("--min-instances-schedule", "* * * * *=1") as worker:
        assert await look(worker, "/health?ready") == WAITS
        await worker.instance()
        assert await look(worker, "/health?ready") == READY


@scenario
async def test_an_instance_that_another_worker_opened_counts() -> None:
    async with WorkerProcess.running("--min-instances", "1") as worker:
        assert await look(worker, "/health?ready") == WAITS
        now = worker.now()
        worker.board.start_worker(1, 0, now)
        sibling = Board.attach(os.dup(worker.board.fd), worker=1)
        try:
            place = worker.board.allocate_instance(0, uuid.uuid4().bytes, 10, now, now + LIFE)
            assert place is not None
            sibling.open_instance(*place, worker.now())
            assert await look(worker, "/health?ready") == READY
        finally:
            sibling.close()


@scenario
async def test_without_min_instances_a_worker_is_ready_at_once() -> None:
    async with WorkerProcess.running() as worker:
        assert await look(worker, "/health?ready") == READY
