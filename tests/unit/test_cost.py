"""The cost model against sums done by hand, and a command that refuses what makes no sense."""

import json
import math
from dataclasses import replace

import pytest

from lambda_dispatch import cli, prices
from lambda_dispatch.cost import MONTH, Load, estimate

PRICES = prices.load()
LOAD = Load(requests_per_second=100, milliseconds=200, cpu_milliseconds=10, memory_mb=1024, architecture="x86")


def total(name: str, load: Load) -> float:
    return sum(estimate(load, PRICES)[name].values())


def test_requests_under_way_are_arrivals_times_time() -> None:
    assert LOAD.busy == 20
    assert LOAD.instances == 4  # 20 / (10 at once, half full)


def test_cpu_bounds_an_instance_too() -> None:
    assert replace(LOAD, cpu_milliseconds=200, memory_mb=1769).instances == pytest.approx(
        30
    )  # 20 CPUs, two thirds busy


def test_one_request_at_a_time_is_gigabytes_times_seconds() -> None:
    parts = estimate(LOAD, PRICES)["one request at a time"]
    assert parts["compute"] == pytest.approx(20 * 1.0 * 0.0000166667 * MONTH)
    assert parts["invokes"] == pytest.approx(100 * MONTH * 0.0000002)


def test_lambda_dispatch_is_its_instances_and_its_router() -> None:
    parts = estimate(LOAD, PRICES)["lambda-dispatch"]
    assert parts["compute"] == pytest.approx(4 * 0.0000166667 * MONTH)
    assert parts["router"] == pytest.approx((0.04048 + 2 * 0.004445) * 730)
    assert parts["load balancer"] == pytest.approx((0.0225 + 3.6 * 0.008) * 730)  # 100 x 10 kB are 3.6 GB an hour


def test_without_requests_only_what_is_always_there_costs() -> None:
    nothing = estimate(replace(LOAD, requests_per_second=0), PRICES)
    assert sum(nothing["one request at a time"].values()) == 0
    assert sum(nothing["Cloud Run"].values()) == 0
    assert nothing["lambda-dispatch"]["compute"] == 0
    assert nothing["Fargate"]["compute"] > 0


def test_waiting_requests_share_an_instance_and_computing_ones_do_not() -> None:
    waiting, computing = replace(LOAD, cpu_milliseconds=2), replace(LOAD, cpu_milliseconds=200)
    assert total("lambda-dispatch", waiting) < total("one request at a time", waiting)
    assert total("lambda-dispatch", computing) > total("one request at a time", computing)


def test_less_than_one_instance_is_open_for_a_share_of_the_time() -> None:
    trickle = replace(LOAD, requests_per_second=0.1)
    assert trickle.instances == pytest.approx(1 - math.exp(-0.1 * 0.45))


def test_computing_bounds_cloud_run_as_it_bounds_an_instance() -> None:
    computing = estimate(replace(LOAD, cpu_milliseconds=200, memory_mb=1769), PRICES)["Cloud Run"]["compute"]
    assert computing == pytest.approx(30 * (0.000024 + 1769 / 1024 * 0.0000025) * MONTH)


def test_tasks_are_there_for_the_peak_and_instances_follow_the_mean() -> None:
    steady, peaky = estimate(LOAD, PRICES), estimate(replace(LOAD, peak=10), PRICES)
    assert peaky["Fargate"]["compute"] == pytest.approx(10 * steady["Fargate"]["compute"])
    assert peaky["lambda-dispatch"] == steady["lambda-dispatch"]


def test_a_trickle_is_cheapest_one_at_a_time() -> None:
    trickle = replace(LOAD, requests_per_second=0.1)
    assert total("one request at a time", trickle) < total("lambda-dispatch", trickle)


def test_the_command_prints_every_way_and_the_day_of_the_prices(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "--requests-per-second", "100", "--milliseconds", "200"]) == 0
    out = capsys.readouterr().out
    for name in ("lambda-dispatch", "one request at a time", "Fargate", "Cloud Run", "2026-11-26"):
        assert name in out


def test_json_has_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--requests-per-second=100 --milliseconds=200 --cpu-milliseconds=10 --memory=1024 --architecture=x86 --json"
    )
    assert cli.main(["cost", *options.split()]) == 0
    document = json.loads(capsys.readouterr().out)
    for name, parts in estimate(LOAD, PRICES).items():
        assert document["dollars_per_month"][name] == pytest.approx(parts)
    assert math.isclose(document["busy"], 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--requests-per-second", "-1", "--milliseconds", "5"], "-1"),
        (["--requests-per-second", "nan", "--milliseconds", "5"], "nan"),
        (["--requests-per-second", "1", "--milliseconds", "5", "--memory", "64"], "64"),
        (["--requests-per-second", "1", "--milliseconds", "5", "--fill", "0"], "0"),
        (["--requests-per-second", "1", "--milliseconds", "5", "--peak", "0.5"], "0.5"),
        (["--requests-per-second", "1", "--milliseconds", "5", "--cpu-milliseconds", "6"], "--cpu-milliseconds is 6"),
        (["--requests-per-second", "1", "--milliseconds", "5", "--prices", "/no/such"], "/no/such"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(["cost", *arguments])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    assert code != 0
    assert said in capsys.readouterr().err
