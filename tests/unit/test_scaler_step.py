"""One look at one pool: commands and a record come out, and the record alone gives the decision again."""

import math
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.function_name import parse
from lambda_dispatch.scaler.causes import CAUSES, FULL, PAUSED
from lambda_dispatch.scaler.fleet import Fleet
from lambda_dispatch.scaler.guard import StartGuard
from lambda_dispatch.scaler.loop import new_fleet, publish
from lambda_dispatch.scaler.model import LEARNT, Limits
from lambda_dispatch.scaler.policies import POLICIES, policy_named
from lambda_dispatch.scaler.record import SEEN, differences, from_board, to_board
from lambda_dispatch.scaler.step import Hold, Look, Order, Recycle, conclude, step
from lambda_dispatch.scaler.verdict import Exit
from lambda_dispatch.telemetry.view import take
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

NS = 1_000_000_000


class Pool:
    """A fleet, and the part of the board that its looks see. Instances open a second after they were asked for."""

    def __init__(self, algorithm: str = "simple", **limits: int) -> None:
        self.fleet = Fleet(
            0,
            1,
            "default",
            parse("app"),
            policy_named(algorithm),
            Limits(**{"max_concurrent": 10, "multiplier": 2} | limits),
            StartGuard(50, 20, 0.0, lambda: 0.5),
        )
        self.instances: dict[int, b.Instance] = {}
        self.arrivals = self.completions = self.duration_ns = self.last_used = 0
        self.slot = 0

    def look(self, now: float, queued: int = 0, running: int = 0, **more: object) -> Look:
        at = int(now * NS)
        for slot, seen in self.instances.items():
            if seen.state == b.INSTANCE_STARTING and at - seen.created >= NS:
                self.instances[slot] = seen._replace(state=b.INSTANCE_OPEN, opened=at, idle=10)
        if queued or running:
            self.arrivals += queued + running
            self.completions += running
            self.duration_ns += running * NS // 10
            self.last_used = at
        totals = b.PoolTotals(
            queued, running, 0, self.arrivals, self.completions, self.duration_ns, 0, self.last_used, 0
        )
        return Look(now, totals, tuple(self.instances.values()), **more)  # type: ignore[arg-type]

    def act(self, now: float, queued: int = 0, running: int = 0, room: int = 1000, **more: object):  # type: ignore[no-untyped-def]
        look = self.look(now, queued, running, **more)
        done = step(self.fleet, look)
        at = int(now * NS)
        started = 0
        for order in done.commands.start[:room]:
            self.slot += 1
            self.fleet.began(self.slot, 1, b"i" * 16, now, order.stays, order.spare)
            self.instances[self.slot] = b.Instance(
                self.slot, 1, b"i" * 16, b.INSTANCE_STARTING, 0, 10, 0, 0, 0, 0, at, 0, at + 900 * NS, 0, False
            )
            started += not order.spare
        for slot in (*done.commands.let_go, *done.commands.spare):
            self.instances[slot] = self.instances[slot]._replace(state=b.INSTANCE_DRAINING, goaway_at=at)
        for slot in done.commands.recycle:
            self.instances[slot] = self.instances[slot]._replace(state=b.INSTANCE_DRAINING, goaway_at=at + 10 * NS)
        return done, conclude(self.fleet, done, started, bool(done.commands.let_go))


def test_a_queue_starts_instances_and_is_recorded_with_what_was_seen() -> None:
    done, record = Pool().act(10.0, queued=25)
    assert len(done.commands.start) == 2 and done.commands.start[0] == Order(stays=False, buddy=False)
    assert record is not None and (record.before, record.desired, record.wanted, record.started) == (0, 2, 2, 2)
    assert (record.seen("now"), record.seen("pending"), record.seen("open")) == (10.0, 25.0, 0.0)
    assert math.isnan(record.seen("mean_ms"))


