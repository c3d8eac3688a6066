"""TargetConcurrency=auto: a crowd that slows requests lowers the target; nothing else does."""

import random
from collections.abc import Callable

import pytest

from lambda_dispatch.config import load
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.scaler.model import LEARNT
from lambda_dispatch.scaler.policies import adaptive
from lambda_dispatch.scaler.record import differences
from lambda_dispatch.scaler.target import LEAST, STRETCH, WINDOW, Fit, Target
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.policies import parse
from lambda_dispatch.simulator.product import ProductScaler
from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.world import World
from lambda_dispatch_core.board import board as b

MOST = 10


def fed(
    slow: Callable[[float, int], float],
    minutes: float = 10.0,
    target: Target | None = None,
    rates: tuple[float, float] = (2.0, 40.0),
) -> Target:
    """`slow`: s of a request, by time and requests at once in an instance. One instance, whose arrivals change by
    chance; each window is in balance."""
    target, chance = target or Target(), random.Random(1)
    arrivals = completions = duration_ns = 0
    now = 0.0
    while now < minutes * 60:
        rate, crowd = chance.uniform(*rates), 1
        # Little's law: as many are at work as arrive in the time of one.
        while crowd < MOST and rate * slow(now, crowd) > crowd:
            crowd += 1
        count = int(rate * WINDOW)
        for _ in range(int(WINDOW / 0.5)):
            target.look(now, b.PoolTotals(0, crowd, 0, arrivals, completions, duration_ns, 0, 0, 0), 1, MOST)
            now += 0.5
        arrivals, completions = arrivals + count, completions + count
        duration_ns += int(count * slow(now, crowd) * NS)
    return target


def test_the_target_is_where_a_request_takes_four_times_as_long_as_alone() -> None:
    assert STRETCH == 4.0
    assert Fit(a=0.0, slope=0.03, close=1.0, driven=1.0).bearable() == pytest.approx(4.0)
    assert Fit(a=0.06, slope=0.03, close=1.0, driven=1.0).bearable() == pytest.approx(10.0)
    assert Fit(a=0.1, slope=0.0, close=1.0, driven=1.0).bearable() == float("inf")


def test_requests_that_slow_each_other_lower_the_target_step_by_step() -> None:
    few = fed(lambda _, crowd: 0.01 + 0.03 * crowd, minutes=LEAST * WINDOW / 60 - 0.2)
    assert few.learnt == 0, "nothing is concluded from so few samples"
    assert fed(lambda _, crowd: 0.01 + 0.03 * crowd).learnt in (4, 5, 6)


def test_requests_that_wait_for_others_do_not() -> None:
    assert fed(lambda _, crowd: 0.2).learnt == 0


def test_a_database_that_is_slow_for_minutes_does_not() -> None:
    """k rises because s does, in proportion; arrivals have nothing to do with it."""
    assert fed(lambda now, crowd: 0.4 if now % 240 > 120 else 0.05, rates=(19.0, 21.0)).learnt == 0


def test_the_target_goes_up_again_when_requests_no_longer_slow_each_other() -> None:
    learnt = fed(lambda _, crowd: 0.01 + 0.03 * crowd)
    assert learnt.learnt < MOST
    again = fed(lambda _, crowd: 0.1, minutes=30.0, target=_later(learnt))
    assert again.learnt == MOST


def _later(target: Target) -> Target:
    """The same knowledge, of a scaler whose clock begins again."""
    target._first = target._before = None
    target._moved_at = -1e9
    return target


@pytest.mark.parametrize("name", ["steady", "heavy-tail", "unknown", "burst", "mixed-streams"])
def test_loads_that_do_not_share_a_cpu_are_played_as_without_it_and_without_packing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "packed", lambda *_: 0)
    load, setting = LOADS[name], Setting()
    requests = generate(load, load.rate, 420.0, load.service, 2)
    learns, plain = (run(parse(word, setting), requests, setting) for word in ("adaptive-auto", "adaptive"))
    assert learns.environment_seconds == plain.environment_seconds and learns.wait_p99 == plain.wait_p99


def test_a_cpu_bound_application_is_faster_and_no_dearer_than_with_simple(monkeypatch: pytest.MonkeyPatch) -> None:
    load = LOADS["cpu-bound"]
    setting = Setting(share=load.share, cpus=load.cpus)
    requests = generate(load, load.rate, 600.0, load.service, 3)
    packs = run(parse("adaptive", setting), requests, setting)
    monkeypatch.setattr(adaptive, "packed", lambda *_: 0)
    learns, plain, simple = (
        run(parse(word, setting), requests, setting) for word in ("adaptive-auto", "adaptive", "simple")
    )
    assert learns.time_p99 < plain.time_p99 < simple.time_p99
    assert packs.time_p99 < simple.time_p99
    assert max(learns.environment_seconds, packs.environment_seconds) < simple.environment_seconds


def test_decisions_with_a_learnt_target_can_be_taken_again() -> None:
    load = LOADS["cpu-bound"]
    setting = Setting(share=load.share, cpus=load.cpus)
    requests = generate(load, load.rate, 240.0, load.service, 3)
    world = World(requests.arrive, requests.takes, setting.service(), share=load.share, cpus=load.cpus)
    config = parse("adaptive-auto", setting).config
    assert config is not None and config.target_concurrency == LEARNT
    scaler = ProductScaler(world, 0, config, 1)
    scaler.records = []
    while world.advance() >= 0:
        scaler.look()
    targets = {record.seen("target") for record in scaler.records}
    assert max(targets) == MOST and min(targets) < MOST
    assert not any(differences(record) for record in scaler.records)


@pytest.mark.parametrize(("text", "value"), [("auto", LEARNT), ("AUTO", LEARNT), ("0", 0), ("7", 7)])
def test_the_option_is_a_number_or_auto(text: str, value: int) -> None:
    assert load({}, ["--function-name", "app", "--target-concurrency", text]).target_concurrency == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-1", "--target-concurrency is '-1'; it must be auto, or a whole number from 0 to 100"),
        ("automatic", "--target-concurrency is 'automatic'; it must be auto, or a whole number from 0 to 100"),
        ("11", "--target-concurrency is 11; it must be auto, or from 0 to MaxConcurrentCount (10), which"),
    ],
)
def test_what_the_option_may_be_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, ["--function-name", "app", "--target-concurrency", text])
    (problem,) = caught.value.problems
    assert problem.startswith(said)
