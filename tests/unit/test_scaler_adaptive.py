"""`adaptive`: what it starts, what it leaves to warm slots, what it lets go; and what it costs in the simulator."""

import math
from dataclasses import replace

import pytest

from lambda_dispatch.scaler.model import TICK, Instance, Limits, Observation, State
from lambda_dispatch.scaler.policies.adaptive import (
    IN_PAUSE,
    INVOKES,
    MOST_CREDIT,
    SOONEST,
    Adaptive,
    Memory,
    demand,
    lasts,
    staffed,
)
from lambda_dispatch.scaler.start_times import COLD, KEPT, THAW, StartTimes
from lambda_dispatch.simulator.distributions import Distribution
from lambda_dispatch.simulator.generators import LOADS, Load, generate
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.policies import parse
from lambda_dispatch.simulator.requests import of_clients
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting

POLICY = Adaptive()
LIMITS = Limits(max_concurrent=10, multiplier=2)


def opened(count: int, in_flight: int = 0) -> tuple[Instance, ...]:
    return tuple(Instance(slot, State.OPEN, 0.0, in_flight) for slot in range(count))


def seen(**values: object) -> Observation:
    given = {"pending": 0, "running": 0, "recent": 0, "idle_for": 0.0, "per_second": None, "mean_ms": None}
    return Observation(**{"now": 100.0, **given, **values})  # type: ignore[arg-type]


def decide(**values: object):  # type: ignore[no-untyped-def]
    return POLICY.decide(seen(**values), POLICY.first(), LIMITS)[0]


def test_nothing_is_done_for_nobody() -> None:
    decision = decide(idle_for=math.inf)
    assert (decision.start, decision.close, decision.desired) == (0, (), 0)


def test_the_first_request_starts_one_instance() -> None:
    assert decide(pending=1).start == 1


def test_everybody_in_a_volley_is_served_soon_after_the_opening() -> None:
    assert decide(pending=100, takes_ms=1000.0, frozen=20).start == 10  # a thaw is sooner than the second turn
    assert decide(pending=100, takes_ms=1000.0).start == 7  # a cold start is worth more waiting: 1.5 each
    assert decide(pending=100).start == 10  # nothing is known of what they take


def test_a_queue_that_warm_slots_serve_in_time_starts_nothing() -> None:
    busy = {"running": 30, "takes_ms": 100.0, "instances": opened(3, 10), "frozen": 5, "arriving": 200.0}
    assert decide(pending=8, **busy).start == 0  # 300 slots a second: 27 ms
    assert decide(pending=60, **busy).start >= 1


def test_what_starts_already_is_not_started_again() -> None:
    starting = tuple(Instance(slot, State.STARTING, 99.9) for slot in range(10))
    assert decide(pending=100, takes_ms=1000.0, instances=starting, frozen=20).start == 0


def test_what_starts_already_serves_the_longer_the_longer_it_has_been_under_way() -> None:
    burst = {"pending": 300, "running": 10, "takes_ms": 100.0, "arriving": 500.0, "cold": 2.0}
    before = opened(1, 10) + tuple(Instance(slot, State.STARTING, 98.5) for slot in range(1, 16))
    late = decide(instances=before, under_way=0.0, **burst).start
    assert late >= 1
    assert decide(instances=before, under_way=15 * 1.5, **burst).start == 0


def test_a_backlog_that_is_being_served_is_no_lack_of_slots() -> None:
    """What waits when most of a burst's starts are open; of clients who wait for their answers it would never end."""
    backlog = {"pending": 900, "running": 140, "takes_ms": 100.0, "cold": 2.0, "under_way": 2 * 1.9}
    there = opened(14, 10) + tuple(Instance(slot, State.STARTING, 98.1) for slot in range(14, 16))
    memory = Memory(16, at=99.9, short=45.0, low_at=99.8, low=900.0, low_before=900.0)
    decision = POLICY.decide(seen(instances=there, arriving=480.0, **backlog), memory, LIMITS)[0]
    assert decision.start == 0
    assert POLICY.decide(seen(instances=there, arriving=1400.0, **backlog), memory, LIMITS)[0].start >= 12


