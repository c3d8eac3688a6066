"""`adaptive` where things go wrong, or only seem to: noise, killed scalers, steps of the clock, Lambda's trouble."""

from array import array

import pytest

from lambda_dispatch.scaler.policies import adaptive
from lambda_dispatch.simulator.distributions import Distribution
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.policies import parse
from lambda_dispatch.simulator.product import ProductScaler
from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.service import Service
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.world import World
from tests.unit.test_scaler_step import Pool

FOREVER = 1e6  # s, a life without a deadline


def scaler(world: World, algorithm: str = "adaptive", seed: int = 1) -> ProductScaler:
    config = parse(algorithm, Setting()).config
    assert config is not None
    made = ProductScaler(world, 0, config, seed)
    made.records = []
    return made


def started(of: ProductScaler, since: float = 0.0, until: float = FOREVER) -> int:
    assert of.records is not None
    return sum(record.started for record in of.records if since <= record.at < until)


def closed(of: ProductScaler, since: float) -> int:
    assert of.records is not None
    return sum(record.closed for record in of.records if record.at >= since)


def test_an_hour_of_noise_at_a_constant_load_moves_two_percent_of_a_large_fleet_a_minute_at_most() -> None:
    """Some forty instances; deadlines do not come, so that only noise can move them."""
    seconds, settled = 3600.0, 180.0
    requests = generate(LOADS["steady"], 200.0, seconds, Distribution("lognormal", (1.5, 0.5)), 1)
    world = World(requests.arrive, requests.takes, Setting().service(), life=FOREVER)
    ours = scaler(world)
    while world.advance() >= 0 and world.now < seconds * NS:
        ours.look()
    open_then = sum(it.opened > 0 for it in world.instances(0))
    assert open_then > 35
    moved = started(ours, settled) + closed(ours, settled)
    assert 0 < moved / ((seconds - settled) / 60) / open_then <= 0.02


def test_a_scaler_killed_in_the_middle_of_a_burst_neither_doubles_nor_drops() -> None:
    def play(killed_at: float) -> tuple[World, int]:
        requests = generate(LOADS["step"], 200.0, 60.0, LOADS["step"].service, 5)
        world = World(requests.arrive, requests.takes, Setting().service())
        ours, invokes, killed = scaler(world), 0, False
        while world.advance() >= 0:
            if not killed and world.now >= killed_at * NS:
                invokes += started(ours)
                successor = scaler(world, seed=2)
                successor.follow(ours)
                ours, killed = successor, True
            ours.look()
        return world, invokes + started(ours)

    untouched, before = play(FOREVER)
    # Its starts are under way: 200 requests a second come since 10 s, and cold starts take 2 s.
    world, after = play(11.0)
    assert world.completed == untouched.completed and world.cut == 0
    assert after <= before + 6
    assert max(world.waits()) <= max(untouched.waits()) + NS


@pytest.mark.parametrize("step", [3600.0, 60.0, -5.0])
def test_a_step_of_the_clock_starts_and_closes_nothing(step: float) -> None:
    pool = Pool("adaptive")

    def act(now: float):  # type: ignore[no-untyped-def]
        for slot, it in pool.instances.items():
            pool.instances[slot] = it._replace(in_flight=8 if it.opened else 0)
        return pool.act(now, running=25)[0]

    for tick in range(100):
        act(10 + tick / 10)
    have = len(pool.instances)
    assert have >= 3
    moved = []
    for tick in range(20):
        done = act(20 + step + tick / 10)
        moved.append(len(done.commands.start) + len(done.commands.let_go))
    assert sum(moved) <= 1


def test_a_hundred_environments_are_asked_for_within_a_tenth_of_a_second_where_all_are_needed() -> None:
    world = World(array("q", [0] * 1000), array("q", [5 * NS] * 1000), Setting().service())
    ours = scaler(world)
    while world.advance() >= 0:
        ours.look()
    assert started(ours, until=0.1) == 100 == world.invokes
    assert max(world.waits()) <= 2.01 * NS


def test_nothing_is_asked_for_where_a_warm_slot_is_free_before() -> None:
    """Three full instances answer in 20 ms what comes on top."""
    steady = [round(at * 0.005 * NS) for at in range(2000)]
    extra = [round(8.0 * NS)] * 35
    arrive = array("q", sorted(steady + extra))
    world = World(arrive, array("q", [round(0.02 * NS)] * len(arrive)), Setting(frozen=4).service())
    ours = scaler(world)
    while world.advance() >= 0:
        ours.look()
    assert world.completed == len(arrive)
    assert started(ours, since=7.9, until=8.5) == 0
    assert max(list(world.waits())[1600:]) > 0, "somebody did wait"


def test_applications_that_share_half_a_cpu_are_not_packed_until_they_crawl() -> None:
    load = LOADS["cpu-bound"]
    world = Setting(share=load.share, cpus=load.cpus)
    requests = generate(load, load.rate, 180.0, load.service, 3)
    ours, theirs = (run(parse(name, world), requests, world) for name in ("adaptive", "simple"))
    assert ours.served == ours.requests
    assert ours.time_p99 <= theirs.time_p99
    assert ours.environment_seconds <= theirs.environment_seconds


@pytest.mark.parametrize("packs", [True, False])
def test_starts_that_take_ten_times_longer_than_learnt_do_not_multiply(
    packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute of two seconds, then twenty: what is under way is counted, however late it is. Packed instances end
    sooner, and come back frozen, in no time."""
    if not packs:
        monkeypatch.setattr(adaptive, "packed", lambda *_: 0)
    times, colds = iter([2.0] * 6), []

    def cold() -> float:
        colds.append(next(times, 20.0))
        return colds[-1]

    requests = generate(LOADS["step"], 200.0, 120.0, LOADS["step"].service, 5)
    service = Service(cold, lambda: 0.05, lambda: 300.0)
    world = World(requests.arrive, requests.takes, service)
    ours = scaler(world)
    while world.advance() >= 0:
        ours.look()
    assert world.completed == len(requests)
    assert 6 < len(colds) <= 12
    assert started(ours) <= (30 if packs else 20)


def in_trouble(rate: float, **trouble: float) -> Outcome:
    setting = Setting(**trouble)  # type: ignore[arg-type]
    requests = generate(LOADS["step"], rate, 60.0, LOADS["step"].service, 5)
    return run(parse("adaptive", setting), requests, setting)


def test_a_throttled_account_is_not_hammered() -> None:
    """More instances are wanted than there may be, for 40 s of ten looks a second."""
    ours = in_trouble(200.0, concurrency=3)
    assert ours.served == ours.requests
    assert ours.invokes <= 60


def test_half_of_all_starts_may_fail() -> None:
    ours, healthy = in_trouble(100.0, failing=0.5), in_trouble(100.0)
    assert ours.served == ours.requests
    assert healthy.invokes < ours.invokes <= 3 * healthy.invokes
    assert ours.wait_max <= healthy.wait_max + 5000, "ms: the breaker closes again"


def test_environments_that_nearly_all_fail_are_not_started_all_the_time() -> None:
    assert in_trouble(100.0, failing=0.95).invokes <= 60
