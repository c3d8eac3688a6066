"""What a large body costs the router in memory while one end is slow.

    python -m benchmarks.load.slow_peers [--mib 1024] [--pause 0.02]

A download whose client pauses after every 8 MiB, and an upload whose instance does, each of the given size through one
worker process. Told: the highest growth of its anonymous memory, and the rate. The promise is 32 MiB at 1 GiB.
"""

import argparse
import asyncio
import time

from tests.support.instance_peer import Call
from tests.support.worker_process import WorkerProcess

MIB = 1024 * 1024
PIECE = 256 * 1024
PROMISED = 32 * MIB


class Watch:
    """The highest memory a worker was seen with, looked at all the time."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.before = self.peak = worker.resident()
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.peak = max(self.peak, self.worker.resident())
            await asyncio.sleep(0.01)

    def grown(self) -> int:
        self._task.cancel()
        return self.peak - self.before


async def download(worker: WorkerProcess, size: int, pause: float) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(length=size))
        piece = bytes(PIECE)
        for _ in range(size // PIECE):
            await call.write(piece)

    await worker.instance(handler)
    async with await worker.client(buffer=PIECE) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        left = size
        while left:
            left -= len(await client.reader.readexactly(min(left, MIB)))
            if left % (8 * MIB) == 0:
                await asyncio.sleep(pause)


async def upload(worker: WorkerProcess, size: int, pause: float) -> None:
    async def handler(call: Call) -> None:
        taken = step = 0
        while piece := await call.read():
            taken += len(piece)
            if taken // (8 * MIB) > step:
                step = taken // (8 * MIB)
                await asyncio.sleep(pause)
        await call.respond(200, body=b"%d" % taken)

    await worker.instance(handler)
    async with await worker.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(PIECE)
        for _ in range(size // PIECE):
            await client.send(piece)
        answer = await client.response()
        assert answer.body == b"%d" % size, answer


async def measure(size: int, pause: float) -> bool:
    kept = True
    for name, work in (("download", download), ("upload", upload)):
        async with WorkerProcess.running() as worker:
            watch = Watch(worker)
            began = time.perf_counter()
            await work(worker, size, pause)
            took = time.perf_counter() - began
            grown = watch.grown()
        print(
            f"{name}: {size // MIB} MiB in {took:.1f} s ({size / MIB / took:.0f} MiB/s), memory grew by"
            f" {grown / MIB:.1f} MiB (promised: less than {PROMISED // MIB})"
        )
        kept = kept and grown < PROMISED
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds, after every 8 MiB")
    options = parser.parse_args()
    return 0 if asyncio.run(measure(options.mib * MIB, options.pause)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
