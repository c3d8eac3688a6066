"""What lookers on the admin port cost the router: CPU of the workers per request, with streams open and without.

    python -m benchmarks.load.admin_streams [--streams 16] [--rounds 9] [--seconds 4] [--instances 20]

One router with the embedded Lambda and a steady load. Rounds with and without streams take turns; the order within a
pair is drawn. CPU is the processes' own, from schedstat. Printed are medians, and the median of the pairs' ratios with
their quartiles. Then the admin process is killed a few times: how soon the port answers again, and its memory.
"""

import argparse
import asyncio
import os
import random
import signal
import statistics
import time
from pathlib import Path

from benchmarks.load.machine import cpu_ns, descendants, title
from benchmarks.load.rig import Rig
from benchmarks.load.steady import SteadyLoad

SETTLE = 1.0  # s after streams were opened or closed


def admin_of(rig: Rig) -> int:
    """The admin process's pid; 0 while there is none."""
    assert rig.router is not None
    return next((pid for pid in descendants(rig.router.pid) if title(pid).startswith("lambda-dispatch: admin")), 0)


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Looker:
    """Reads the event stream and throws it away."""

    def __init__(self) -> None:
        self.received = 0
        self._task: asyncio.Task[None] | None = None

    async def begin(self, port: int) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise SystemExit(f"no stream: {head!r}")
        self._task = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 16):
            self.received += len(data)

    async def end(self) -> None:
        assert self._task is not None
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def measure(rig: Rig, load: SteadyLoad, streams: int, seconds: float) -> tuple[float, float, int]:
    """Microseconds of the workers' CPU per request; the admin process's share of one CPU; bytes the lookers got."""
    lookers = [Looker() for _ in range(streams)]
    for looker in lookers:
        await looker.begin(rig.about()["admin"])
    await asyncio.sleep(SETTLE)
    workers, admin = list(rig.workers().values()), [admin_of(rig)]
    before = (cpu_ns(workers), cpu_ns(admin), len(load.outcomes), time.monotonic(), sum(it.received for it in lookers))
    await asyncio.sleep(seconds)
    after = (cpu_ns(workers), cpu_ns(admin), len(load.outcomes), time.monotonic(), sum(it.received for it in lookers))
    for looker in lookers:
        await looker.end()
    cpu, own, requests, passed, got = (y - x for x, y in zip(before, after, strict=True))
    return cpu / requests / 1000, own / passed / 1e9, int(got / passed)


async def restart(rig: Rig) -> float:
    """Seconds from the admin process's death until its port answers again."""
    port, pid = rig.about()["admin"], admin_of(rig)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    # The socket is the supervisor's: the connection waits there for the successor.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    await reader.readline()
    took = time.monotonic() - began
    writer.close()
    return took


async def run(rig: Rig, arguments: argparse.Namespace) -> None:
    source = random.Random(1)
    found: dict[bool, list[tuple[float, float, int]]] = {True: [], False: []}
    async with SteadyLoad(rig.port, clients=arguments.clients, per_second=arguments.per_second) as load:
        await asyncio.sleep(3)
        for _ in range(arguments.rounds):
            for looked in source.sample((True, False), 2):
                found[looked].append(await measure(rig, load, arguments.streams if looked else 0, arguments.seconds))
    failed = [outcome for outcome in load.outcomes if outcome.problem]
    cpu = {looked: statistics.median(it[0] for it in rounds) for looked, rounds in found.items()}
    own = {looked: statistics.median(it[1] for it in rounds) for looked, rounds in found.items()}
    ratios = [x[0] / y[0] for x, y in zip(found[True], found[False], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    print(f"requests {len(load.outcomes)}, failed {len(failed)}; open instances {len(rig.environments())}")
    print(f"workers, us of CPU per request: {cpu[False]:.1f} without, {cpu[True]:.1f} with {arguments.streams} streams")
    print(f"ratio of the pairs: {middle:.3f} (quartiles {low:.3f} to {high:.3f})")
    print(f"admin process, share of a CPU: {own[False]:.4f} without, {own[True]:.4f} with")
    print(f"bytes per second and stream: {statistics.median(it[2] for it in found[True]) / arguments.streams:.0f}")
    times = []
    for _ in range(arguments.restarts):
        times.append(await restart(rig))
        memory = resident(admin_of(rig))
        # A process that dies at once is started again later and later.
        await asyncio.sleep(10.5)
    print(f"admin process, killed: answers again after {statistics.median(times):.2f} s, {memory:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=20.0, help="requests of each client")
    parser.add_argument("--restarts", type=int, default=3)
    arguments = parser.parse_args()
    flags = ("--admin-port=0", "--min-instances", str(arguments.instances))
    with Rig(workers=1, environments=arguments.instances, flags=flags) as rig:
        asyncio.run(run(rig, arguments))


if __name__ == "__main__":
    main()
