"""Lambda's own dispatch and the lower bound, against examples computed by hand; and the same bytes every time."""

from array import array

import pytest

from lambda_dispatch import prices
from lambda_dispatch.simulator import policies
from lambda_dispatch.simulator.direct import dispatch
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.oracle import bound
from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.service import Service
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.table import document, render

PRICES = prices.load()


def times(*seconds: float) -> "array[int]":
    return array("q", (round(s * NS) for s in seconds))


def test_lambdas_own_dispatch_of_five_requests() -> None:
    # 0.0: new (2 s + 1 s, until 3.0).  0.5: new, until 3.5.  3.2: the first is free.  3.3: new, until 6.3.
    # 10.0: the one frozen last.
    lambda_ = Service(lambda: 2.0, lambda: 0.05, lambda: 300.0)
    waits, whole, billed, throttled, _ = dispatch(times(0, 0.5, 3.2, 3.3, 10), times(1, 1, 1, 1, 1), lambda_)
    assert [wait / NS for wait in waits] == [2, 2, 0, 2, 0]
    assert [time / NS for time in whole] == [3, 3, 1, 3, 1]
    assert billed == 11 * NS
    assert (lambda_.cold_starts, throttled) == (3, 0)


def test_lambdas_own_dispatch_is_throttled_by_the_account() -> None:
    lambda_ = Service(lambda: 2.0, lambda: 0.05, lambda: 300.0, concurrency=2)
    waits, _, _, throttled, _ = dispatch(times(0, 0, 0, 4), times(1, 1, 1, 1), lambda_)
    assert (len(waits), throttled) == (3, 1)


def test_an_environment_that_lambda_has_taken_away_starts_anew() -> None:
    lambda_ = Service(lambda: 2.0, lambda: 0.05, lambda: 60.0)
    waits, *_ = dispatch(times(0, 100), times(1, 1), lambda_)
    assert [wait / NS for wait in waits] == [2, 2]


def test_the_bound_of_three_requests_in_two_slots() -> None:
    # Two at once for 10 s and a third from 4 to 6: one environment for 10 s, a second for 2 s, and both new: 2 s each.
    billed, invokes, cold, most, least = bound(times(0, 0, 4), times(10, 10, 2), slots=2)
    assert (billed / NS, invokes, cold, most, least / NS) == (16, 2, 2, 2, 11)


def test_the_bound_bridges_a_gap_when_a_start_costs_more() -> None:
    bridged, *_ = bound(times(0, 1.04), times(1, 1), thaw=0.05)
    assert bridged / NS == pytest.approx(2 + 1 + 0.04 + 1)
    frozen, invokes, *_ = bound(times(0, 9), times(1, 1), thaw=0.05)
    assert (frozen / NS, invokes) == (pytest.approx(2 + 1 + 0.05 + 1), 2)
    late, _, cold, *_ = bound(times(0, 900), times(1, 1), warm=300)
    assert (late / NS, cold) == (2 + 1 + 2 + 1, 2)


def test_the_bound_does_not_let_requests_slow_each_other() -> None:
    billed, *_ = bound(times(0, 0), times(1, 1), share=1.0, cpus=1.0)
    assert billed / NS == 2 * (2 + 1)


@pytest.mark.parametrize("name", ["steady", "burst", "on-off", "volley", "trickle", "heavy-tail"])
def test_no_policy_beats_the_bound_unless_it_lets_requests_wait(name: str) -> None:
    load, setting = LOADS[name], Setting()
    requests = generate(load, load.rate / 4, load.seconds / 10, load.service, 3)
    found = {word: run(policies.parse(word, setting), requests, setting) for word in ("oracle", "simple", "simple-1")}
    oracle = found["oracle"]
    least = oracle.environment_seconds * oracle.utilisation
    for word in ("simple", "simple-1"):
        assert found[word].environment_seconds >= least
        assert found[word].environment_seconds >= oracle.environment_seconds or found[word].waited > 0.01
        assert found[word].served == found[word].requests


def everything(seed: int) -> str:
    setting = Setting(seed=seed, routers=2, failing=0.1)
    load = LOADS["burst"]
    requests = generate(load, 50, 120, load.service, seed)
    outcomes = [run(policies.parse(word, setting), requests, setting) for word in policies.DEFAULT]
    return render(outcomes, setting, PRICES) + document(outcomes, setting, PRICES)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    assert everything(5) == everything(5)
    assert everything(5) != everything(6)


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_every_load_has_about_the_requests_it_says(load) -> None:  # type: ignore[no-untyped-def]
    requests = generate(load, load.rate, min(load.seconds, 1800), load.service, 1)
    assert 0 < len(requests) <= 1.1 * load.rate * load.seconds + 200
    assert list(requests.arrive) == sorted(requests.arrive)