def test_requests_at_work_that_have_waited_are_not_the_demand_that_stays() -> None:
    draining = {"pending": 50, "running": 200, "takes_ms": 100.0, "arriving": 450.0}
    shrinks, stands = Memory(low_before=80.0), Memory(low_before=40.0)
    assert demand(seen(instances=opened(20, 10), **draining), shrinks) == 45.0
    assert demand(seen(instances=opened(20, 10), **draining), stands) == 200.0
    assert demand(seen(instances=opened(20, 10), **(draining | {"pending": 0})), shrinks) == 200.0
    streams = draining | {"takes_ms": 90_000.0, "arriving": 2.0}
    assert demand(seen(instances=opened(20, 10), **streams), shrinks) == 200.0


def test_requests_that_become_slower_show_in_a_queue_before_they_are_answered() -> None:
    slower = {"pending": 15, "running": 30, "takes_ms": 30.0, "arriving": 40.0, "per_second": 40.0}
    stands = Memory(3, at=99.9, low_before=9.0, opened_at=90.0)
    assert lasts(seen(**slower), stands) == 30 / 40
    assert lasts(seen(**slower), replace(stands, low_before=20.0)) == 0.03, "it shrinks"
    assert lasts(seen(**slower), replace(stands, opened_at=99.8)) == 0.03, "it may shrink yet"
    assert lasts(seen(**(slower | {"per_second": 400.0})), stands) == 30 / 400, "what arrived was more"


def test_growth_is_met_before_it_comes_and_frozen_environments_are_not_enough_for_it() -> None:
    ramp = {"running": 20, "takes_ms": 100.0, "arriving": 200.0, "instances": opened(3, 7)}
    memory = Memory(3, at=99.9, short=20.0)
    steady = POLICY.decide(seen(frozen=0, **ramp), memory, LIMITS)[0]
    grows = POLICY.decide(seen(frozen=0, growing=100.0, **ramp), memory, LIMITS)[0]
    assert (steady.start, grows.start) == (0, 3)
    assert POLICY.decide(seen(frozen=2, growing=100.0, **ramp), memory, LIMITS)[0].start == 3
    assert POLICY.decide(seen(frozen=3, growing=100.0, **ramp), memory, LIMITS)[0].start == 0


def test_demand_that_has_fallen_starts_nothing() -> None:
    memory = Memory(15, at=99.9, short=48.0)
    ended = {"running": 3, "takes_ms": 100.0, "arriving": 110.0, "instances": opened(3, 1), "frozen": 12}
    assert POLICY.decide(seen(**ended), memory, LIMITS)[0].start == 0


def test_where_requests_come_often_half_a_second_without_one_closes_nothing() -> None:
    idle = {"takes_ms": 100.0, "frozen": 2, "idle_for": 0.1}
    assert decide(per_second=6.0, instances=opened(1), **idle).close == ()
    assert decide(per_second=6.0, instances=opened(3), **idle).close == (0, 1)


def idle(memory: Memory | None = None, **values: object):  # type: ignore[no-untyped-def]
    given = {"per_second": 1.0, "takes_ms": 100.0, "frozen": 2, "thaw": 0.05, "idle_for": 0.02} | values
    return POLICY.decide(seen(instances=opened(1), **given), memory or POLICY.first(1), LIMITS)[0]


def test_where_requests_are_seldom_the_last_instance_ends_as_soon_as_it_has_nothing_to_do() -> None:
    assert idle().close == (0,)
    assert idle(arriving=2.0).close == (0,), "two within a second are still seldom"
    assert idle(takes_ms=1200.0).close == (), "one request is at work on average"
    assert idle(thaw=0.6).close == (), "to start it again costs as much as it saves"
    for memory in (Memory(1, at=99.9, slow=1.1), Memory(1, at=99.9, long=1.1, span=600.0)):
        assert idle(memory).close == (), "and so it was a minute, or some minutes, ago"


