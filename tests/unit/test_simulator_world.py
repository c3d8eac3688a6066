"""The simulator's world: conservation, Lambda's limits, frozen environments, requests that slow each other."""

from array import array
from collections.abc import Callable

import pytest

from lambda_dispatch.simulator.requests import NS, of_clients
from lambda_dispatch.simulator.service import Service
from lambda_dispatch.simulator.world import World
from lambda_dispatch_core.board import board as b


def service(cold: float = 2.0, thaw: float = 0.05, warm: float = 300.0, **limits: float) -> Service:
    return Service(lambda: cold, lambda: thaw, lambda: warm, **limits)  # type: ignore[arg-type]


def times(*seconds: float) -> "array[int]":
    return array("q", (round(s * NS) for s in seconds))


def play(world: World, look: Callable[[float], None]) -> None:
    while world.advance() >= 0:
        look(world.now / NS)


def once(world: World, count: int = 1, stays: bool = False) -> Callable[[float], None]:
    """A scaler that starts `count` instances at its first look and nothing afterwards."""
    left = [count]

    def look(now: float) -> None:
        while left[0]:
            left[0] -= 1
            world.start(0, stays)

    return look


def test_a_request_waits_for_the_cold_start_and_is_served() -> None:
    world = World(times(0.01), times(0.1), service())
    play(world, once(world))
    assert list(world.waits()) == [round(1.99 * NS)]
    assert list(world.times()) == [round(2.09 * NS)]
    assert world.billed == round((2 + 0.1 + 0.25) * NS)  # start, request, idle exit


def test_the_queue_is_first_in_first_out() -> None:
    world = World(times(0.1, 0.2, 0.3), times(1, 1, 1), service(), limit=1)
    play(world, once(world))
    assert list(world.waits()) == [round(s * NS) for s in (1.9, 2.8, 3.7)]


def test_a_request_goes_to_the_least_busy_instance() -> None:
    # Both are open at 2 s; ten slots each. Four requests that stay: two each, so that two more leave none with four.
    world = World(times(3, 3.1, 3.2, 3.3), times(5, 5, 5, 5), service(), tail=1)
    seen: list[list[int]] = []

    start = once(world, 2, stays=True)

    def look(now: float) -> None:
        start(now)
        seen.append([instance.in_flight for instance in world.instances(0)])

    play(world, look)
    assert [2, 2] in seen
    assert not any(3 in counts or 4 in counts for counts in seen)


@pytest.mark.parametrize("life", [5.0, 885.0])
def test_what_comes_in_goes_out_one_way_or_another(life: float) -> None:
    arrive = times(*(n * 0.02 for n in range(3000)))
    world = World(
        arrive, times(*[0.7] * 3000), service(), limit=3, queue_timeout=2, queue_limit=100, life=life, tail=30
    )

    def look(now: float) -> None:
        if world.totals(0).queued and len(world.instances(0)) < 6:
            world.start(0)

    play(world, look)
    assert world.completed + world.refused + world.expired + world.cut == 3000
    assert world.refused > 0 and world.expired > 0 and world.completed > 0
    assert len(world.waits()) == world.completed + world.cut
    totals = world.totals(0)
    assert (totals.queued, totals.running, totals.arrivals) == (0, 0, 3000)
    assert world.instances(0) == []


def test_a_frozen_environment_is_used_again_and_a_late_one_is_not() -> None:
    world = World(times(0, 10, 400), times(0.1, 0.1, 0.1), service(warm=300))

    def look(now: float) -> None:
        if world.totals(0).queued and not world.instances(0):
            world.start(0)

    play(world, look)
    waits = [wait / NS for wait in world.waits()]
    # After the bell: 5 ms, then the start.
    assert waits == pytest.approx([2.0, 0.055, 2.005], abs=0.006)
    assert world.invokes == 3


