"""How a worker reads: many sockets in one pass, some of which end while others are still to be looked at."""

import asyncio
import gc
import signal
import time
from pathlib import Path

import pytest
import uvloop

from lambda_dispatch_core.board import board as b
from lambda_dispatch_net.wire import Hub, Wire
from tests.support.clients import RawClient
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

REQUEST = b"GET /%d HTTP/1.1\r\nHost: example.test\r\n\r\n"


async def known(worker: WorkerProcess, count: int) -> list[RawClient]:
    """Kept connections that the worker has heard so often that it reads them itself, by its own epoll set."""
    clients = [await worker.client() for _ in range(count)]
    for client in clients:
        for _ in range(3):
            assert (await client.get("/before")).status == 200
    return clients


def stop(worker: WorkerProcess) -> None:
    assert worker.process is not None
    worker.process.send_signal(signal.SIGSTOP)


def go_on(worker: WorkerProcess) -> None:
    assert worker.process is not None
    worker.process.send_signal(signal.SIGCONT)


@scenario
async def test_what_came_while_the_worker_stood_still_is_all_answered(worker: WorkerProcess) -> None:
    await worker.instance(channels=10)
    clients = await known(worker, 40)
    stop(worker)
    for i, client in enumerate(clients):
        client.writer.write(REQUEST % i)
    go_on(worker)
    for i, client in enumerate(clients):
        answer = await soon(client.response(), f"the answer to /{i}")
        assert answer.body == b"hello from /%d" % i
    for client in clients:
        await client.close()


@scenario
async def test_a_worker_that_stands_still_shows_how_late_its_loop_came_round(worker: WorkerProcess) -> None:
    def late() -> int:
        """Ticks that came 0.25 s late or more."""
        return sum(worker.board.lag(0).counts[b.bucket_of(250_000_000) :])

    before = late()
    stop(worker)
    stood = worker.board.list_workers()[0].heartbeat
    await until(lambda: time.monotonic_ns() - stood > 500_000_000, "half a second is over")
    go_on(worker)
    await until(lambda: late() > before, "a late tick")
    assert worker.board.lag(0).sum_ns >= 400_000_000


@pytest.mark.parametrize("ends", ["fin", "reset"])
@scenario
async def test_those_that_end_in_a_pass_leave_the_others_of_it_alone(worker: WorkerProcess, ends: str) -> None:
    await worker.instance(channels=10)
    clients = await known(worker, 40)
    stop(worker)
    for i, client in enumerate(clients):
        client.writer.write(REQUEST % i)
        if i % 2:
            client.reset() if ends == "reset" else client.writer.close()
    go_on(worker)
    for i, client in enumerate(clients):
        if i % 2 == 0:
            assert (await soon(client.response(), f"the answer to /{i}")).body == b"hello from /%d" % i
            await client.close()
    await until(lambda: worker.numbers()["connections"] == 0, "no client's connection is left")
    await worker.quiet()


@scenario
async def test_an_instance_that_is_lost_in_a_pass_with_its_requests_fails_or_moves_each_of_them(
    worker: WorkerProcess,
) -> None:
    lost = await worker.instance(channels=10)
    clients = await known(worker, 20)
    stop(worker)
    for i, client in enumerate(clients):
        client.writer.write(REQUEST % i)
    lost.drop()
    go_on(worker)
    answers = asyncio.gather(*(client.response() for client in clients))
    await worker.instance(channels=10, wait=False)
    assert {answer.status for answer in await soon(answers, "every answer")} <= {200, 502}
    for client in clients:
        await client.close()
    await worker.quiet()


@scenario
async def test_among_equally_busy_instances_the_one_that_parked_last_is_next(worker: WorkerProcess) -> None:
    peers = [await worker.instance(channels=2) for _ in range(4)]
    client = await worker.client()
    for i in range(6):
        assert (await client.get(f"/{i}")).status == 200
        await until(
            lambda: all(place.idle == 2 for place in worker.board.list_instances()), "every channel parks again"
        )
    served = sorted(len(peer.calls) for peer in peers)
    assert served == [0, 0, 0, 6]
    await client.close()


def test_a_connection_that_only_the_hub_reads_outlives_a_garbage_collection(tmp_path: Path) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        hub = Hub(loop)
        server = await loop.create_unix_server(lambda: Wire(hub), str(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
        for came in range(1, 5):
            writer.write(b"x")
            await until(lambda: hub.bytes_in == came, "the byte to be read")  # noqa: B023
        for _ in range(3):
            gc.collect()
        writer.write(b"x")
        await until(lambda: hub.bytes_in == 5, "the byte after the collection")
        assert hub.wires == 1
        writer.close()
        await until(lambda: hub.wires == 0, "the connection's end")
        server.close()

    uvloop.run(body())
