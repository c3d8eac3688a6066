"""The short form of benchmarks/load/chaos.py: each kind of harm once or twice, and everything adds up afterwards."""

import asyncio

import pytest
from benchmarks.load.chaos import FLAGS, run
from benchmarks.load.rig import Rig


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_only_what_was_in_the_hands_of_the_killed_is_lost(workers: int) -> None:
    with Rig(workers, flags=FLAGS) as rig:
        verdict = asyncio.run(run(rig, seconds=15, every=1.5, seed=workers, clients=10, per_second=8))
        # How soon it recovers is for a quiet machine to say.
        assert verdict.problems == [], "\n".join([*verdict.lines, rig.log()])
        assert rig.close() == []
