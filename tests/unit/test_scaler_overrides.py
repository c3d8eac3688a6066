"""What operators set reaches the next look, ends by itself, and stands in the record of the decision."""

from dataclasses import replace

import pytest

from lambda_dispatch.scaler.causes import PAUSED
from lambda_dispatch.scaler.guard import Breaker
from lambda_dispatch.scaler.model import Limits
from lambda_dispatch.scaler.overrides import orders
from lambda_dispatch.scaler.policies import POLICIES
from lambda_dispatch.scaler.record import differences
from lambda_dispatch.scaler.step import Hold, Recycle
from lambda_dispatch_core.board import board as b
from tests.unit.test_scaler_step import NS, Pool

CONFIGURED = Limits(10, 2, min_instances=1, max_instances=40)


def override(kind: int, first: int = -1, second: int = -1, number: int = 1, **more: object) -> b.Override:
    whole = b.Override(kind, number, 5 * NS, 0, 0, 0, 1, first, second, "Zoë", "a test")
    return whole._replace(**more)  # type: ignore[arg-type]


def test_nothing_set_leaves_the_configured_limits() -> None:
    found = orders([], CONFIGURED, 0, 10 * NS)
    assert (found.hold, found.limits, found.overrides, found.command) == (Hold.NOTHING, CONFIGURED, 0, None)


@pytest.mark.parametrize(
    ("first", "second", "expected"), [(2, 40, (2, 40)), (-1, 5, (1, 5)), (7, -1, (7, 40)), (60, -1, (60, 60))]
)
def test_limits_stand_in_for_those_that_are_configured(first: int, second: int, expected: tuple[int, int]) -> None:
    found = orders([override(b.OVERRIDE_LIMITS, first, second)], CONFIGURED, 0, 10 * NS)
    assert (found.limits.min_instances, found.limits.max_instances) == expected
    assert found.overrides == 1 << b.OVERRIDE_LIMITS and found.command is not None


def test_an_override_ends_at_its_expiry_or_when_it_is_ended() -> None:
    until = override(b.OVERRIDE_LIMITS, 2, 3, until=20 * NS)
    assert orders([until], CONFIGURED, 0, 20 * NS - 1).limits.max_instances == 3
    assert orders([until], CONFIGURED, 0, 20 * NS).limits == CONFIGURED
    ended = override(b.OVERRIDE_PAUSE, 2, ended=9 * NS)
    assert orders([ended], CONFIGURED, 0, 10 * NS).hold is Hold.NOTHING


def test_commands_are_taken_up_one_by_one_in_their_order_and_once() -> None:
    found = [override(b.OVERRIDE_LIMITS, number=8), override(b.OVERRIDE_BREAKER, number=6)]
    first = orders(found, CONFIGURED, 5, NS).command
    assert first is not None and first.number == 6
    second = orders(found, CONFIGURED, 6, NS).command
    assert second is not None and second.number == 8
    assert orders(found, CONFIGURED, 8, NS).command is None


@pytest.mark.parametrize("algorithm", [policy.name for policy in POLICIES])
def test_a_paused_pool_keeps_its_count_and_replaces_what_ends(algorithm: str) -> None:
    pool = Pool(algorithm)
    for tick in range(20):
        pool.act(10.0 + tick / 10, queued=45, running=10)
    count = pool.fleet.desired
    assert count > 0
    held = Limits(10, 2, pinned=count)
    pool.act(13.0, running=10, limits=held)
    slot = next(iter(pool.instances))
    pool.fleet.runs.pop(slot)
    del pool.instances[slot]
    done, record = pool.act(20.0, queued=500, running=10, limits=held)
    assert len(done.commands.start) == 1 and pool.fleet.desired == count
    assert record is not None and differences(record) == {}
    for tick in range(200):
        done, _ = pool.act(21.0 + tick / 10, limits=held)
        assert not done.commands.let_go and not done.commands.start
    assert pool.fleet.desired == count


@pytest.mark.parametrize("algorithm", [policy.name for policy in POLICIES])
def test_a_maximum_below_what_runs_closes_instances_though_requests_wait(algorithm: str) -> None:
    pool = Pool(algorithm)
    for tick in range(40):
        pool.act(10.0 + tick / 10, queued=95, running=10)
    assert len(pool.instances) > 3
    low = Limits(10, 2, max_instances=3)
    for tick in range(600):
        _, record = pool.act(14.0 + tick / 10, queued=95, running=10, limits=low)
        assert record is None or differences(record) == {}
    assert sum(it.state == b.INSTANCE_OPEN for it in pool.instances.values()) == 3


def test_the_record_says_who_did_what_and_why() -> None:
    command = override(b.OVERRIDE_LIMITS, 3)
    done, record = Pool().act(10.0, limits=Limits(10, 2, min_instances=3), overrides=1, command=command)
    assert len(done.commands.start) == 3 and record is not None
    assert (record.command, record.who, record.why, record.overrides) == (1, "Zoë", "a test", 1)
    assert Pool().act(10.0, command=command)[1] is not None, "a command leaves a record though nothing changes"


def test_a_reset_breaker_lets_starts_go_again() -> None:
    pool = Pool()
    pool.fleet.guard.restore_open(60.0)
    assert not pool.act(10.0, queued=25)[0].commands.start
    done, record = pool.act(10.1, queued=25, command=override(b.OVERRIDE_BREAKER))
    assert len(done.commands.start) == 2 and pool.fleet.guard.breaker is Breaker.CLOSED
    assert record is not None and record.breaker == 0


def test_a_pool_is_recycled_one_by_one_and_never_while_starts_fail() -> None:
    pool = Pool(min_instances=3)
    pool.act(10.0)
    pool.act(12.0)
    old = set(pool.instances)
    assert len(old) == 3
    recycle = Recycle(int(12.5 * NS), 1)
    most = 0
    for tick in range(600):
        now = 13.0 + tick / 10
        pool.act(now, running=5, recycle=recycle)
        missing = sum(it.state == b.INSTANCE_DRAINING and it.goaway_at > now * NS for it in pool.instances.values())
        most = max(most, missing)
        for slot, seen in list(pool.instances.items()):
            if seen.state == b.INSTANCE_DRAINING and seen.goaway_at <= now * NS:
                pool.fleet.runs.pop(slot)
                del pool.instances[slot]
    assert most == 1 and not old & set(pool.instances)
    assert sum(it.state == b.INSTANCE_OPEN for it in pool.instances.values()) == 3

    again = replace(pool.look(80.0, running=5), recycle=Recycle(80 * NS, 1))
    pool.fleet.guard.restore_open(99.0)
    from lambda_dispatch.scaler.step import step

    assert not step(pool.fleet, again).commands.recycle


def test_a_paused_pool_says_so() -> None:
    record = Pool().act(10.0, queued=25, limits=Limits(10, 2, pinned=0))[1]
    assert record is not None and record.held == PAUSED
