"""What a pool has cost, what Lambda's own dispatch would have, and budgets that hold the floor."""

import pytest

from lambda_dispatch.scaler.ledger import COST, INVOKES, Budget, Ledger, Rate
from lambda_dispatch.scaler.record import differences
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from tests.unit.test_scaler_step import NS, Pool


def totals(running: int = 0, completions: int = 0, seconds: float = 0.0) -> b.PoolTotals:
    return b.PoolTotals(0, running, 0, completions + running, completions, int(seconds * NS), 0, 0, 0)


def instance(in_flight: int) -> b.Instance:
    return b.Instance(0, 1, b"", b.INSTANCE_OPEN, 0, 10, in_flight, 0, 0, 0, 0, 1, 0, 0, False)


def test_open_time_is_billed_and_busy_time_is_the_part_with_a_request() -> None:
    ledger = Ledger(Rate(second=0.5, invoke=0.25, gb=1.5))
    for _ in range(2):
        ledger.invoked(0.0)
    for at in range(11):
        ledger.look(float(at), totals(), [instance(3 if at > 5 else 0), instance(0)], 2.0)
    assert (ledger.open_s, ledger.busy_s, ledger.invokes) == (20.0, 5.0, 2)
    assert ledger.usd == pytest.approx(20 * 0.5 + 2 * 0.25)
    assert ledger.gb_s == pytest.approx(20 * 1.5)


def test_lambdas_own_dispatch_bills_each_request_and_each_environment_that_is_new() -> None:
    ledger = Ledger(Rate(second=0.5, invoke=0.25))
    ledger.look(0.0, totals(), [], 2.0)
    ledger.look(1.0, totals(running=4), [], 2.0)  # four at once: four environments
    ledger.look(2.0, totals(running=3, completions=4, seconds=4.0), [], 2.0)  # three of them again
    ledger.look(3.0, totals(running=5, completions=7, seconds=7.0), [], 2.0)  # one more is new
    assert ledger.direct_s == pytest.approx(4 * 2 + 7 + 1 * 2)
    assert ledger.direct_invokes == 7
    assert ledger.direct_usd == pytest.approx(17 * 0.5 + 7 * 0.25)
    ledger.look(900.0, totals(running=1, completions=12, seconds=7.0), [], 2.0)  # Lambda has let go of all of them
    assert ledger.direct_s == pytest.approx(17 + 2)


def test_a_scaler_that_follows_another_goes_on_with_its_sums() -> None:
    board = Board.create(workers=1, instances=64, pools=1)
    try:
        board.publish_ledger(
            0, predicted_wait_us=1, open_ms=2000, busy_ms=1000, invokes=7, cost_nusd=3_000_000_000, direct_ms=4000,
            direct_invokes=5, direct_nusd=6_000_000_000, budget=2, billed_mb_ms=3_072_000, max_cost_nusd=4_500_000_000,
        )  # fmt: skip
        ledger = Ledger()
        ledger.resume(board.pool(0))
        assert (ledger.open_s, ledger.busy_s, ledger.invokes, ledger.usd) == (2.0, 1.0, 7, 3.0)
        assert (ledger.direct_s, ledger.direct_invokes, ledger.direct_usd) == (4.0, 5, 6.0)
        assert ledger.gb_s == 3.0
        assert (board.pool(0).budget, board.pool(0).max_cost_nusd) == (2, 4_500_000_000)
    finally:
        board.close()


def test_a_budget_is_spent_until_the_old_minutes_have_left_the_hour() -> None:
    ledger = Ledger(Rate(second=1.0))
    budget = Budget(usd_per_hour=60.0, invokes_per_minute=3)
    for at in range(0, 61):
        ledger.look(float(at), totals(), [instance(1)], 2.0)
    assert budget.spent(ledger, 60.0) == COST
    assert budget.spent(ledger, 3500.0) == COST
    assert budget.spent(ledger, 3661.0) == ""
    for _ in range(3):
        ledger.invoked(4000.0)
    assert budget.spent(ledger, 4059.0) == INVOKES
    assert budget.spent(ledger, 4060.0) == ""


@pytest.mark.parametrize("algorithm", ["simple", "adaptive"])
def test_a_spent_hour_holds_the_floor_and_says_so(algorithm: str) -> None:
    pool = Pool(algorithm, min_instances=2)
    pool.fleet.budget = Budget(usd_per_hour=30.0)
    pool.fleet.ledger.rate = Rate(second=1.0)
    held, open_then = set(), []
    for tick in range(600):
        now = 10 + tick / 10
        done, record = pool.act(now, queued=30 if tick % 3 else 0, running=20)
        if record is not None:
            held.add(record.held)
            assert differences(record) == {}
        open_then.append(sum(it.state != b.INSTANCE_DRAINING for it in pool.instances.values()))
    assert max(open_then) > 3, "there was money at first"
    assert open_then[-1] == 2
    assert COST in held


@pytest.mark.parametrize("algorithm", ["simple", "adaptive"])
def test_spent_invokes_start_nothing_but_the_floor(algorithm: str) -> None:
    pool = Pool(algorithm)
    pool.fleet.budget = Budget(invokes_per_minute=4)
    held, started = set(), 0
    for tick in range(300):
        done, record = pool.act(10 + tick / 10, queued=300)
        started += len(done.commands.start)
        if record is not None:
            held.add(record.held)
            assert differences(record) == {}
    assert started == 4
    assert INVOKES in held
