"""The short form of benchmarks/load/restarts.py: the router is replaced under clients that ask nothing twice."""

import asyncio

from benchmarks.load.restarts import FLAGS, full, rolling
from benchmarks.load.rig import Rig


def test_rolling_restarts_cost_no_request() -> None:
    with Rig(workers=2, flags=FLAGS) as rig:
        outcomes = asyncio.run(rolling(rig, 2, seed=1, clients=8, per_second=10))
        assert [outcome for outcome in outcomes if outcome.problem] == [], rig.log()
        assert len(outcomes) > 16
        assert rig.close() == []


def test_what_a_router_that_is_told_to_end_has_accepted_it_answers() -> None:
    with Rig(workers=2, flags=FLAGS) as rig:
        found = asyncio.run(full(rig, 1, seed=1, clients=8, per_second=10))
        assert [outcome for outcome in found.outcomes if outcome.problem] == [], rig.log()
        assert found.wrongly_refused == [], rig.log()
        assert found.codes == [0], rig.log()
        assert rig.close() == []