def test_so_it_does_for_as_long_as_the_invokes_that_this_costs_are_less_than_half_of_the_others() -> None:
    def gap(memory: Memory, seconds: float, open: int = 0) -> Memory:
        memory = POLICY.decide(seen(now=100.0, takes_ms=50.0, instances=opened(open)), memory, LIMITS)[1]
        memory = replace(memory, opened=open)
        return POLICY.decide(seen(now=100.0 + seconds, pending=1, takes_ms=50.0), memory, LIMITS)[1]

    memory = POLICY.first(1)
    assert gap(memory, 0.2).credit == memory.credit - 1, "it would still have been there"
    assert gap(memory, 3.0).credit == memory.credit + INVOKES, "it would have ended by itself"
    assert gap(memory, 0.2, open=1).credit == memory.credit, "it was there"
    assert gap(replace(memory, credit=MOST_CREDIT), 3.0).credit == MOST_CREDIT
    assert idle(replace(memory, credit=0.9)).close == ()
    unseen = replace(memory, at=99.9, ended_at=99.5, opened=0)  # a request came and went between two looks
    unseen = POLICY.decide(seen(now=100.0, takes_ms=10.0, idle_for=0.05), unseen, LIMITS)[1]
    after = POLICY.decide(seen(now=100.1, pending=1, takes_ms=10.0), unseen, LIMITS)[1]
    assert after.credit == memory.credit - 1, "the gap began with that request's end"
    assert idle(replace(memory, credit=2.5), per_second=3.0).close == (), "of gaps that are short few are worth it"


def test_an_instance_that_is_to_end_is_looked_at_again_when_its_request_may_be_over() -> None:
    assert decide(running=1, takes_ms=10.0, instances=opened(1, 1)).look_again == SOONEST
    assert decide(running=1, takes_ms=400.0, instances=opened(1, 1)).look_again == 0.05
    comes = seen(running=1, takes_ms=10.0, instances=opened(1, 1), arriving=2.0, per_second=1.0)
    assert POLICY.decide(comes, Memory(1, at=99.9, short=0.1, slow=0.1), LIMITS)[0].look_again == SOONEST
    busy = {"running": 30, "takes_ms": 10.0, "arriving": 300.0, "per_second": 300.0}
    assert decide(instances=opened(4, 8), **busy).look_again == TICK
    assert decide(takes_ms=10.0, frozen=1).look_again == TICK, "nothing is open"


def test_a_frozen_environment_is_started_although_a_cold_start_is_under_way() -> None:
    """The instance that it was to replace has ended: it is frozen now, and there in no time."""
    waits = {"pending": 3, "arriving": 30.0, "takes_ms": 10.0, "cold": 9.0, "thaw": 0.15}
    starting = (Instance(0, State.STARTING, 98.0),)
    assert decide(instances=starting, frozen=1, late=1, **waits).start == 1
    assert decide(instances=starting, frozen=0, under_way=2.0, **waits).start == 0
    pinned = Limits(10, 2, pinned=1)
    late = seen(instances=starting, frozen=1, late=1, **waits)
    assert POLICY.decide(late, POLICY.first(), pinned)[0].start == 0, "but never beyond what an operator holds"


def test_what_is_asked_first_tells_what_it_takes_when_starts_are_nearly_over() -> None:
    starting = tuple(Instance(slot, State.STARTING, 98.1) for slot in range(10))
    assert decide(pending=300, instances=starting, under_way=10 * 1.9).start == 0
    assert decide(pending=300, instances=starting, under_way=10 * 0.1).start == 20
    assert decide(pending=300, instances=starting, under_way=10 * 2.0).start == 20, "they are overdue"


def test_requests_that_take_long_are_there_before_the_average_shows_them() -> None:
    lately = Memory(3, at=99.9, short=20.0)
    rising = {"running": 30, "arriving": 10.0, "instances": opened(3, 10), "frozen": 5, "thaw": 0.1}
    assert POLICY.decide(seen(takes_ms=5000.0, **rising), lately, LIMITS)[0].start == 0
    assert POLICY.decide(seen(takes_ms=20_000.0, **rising), lately, LIMITS)[0].start == 1
    assert POLICY.decide(seen(takes_ms=100.0, **rising), lately, LIMITS)[0].start == 0


def packs(count: int, running: int, memory: Memory | None = None, limits: Limits = LIMITS) -> int:
    busy = {"running": running, "takes_ms": 100.0, "arriving": running * 10.0, "per_second": running * 10.0}
    steady = memory or Memory(count, at=99.9, short=running, slow=running, started_at=99.8)
    return POLICY.decide(seen(instances=opened(count, 5), frozen=1, **busy), steady, limits)[0].packs


