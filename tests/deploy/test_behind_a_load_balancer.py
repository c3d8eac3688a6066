"""A router that is drained behind HAProxy loses no request, though the load balancer goes on sending for a while."""

import asyncio
import shutil

import pytest
from benchmarks.load.balancer import Fleet, drain, replace
from benchmarks.load.steady import SteadyLoad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy: apt-get install haproxy"),
]

# Checks every 0.2 s that must fail five times: the load balancer sends to a draining router for about a second.
FLAGS = ("--lame-duck", "3", "--drain-deadline", "20")


def test_a_drained_router_fails_no_request_that_the_balancer_still_sends() -> None:
    with Fleet(2, every=200, fall=5, flags=FLAGS) as fleet:
        load = SteadyLoad(fleet.port, clients=10, per_second=20)
        sent_for = asyncio.run(drain(fleet, load, 600))
        assert [outcome.problem for outcome in load.failures()] == []
        assert sent_for > 0.5  # it did send, or this test shows nothing
        assert fleet.codes == [0]
        assert fleet.close() == []


def test_routers_are_replaced_one_after_the_other_without_a_failure() -> None:
    with Fleet(2, every=200, fall=2, flags=FLAGS) as fleet:
        load = SteadyLoad(fleet.port, clients=10, per_second=20)
        asyncio.run(replace(fleet, load, 600))
        assert [outcome.problem for outcome in load.failures()] == []
        assert fleet.codes == [0, 0]
        assert fleet.close() == []
