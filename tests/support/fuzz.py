"""Random input for every decoder of the core:  python -m tests.support.fuzz --seconds 600 [--seed S] [--only h2,http1]

Each decoder's own module, fuzz_NAME, says what must hold whatever comes. Every decoder gets the given time.
"""

import argparse
import importlib
import random
from pathlib import Path


def decoders() -> list[str]:
    return sorted(path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py"))


def run(name: str, seconds: float, seed: int) -> int:
    """How many cases one decoder was fed."""
    cases: int = importlib.import_module(f"tests.support.fuzz_{name}").run(seconds, seed)
    return cases


def main() -> None:
    known = decoders()
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzz", description="Random input for every decoder.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long, for each decoder (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="where to begin (default: anywhere)")
    parser.add_argument("--only", default=",".join(known), help=f"some of {','.join(known)}")
    options = parser.parse_args()
    chosen = options.only.split(",")
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        parser.error(f"--only: no decoder {', '.join(unknown)}; there are {', '.join(known)}")
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    for name in chosen:
        print(f"{name:8} {run(name, options.seconds, seed):12,} cases in {options.seconds:g} s", flush=True)


if __name__ == "__main__":
    main()
