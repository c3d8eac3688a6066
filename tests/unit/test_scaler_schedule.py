"""MinInstancesSchedule: which floor holds when, what is wrong with an entry, and who wins."""

from array import array
from datetime import UTC, datetime

import pytest

from lambda_dispatch.config import load
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.scaler.configured import floor_of, scheduled
from lambda_dispatch.scaler.model import Limits
from lambda_dispatch.scaler.overrides import orders
from lambda_dispatch.scaler.policies import POLICIES
from lambda_dispatch.scaler.schedule import Schedule, ScheduleError, parse
from lambda_dispatch.simulator.policies import parse as policy
from lambda_dispatch.simulator.product import ProductScaler
from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.setting import Setting
from lambda_dispatch.simulator.world import World
from lambda_dispatch_core.board import board as b
from tests.unit.test_scaler_overrides import override

OFFICE = "0 7 * * MON-FRI=20; 0 19 * * *=2"
LIMITS = Limits(10, 2, min_instances=1, max_instances=40)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def made(text: str) -> Schedule:
    found = parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("now", "count", "since", "until"),
    [
        ("2026-11-27T07:00", 20, "2026-11-27T07:00", "2026-11-27T19:00"),  # a Friday
        ("2026-11-27T18:59:59", 20, "2026-11-27T07:00", "2026-11-27T19:00"),
        ("2026-11-27T19:00", 2, "2026-11-27T19:00", "2026-11-28T19:00"),
        ("2026-11-29T12:00", 2, "2026-11-28T19:00", "2026-11-29T19:00"),
        ("2026-11-30T06:59:59", 2, "2026-11-29T19:00", "2026-11-30T07:00"),
    ],
)
def test_the_entry_that_was_due_last_gives_the_floor(now: str, count: int, since: str, until: str) -> None:
    floor = made(OFFICE).at(at(now))
    assert (floor.count, floor.since, floor.until) == (count, at(since), at(until))


def test_of_two_entries_of_one_minute_the_later_one_counts() -> None:
    assert made("0 0 * * *=5; 0 0 1 * *=9").at(at("2026-12-01T00:00")).count == 9
    assert made("0 0 1 * *=9; 0 0 * * *=5").at(at("2026-12-01T00:00")).count == 5


