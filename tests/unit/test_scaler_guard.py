"""The start guard over simulated seconds and hours."""

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch.scaler.guard import (
    LONG_LIFE,
    PROVEN,
    SHORT_BURST,
    Breaker,
    Outcome,
    Start,
    StartGuard,
    TokenBucket,
)

MIDDLE = 0.5  # what chance says: three quarters of each wait


def guard(burst: float = 500, rate: float = 50, chance: Callable[[], float] = lambda: MIDDLE) -> StartGuard:
    return StartGuard(burst, rate, 0.0, chance)


def begin(it: StartGuard, wanted: int, now: float) -> list[Start]:
    return [it.began(now) for _ in range(it.grant(wanted, now))]


def fail(it: StartGuard, starts: list[Start], now: float, outcome: Outcome = Outcome.UNREACHABLE) -> None:
    for start in starts:
        it.judge(start, outcome, now)


def test_the_bucket_never_gives_more_than_burst_and_rate() -> None:
    bucket = TokenBucket(10, 2, 0.0)
    assert bucket.take(20, 0.0) == 10
    assert bucket.take(20, 0.4) == 0
    assert bucket.take(20, 0.5) == 1
    assert bucket.take(20, 3.0) == 5
    assert bucket.take(20, 1000.0) == 10
    assert bucket.take(20, 999.0) == 0  # a clock that steps back


def test_all_is_granted_while_all_is_well() -> None:
    it = guard()
    assert it.grant(100, 0.0) == 100
    assert it.denied == ""
    assert it.grant(500, 0.0) == 400
    assert it.denied == "rate of starts"


def test_one_failure_makes_everybody_wait_a_little() -> None:
    it = guard()
    fail(it, begin(it, 1, 0.0), 1.0)
    assert it.breaker is Breaker.CLOSED
    assert it.grant(10, 1.1) == 0
    assert it.denied.startswith("back-off")
    assert it.grant(10, 1.2) == 10


def test_a_good_start_clears_the_failures() -> None:
    it = guard()
    fail(it, begin(it, 1, 0.0), 0.1)
    (start,) = begin(it, 1, 1.0)
    it.opened(start, 1.5)
    it.alive(start, 1.5 + PROVEN - 0.01)
    assert it.failures == 1
    it.alive(start, 1.5 + PROVEN)
    assert (it.failures, it.rounds) == (0, 0)


def test_opening_alone_clears_nothing() -> None:
    it = guard()
    for second in range(5):
        now = 10.0 * second
        (start,) = begin(it, 1, now)
        it.opened(start, now + 0.1)
        it.judge(start, Outcome.FUNCTION_ERROR, now + 0.2)
    assert it.breaker is Breaker.OPEN


def test_a_burst_that_fails_is_one_round_and_opens_the_breaker() -> None:
    it = guard()
    fail(it, begin(it, 100, 0.0), 1.0)
    assert (it.breaker, it.failures, it.rounds) == (Breaker.OPEN, 100, 1)
    assert it.not_before == pytest.approx(1.0 + 0.25 * 0.75)


def test_one_trial_after_the_back_off_and_no_second() -> None:
    it = guard()
    fail(it, begin(it, 5, 0.0), 1.0)
    assert it.grant(50, 1.1) == 0
    assert len(begin(it, 50, 1.2)) == 1
    assert it.breaker is Breaker.HALF_OPEN
    assert it.grant(50, 2.0) == 0
    assert it.denied == "breaker half-open, a trial is under way"


def test_a_trial_that_fails_opens_the_breaker_for_longer() -> None:
    it = guard()
    fail(it, begin(it, 5, 0.0), 1.0)
    waits = []
    now = 1.0
    for _ in range(5):
        now = it.not_before
        (trial,) = begin(it, 9, now)
        fail(it, [trial], now)
        waits.append(it.not_before - now)
        assert it.breaker is Breaker.OPEN
    assert waits == pytest.approx([0.375, 0.75, 1.5, 1.5, 1.5])


def test_a_trial_that_opens_lets_twice_as_many_start_and_one_that_proves_good_all() -> None:
    it = guard()
    fail(it, begin(it, 5, 0.0), 1.0)
    (trial,) = begin(it, 50, 2.0)
    it.opened(trial, 2.5)
    second = begin(it, 50, 2.5)
    assert len(second) == 1
    it.opened(second[0], 3.0)
    assert len(begin(it, 50, 3.0)) == 2
    it.alive(trial, 2.5 + PROVEN)
    assert it.breaker is Breaker.CLOSED
    assert it.grant(50, 5.6) == 50


def test_old_instances_that_die_while_a_trial_runs_bring_no_further_trial() -> None:
    it = guard()
    old = begin(it, 50, 0.0)
    for start in old:
        it.opened(start, 0.5)
        it.alive(start, 10.0)
    fail(it, old[:10], 100.0)
    assert it.breaker is Breaker.OPEN
    assert len(begin(it, 9, 101.0)) == 1
    fail(it, old[10:], 101.5)
    assert it.breaker is Breaker.HALF_OPEN
    assert it.grant(9, 101.6) == 0


def test_starts_of_before_the_outage_do_not_close_the_breaker() -> None:
    it = guard()
    (early,) = begin(it, 1, 0.0)
    it.opened(early, 0.5)
    fail(it, begin(it, 5, 1.0), 2.0)
    it.alive(early, 0.5 + PROVEN)
    assert it.breaker is Breaker.OPEN


def test_a_start_that_says_nothing_frees_its_place() -> None:
    it = guard()
    fail(it, begin(it, 5, 0.0), 1.0)
    (trial,) = begin(it, 1, 2.0)
    it.judge(trial, Outcome.NEUTRAL, 2.5)
    assert len(begin(it, 1, 2.5)) == 1
    assert it.failures == 5


