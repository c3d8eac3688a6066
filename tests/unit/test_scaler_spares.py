"""FrozenSpares: rounds of invokes that keep environments frozen, beside a policy that does not see them."""

from dataclasses import replace
from typing import Any

import pytest

from lambda_dispatch.config import load
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.scaler.guard import Outcome
from lambda_dispatch.scaler.ledger import Budget
from lambda_dispatch.scaler.model import START_TIMEOUT
from lambda_dispatch.scaler.policies import POLICIES
from lambda_dispatch.scaler.record import differences
from lambda_dispatch.scaler.spares import LONGEST, RESTOCK, SHORTEST
from lambda_dispatch.scaler.verdict import Exit
from lambda_dispatch.simulator.generators import LOADS, generate
from lambda_dispatch.simulator.policies import parse
from lambda_dispatch.simulator.run import run
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch_core.board import board as b
from tests.unit.test_scaler_step import NS, Pool


class Frozen(Pool):
    """A pool whose instances thaw in a second, and return at the look after they were let go."""

    def __init__(self, spares: int = 4, algorithm: str = "adaptive", **limits: int) -> None:
        super().__init__(algorithm, spares=spares, **limits)
        self.records = 0
        self.fleet.times.cold, self.fleet.times.thaw = 4.0, 1.0

    def tick(self, now: float, **more: object) -> tuple[int, int]:
        """How many spares are started at this look, and how many are let go."""
        for slot, seen in list(self.instances.items()):
            if seen.state == b.INSTANCE_DRAINING and seen.in_flight == 0:
                run = self.fleet.runs[slot]
                self.fleet.end(run, seen, Exit("RouterGoAway"), now)
                del self.instances[slot]
        done, record = self.act(now, **more)  # type: ignore[arg-type]
        self.records += record is not None
        assert record is None or differences(record) == {}
        return sum(order.spare for order in done.commands.start), len(done.commands.spare)

    def rounds(self, since: float, until: float, **more: object) -> list[tuple[float, int]]:
        """When spares were started, and how many, in looks once a second."""
        found = []
        for number in range(int(until - since)):
            started, _ = self.tick(since + number, **more)
            if started:
                found.append((since + number, started))
        return found

    def lacks_nothing(self, now: float) -> bool:
        return self.fleet.times.frozen(now) >= self.fleet.limits.spares


@pytest.mark.parametrize("algorithm", [it.name for it in POLICIES])
def test_a_round_runs_at_the_same_time_is_let_go_when_all_are_open_and_is_no_demand(algorithm: str) -> None:
    pool = Frozen(4, algorithm)
    assert pool.tick(10.0) == (4, 0)
    *soon, late = pool.instances
    for slot in soon:
        pool.instances[slot] = pool.instances[slot]._replace(created=int(9.3 * NS))
    pool.instances[late] = pool.instances[late]._replace(created=int(9.6 * NS))
    assert pool.tick(10.4) == (0, 0), "three of four are open"
    assert pool.tick(10.7) == (0, 4)
    assert pool.fleet.desired == 0 and pool.records == 0
    assert pool.tick(10.8) == (0, 0) and not pool.fleet.runs
    assert pool.lacks_nothing(12.0)
    assert pool.fleet.ledger.invokes == 4 and pool.fleet.ledger.open_s > 2.0


def test_a_round_waits_for_a_cold_start_no_longer_than_a_second() -> None:
    pool = Frozen()
    pool.tick(10.0)
    late = next(iter(pool.instances))
    pool.instances[late] = pool.instances[late]._replace(created=int(11.0 * NS))
    assert [pool.tick(at) for at in (11.2, 12.0, 12.2)] == [(0, 3), (0, 1), (0, 0)]


def test_a_round_begins_again_before_lambda_reclaims_what_is_frozen() -> None:
    pool = Frozen()
    assert pool.tick(10.0) == (4, 0)
    rounds = pool.rounds(11.0, 660.0)
    gaps = [later - sooner for (sooner, _), (later, _) in zip([(12.0, 4), *rounds], rounds, strict=False)]
    assert [count for _, count in rounds] == [4, 4, 4]
    assert all(LONGEST <= gap <= LONGEST + 3 for gap in gaps)


def test_traffic_that_has_used_as_many_environments_renews_them_itself() -> None:
    pool = Frozen()
    pool.rounds(10.0, 13.0)
    for _ in range(4):
        pool.fleet.times.returned(150.0)
    assert pool.rounds(150.0, 340.0) == []
    assert pool.rounds(340.0, 360.0) == [(350.0, 4)]


