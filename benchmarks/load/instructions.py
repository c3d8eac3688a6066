"""Instructions that a worker executes per request: `python -m benchmarks.load.instructions [CASE…]`.

The worker runs under valgrind's callgrind, which counts its instructions in user mode. The count hardly depends on what
else the machine does, so two commits can be compared on a busy machine, where CPU time scatters by more than a change
of a few percent. It says nothing of the kernel's part, nor of caches. Needs valgrind (apt-get install valgrind).

--profile FILE keeps callgrind's own file of the last round, for callgrind_annotate or KCachegrind.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.load import contestants
from benchmarks.load.clients import wrk
from benchmarks.load.machine import PROGRAMS, Missing, Stage, check
from benchmarks.load.race import CASES

CASES_HERE = ("4b-64", "16k-64", "headers")
# Names in full: by default a dump refers to those of the dumps before it, and callgrind_annotate reads one file.
CALLGRIND = "valgrind --tool=callgrind --compress-strings=no"


def wrapper(stage: Stage) -> Path:
    """Takes the interpreter's place: only a worker runs under callgrind."""
    script = stage.scratch / "python"
    out = shlex.quote(str(stage.scratch / "callgrind.out.%p"))
    python = shlex.quote(sys.executable)
    script.write_text(f"""#!/bin/sh
case "$*" in
    *lambda_dispatch.worker*) exec {CALLGRIND} --callgrind-out-file={out} {python} "$@" ;;
    *) exec {python} "$@" ;;
esac
""")
    script.chmod(0o755)
    return script


def command(stage: Stage, pid: int, *options: str) -> None:
    subprocess.run(["callgrind_control", *options, str(pid)], check=True, capture_output=True, cwd=stage.scratch)


def count(
    name: str, rounds: int, seconds: float, profile: Path | None, environ: Mapping[str, str] | None = None
) -> list[float]:
    """Instructions per request, one figure for each round. environ: more of the router's environment."""
    figures = []
    with Stage() as stage:
        worker = contestants.ours(stage, python=str(wrapper(stage)), flags=("--hang-timeout=600",), environ=environ)
        [pid] = worker.pids
        for number in range(rounds + 1):  # the first warms up
            command(stage, pid, "--zero")
            asked = wrk(CASES[name].load, worker.port, seconds, stage.other_core, stage.scratch)
            command(stage, pid, "--dump")
            newest = max(stage.scratch.glob(f"callgrind.out.{pid}.*"), key=lambda path: path.stat().st_mtime)
            if number and asked.requests and not asked.errors:
                total = re.search(r"^(?:totals|summary): (\d+)", newest.read_text(), re.MULTILINE)
                assert total is not None, newest
                figures.append(int(total[1]) / asked.requests)
        if profile is not None:
            shutil.copyfile(newest, profile)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of the race, over HTTP/1.1; {', '.join(CASES_HERE)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each round; some 50 times slower than without")
    parser.add_argument("--profile", type=Path, help="where to keep the last round's callgrind file")
    options = parser.parse_args()
    try:
        check({"wrk": PROGRAMS["wrk"]})
    except Missing as error:
        parser.exit(2, f"instructions: {error}\n")
    for name in options.cases or CASES_HERE:
        figures = count(name, options.rounds, options.seconds, options.profile)
        spread = f"{min(figures):,.0f} to {max(figures):,.0f}"
        print(f"{name:10} {statistics.median(figures):10,.0f} instructions per request ({spread})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
