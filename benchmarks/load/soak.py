"""Everything at once at a low rate, for hours: a steady load, chaos, and every attack in turn.

    python -m benchmarks.load.soak --hours 2 --seed 1 --workers 2

The steady load checks each answer; chaos.py kills, freezes and refuses beside it and says whose each lost request was;
the attacks of attackers.py run one after the other with a twentieth of their connections. Then chaos.py's promises
must hold, no worker may have been larger than the memory budget, and a minute after the last attack each must be within
20 MiB of its size at the start. The exit code is 1 otherwise. With a sanitizer build it is the long test.
"""

import argparse
import asyncio
import os
import resource
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.load import attackers, chaos, custody
from benchmarks.load.machine import resident_mib
from benchmarks.load.rig import Rig
from benchmarks.load.steady import SteadyLoad

BUDGET = 256.0  # MiB
REST = 20.0  # MiB above the start, SETTLED seconds after the last attack
SETTLED = 60.0  # s
SCALE = 0.05
ATTACK, PAUSE = 8.0, 2.0  # s
PROGRESS = 300.0  # s between two lines
# Those that need no TLS, and no process with a limit of its own.
ATTACKS = ("pipelining", "pipelining-health", "goaway", "log", "keep-alive", "control-pings", "slow-uploads", "heads")
ATTACKS += ("queued",)


class Memory:
    """Each worker's memory: what it began with, and the most it ever had."""

    def __init__(self, rig: Rig, budget: float, rest: float) -> None:
        self.rig = rig
        self.budget = budget
        self.rest = rest
        self.first: dict[int, float] = {}
        self.most: dict[int, float] = {}

    def look(self) -> None:
        with suppress(OSError):
            for pid in self.rig.workers().values():
                with suppress(OSError, IndexError):
                    now = resident_mib(pid)
                    self.first.setdefault(pid, now)
                    self.most[pid] = max(self.most.get(pid, 0.0), now)

    async def watch(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(1)

    def problems(self) -> list[str]:
        self.look()
        found = [
            f"worker process {pid} had {most:.0f} MiB; the budget is {self.budget:g}"
            for pid, most in self.most.items()
            if most > self.budget
        ]
        for pid in self.rig.workers().values():
            now = resident_mib(pid)
            if now > self.first[pid] + self.rest:
                found.append(
                    f"worker process {pid} has {now:.0f} MiB {SETTLED:g} s after the last attack; "
                    f"it began with {self.first[pid]:.0f}"
                )
        return found


async def attack(rig: Rig, told: dict[str, int], pause: float) -> None:
    number = 0
    while True:
        name = ATTACKS[number % len(ATTACKS)]
        number += 1
        aim = attackers.Aim(rig.port, 0, rig.control_port, ATTACK, SCALE)
        with suppress(OSError):
            await attackers.CASES[name].attack(aim)
        told[name] = told.get(name, 0) + 1
        await asyncio.sleep(pause)


async def progress(load: SteadyLoad, mayhem: chaos.Chaos, memory: Memory, rounds: dict[str, int]) -> None:
    """A line every few minutes."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS)
        print(
            f"{(time.monotonic() - began) / 60:.0f} min: {len(load.outcomes)} requests, {len(load.failures())} lost in "
            f"{len(mayhem.events)} events, {sum(rounds.values())} attacks, a worker had at most "
            f"{max(memory.most.values()):.0f} MiB",
            flush=True,
        )


async def run(rig: Rig, options: argparse.Namespace) -> chaos.Verdict:
    memory = Memory(rig, options.budget, options.rest)
    rounds: dict[str, int] = {}
    async with SteadyLoad(rig.port, options.clients, options.per_second, options.seed, fields=custody.DEBUG) as load:
        mayhem = chaos.Chaos(rig, load, options.seed)
        while load.answered < options.clients:  # noqa: ASYNC110 - the load warms up
            await asyncio.sleep(0.05)
        beside = [asyncio.ensure_future(memory.watch()), asyncio.ensure_future(attack(rig, rounds, options.pause))]
        beside.append(asyncio.ensure_future(progress(load, mayhem, memory, rounds)))
        began = time.monotonic()
        await mayhem.run(options.hours * 3600, options.every)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    verdict = chaos.judge(mayhem)
    verdict.problems += await chaos.at_rest(rig)
    await asyncio.sleep(min(SETTLED, options.hours * 3600))
    verdict.problems += await asyncio.to_thread(memory.problems)
    times = sorted(outcome.took for outcome in load.outcomes if outcome.status == 200)
    verdict.lines += [
        f"{len(load.outcomes)} requests in {time.monotonic() - began:.0f} s, {len(load.failures())} lost in "
        f"{len(mayhem.events)} events; p50 {times[len(times) // 2] * 1000:.0f} ms, "
        f"p99 {times[len(times) * 99 // 100] * 1000:.0f} ms, worst {times[-1] * 1000:.0f} ms",
        f"attacks: {', '.join(f'{name} {count}' for name, count in rounds.items())}",
        f"memory: a worker had at most {max(memory.most.values()):.0f} MiB",
    ]
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two events of chaos, on average")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--per-second", type=float, default=2.0, help="requests of each client")
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds between two attacks")
    parser.add_argument(
        "--budget", type=float, default=BUDGET, help="MiB a worker may have; a sanitizer build has more"
    )
    parser.add_argument("--rest", type=float, default=REST, help="MiB above the start that it may have at the end")
    parser.add_argument("--log", type=Path, help="keep the log of router and Lambda here")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Rig(options.workers, flags=chaos.FLAGS) as rig:
        verdict = asyncio.run(run(rig, options))
        verdict.problems += verdict.late
        verdict.problems += [f"process {pid} is left" for pid in rig.close()]
        if options.log:
            shutil.copy(rig.log_file, options.log)
    print("\n".join(verdict.lines))
    for problem in verdict.problems:
        print(f"PROBLEM: {problem}")
    print("failed" if verdict.problems else "all as it should be", f"(process {os.getpid()})")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