def test_what_a_burst_takes_is_replaced_only_when_it_stays_away() -> None:
    pool = Frozen()
    pool.rounds(10.0, 14.0)
    for _ in range(4):
        pool.fleet.times.began(20.0)
    assert pool.rounds(20.0, 20.0 + RESTOCK - 1) == []
    for _ in range(4):
        pool.fleet.times.returned(49.0)
    assert pool.rounds(49.0, 140.0) == []
    pool.fleet.times.began(140.0)
    assert pool.rounds(140.0, 175.0) == [(140.0 + RESTOCK, 4)]


def test_rounds_come_sooner_where_environments_are_lost_and_later_again() -> None:
    pool = Frozen()
    pool.rounds(10.0, 20.0)
    spares = pool.fleet.spares
    assert spares.period == LONGEST
    for _ in range(8):
        spares.began(20.0)
        spares.opened(lost=True)
        spares.opened(lost=True)
    assert spares.period == SHORTEST
    spares.began(20.0)
    spares.opened(lost=True)
    pool.rounds(20.0, 400.0)
    assert SHORTEST < spares.period < LONGEST


def test_a_cold_start_that_should_have_been_a_thaw_is_what_rounds_learn_from() -> None:
    pool = Frozen()
    pool.rounds(10.0, 20.0)
    pool.fleet.times.cold, pool.fleet.times.thaw = 1.0, 0.05  # a second, which each of them takes, is cold
    pool.rounds(20.0, 230.0)
    assert pool.fleet.spares.period == pytest.approx(LONGEST * 0.7)


def test_a_spare_that_gets_a_request_becomes_an_ordinary_instance() -> None:
    pool = Frozen()
    pool.tick(10.0)
    slot = next(iter(pool.instances))
    pool.look(11.0)
    pool.instances[slot] = pool.instances[slot]._replace(in_flight=1)
    assert pool.tick(11.1, running=1) == (0, 3)
    assert not pool.fleet.runs[slot].spare and pool.instances[slot].state == b.INSTANCE_OPEN
    assert pool.tick(11.2, running=1)[1] == 0 and pool.fleet.desired == 1


def test_a_spare_that_never_opens_does_not_stop_the_rounds() -> None:
    pool = Frozen(1)
    pool.tick(10.0)
    ((slot, stuck),) = pool.instances.items()
    run, later = pool.fleet.runs[slot], 10.0 + START_TIMEOUT
    assert pool.fleet.spares.over(later, [stuck], pool.fleet.runs) == [] and run.spare
    assert pool.fleet.spares.over(later + 0.1, [stuck], pool.fleet.runs) == [] and not run.spare


@pytest.mark.parametrize("queued", [0, 3])
def test_no_round_begins_while_requests_wait(queued: int) -> None:
    assert (Frozen().tick(10.0, queued=queued)[0] > 0) is (queued == 0)


@pytest.mark.parametrize("what", ["paused", "ending", "failed", "breaker", "short lives", "budget", "tokens", "room"])
def test_no_round_begins_where_starts_are_held_or_have_failed(what: str) -> None:
    pool = Frozen()
    more: dict[str, Any] = {}
    guard = pool.fleet.guard
    if what == "paused":
        more["limits"] = replace(pool.fleet.limits, pinned=0)
    elif what == "ending":
        more["ending"] = True
    elif what == "failed":
        guard.judge(guard.began(9.0), Outcome.FUNCTION_ERROR, 9.0)
    elif what == "breaker":
        guard.restore_open(60.0)
    elif what == "short lives":
        guard.short_life(9.0)
    elif what == "budget":
        pool.fleet.budget = Budget(invokes_per_minute=3)
    elif what == "tokens":
        guard.bucket.take(48, 10.0)
    else:
        more["limits"] = replace(pool.fleet.limits, max_instances=0)
    assert pool.tick(10.0, **more) == (0, 0)


def test_a_round_that_the_burst_of_starts_cannot_hold_is_refused() -> None:
    argv = ["--function-name", "app", "--start-burst", "20", "--frozen-spares"]
    assert load({}, [*argv, "20"]).frozen_spares == 20
    with pytest.raises(ConfigError) as caught:
        load({}, [*argv, "21"])
    assert caught.value.problems == [
        "--frozen-spares is 21; a round of them is sent at once, so it must not be more than StartBurst (20)"
    ]


def test_bursts_that_come_back_when_lambda_has_reclaimed_everything_wait_for_a_thaw_only() -> None:
    load, setting = LOADS["rare-burst"], Setting()
    requests = generate(load, load.rate, 2400.0, load.service, 1)
    without, spared = (run(parse(word, setting), requests, setting) for word in ("adaptive", "adaptive-spares"))
    assert without.wait_p99 > 1000 and spared.wait_p99 < 100
    assert spared.environment_seconds < without.environment_seconds
    assert spared.cold_starts < 20 < without.cold_starts