def test_requests_of_instances_that_drain_are_recorded() -> None:
    pool = Pool("adaptive")
    pool.act(10.0, queued=80)
    pool.act(12.0, running=80)
    for slot, it in pool.instances.items():
        state = b.INSTANCE_DRAINING if slot > 5 else b.INSTANCE_OPEN
        pool.instances[slot] = it._replace(state=state, in_flight=10)
    leaving = 10 * (len(pool.instances) - 5)
    for tick in range(20):
        record = pool.act(13 + tick / 10, running=40 + leaving)[0].record
        assert record is not None and record.seen("leaving") == leaving > 0
        assert differences(record) == {}


def test_a_look_without_news_leaves_no_record() -> None:
    pool = Pool()
    assert pool.act(10.0, queued=25)[1] is not None
    assert pool.act(10.02, queued=25)[1] is None


def test_a_full_board_is_what_held_the_starts_back() -> None:
    record = Pool().act(10.0, queued=25, room=1)[1]
    assert record is not None and (record.wanted, record.started, record.held) == (2, 1, FULL)


def test_a_paused_pool_neither_starts_nor_closes_and_says_so_once() -> None:
    pool = Pool()
    done, record = pool.act(10.0, queued=25, hold=Hold.PAUSED)
    assert not done.commands.start and record is not None and record.held == PAUSED and record.proposed == 0
    assert differences(record) == {} and differences(replace(record, desired=2)) == {"desired": (2, 0)}
    assert pool.act(10.1, queued=25, hold=Hold.PAUSED)[1] is None
    assert len(pool.act(10.2, queued=25)[0].commands.start) == 2


def test_limits_of_an_operator_stand_in_for_the_configured_ones() -> None:
    done, record = Pool().act(10.0, limits=Limits(10, 2, min_instances=3))
    assert done.commands.start == (Order(stays=True, buddy=False),) * 3
    assert record is not None and record.seen("min_instances") == 3


def test_a_pool_that_is_left_lets_every_instance_go() -> None:
    pool = Pool()
    pool.act(10.0, queued=25)
    done, record = pool.act(12.0, queued=5, hold=Hold.LEAVING)
    assert set(done.commands.let_go) == {1, 2} and not done.commands.start and record is None
    assert all(run.asked for run in pool.fleet.runs.values())


def test_an_ending_router_starts_only_for_requests_that_wait() -> None:
    pool = Pool()
    assert not pool.act(10.0, running=25, ending=True)[0].commands.start
    assert pool.act(10.1, queued=25, ending=True)[0].commands.start


def test_instances_of_an_earlier_scaler_are_adopted_and_count() -> None:
    pool = Pool()
    pool.act(10.0, queued=25)
    pool.fleet.runs.clear()
    done, _ = pool.act(12.0, queued=25)
    assert done.adopted == 2 and pool.fleet.desired >= 2 and not done.commands.start


def test_an_instance_ends_once_and_teaches_the_guard() -> None:
    pool = Pool()
    pool.act(10.0, queued=25)
    run = pool.fleet.runs[1]
    end = pool.fleet.end(run, pool.instances.pop(1), Exit("FunctionError"), 10.5)
    assert end is not None and not end.opened and end.outcome is not None and end.outcome.failed
    assert pool.fleet.guard.failures == 1 and pool.fleet.starts_failed == 1
    assert pool.fleet.end(run, pool.instances[2], Exit("FunctionError"), 10.6) is None


def test_memories_survive_the_board() -> None:
    for policy in POLICIES:
        flat = policy.flat(policy.first(7))
        assert len(flat) == policy.memory_size and len(SEEN) + len(flat) <= b.DECISION_INPUTS
        assert policy.restore(flat) == policy.first(7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([policy.name for policy in POLICIES]), st.integers(0, 4))
