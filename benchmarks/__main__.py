"""`./run bench` runs the micro benchmarks, `./run bench --load` the race against other proxies."""

import sys

import pytest

from benchmarks.load import race


def main(argv: list[str]) -> int:
    if argv and argv[0] == "--load":
        return race.main(argv[1:])
    timed = [] if "--benchmark-disable" in argv else ["--benchmark-only"]
    return int(pytest.main(["benchmarks/micro", *timed, *argv]))


sys.exit(main(sys.argv[1:]))
