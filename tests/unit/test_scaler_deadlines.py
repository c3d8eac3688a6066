"""Instances leave before their deadlines cut off what they have, not all at once, and only where requests take long."""

import pytest

from lambda_dispatch.scaler.deadlines import (
    HAND_OVER,
    LEAST_LIFE,
    LONGER,
    LOOKS,
    MARGIN,
    MOST,
    REMEMBERED,
    SPREAD,
    WAVE,
    Longest,
    leaves_at,
    leaves_early,
)
from lambda_dispatch_core.board import board as b
from tests.unit.test_scaler_step import NS, Pool

LIFE = 900.0


def left(longest: float, instances: int = 30, algorithm: str = "adaptive") -> tuple[dict[int, float], int]:
    """When each of the first instances was told to leave, s; and how many were missing at once at most."""
    pool = Pool(algorithm, min_instances=instances)
    told: dict[int, float] = {}
    most = 0
    for tick in range(9000):
        now = 10 + tick / 10
        for slot, it in list(pool.instances.items()):
            pool.instances[slot] = it._replace(in_flight=8 if it.opened else 0)
            if it.state == b.INSTANCE_DRAINING and it.goaway_at <= now * NS:
                pool.fleet.runs.pop(slot)
                del pool.instances[slot]
        done, _ = pool.act(now, running=8 * instances, longest=longest)
        for slot in done.commands.recycle:
            if slot <= instances:
                told[slot] = now
        most = max(most, sum(it.state == b.INSTANCE_DRAINING for it in pool.instances.values()))
    return told, most


def test_where_requests_take_a_minute_each_instance_leaves_so_much_earlier_and_never_many_together() -> None:
    told, most = left(60.0)
    assert len(told) >= 25
    # Created at 10 s; its extension asks to end 15 s before its deadline.
    last = 10 + LIFE - MARGIN - HAND_OVER - 60 * LONGER
    assert max(told.values()) <= last + 20
    assert min(told.values()) >= last - SPREAD
    assert len({round(at) for at in told.values()}) >= 5
    assert most <= 30 // 10 + 1


def test_where_requests_are_short_those_that_started_together_are_replaced_one_after_the_other() -> None:
    told, most = left(5.0)
    last = 10 + LIFE - MARGIN - HAND_OVER
    assert len(told) == 30
    assert last - SPREAD <= min(told.values()) and max(told.values()) <= last + 20
    assert len({round(at) for at in told.values()}) >= 10
    assert most <= 30 // 10 + 1


@pytest.mark.parametrize(("life", "early"), [(LIFE, True), (LEAST_LIFE, True), (LEAST_LIFE - 1, False), (60.0, False)])
def test_a_function_with_a_short_timeout_keeps_its_instances_for_all_of_it(life: float, early: bool) -> None:
    it = b.Instance(3, 1, b"", b.INSTANCE_OPEN, 0, 10, 0, 0, 0, 0, 0, 1, int(10 + life * NS), 0, False)
    last = int((life - MARGIN) * NS)  # its extension asks to end
    assert leaves_early(it._replace(created=10), 5.0, last - 1, spread=True) is early
    assert not leaves_early(it._replace(created=10), 5.0, last - 1, spread=False)


@pytest.mark.parametrize(("algorithm", "instances"), [("simple", 30), ("ewma", 30), ("adaptive", WAVE - 1)])
def test_the_originals_algorithms_and_a_few_instances_wait_for_their_deadlines(algorithm: str, instances: int) -> None:
    assert left(5.0, instances, algorithm)[0] == {}


def test_the_moment_is_the_same_at_each_look_and_unlike_the_neighbours() -> None:
    def instance(slot: int) -> b.Instance:
        return b.Instance(slot, 1, b"", b.INSTANCE_OPEN, 0, 10, 0, 0, 0, 0, 0, 1, 900 * NS, 0, False)

    moments = {leaves_at(instance(slot), 30.0) for slot in range(100)}
    assert len(moments) > 90 and leaves_at(instance(7), 30.0) == leaves_at(instance(7), 30.0)
    assert max(moments) <= (900 - MARGIN - HAND_OVER - 30 * LONGER) * NS


def test_the_longest_time_counts_however_many_shorter_ones_there_are() -> None:
    counts = [0] * len(b.bucket_bounds())
    longest = Longest()
    assert longest.read(1.0, counts[:]) == 0.0
    counts[b.bucket_of(NS // 10)] = 1_000_000
    assert longest.read(2.0, counts[:]) == pytest.approx(0.1, rel=0.2)
    counts[b.bucket_of(100 * NS)] = 1
    assert 100 <= longest.read(3.0, counts[:]) <= 119
    counts[-1] = 1
    assert longest.read(4.0, counts[:]) == MOST


def test_a_long_request_is_forgotten_after_an_hour_without_another() -> None:
    counts, longest = [0] * len(b.bucket_bounds()), Longest()
    counts[b.bucket_of(100 * NS)] = 1
    assert longest.read(10.0, counts[:]) > 99
    counts[b.bucket_of(NS)] = 5
    assert longest.read(9.0 + REMEMBERED, counts[:]) > 99
    assert longest.read(11.0 + REMEMBERED, counts[:]) == pytest.approx(1.0, rel=0.2)
    counts[b.bucket_of(100 * NS)] = 2
    assert longest.read(12.0 + REMEMBERED, counts[:]) > 99


def test_the_histogram_is_read_seldom() -> None:
    fleet = Pool("adaptive").fleet
    read: list[int] = []

    def counts() -> list[int]:
        read.append(len(read))
        return [0] * (80 + len(read)) + [1] + [0] * (len(b.bucket_bounds()) - 81 - len(read))

    assert len({fleet.longest(1.0, counts) for _ in range(LOOKS)}) == 1 and len(read) == 1
    assert fleet.longest(2.0, counts) > 15.0 and len(read) == 2