def test_requests_are_packed_only_where_there_are_more_instances_than_needed() -> None:
    assert packs(3, 12) == 9
    assert packs(2, 12) == 0, "what has nothing to do ends, and would be started again"
    assert packs(12, 60) == 7, "noise is not to empty one of many"
    assert decide(frozen=1).packs == 0


def test_what_is_to_stay_anyway_shares_the_requests() -> None:
    assert packs(3, 12, limits=replace(LIMITS, min_instances=3)) == 0
    assert packs(4, 12, limits=replace(LIMITS, min_instances=3)) == 9
    assert packs(3, 12, limits=replace(LIMITS, buffer=1)) == 0
    assert packs(3, 12, limits=replace(LIMITS, pinned=3)) == 0


def test_requests_are_packed_up_to_the_target() -> None:
    assert packs(6, 12, limits=replace(LIMITS, target=5)) == 4
    assert packs(30, 12, limits=replace(LIMITS, target=1)) <= 1, "one at a time cannot be packed"


def test_an_instance_that_starts_when_all_have_ended_was_not_closed_in_error() -> None:
    memory = Memory(7, at=99.9, short=60.0, closed_at=99.0, opened=0)
    assert POLICY.decide(seen(pending=1, frozen=7), memory, LIMITS)[1].pause == IN_PAUSE
    ends = seen(arriving=2.0, per_second=1.0, takes_ms=50.0, thaw=0.05, instances=opened(1), idle_for=0.02)
    decision, after = POLICY.decide(ends, Memory(1, at=99.9, short=0.5, slow=0.5, opened=1), LIMITS)
    assert decision.close == (0,) and after.closed_at is None, "nor what ends because it has nothing to do"
    again = seen(pending=20, running=70, takes_ms=1000.0, instances=opened(7, 10), frozen=7)
    assert POLICY.decide(again, replace(memory, opened=7), LIMITS)[1].pause > IN_PAUSE


def test_what_ends_when_nothing_arrives_was_not_closed_in_error() -> None:
    """Each request of a trickle starts again what has just ended; the pause is for instances that were in use."""
    memory = POLICY.first(1)
    for look in range(4):
        at = 100.0 + 2 * look
        memory = POLICY.decide(seen(now=at, pending=1, frozen=1), memory, LIMITS)[1]
        memory = POLICY.decide(seen(now=at + 1, instances=opened(1), frozen=1, takes_ms=50.0), memory, LIMITS)[1]
    assert memory.pause == IN_PAUSE


def test_more_head_room_is_kept_where_a_start_would_be_cold() -> None:
    steady = {"running": 27, "takes_ms": 100.0, "arriving": 270.0, "instances": opened(3, 9)}
    assert decide(frozen=5, **steady).start == 0
    assert decide(frozen=0, **steady).start == 1


def test_head_room_is_for_what_comes_and_goes_not_for_what_stays() -> None:
    assert staffed(45, 0.1, 2.0, 1.5, 10) == 6
    assert staffed(45, 900.0, 2.0, 1.5, 10) == 5


def test_requests_of_instances_that_drain_need_no_slot_elsewhere() -> None:
    draining = tuple(Instance(slot, State.DRAINING, 0.0, 10) for slot in range(10, 13))
    streams = {"running": 70, "takes_ms": 90_000.0, "arriving": 1.0, "instances": opened(5, 8) + draining}
    assert decide(leaving=30, **streams).start == 0
    assert decide(leaving=0, **streams).start >= 2


def test_requests_that_take_long_and_come_seldom_find_a_frozen_environment() -> None:
    streams = {"running": 50, "takes_ms": 90_000.0, "per_second": 0.5, "instances": opened(5, 10)}
    assert decide(frozen=0, **streams).start == 1
    assert decide(frozen=1, **streams).start == 0
    assert decide(frozen=0, **(streams | {"takes_ms": 100.0})).start == 0


