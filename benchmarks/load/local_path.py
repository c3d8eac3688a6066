"""The whole local path as `./run dev` runs it: embedded Lambda, router, extension and demo application on this machine.

    python -m benchmarks.load.local_path [--rounds 3] [--seconds 2] [--json figures.json]

Once with one worker and once with as many as there would be by default; nothing is pinned, and the clients are on the
same CPUs. Prints Markdown: requests per second, the time to the answer's last byte, and the CPU-microseconds that a
request costs each kind of process (schedstat; all of a kind together, idle ones too). Medians of the rounds; some two
minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from benchmarks.load.machine import ROOT, cpu_ns, descendants, stop, title
from benchmarks.load.rig import free_ports
from benchmarks.load.volley import Shot, fire

READY = "the first environment is ready"
KINDS = ("worker", "extension", "application", "embedded Lambda", "supervisor, scaler")
WARM_UPS = 3  # volleys before the rounds, so that the instances are there
EVENTS = 100  # of a stream


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    shot: Shot
    clients: int
    first: int  # requests of the first volley, from whose rate the others follow


CASES = {
    "ping": Case("ping, 4 B", Shot("/ping", answer=4), 64, 2000),
    "16k": Case("echo of 16 KiB", Shot("/echo", body=16384, answer=16384), 64, 1000),
    "image": Case("picture of 147 kB", Shot("/public/image.png", answer=-1), 64, 1000),
    "9mb": Case("echo of 9 MB", Shot("/echo", body=9_000_000, answer=9_000_000), 4, 8),
    "stream": Case(f"stream of {EVENTS} events", Shot(f"/sse?count={EVENTS}&interval=0", answer=-1), 16, 64),
}


@dataclass(slots=True)
class Round:
    rate: float
    p50: float  # ms
    p99: float
    environments: int
    cpu: dict[str, float]  # us per request
    failed: dict[str, int]


@contextmanager
def dev(workers: int | None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`lambda-dispatch dev` once its first environment is ready, and the router's port."""
    port, control, lambda_port = free_ports(3)
    argv = [sys.executable, "-m", "lambda_dispatch.cli", "dev", "--http-port", str(port)]
    argv += ["--control-http-port", str(control), "--lambda-port", str(lambda_port)]
    argv += [] if workers is None else ["--workers", str(workers)]
    with tempfile.TemporaryDirectory() as run_directory:
        process = subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": run_directory},
        )  # fmt: skip
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if READY in line:
                    break
            else:
                raise SystemExit(f"lambda-dispatch dev did not start:\n{''.join(said)}")
            threading.Thread(target=process.stdout.read, daemon=True).start()  # so that it is never held up
            yield process, port
        finally:
            stop(process)


def kind(pid: int, dev_pid: int) -> str:
    said = title(pid)
    if pid == dev_pid:
        return "embedded Lambda"
    if said.startswith("lambda-dispatch: worker"):
        return "worker"
    if "lambda_dispatch_extension" in said:
        return "extension"
    return "application" if said.endswith("app.py") else "supervisor, scaler"


def usage(dev_pid: int) -> dict[int, tuple[str, int]]:
    """Kind and CPU so far of every process there is."""
    seen = {}
    for pid in [dev_pid, *descendants(dev_pid)]:
        try:
            seen[pid] = (kind(pid, dev_pid), cpu_ns([pid]))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return seen


async def measure(dev_pid: int, port: int, case: Case, rounds: int, seconds: float) -> list[Round]:
    count = case.first
    for _ in range(WARM_UPS):
        count = max(case.clients, round((await fire(port, case.shot, case.clients, count)).rate * seconds))
    measured = []
    for _ in range(rounds):
        before = usage(dev_pid)
        volley = await fire(port, case.shot, case.clients, count)
        after = usage(dev_pid)
        spent: Counter[str] = Counter()
        for pid, (what, ns) in after.items():
            spent[what] += ns - before.get(pid, ("", 0))[1]
        answered = max(1, len(volley.times))
        measured.append(
            Round(
                volley.rate,
                1e3 * volley.quantile(0.5),
                1e3 * volley.quantile(0.99),
                sum(what == "extension" for what, _ in after.values()),
                {what: spent[what] / 1e3 / answered for what in KINDS},
                volley.failed,
            )
        )
    return measured


def row(workers: str, case: Case, rounds: list[Round]) -> str:
    def middle(figures: list[float]) -> str:
        value = statistics.median(figures)
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

    cells = [workers, case.name, middle([one.rate for one in rounds])]
    cells += [middle([one.p50 for one in rounds]), middle([one.p99 for one in rounds])]
    cells += [middle([one.cpu[what] for one in rounds]) for what in KINDS]
    cells.append(f"{statistics.median(one.environments for one in rounds):.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of a round, about")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--workers", nargs="+", default=["1", "default"], help="default: 1 and default")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    heads = ["workers", "", "requests/s", "p50 ms", "p99 ms", *(f"{what} us" for what in KINDS), "environments"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    kept: dict[str, list[dict[str, object]]] = {}
    failed = False
    for workers in given.workers:
        with dev(None if workers == "default" else int(workers)) as (process, port):
            for key in given.only:
                rounds = uvloop.run(measure(process.pid, port, CASES[key], given.rounds, given.seconds))
                print(row(workers, CASES[key], rounds), flush=True)
                kept[f"{workers} {key}"] = [asdict(one) for one in rounds]
                for one in rounds:
                    if one.failed:
                        failed = True
                        print(f"{key}: failed: {one.failed}", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(kept, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
