import math

import pytest

from lambda_dispatch.scaler.model import State
from lambda_dispatch.scaler.observe import NS, Rates, instance_of, observe
from lambda_dispatch.scaler.start_times import StartTimes
from lambda_dispatch_core.board import board as b


class Traffic:
    """Requests at a steady rate, as the workers' counters would show them."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.now = 1000.0
        self._arrivals = self._completions = self._duration_ms = 0.0
        self._last_used = 0

    def flows(self, seconds: float, per_second: float, ms: float = 0.0, queued: int = 0, running: int = 0) -> "Traffic":
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self._arrivals += per_second / 10
            self._completions += per_second / 10
            self._duration_ms += per_second / 10 * ms
            duration = round(self._duration_ms * 1e6)
            if per_second:
                self._last_used = int((self.now - 0.05) * NS)  # between two looks
            totals = b.PoolTotals(
                queued, running, 0, round(self._arrivals), round(self._completions), duration, 0, self._last_used, 0
            )
            self.rates.update(self.now, totals)
        return self


def test_rate_and_duration_are_not_known_at_first() -> None:
    rates = Traffic().flows(0.9, 100, ms=20).rates
    assert (rates.per_second, rates.mean_ms) == (None, None)


def test_a_steady_rate_is_known_after_little_more_than_a_second() -> None:
    rates = Traffic().flows(1.5, 100, ms=20).rates
    assert rates.per_second == pytest.approx(100, rel=0.01)
    assert rates.mean_ms == pytest.approx(20, rel=0.01)


def test_averages_follow_a_change_within_their_time_constant() -> None:
    traffic = Traffic().flows(60, 100, ms=20).flows(5, 300, ms=20)
    assert traffic.rates.per_second == pytest.approx(100 + 200 * (1 - math.exp(-1)), rel=0.05)


def test_when_the_traffic_is_over_nothing_is_known_any_more() -> None:
    traffic = Traffic().flows(20, 10, ms=20).flows(40, 0)
    assert (traffic.rates.per_second, traffic.rates.mean_ms, traffic.rates.recent) == (None, None, 0)


def test_what_requests_take_is_known_from_the_first_answer_on_and_never_forgotten() -> None:
    traffic = Traffic().flows(0.2, 100, ms=20)
    assert traffic.rates.mean_ms is None and traffic.rates.takes_ms == pytest.approx(20, rel=0.01)
    assert traffic.flows(5, 100, ms=20).flows(600, 0).rates.takes_ms == pytest.approx(20, rel=0.01)
    assert traffic.flows(0.5, 100, ms=80).rates.takes_ms > 50, "but twenty answers are as good as what was before"
    follows = Traffic().flows(60, 100, ms=20).flows(5, 100, ms=80).rates
    assert follows.takes_ms == pytest.approx(follows.mean_ms, rel=0.01)
    resumed = Rates()
    resumed.resume(10.0, 30.0)
    assert resumed.takes_ms == 30.0


def test_the_first_answers_are_of_the_shortest_requests_and_what_is_still_at_work_tells_as_much() -> None:
    assert Traffic().flows(2.1, 0, running=10).rates.takes_ms is None  # the first look sees no time
    few = Traffic().flows(2.1, 2, ms=200, running=10)
    assert few.rates.takes_ms == pytest.approx(20_000 / (4 + 1.65 * math.sqrt(5) + 1.35), rel=0.01)
    assert Traffic().flows(2.1, 20, ms=200, running=10).rates.takes_ms == pytest.approx(200, rel=0.01), "many answers"
    soon = Traffic().flows(0.3, 10, ms=100, running=100)
    assert soon.rates.takes_ms == pytest.approx(2 * 200, rel=0.01), "twice as long as all have been at work, at most"


def test_requests_that_become_slower_show_where_others_wait_for_their_slots() -> None:
    def slower(queued: int) -> Rates:
        return Traffic().flows(20, 100, ms=100, running=10).flows(1.0, 2, ms=100, queued=queued, running=10).rates

    assert slower(queued=0).takes_ms == pytest.approx(100, rel=0.01), "there may be fewer requests, not slower ones"
    # 10 at work in a second that fades, less its first look, and two answers.
    work, answered = 10_000 * (1 - math.exp(-0.9)), 2 * (1 - math.exp(-0.9))
    least = work / (answered + 1.65 * math.sqrt(answered + 1) + 1.35)
    assert slower(queued=5).takes_ms == pytest.approx(least, rel=0.15)
    short = Traffic().flows(20, 100, ms=100, running=10).flows(0.3, 0, queued=5, running=10).rates
    assert short.takes_ms == pytest.approx(2 * 200, rel=0.01), "twice as long as they have waited, at most"
    opened = Traffic().flows(20, 100, ms=100, queued=5, running=10).flows(0.1, 0, queued=5, running=20).rates
    assert opened.takes_ms == pytest.approx(100, rel=0.01), "what an instance has that just opened was not at work"


def test_what_still_runs_keeps_the_averages() -> None:
    assert Traffic().flows(20, 10).flows(40, 0, running=1).rates.per_second is not None


def test_requests_too_short_to_be_seen_count_by_their_time_at_work() -> None:
    assert Traffic().flows(3, 20, ms=2).rates.recent == 1
    assert Traffic().flows(3, 1000, ms=4.5).rates.recent == 5


def test_a_request_that_has_just_arrived_counts_as_one() -> None:
    assert Traffic().flows(3, 20, ms=0).rates.recent == 1


def test_a_second_after_the_last_of_them_there_are_none() -> None:
    traffic = Traffic().flows(3, 20, ms=2).flows(0.5, 0)
    assert traffic.rates.recent == 1
    assert traffic.flows(0.7, 0).rates.recent == 0


def test_how_long_nothing_has_happened() -> None:
    traffic = Traffic().flows(1, 20).flows(0.3, 0)
    totals = b.PoolTotals(0, 0, 0, 20, 20, 0, 0, 0, 0)
    assert observe(traffic.now, totals, traffic.rates, []).idle_for == pytest.approx(0.35)
    traffic.flows(1, 0, running=1).flows(0.2, 0)
    assert observe(traffic.now, totals, traffic.rates, []).idle_for == pytest.approx(0.2)
    assert observe(traffic.now, totals, Rates(), []).idle_for == math.inf


def instance(state: int, **fields: int) -> b.Instance:
    values = {"created": 5 * NS, "opened": 7 * NS, "goaway_at": 0, "in_flight": 2, **fields}
    return b.Instance(3, 1, bytes(16), state, 0, 10, idle=1, channels=2, requests=0, deadline=0,
                      close_requested=False, **values)  # fmt: skip


def test_instances_are_timed_from_their_start_until_they_open() -> None:
    assert instance_of(instance(b.INSTANCE_STARTING, opened=0)).since == 5.0
    assert instance_of(instance(b.INSTANCE_OPEN)).since == 7.0


def test_a_draining_instance_has_its_time_to_go() -> None:
    seen = instance_of(instance(b.INSTANCE_DRAINING, goaway_at=9 * NS))
    assert (seen.state, seen.goaway_at) == (State.DRAINING, 9.0)
    assert instance_of(instance(b.INSTANCE_OPEN)).goaway_at is None


def test_what_is_closed_is_not_seen() -> None:
    totals = b.PoolTotals(-1, -1, 0, 0, 0, 0, 0, 0, 0)
    seen = observe(1.0, totals, Rates(), [instance(b.INSTANCE_CLOSED), instance(b.INSTANCE_OPEN)])
    assert (len(seen.instances), seen.pending, seen.running) == (1, 0, 0)


def ramp(traffic: Traffic, seconds: float, begins: float, ends: float, running: int | None = None) -> Traffic:
    for tick in range(round(seconds * 10)):
        rate = begins + (ends - begins) * tick / round(seconds * 10)
        traffic.flows(0.1, rate, running=round(rate / 10) if running is None else running)
    return traffic


def test_a_rate_that_grows_is_told_from_a_step_and_from_a_steady_one() -> None:
    steady = Traffic().flows(5, 200, running=20)
    assert steady.rates.growing == 0.0
    grows = ramp(Traffic().flows(3, 100, running=10), 3, 100, 400).rates
    assert grows.growing == pytest.approx(70, abs=20), "less what chance may be"
    assert grows.arriving == pytest.approx(395, rel=0.1)
    step = Traffic().flows(3, 50, running=5).flows(0.5, 500, running=50).flows(0.7, 500, running=50, queued=9)
    assert step.rates.growing == 0.0 and step.rates.arriving == pytest.approx(500, rel=0.05)


def test_more_answers_to_as_many_clients_are_no_growth() -> None:
    assert ramp(Traffic().flows(3, 100, running=40), 3, 100, 400, running=40).rates.growing == 0.0


def test_a_high_rate_shows_within_half_a_second_and_a_volley_does_not() -> None:
    begun = Traffic().flows(3, 5, running=1).flows(0.4, 500, running=50)
    assert 400 < begun.rates.arriving < 500
    volley = Traffic().flows(3, 5, running=1).flows(0.1, 1000, running=100).flows(0.3, 0, running=100)
    assert volley.rates.arriving < 50


def test_how_long_starts_have_been_under_way_is_at_most_what_one_takes() -> None:
    traffic = Traffic().flows(2, 20)
    totals = b.PoolTotals(0, 0, 0, 20, 20, 0, 0, 0, 0)
    born = [int((traffic.now - age) * NS) for age in (0.5, 1.5, 9.0)]
    starting = [instance(b.INSTANCE_STARTING, created=at, opened=0) for at in born]
    assert observe(traffic.now, totals, traffic.rates, starting).under_way == pytest.approx(0.5 + 1.5 + 2.0)


def test_a_start_that_takes_longer_than_a_frozen_environments_is_cold_while_some_are_frozen() -> None:
    traffic = Traffic().flows(2, 20)
    totals = b.PoolTotals(0, 0, 0, 20, 20, 0, 0, 0, 0)
    born = [int((traffic.now - age) * NS) for age in (0.05, 1.5, 9.0, 31.0)]
    starting = [instance(b.INSTANCE_STARTING, created=at, opened=0) for at in born]
    times = StartTimes()
    assert observe(traffic.now, totals, traffic.rates, starting, times=times).late == 0
    times.returned(traffic.now)
    found = observe(traffic.now, totals, traffic.rates, starting, times=times)
    assert (found.late, found.under_way) == (2, pytest.approx(0.05))
