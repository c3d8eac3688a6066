"""What a unary gRPC call costs the router's worker and the extension, and whether every answer is right.

    python -m benchmarks.load.grpc_calls [--calls 10000] [--at-once 64] [--rounds 5]

Client and server are grpcio's. Each call carries its number, and its answer must be the same.
CPU time is the processes' own from /proc/PID/task/*/schedstat. The rounds share the calls; the medians are what counts.
"""

import argparse
import asyncio
import statistics

import grpc
from benchmarks.load.machine import cpu_ns
from tests.e2e.test_grpc import World, world


async def run(it: World, calls: int, at_once: int) -> tuple[float, float, int]:
    """us of CPU per call in worker and extension, and how many answers were wrong."""
    assert it.worker.process is not None
    pids = it.worker.process.pid, it.rig.extension.process.pid
    before = [cpu_ns([pid]) for pid in pids]
    wrong = 0
    left = iter(range(calls))
    unary = it.unary()

    async def caller() -> None:
        nonlocal wrong
        for number in left:
            said = b"%d" % number
            try:
                wrong += await unary(said, timeout=30) != said
            except grpc.aio.AioRpcError as error:
                print(error)
                wrong += 1

    await asyncio.gather(*(caller() for _ in range(at_once)))
    worker, extension = ((cpu_ns([pid]) - had) / calls / 1000 for pid, had in zip(pids, before, strict=True))
    return worker, extension, wrong


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    async with world(channels=asked.at_once) as it:
        await run(it, 200, asked.at_once)
        each = asked.calls // asked.rounds
        rounds = [await run(it, each, asked.at_once) for _ in range(asked.rounds)]
    worker, extension = (statistics.median(r[n] for r in rounds) for n in (0, 1))
    wrong = sum(r[2] for r in rounds)
    print(f"{each * asked.rounds} calls, {asked.at_once} at once: {wrong} wrong answers")
    print(f"us of CPU per call: worker {worker:.0f}, extension {extension:.0f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
