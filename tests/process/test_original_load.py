"""The load of benchmarks/load/original_habits in small: no answer is cut, and no instance ends that need not."""

import random

import pytest
from benchmarks.load.original_habits import run

from tests.support import loop


@pytest.mark.timeout(120)
def test_no_answer_is_cut_while_clients_leave_and_instances_are_drained() -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    result = loop.run(run(1500, instances=3, drain_every=0.3, seed=seed), patience=100)
    assert (result.requests, result.cut, dict(result.failed)) == (1500, 0, {})
    assert result.drained > 0
    assert "panic" not in result.ends
