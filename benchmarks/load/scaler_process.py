"""The scaler's whole process: from the need to the invokes, and what a thousand open invokes cost it.

    python -m benchmarks.load.scaler_process [--rounds 5] [--open 1000]

The board is held by this process, which plays the worker; a stand-in for Lambda (in this process, too) takes the
invokes. CPU is the scaler's own, from /proc.
"""

import argparse
import asyncio
import os
import resource
import statistics
import time
from pathlib import Path

from tests.support.held_board import HeldBoard
from tests.support.stand_in import stand_in

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def need_to_invokes(count: int) -> float:
    """Seconds from the moment `count` instances are needed to the arrival of the last of their invokes."""
    held = HeldBoard("--log-level=warning")
    try:
        async with stand_in() as service:
            held.start(service.url)
            await held.until(lambda: held.board.scaler_view().ticks > 5)
            began = time.perf_counter()
            held.demand(queued=count * 50 // 3)
            await service.invokes(count)
            return time.perf_counter() - began
    finally:
        held.close()


async def open_invokes(count: int) -> tuple[float, float, float]:
    """Resident MiB before and with `count` open, and CPU share of the scaler while nothing changes."""
    held = HeldBoard("--log-level=warning", "--start-burst=1000", f"--max-instances={count}", instances=4096)
    try:
        async with stand_in() as service:
            held.start(service.url)
            await held.until(lambda: held.board.scaler_view().ticks > 5)
            assert held.process is not None
            pid = held.process.pid
            before = resident_mib(pid)
            held.demand(queued=count * 50 // 3 + 50)
            for invoke in list(await service.invokes(count)):
                held.opens(invoke.id)
            held.demand(queued=0, running=count * 5)
            await asyncio.sleep(2)
            spent, began = cpu_seconds(pid), time.perf_counter()
            await asyncio.sleep(5)
            share = (cpu_seconds(pid) - spent) / (time.perf_counter() - began)
            return before, resident_mib(pid), share
    finally:
        held.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--open", type=int, default=1000)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    for count in (1, 100, 200):
        times = [asyncio.run(need_to_invokes(count)) * 1000 for _ in range(options.rounds)]
        print(f"0 to {count} instances: asked for in {statistics.median(times):.0f} ms, worst {max(times):.0f} ms")
    before, after, share = asyncio.run(open_invokes(options.open))
    print(f"resident: {before:.0f} MiB with no invoke, {after:.0f} MiB with {options.open} open")
    print(f"CPU with {options.open} open instances and nothing to change: {share * 100:.1f} % of one core")


if __name__ == "__main__":
    main()
