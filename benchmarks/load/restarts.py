"""The router is replaced under load, again and again, by clients that ask nothing twice.

    python -m benchmarks.load.restarts [--rolling 100] [--full 20] [--workers 2] [--seed 1] [--fresh]

Rolling (SIGUSR1): every worker gets a successor on the same sockets before it drains. No request may fail, and none may
wait longer than a cold start. Full (SIGTERM, then a new router on the same ports): everything that was accepted is
answered and the exit code is 0. A connection may be refused between the signal and the new router's being ready, and at
no other time: such refusals are counted apart, and the client tries again. Nothing else is ever tried again.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.rig import Rig
from benchmarks.load.steady import Outcome, SteadyLoad

from lambda_dispatch_core.board import board as b

LAME_DUCK = 1.0  # seconds; every client of this load has an answer within that time that tells it to reconnect
COLD_START = 2.0  # seconds; what the demo application and a Python extension take at most on a busy machine
PATIENCE = 30.0  # seconds for one replacement

FLAGS = ("--lame-duck", str(LAME_DUCK), "--drain-deadline", "10", "--max-concurrent-count", "10")


async def replaced(rig: Rig, old: dict[int, int]) -> None:
    """All workers are new, and the old ones have gone."""
    gone = set(old.values())
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with rig.board() as board:
            workers = [worker for worker in board.list_workers() if worker.state != b.WORKER_FREE]
        ready = [worker for worker in workers if worker.state == b.WORKER_READY]
        if len(ready) == len(workers) == rig.worker_count and not gone & {worker.pid for worker in workers}:
            return
        await asyncio.sleep(0.02)
    raise RuntimeError(f"workers {sorted(gone)} were not replaced within {PATIENCE} s")


async def rolling(rig: Rig, times: int, seed: int, clients: int, per_second: float, keep: bool = True) -> list[Outcome]:
    """Outcomes of a load during so many rolling restarts."""
    async with SteadyLoad(rig.port, clients, per_second, seed, keep=keep) as load:
        await warm(load)
        for _ in range(times):
            old = rig.workers()
            assert rig.router is not None
            rig.router.send_signal(signal.SIGUSR1)
            await replaced(rig, old)
            rig.remember()
        await asyncio.sleep(1.0)
    return load.outcomes


@dataclass(slots=True)
class Cycles:
    """What ends and new beginnings did to a load."""

    outcomes: list[Outcome] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)  # the routers' exit codes
    refused: int = 0  # connections, while no process had to listen
    wrongly_refused: list[float] = field(default_factory=list)  # seconds after the nearest readiness before


async def full(rig: Rig, times: int, seed: int, clients: int, per_second: float, keep: bool = True) -> Cycles:
    found = Cycles()
    gaps = []
    async with SteadyLoad(rig.port, clients, per_second, seed, patient=True, keep=keep) as load:
        await warm(load)
        for _ in range(times):
            told = time.monotonic()
            found.codes.append(await asyncio.to_thread(rig.stop_router))
            await asyncio.to_thread(rig.start_router)
            gaps.append((told, time.monotonic()))
            before = load.answered
            while load.answered < before + clients:  # noqa: ASYNC110 - the load tells nobody
                await asyncio.sleep(0.02)
    found.outcomes = load.outcomes
    for at in load.refusals:
        if any(told <= at <= ready for told, ready in gaps):
            found.refused += 1
        else:
            found.wrongly_refused.append(at - max((ready for _, ready in gaps if ready < at), default=at))
    return found


async def warm(load: SteadyLoad) -> None:
    while load.answered < 2 * len(load.clients):  # noqa: ASYNC110 - the load tells nobody
        await asyncio.sleep(0.02)
    load.outcomes.clear()


def report(what: str, times: int, outcomes: list[Outcome], seconds: float) -> None:
    took = sorted(outcome.took for outcome in outcomes if outcome.status == 200)
    failed = [outcome for outcome in outcomes if outcome.problem]
    print(
        f"{times} {what} in {seconds:.0f} s: {len(outcomes)} requests, {len(failed)} failed; "
        f"p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {took[len(took) * 99 // 100] * 1000:.0f} ms, "
        f"worst {took[-1] * 1000:.0f} ms"
    )
    for outcome in failed[:20]:
        print(f"    {outcome.problem} after {outcome.took:.3f} s{' on a new connection' if outcome.fresh else ''}")


def report_full(times: int, found: Cycles, seconds: float) -> None:
    report("full restarts", times, found.outcomes, seconds)
    patient = sum(outcome.fresh and outcome.took > 0.9 for outcome in found.outcomes)
    print(
        f"    refused while no process listened, and tried again: {found.refused}; refused at another time: "
        f"{len(found.wrongly_refused)}; answered by the successor after the client's kernel asked twice: {patient}"
    )
    for after in found.wrongly_refused[:20]:
        print(f"    refused {after:.3f} s after a router was ready")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rolling", type=int, default=100)
    parser.add_argument("--full", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--per-second", type=float, default=10.0, help="requests of each client")
    parser.add_argument("--fresh", action="store_true", help="a connection of its own for each request")
    parser.add_argument("--log", type=Path, help="keep the log of router and Lambda here")
    options = parser.parse_args()
    load = (options.seed, options.clients, options.per_second, not options.fresh)
    wrong = 0
    with Rig(options.workers, flags=FLAGS) as rig:
        try:
            if options.rolling:
                began = time.monotonic()
                outcomes = asyncio.run(rolling(rig, options.rolling, *load))
                report("rolling restarts", options.rolling, outcomes, time.monotonic() - began)
                wrong += sum(bool(outcome.problem) or outcome.took > COLD_START for outcome in outcomes)
            if options.full:
                began = time.monotonic()
                found = asyncio.run(full(rig, options.full, *load))
                report_full(options.full, found, time.monotonic() - began)
                wrong += sum(bool(outcome.problem) for outcome in found.outcomes) + len(found.wrongly_refused)
                wrong += sum(code != 0 for code in found.codes)
            wrong += len(left := rig.close())
            if left:
                print(f"processes left: {left}")
        finally:
            if options.log:
                shutil.copy(rig.log_file, options.log)
    print("failed" if wrong else "all as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
