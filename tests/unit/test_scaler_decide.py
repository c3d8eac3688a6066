"""Reads like a logbook: what was seen at which second, and what was decided."""

import math
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch.scaler.model import Decision, Instance, Limits, Observation, State
from lambda_dispatch.scaler.policies import policy_named
from lambda_dispatch.scaler.policies.steps import Memory

LIMITS = Limits(max_concurrent=10, multiplier=2)


@dataclass
class Logbook:
    """A pool with instances that open when told to, and the decisions about it."""

    limits: Limits = LIMITS
    memory: Memory = field(default_factory=Memory)
    instances: dict[int, Instance] = field(default_factory=dict)
    next_slot: int = 0
    active_at: float = -math.inf
    ends_idle: bool = False
    algorithm: str = "simple"

    def at(
        self,
        now: float,
        pending: int = 0,
        running: int = 0,
        per_second: float | None = None,
        mean_ms: float | None = None,
        recent: int = 0,
    ) -> Decision:
        if pending or running:
            self.active_at = now
        instances = tuple(self.instances.values())
        seen = Observation(
            now, pending, running, recent, now - self.active_at, per_second, mean_ms, instances, self.ends_idle
        )
        decision, self.memory = policy_named(self.algorithm).decide(seen, self.memory, self.limits)
        for number in range(decision.start):
            stays = number < decision.stay
            self.instances[self.next_slot] = Instance(self.next_slot, State.STARTING, now, stays=stays)
            self.next_slot += 1
        for slot in (*decision.close, *decision.release):
            self.instances[slot] = replace(self.instances[slot], state=State.DRAINING, goaway_at=now)
        return decision

    def open(self, now: float, *slots: int) -> None:
        for slot in slots or tuple(self.instances):
            if self.instances[slot].state is State.STARTING:
                self.instances[slot] = replace(self.instances[slot], state=State.OPEN, since=now)

    def change(self, slot: int, **fields: object) -> None:
        self.instances[slot] = replace(self.instances[slot], **fields)  # type: ignore[arg-type]

    def gone(self, *slots: int) -> None:
        for slot in slots:
            del self.instances[slot]


def test_nothing_is_done_for_nobody() -> None:
    log = Logbook()
    assert log.at(0.0) == Decision(desired=0, proposed=0)


def test_the_first_request_starts_an_instance_at_once() -> None:
    log = Logbook()
    decision = log.at(0.0, pending=1)
    assert (decision.desired, decision.start, decision.reason) == (1, 1, "out from zero: 0 to 1")
    assert log.at(0.1, pending=1).start == 0


def test_a_hundred_instances_are_asked_for_in_the_first_look() -> None:
    log = Logbook()
    assert log.at(0.0, pending=1666).start == 100


def test_a_burst_that_arrives_one_by_one_is_still_a_jump_from_zero() -> None:
    log = Logbook()
    assert log.at(0.0, pending=1).desired == 1
    assert log.at(0.01, pending=50).desired == 1  # looked at once per tick
    assert log.at(0.1, pending=500).desired == 30
    assert log.at(0.2, pending=1666).desired == 100
    assert log.next_slot == 100


def test_half_a_second_after_zero_steps_are_limited() -> None:
    log = Logbook()
    log.at(0.0, pending=1)
    log.open(0.3)
    assert log.at(0.6, pending=1000).desired == 1  # not within 2 s of the last
    decision = log.at(2.1, pending=1000)
    assert (decision.desired, decision.start, decision.reason) == (6, 5, "out: 1 to 6")
    assert log.at(3.0, pending=1000).desired == 6
    assert log.at(4.2, pending=1000).desired == 11


def test_a_third_of_many_is_more_than_five() -> None:
    log = Logbook()
    log.at(0.0, pending=1666)
    log.open(0.5)
    assert log.at(3.0, pending=5000).desired == 133


def test_scale_in_waits_to_see_whether_it_still_holds() -> None:
    log = Logbook()
    log.at(0.0, running=40)
    log.open(0.2)
    assert log.at(10.0, running=20).desired == 10  # first seen
    assert log.at(10.2, running=20).desired == 10
    decision = log.at(10.3, running=20)
    assert (decision.desired, decision.reason) == (5, "in: 10 to 5")
    assert len(decision.close) == 5


def test_a_demand_that_comes_back_in_time_cancels_the_scale_in() -> None:
    log = Logbook()
    log.at(0.0, running=40)
    log.open(0.2)
    log.at(10.0, running=20)
    log.at(10.2, running=40)
    assert log.at(10.4, running=20).desired == 10
    assert log.at(10.75, running=20).desired == 5


def test_scale_in_never_happens_while_requests_wait() -> None:
    log = Logbook()
    log.at(0.0, running=40)
    log.open(0.2)
    for tick in range(100):
        decision = log.at(10.0 + tick / 10, running=1, pending=1)
        assert (decision.desired, decision.close) == (10, ())