def test_an_init_only_invoke_keeps_a_frozen_environment_for_longer() -> None:
    lambda_ = service(warm=300)
    world = World(times(0, 400), times(0.1, 0.1), lambda_)
    warmed: list[float] = []

    def look(now: float) -> None:
        if world.totals(0).queued and not world.instances(0):
            world.start(0)
        if now > 200 and not warmed:
            warmed.append(now)
            assert world.warm()

    play(world, look)
    assert max(world.waits()[1:]) < 0.1 * NS
    assert (lambda_.cold_starts, lambda_.frozen_starts, world.spare_invokes) == (1, 2, 1)


def test_the_accounts_concurrency_throttles_the_rest() -> None:
    lambda_ = service(concurrency=3)
    world = World(times(0.05), times(0.1), lambda_)
    play(world, once(world, 5))
    assert (lambda_.cold_starts, lambda_.throttled, world.completed) == (3, 2, 1)


def test_a_throttled_invoke_is_answered_at_once_and_costs_nothing() -> None:
    lambda_ = service(concurrency=1)
    world = World(times(0.05), times(0.1), lambda_)
    ended: list[tuple[b.Instance, str, int]] = []

    start = once(world, 3)

    def look(now: float) -> None:
        start(now)
        ended.extend(world.take_ends(0))

    play(world, look)
    refused = [end for end in ended if end[1] == "Throttled"]
    assert len(refused) == lambda_.throttled == 2
    assert [end[2] for end in refused] == [NS // 50] * 2
    assert world.billed == round((2 + 0.1 + 0.25) * NS)


def test_a_thousand_new_environments_at_once_and_a_hundred_more_per_second() -> None:
    lambda_ = service(concurrency=5000)
    world = World(times(0.05), times(0.01), lambda_, tail=10)
    started = [0]

    def look(now: float) -> None:
        if now == 0 or (now > 1 and started[0] == 1200):
            for _ in range(1200):
                world.start(0)
            started[0] += 1200

    play(world, look)
    assert 1000 + 100 <= lambda_.cold_starts <= 1000 + 120


def test_requests_on_one_cpu_share_it() -> None:
    # Two requests of 1 s that only compute, on one CPU: alone 1 s, together 2 s.
    world = World(times(3, 3), times(1, 1), service(), share=1.0, cpus=1.0)
    play(world, once(world, 1, stays=True))
    assert [t / NS for t in world.times()] == pytest.approx([2, 2])
    # A second one that comes halfway: half a second alone, one second shared, then half a second alone.
    world = World(times(3, 3.5), times(1, 1), service(), share=1.0, cpus=1.0)
    play(world, once(world, 1, stays=True))
    assert [t / NS for t in world.times()] == pytest.approx([1.5, 1.5])


def test_half_a_cpu_is_half_as_fast_even_for_one() -> None:
    world = World(times(3), times(0.03), service(), share=1.0, cpus=0.5)
    play(world, once(world, 1, stays=True))
    assert world.times()[0] / NS == pytest.approx(0.06)


def test_waiting_for_something_else_is_not_slowed() -> None:
    world = World(times(3, 3, 3), times(1, 1, 1), service(), share=0.2, cpus=1.0)
    play(world, once(world, 1, stays=True))
    assert [t / NS for t in world.times()] == pytest.approx([1, 1, 1])


def test_an_instance_at_its_deadline_is_a_last_resort_until_it_is_replaced() -> None:
    # It opens at 2 s and asks to end at 22 s; it has lived 20 s, so that it may be used for 2 s more.
    world = World(times(3, 23, 25), times(0.1, 0.1, 0.1), service(), life=20, tail=1, queue_timeout=5)
    play(world, once(world, 1, stays=True))
    assert world.waits()[1] == 0
    assert world.expired == 1  # the third found nothing, and nobody started anything


def test_an_instance_that_is_recycled_keeps_what_it_has_and_is_a_last_resort_for_the_time_given() -> None:
    world = World(times(3, 6, 12), times(5, 0.1, 0.1), service(), tail=1, queue_timeout=3)
    start = once(world, 1, stays=True)
    states: list[int] = []

    def look(now: float) -> None:
        start(now)
        if now >= 5 and not states:
            assert world.recycle(0, 0, 4.0) and not world.recycle(0, 0, 4.0)
        if now >= 5:
            states.extend(it.state for it in world.instances(0))

    play(world, look)
    assert set(states) == {b.INSTANCE_DRAINING}
    assert list(world.waits())[:2] == [0, 0]
    assert (world.completed, world.cut, world.expired) == (2, 0, 1)
    assert (world.ends[0][2], world.ends[0][3]) == ("RouterGoAway", 9 * NS)


def test_service_times_are_counted_as_on_the_board() -> None:
    world = World(times(3, 3, 3), times(0.1, 0.1, 70), service())
    play(world, once(world, 1, stays=True))
    counts = world.service_counts(0)
    assert (sum(counts), counts[b.bucket_of(NS // 10)], counts[b.bucket_of(70 * NS)]) == (3, 2, 1)


def test_what_runs_longer_than_the_invoke_is_cut() -> None:
    world = World(times(3), times(100), service(), life=20)
    play(world, once(world, 1, stays=True))
    assert (world.completed, world.cut) == (0, 1)
    assert world.ends[0][2] == "SelfDeadline"
    assert world.ends[0][3] == (2 + 20 + 14) * NS


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_cut_request_has_a_service_time_as_on_the_board(share: float) -> None:
    world = World(times(3, 4, 7, 10), times(2.2, 100, 3.1, 110), service(), life=20, share=share, cpus=9)
    play(world, once(world, 1, stays=True))
    counts = world.service_counts(0)
    assert (world.completed, world.cut, sum(counts)) == (2, 2, 4)
    assert (counts[b.bucket_of(26 * NS)], counts[b.bucket_of(32 * NS)]) == (1, 1)


def test_a_failed_start_ends_without_opening_and_leaves_no_environment() -> None:
    lambda_ = service()
    world = World(times(0.05), times(0.1), lambda_, failing=lambda: True, queue_timeout=3)
    play(world, once(world))
    assert (world.ends[0][1].opened, world.ends[0][2]) == (0, "FunctionError")
    assert lambda_.frozen(world.now) == 0
    assert world.expired == 1


def test_the_scaler_looks_every_tenth_of_a_second_and_soon_after_its_bell() -> None:
    world = World(times(0.23), times(0.1), service(), tail=0.2, queue_timeout=0.3)
    looks: list[float] = []
    play(world, looks.append)
    assert looks[:5] == pytest.approx([0, 0.1, 0.2, 0.235, 0.335])


def test_routers_take_requests_in_turn_and_use_their_own_instances() -> None:
    world = World(times(3, 3.1, 3.2, 3.3), times(1, 1, 1, 1), service(), pools=2, queue_timeout=2)

    start = once(world, 1, stays=True)

    def look(now: float) -> None:
        start(now)

    play(world, look)
    assert [world.totals(pool).arrivals for pool in (0, 1)] == [2, 2]
    assert (world.completed, world.expired) == (2, 2)


def test_packing_fills_one_instance_before_the_next() -> None:
    world = World(times(3, 3.1, 3.2), times(5, 5, 5), service(), tail=1)
    world.pack(0, 2)
    most: list[list[int]] = []

    start = once(world, 2, stays=True)

    def look(now: float) -> None:
        start(now)
        if now < 8:
            most.append(sorted(instance.in_flight for instance in world.instances(0)))

    play(world, look)
    assert [0, 2] in most and [1, 2] in most and [1, 1] not in most


def test_a_client_sends_its_next_request_when_the_last_one_is_over() -> None:
    requests = of_clients(3, 10.0, 1.0)
    world = World(requests.arrive[:], requests.takes, service(), limit=2, clients=3, until=10.0)
    play(world, once(world))
    # Two slots from 2 s on: two answers at 3, 4 ... 10 s, and the one that waits then is served, too.
    assert world.completed == 2 * 8 + 1
    assert sum(world.waits()) == (3 * 2 + 8) * NS  # all for the start, then always one