def test_an_idle_instance_ends_when_nothing_arrives_and_the_busy_one_stays() -> None:
    instances = (Instance(0, State.OPEN, 0.0, 2), Instance(1, State.OPEN, 0.0, 0))
    assert decide(running=2, takes_ms=1000.0, instances=instances).close == (1,)


def test_the_floor_and_what_waits_are_not_closed() -> None:
    staying = tuple(Instance(slot, State.OPEN, 0.0, 0, stays=True) for slot in range(3))
    floor = Limits(10, 2, min_instances=3)
    assert POLICY.decide(seen(idle_for=60.0, instances=staying), POLICY.first(), floor)[0].close == ()
    assert decide(pending=1, running=50, takes_ms=100.0, instances=opened(8, 6)).close == ()


def test_the_cap_counts_everything() -> None:
    draining = tuple(Instance(slot, State.DRAINING, 0.0, 1) for slot in range(3))
    capped = Limits(10, 2, max_instances=4)
    assert POLICY.decide(seen(pending=500, instances=draining), POLICY.first(), capped)[0].start == 1


def test_cold_and_frozen_starts_are_learnt_apart() -> None:
    times = StartTimes()
    for _ in range(20):
        times.opened(20.0, expected_frozen=False)
        times.opened(0.05, expected_frozen=True)
    assert times.cold > 15 and times.thaw == pytest.approx(0.05, rel=0.1)


def test_frozen_environments_are_counted_until_lambda_forgets_them() -> None:
    times = StartTimes()
    for at in range(4):
        times.returned(float(at))
    assert times.frozen(10.0) == 4 and times.began(10.0) and times.frozen(10.0) == 3
    times.opened(COLD, expected_frozen=True)  # it was not there
    assert times.frozen(10.0) == 1
    assert times.frozen(10.0 + KEPT) == 0 and not times.began(10.0 + KEPT)
    assert times.thaw == THAW


def test_a_queue_that_stands_is_a_lack_of_slots_however_short_it_is() -> None:
    """Forty clients that send the next request when one is answered keep three instances full and ten waiting."""
    full = {"pending": 10, "running": 30, "takes_ms": 100.0, "instances": opened(3, 10), "arriving": 300.0}
    memory, started = POLICY.first(3), []
    for look in range(8):
        decision, memory = POLICY.decide(seen(now=100 + look / 10, **full), memory, LIMITS)
        started.append(decision.start)
    assert started[0] == 0 and max(started) >= 1


def test_nothing_is_closed_at_the_moment_in_which_what_was_wanted_opens() -> None:
    """The averages have not seen those who waited for it."""
    memory = POLICY.decide(seen(now=90.0, pending=100), POLICY.first(), LIMITS)[1]
    busy = {"running": 100, "takes_ms": 500.0, "arriving": 40.0, "instances": opened(10, 10)}
    decision, memory = POLICY.decide(seen(now=98.0, **busy), memory, LIMITS)
    assert decision.close == ()


def test_nothing_is_closed_that_is_at_work_while_the_average_is_late() -> None:
    """Requests that have just found a slot are demand before the average shows them."""
    busy = {"running": 63, "takes_ms": 200.0, "arriving": 300.0, "instances": opened(7, 9)}
    late = Memory(7, at=99.9, short=40.0, opened=7)
    assert POLICY.decide(seen(**busy), late, LIMITS)[0].close == ()
    assert POLICY.decide(seen(**(busy | {"running": 40})), late, LIMITS)[0].close != ()


def test_clients_are_served_as_fast_as_with_simple_by_fewer_environments() -> None:
    """Clients who wait for their answers hide from a rate what they would send to more instances."""
    for clients, seconds, takes, cold in ((100, 20.0, 0.5, 8.0), (40, 20.0, 0.1, 2.0)):
        world = Setting(cold=Distribution("constant", (cold,)), frozen=2)
        requests = of_clients(clients, seconds, takes)
        ours, theirs = (run(parse(name, world), requests, world) for name in ("adaptive", "simple"))
        assert ours.served == ours.requests >= 0.97 * theirs.served
        assert ours.environment_seconds < 0.9 * theirs.environment_seconds