def test_every_record_of_a_random_load_gives_its_decision_again(seed: int, algorithm: str, floor: int) -> None:
    chance = random.Random(seed)
    pool = Pool(algorithm, min_instances=floor, max_instances=40)
    now, queued, running = 100.0, 0, 0
    for _ in range(200):
        now += chance.choice((0.005, 0.1, 0.1, 0.1, 1.0))
        queued = max(0, queued + chance.randint(-40, 40)) if chance.random() < 0.7 else 0
        running = max(0, running + chance.randint(-30, 30)) if chance.random() < 0.8 else 0
        asked = [chance.choice(of) for of in ((0, 3), (5, 40), (0, 4), (0, 2), (-1, -1, 0, 7))]
        limits = Limits(10, 2, *asked)
        more = {} if chance.random() < 0.6 else {"limits": limits, "recycle": Recycle(int(now * NS), 2)}
        _, record = pool.act(now, queued, running, room=chance.choice((1000, 1000, 3)), **more)
        for slot, seen in list(pool.instances.items()):
            if seen.state == b.INSTANCE_DRAINING and chance.random() < 0.5:
                pool.fleet.end(pool.fleet.runs[slot], pool.instances.pop(slot), Exit("RouterGoAway", 3), now)
        if record is not None:
            assert differences(record) == {}


def test_a_record_is_the_same_after_the_board() -> None:
    record = Pool("ewma").act(10.0, queued=25)[1]
    assert record is not None
    board = Board.create(1, instances=256, pools=8)
    to_board(record, board)
    again = from_board(board.list_decisions()[0])
    board.close()
    assert differences(again) == {} and differences(replace(again, desired=7)) == {"desired": (7, 2)}
    assert [x for x in again.inputs if x == x] == [x for x in record.inputs if x == x]
    assert (again.desired, again.started, again.held) == (record.desired, record.started, record.held)


def counted(pool: Pool) -> dict[tuple[str, str], int]:
    return {cause: count for cause, count in zip(CAUSES, pool.fleet.decisions, strict=True) if count}


def test_decisions_are_counted_and_the_demand_is_told_without_its_bounds() -> None:
    pool = Pool(max_instances=3)
    pool.act(0, queued=500)
    assert (pool.fleet.desired, counted(pool)) == (3, {("up", "maximum"): 1})
    assert pool.fleet.desired_raw > 3
    for tick in range(1, 200):
        pool.act(tick, 0)
    assert counted(pool)["down", "demand"] >= 1 and pool.fleet.desired_raw == 0
    pool.act(200, queued=500, hold=Hold.PAUSED)
    assert counted(pool)["held", PAUSED] == 1


def test_nothing_is_packed_while_it_is_learnt_what_slows_requests() -> None:
    def packs(algorithm: str, **limits: int) -> int:
        pool = Pool(algorithm)
        for tick in range(40):
            running = 60 if tick < 30 else 12
            pool.act(tick / 10, 0 if tick else 60, running, limits=Limits(10, 2, **limits))
        return pool.fleet.packs

    assert (packs("adaptive"), packs("adaptive", target=LEARNT), packs("simple")) == (9, 0, 0)


def test_what_was_counted_stands_on_the_board() -> None:
    board = Board.create(workers=1, instances=64, pools=1)
    try:
        board.claim_pool(b"web", 1)
        config = RouterConfig(function_name="web")
        first = new_fleet(board.pool(0), config, 1.0, None)
        first.desired_raw, first.packs, first.decisions[0], first.exits[-1] = 7, 9, 3, 5
        publish(board, first, {}, 1.0)
        shown = take(board, 1, 1).pools[0]
        assert (shown.desired_raw, shown.start_budget, shown.exits["Unknown"]) == (7, config.start_burst, 5)
        assert shown.packs == board.pool(0).packs == 9
        assert ("up", "demand", 3) in shown.decisions and ("down", "demand", 0) in shown.decisions
        successor = new_fleet(board.pool(0), config, 2.0, None)
        assert (successor.decisions, successor.exits) == (first.decisions, first.exits)
    finally:
        board.close()