@pytest.mark.parametrize(
    ("text", "now", "since"),
    [
        ("0 0 1 * MON=1", "2026-12-06T12:00", "2026-12-01T00:00"),  # the first, or a Monday
        ("0 0 1 * MON=1", "2026-12-09T12:00", "2026-12-07T00:00"),
        ("0 0 */9 * MON=1", "2026-12-09T12:00", "2026-10-19T00:00"),  # */9 begins with *: both must hold
        ("0 0 * * SAT-SUN=1", "2026-12-01T12:00", "2026-11-29T00:00"),
        ("0 0 * * 6-7=1", "2026-12-01T12:00", "2026-11-29T00:00"),
        ("0 0 29 feb *=1", "2026-12-01T12:00", "2024-02-29T00:00"),
    ],
)
def test_days_of_month_and_of_week(text: str, now: str, since: str) -> None:
    assert made(text).at(at(now)).since == at(since)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 7 * * *=3; 0 25 * * *=2", "entry 2, '0 25 * * *=2': the hour is '25'; write values from 0 to 23"),
        ("0 7 * *=3", "entry 1, '0 7 * *=3': there are 4 fields before the =; write five: minute, hour"),
        ("0 7 * * MON", "the number of instances is ''; write CRON=N"),
        ("0 7 * * MON=-1", "the number of instances is '-1'"),
        ("0 7 * * MON=1001", "the number of instances is '1001'; write CRON=N with N from 0 to 1000"),
        ("0 7 * * FRI-MON=1", "the day of week is 'FRI-MON'"),
        ("0 7 0 * *=1", "the day of month is '0'"),
        ("5/2 7 * * *=1", "the minute is '5/2'"),
        ("*/0 7 * * *=1", "the minute is '*/0'"),
        ("0 7 * TUE *=1", "the month is 'TUE'"),
        ("0 7 , * *=1", "the day of month is ','"),
        ("0 7 30 2 *=1", "there is no such day in any year"),
    ],
)
def test_an_error_names_the_entry_and_the_way_out(text: str, said: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert said in str(caught.value)


def test_the_router_refuses_a_wrong_entry_and_one_above_the_maximum() -> None:
    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load({}, ["--function-name", "app", "--max-instances", "30", "--min-instances-schedule", text])
        return caught.value.problems

    assert problems("0 7 * * MON=31; 0 9 * * *=30") == [
        "--min-instances-schedule asks for 31 instances; none of its entries may ask for more than MaxInstances (30)"
    ]
    (said,) = problems("0 24 * * *=3")
    assert said.startswith("--min-instances-schedule: entry 1, '0 24 * * *=3': the hour is '24'; write values")


def test_a_router_is_ready_when_an_instance_of_the_scheduled_floor_is_open() -> None:
    config = load({}, ["--function-name", "app", "--min-instances-schedule", OFFICE])
    assert (floor_of(config, at("2026-11-27T12:00")), floor_of(config, at("2026-11-28T12:00"))) == (20, 2)


def test_no_entry_is_no_schedule() -> None:
    assert parse("") is None and parse(" ; ") is None
    assert scheduled(LIMITS, None, 0.0, 2.0) == LIMITS


def test_a_rise_is_prepared_for_and_a_fall_is_not() -> None:
    schedule = made(OFFICE)
    seven, nineteen = at("2026-11-27T07:00"), at("2026-11-27T19:00")
    floors = [scheduled(LIMITS, schedule, seven - before, cold=3.0).min_instances for before in (6.1, 6.0, 0.0)]
    assert floors == [2, 20, 20]
    assert scheduled(LIMITS, schedule, nineteen - 1.0, cold=3.0).min_instances == 20
    assert scheduled(LIMITS, schedule, nineteen, cold=3.0).min_instances == 2


def test_min_instances_and_the_schedule_both_hold_within_the_maximum() -> None:
    schedule, night, day = made(OFFICE), at("2026-11-27T20:00"), at("2026-11-27T08:00")
    five = Limits(10, 2, min_instances=5, max_instances=10)
    assert scheduled(five, schedule, night, 2.0) == five
    raised = scheduled(five, schedule, day, 2.0)
    assert (raised.min_instances, raised.max_instances, raised.scheduled) == (10, 10, True)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(3, -1, (3, 40, False)), (-1, 5, (5, 5, True)), (0, 0, (0, 0, False)), (30, 35, (30, 35, False))],
)
def test_limits_of_an_operator_win_over_the_schedule(first: int, second: int, expected: tuple[int, int, bool]) -> None:
    configured = scheduled(LIMITS, made(OFFICE), at("2026-11-27T08:00"), 2.0)
    assert configured.min_instances == 20
    found = orders([override(b.OVERRIDE_LIMITS, first, second)], configured, 0, 10 * NS).limits
    assert (found.min_instances, found.max_instances, found.scheduled) == expected


@pytest.mark.parametrize("algorithm", [it.name for it in POLICIES])
def test_instances_are_open_when_the_floor_rises_and_closed_when_it_falls(algorithm: str) -> None:
    requests = array("q", [200 * NS]), array("q", [NS // 10])
    world = World(*requests, Setting().service())
    config = policy(f"{algorithm}:MinInstancesSchedule=0 0 * * *=0; 1 0 * * *=20; 2 0 * * *=3", Setting()).config
    assert config is not None
    scaler = ProductScaler(world, 0, config, 1)
    counts: dict[int, int] = {}
    while world.advance() >= 0 and world.now < 190 * NS:
        counts[world.now // NS] = sum(it.state == b.INSTANCE_OPEN for it in world.instances(0))
        scaler.look()
    assert (counts[54], counts[60], counts[119]) == (0, 20, 20)
    assert counts[130] == 3