def test_a_predecessors_open_breaker_stays_open() -> None:
    it = guard()
    it.bucket.spend_down_to(3)
    it.restore_open(7.0)
    assert it.grant(9, 6.9) == 0
    assert it.grant(9, 7.0) == 1
    it2 = guard()
    it2.restore_open(1e9)  # a board gone wrong
    assert it2.not_before == 60.0


def test_spare_invokes_need_a_calm_time() -> None:
    it = guard(burst=2)
    assert it.grant_spare(0.0)
    fail(it, begin(it, 1, 0.0), 0.0)
    assert not it.grant_spare(100.0)


class Simulation:
    """A demand that wants `wanted` instances for ever, against starts that end as `fate` says."""

    def __init__(
        self, it: StartGuard, wanted: int, fate: Callable[[float], tuple[float, bool, Outcome | None]]
    ) -> None:
        self.guard = it
        self.wanted = wanted
        self.fate = fate
        self.sent: list[float] = []
        self.good = 0
        self._events: list[tuple[float, int, str, Start, Outcome | None]] = []
        self._order = count()
        self._running = 0

    def run(self, start: float, end: float, tick: float = 0.1) -> None:
        now = start
        while now < end:
            while self._events and self._events[0][0] <= now:
                at, _, what, begun, outcome = heapq.heappop(self._events)
                if what == "open":
                    self.guard.opened(begun, at)
                elif what == "alive":
                    self.guard.alive(begun, at)
                    self.good += 1
                else:
                    assert outcome is not None
                    self.guard.judge(begun, outcome, at)
                    self._running -= 1
            for begun in begin(self.guard, self.wanted - self._running, now):
                self.sent.append(now)
                self._running += 1
                takes, opens, outcome = self.fate(now)
                if opens:
                    self._push(now + takes / 2, "open", begun, None)
                if outcome is None:
                    self._push(now + takes / 2 + PROVEN, "alive", begun, None)
                else:
                    self._push(now + takes, "end", begun, outcome)
            now += tick

    def _push(self, at: float, what: str, begun: Start, outcome: Outcome | None) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, begun, outcome))


def test_one_request_and_an_unreachable_callback_is_a_bounded_number_of_invokes() -> None:
    simulation = Simulation(guard(chance=random.Random(1).random), 1, lambda now: (0.7, False, Outcome.UNREACHABLE))
    simulation.run(0, 120)
    assert len(simulation.sent) <= 40  # the request waits for two minutes
    simulation.run(120, 3600)
    assert len(simulation.sent) <= 160
    simulation.run(3600, 4 * 3600)
    assert len(simulation.sent) <= 500


def test_a_hundred_wanted_cost_hardly_more_than_one() -> None:
    simulation = Simulation(guard(chance=random.Random(2).random), 100, lambda now: (0.7, False, Outcome.UNREACHABLE))
    simulation.run(0, 3600)
    assert len(simulation.sent) <= 100 + 160


def test_a_function_that_opens_and_dies_with_its_first_request_is_bounded_too() -> None:
    simulation = Simulation(guard(chance=random.Random(3).random), 100, lambda now: (0.5, True, Outcome.FUNCTION_ERROR))
    simulation.run(0, 3600)
    assert len(simulation.sent) <= 1000


def test_throttling_is_bounded_too() -> None:
    simulation = Simulation(guard(chance=random.Random(4).random), 50, lambda now: (0.02, False, Outcome.THROTTLED))
    simulation.run(0, 600)
    assert len(simulation.sent) <= 50 + 80


@pytest.mark.parametrize("outage", [5.0, 16.0, 60.0, 300.0])
def test_after_an_outage_the_first_trial_comes_within_an_eighth_of_it(outage: float) -> None:
    simulation = Simulation(
        guard(chance=random.Random(5).random),
        20,
        lambda now: (0.5, False, Outcome.UNREACHABLE) if now < outage else (0.5, True, None),
    )
    simulation.run(0, outage + 120)
    first = next(t for t in simulation.sent if t >= outage)
    assert first - outage <= max(2.0, outage / 8) + 0.6
    assert simulation.good >= 20
    everybody = sorted(t for t in simulation.sent if t >= outage)[19]
    assert everybody - first <= 4.0


OUTCOMES = st.sampled_from(list(Outcome))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.one_of(st.none(), OUTCOMES)), min_size=1, max_size=50),
    st.integers(1, 50),
    st.floats(1, 20),
    st.integers(0, 2**32),
)
def test_no_sequence_of_outcomes_exceeds_the_budget(
    fates: list[tuple[float, bool, Outcome | None]], burst: int, rate: float, seed: int
) -> None:
    turn = count()
    simulation = Simulation(
        guard(burst, rate, random.Random(seed).random), 200, lambda now: fates[next(turn) % len(fates)]
    )
    simulation.run(0, 30)
    sent = simulation.sent
    for first in range(0, len(sent), 7):
        for last in range(first, len(sent), 5):
            assert last - first + 1 <= burst + rate * (sent[last] - sent[first]) + 1e-6


def test_short_lives_have_a_pace_of_their_own_until_one_is_long() -> None:
    it = guard()
    assert it.short_life(0.0)
    assert not it.short_life(0.0)  # said once
    assert it.grant(100, 0.0) == SHORT_BURST
    assert it.denied == "function timeout too short"
    assert sum(it.grant(100, tick / 10) for tick in range(1, 81)) == 8  # one a second
    assert it.breaker is Breaker.CLOSED
    start = it.began(8.0)
    it.opened(start, 8.0)
    it.alive(start, 8.0 + LONG_LIFE)
    assert it.grant(100, 8.0 + LONG_LIFE) == 100