def test_scale_in_keeps_two_seconds_from_the_last_change_and_takes_two_steps_in_five() -> None:
    log = Logbook()
    log.at(0.0, running=400)
    log.open(0.2)
    changes = []
    for tick in range(0, 120):
        decision = log.at(tick / 10, running=5)
        if decision.reason:
            changes.append((tick / 10, decision.reason))
    assert changes == [
        (2.0, "in: 96 to 64"),
        (4.0, "in: 64 to 42"),
        (7.0, "in: 42 to 28"),
        (9.0, "in: 28 to 18"),
    ]


def test_to_zero_is_one_step() -> None:
    log = Logbook()
    log.at(0.0, running=40)
    log.open(0.2)
    log.at(10.0)
    decision = log.at(10.3)
    assert (decision.desired, len(decision.close), decision.reason) == (0, 10, "in: 10 to 0")


def test_the_least_busy_are_closed_first_and_the_oldest_among_equals() -> None:
    log = Logbook()
    log.at(0.0, running=16)
    assert log.next_slot == 4
    for slot, (since, in_flight) in enumerate([(3.0, 2), (1.0, 0), (2.0, 2), (1.5, 0)]):
        log.open(since, slot)
        log.change(slot, in_flight=in_flight)
    log.at(10.0, running=4)
    assert log.at(10.3, running=4).close == (1, 3, 2)


def test_an_instance_that_is_starting_is_counted_until_it_is_overdue() -> None:
    log = Logbook()
    log.at(0.0, pending=1)
    assert log.at(29.9, pending=1).start == 0
    assert log.at(30.1, pending=1).start == 1
    assert log.at(30.2, pending=1).start == 0


def test_an_instance_that_ended_by_itself_is_replaced_while_it_is_wanted() -> None:
    log = Logbook()
    log.at(0.0, running=10)
    log.open(0.1)
    log.gone(0)
    decision = log.at(5.0, running=10)
    assert (decision.desired, decision.start, decision.reason) == (3, 1, "")


def test_an_instance_that_ended_for_want_of_work_is_not_replaced() -> None:
    log = Logbook()
    log.at(0.0, running=1)
    log.open(0.1)
    log.at(1.0)  # the last request is done
    log.change(0, state=State.DRAINING, goaway_at=1.3)
    assert log.at(1.25) == Decision(desired=1, proposed=0, start=0, close=(), release=(0,))
    log.gone(0)
    assert log.at(1.5).start == 0
    assert log.at(2.1).desired == 0


def test_a_short_gap_in_the_demand_does_not_prevent_a_replacement() -> None:
    log = Logbook()
    log.at(0.0, running=1)
    log.open(0.1)
    log.at(0.95, running=1)
    log.at(1.0)
    log.gone(0)
    assert log.at(1.1).start == 1


def test_short_requests_that_are_never_seen_running_keep_their_instance() -> None:
    log = Logbook()
    log.at(0.0, pending=1)
    log.open(0.1)
    for tick in range(1, 100):
        log.active_at = tick / 10  # something arrived and was answered between two looks
        assert log.at(tick / 10, recent=1).desired == 1
    assert log.instances[0].state is State.OPEN
    log.gone(0)
    log.active_at = 10.0
    assert log.at(10.1, recent=1).start == 1


def test_an_idle_instance_is_not_replaced_though_it_was_busy_a_second_ago() -> None:
    log = Logbook()
    log.at(0.0, running=1)
    log.open(0.1)
    log.at(5.0, running=1)
    log.gone(0)
    assert log.at(5.3, recent=1).start == 0
    assert log.at(5.4, pending=1, recent=1).start == 1


def test_an_instance_that_asked_to_end_waits_for_its_replacement() -> None:
    log = Logbook()
    log.at(0.0, running=1)
    log.open(0.1)
    log.change(0, state=State.DRAINING, goaway_at=105.0)
    decision = log.at(100.0, running=1)
    assert (decision.start, decision.release) == (1, ())
    assert log.at(100.1, running=1).release == ()
    log.open(100.2, 1)
    assert log.at(100.2, running=1).release == (0,)


def test_of_two_that_wait_the_first_goes_when_one_replacement_is_open() -> None:
    log = Logbook()
    log.at(0.0, running=7)
    log.open(0.1)
    assert log.next_slot == 2
    log.change(0, state=State.DRAINING, goaway_at=105.0)
    log.change(1, state=State.DRAINING, goaway_at=104.0)
    assert log.at(100.0, running=7).start == 2
    log.open(100.5, 2)
    assert log.at(100.5, running=7).release == (1,)
    log.open(100.6, 3)
    assert log.at(100.6, running=7).release == (0,)


def test_the_cap_counts_everything_that_is_still_invoked() -> None:
    log = Logbook(replace(LIMITS, max_instances=3))
    decision = log.at(0.0, pending=1000)
    assert (decision.proposed, decision.start) == (3, 3)
    log.open(0.1)
    log.change(0, state=State.DRAINING, goaway_at=0.2)
    assert log.at(0.3, pending=1000).start == 0
    log.gone(0)
    assert log.at(0.4, pending=1000).start == 1