def test_a_target_below_the_limit_spreads_requests_over_more_instances() -> None:
    steady = {"running": 27, "takes_ms": 100.0, "arriving": 270.0, "frozen": 5}
    target = Limits(10, 2, target=4)
    decision = POLICY.decide(seen(**steady, instances=opened(3, 9)), POLICY.first(), target)[0]
    assert decision.desired == staffed(27, 0.1, 2.1, 0.5, 4) == 8


def test_a_buffer_is_kept_while_requests_come_and_not_longer() -> None:
    buffered = Limits(10, 2, buffer=2)
    busy = {"running": 12, "takes_ms": 100.0, "arriving": 120.0, "frozen": 5}
    without = POLICY.decide(seen(**busy, instances=opened(1, 10)), POLICY.first(), LIMITS)[0]
    decision = POLICY.decide(seen(**busy, instances=opened(1, 10)), POLICY.first(), buffered)[0]
    assert decision.desired == without.desired + 2
    idle = POLICY.decide(seen(idle_for=60.0, instances=opened(4)), POLICY.first(), buffered)[0]
    assert idle.start == 0 and idle.desired == 0


def outcome(name: str, policy: str, seconds: float, **setting: object) -> Outcome:
    load: Load = LOADS[name]
    world = Setting(share=load.share, cpus=load.cpus, **setting)  # type: ignore[arg-type]
    return run(parse(policy, world), generate(load, load.rate, seconds, load.service, 7), world)


def test_a_burst_that_finds_nothing_frozen_costs_little_more_than_with_simple_and_waits_less() -> None:
    ours, theirs, simple = (outcome("rare-burst", name, 600.0) for name in ("adaptive", "simple-1", "simple"))
    assert ours.environment_seconds <= 1.1 * theirs.environment_seconds
    assert ours.invokes <= simple.invokes and ours.wait_p99 < simple.wait_p99


@pytest.mark.parametrize("name", ["steady", "on-off", "trickle", "long-streams"])
def test_it_costs_less_than_simple_and_starts_less_often(name: str) -> None:
    seconds = {"steady": 120.0, "on-off": 600.0, "trickle": 900.0, "long-streams": 600.0}[name]
    ours, theirs = outcome(name, "adaptive", seconds), outcome(name, "simple-1", seconds)
    assert ours.served == ours.requests
    assert ours.environment_seconds <= 1.1 * theirs.environment_seconds
    assert ours.invokes <= 1.5 * theirs.invokes


def test_a_trickle_costs_little_more_than_what_it_must() -> None:
    ours, oracle, simple = (outcome("trickle", name, 3600.0) for name in ("adaptive", "oracle", "simple"))
    assert ours.environment_seconds <= 1.2 * oracle.environment_seconds < 0.5 * simple.environment_seconds
    often = Load("often", "", 3.0, 1800.0, Distribution("constant", (0.03,)), lambda t, rate, seconds: rate)
    requests = generate(often, often.rate, often.seconds, often.service, seed=1)
    ours, simple = (run(parse(name, Setting()), requests, Setting()) for name in ("adaptive", "simple"))
    assert 1.2 * simple.invokes < ours.invokes <= 1.5 * simple.invokes
    assert ours.environment_seconds < 0.9 * simple.environment_seconds


@pytest.mark.parametrize("name", ["long-streams", "mixed-streams"])
def test_no_stream_is_cut_off_by_its_instances_deadline(name: str) -> None:
    ours = outcome(name, "adaptive", LOADS[name].seconds)
    assert (ours.served, ours.cut) == (ours.requests, 0)
    assert ours.invokes < 120


def test_constant_load_does_not_make_instances_come_and_go() -> None:
    """Poisson noise around 200 requests per second."""
    ours = outcome("steady", "adaptive", 300.0)
    assert ours.invokes - ours.cold_starts <= 60


def test_cold_starts_of_twenty_seconds_and_failing_environments_lose_no_request() -> None:
    slow = outcome("step", "adaptive", 60.0, cold=Distribution("constant", (20.0,)))
    failing = outcome("step", "adaptive", 60.0, failing=0.5)
    throttled = outcome("step", "adaptive", 60.0, concurrency=8)
    for ours in (slow, failing, throttled):
        assert ours.served == ours.requests and not ours.expired and not ours.cut