def test_the_floor_is_started_without_any_request_but_not_again_and_again() -> None:
    log = Logbook(replace(LIMITS, min_instances=2))
    assert log.at(0.0).start == 2
    log.open(0.1)
    log.gone(0, 1)
    assert log.at(0.6).start == 0
    assert log.at(4.9).start == 0
    assert log.at(5.0).start == 2


def test_the_floor_does_not_slow_down_a_request() -> None:
    log = Logbook(replace(LIMITS, min_instances=1))
    log.at(0.0)
    log.open(0.1)
    log.gone(0)
    assert log.at(0.6, pending=1).start == 1


def test_as_many_as_the_floor_are_asked_to_stay_when_idle_and_no_more() -> None:
    log = Logbook(replace(LIMITS, min_instances=2))
    assert (log.at(0.0).start, log.memory.desired) == (2, 2)
    log.open(0.1)
    decision = log.at(3.0, pending=100)
    assert (decision.start, decision.stay) == (4, 0)
    log.open(3.1)
    log.gone(0)  # at its deadline
    decision = log.at(3.2, running=25)
    assert (decision.start, decision.stay) == (1, 1)


def test_without_a_floor_nothing_is_asked_to_stay_and_the_last_one_is_let_go() -> None:
    log = Logbook()
    assert log.at(0.0, pending=100).stay == 0
    log.open(0.1)
    for second in range(10):
        log.at(10.0 + second)
        log.at(10.4 + second)
    assert all(instance.state is State.DRAINING for instance in log.instances.values())


def test_what_stays_when_idle_is_closed_when_the_desired_count_falls() -> None:
    log = Logbook(replace(LIMITS, min_instances=1), Memory(desired=3))
    for slot in range(3):
        log.instances[slot] = Instance(slot, State.OPEN, float(slot), stays=slot != 1)
    log.at(10.0)
    # Equally idle: first the one that would end by itself, then the oldest.
    assert log.at(10.3).close == (1, 0)
    assert log.at(10.4).close == ()


def test_the_floor_is_not_closed_while_what_a_burst_wanted_still_starts() -> None:
    log = Logbook(replace(LIMITS, min_instances=2, max_concurrent=1))
    log.at(0.0)
    log.open(0.1)
    assert log.at(3.0, pending=40).start == 5
    decision = log.at(10.4)
    decision = log.at(10.8)
    assert (decision.desired, decision.close) == (2, ())
    log.open(11.0, 2, 3)
    assert log.at(11.1).close == (2, 3)


def test_where_idle_instances_end_all_the_same_their_environments_are_kept_warm_by_an_invoke_a_minute() -> None:
    log = Logbook(replace(LIMITS, min_instances=2))
    assert log.at(0.0).start == 2
    log.open(0.1)
    log.gone(0, 1)
    log.ends_idle = True
    assert log.at(5.0).start == 0
    assert log.at(59.9).start == 0
    assert log.at(60.0).start == 2


def test_scale_in_stops_at_the_floor() -> None:
    log = Logbook(replace(LIMITS, min_instances=2))
    log.at(0.0, running=20)
    log.open(0.1)
    log.at(10.0)
    assert log.at(10.3).desired == 2


def test_ewma_is_used_once_rate_and_duration_are_known() -> None:
    log = Logbook(algorithm="ewma")
    assert log.at(0.0, pending=1).desired == 1
    assert log.at(0.1, pending=1, per_second=3000.0, mean_ms=None).proposed == 1
    assert log.at(0.2, running=60, per_second=3000.0, mean_ms=21.0).desired == 16


def test_more_instances_than_wanted_are_closed_whoever_started_them() -> None:
    log = Logbook(memory=Memory(desired=1))
    for slot in range(3):
        log.instances[slot] = Instance(slot, State.OPEN, float(slot), in_flight=slot)
    assert log.at(50.0, running=3, pending=1).close == ()
    assert log.at(50.1, running=3).close == (0, 1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 3.0),
            st.integers(0, 3000),
            st.integers(0, 3000),
            st.sampled_from(["open", "end", "drain", "nothing"]),
        ),
        max_size=60,
    ),
    st.integers(0, 5),
    st.integers(5, 40),
)
def test_whatever_is_seen_cap_floor_and_limits_hold(
    events: list[tuple[float, int, int, str]], floor: int, cap: int
) -> None:
    log = Logbook(Limits(10, 2, min_instances=floor, max_instances=cap))
    now, steps = 0.0, []
    for span, pending, running, event in events:
        now += span
        before = log.memory.desired
        decision = log.at(now, pending, running)
        assert 0 <= decision.desired <= cap
        assert len(log.instances) <= cap
        assert len(set(decision.close)) == len(decision.close)
        assert all(log.instances[slot].state is State.DRAINING for slot in (*decision.close, *decision.release))
        if decision.desired < before:
            assert pending == 0 and decision.desired >= floor
        if decision.desired != before:
            steps.append(now)
            assert sum(now - t < 1.0 for t in steps) <= 7
        slots = sorted(log.instances)
        if event == "open":
            log.open(now)
        elif event == "end" and slots:
            log.gone(slots[0])
        elif event == "drain" and slots:
            log.change(slots[-1], state=State.DRAINING, goaway_at=now + 5)
