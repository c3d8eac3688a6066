"""The alarms of CloudFormation, Terraform and CDK are those of one description, and look at figures that there are."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import alarms, alerts

from lambda_dispatch.telemetry import emf
from lambda_dispatch.telemetry.view import View, take
from lambda_dispatch_core.board.board import Board
from tests.deploy.test_settings import DEPLOY, Tags, need

TEMPLATE = yaml.load((DEPLOY / "cloudformation/router.yaml").read_text(), Tags)
SOURCES = {namespace: source for source, namespace in alarms.NAMESPACES.items()}


def in_the_template() -> dict[str, dict[str, Any]]:
    found = {}
    for name, resource in TEMPLATE["Resources"].items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        given = resource["Properties"]
        read = {each["Id"]: each["MetricStat"] for each in given["Metrics"] if "MetricStat" in each}
        (source,) = {SOURCES[each["Metric"]["Namespace"]] for each in read.values()}
        (period,) = {each["Period"] for each in read.values()}
        (result,) = [each for each in given["Metrics"] if each["ReturnData"]]
        found[name.removesuffix("Alarm")] = {
            "source": source,
            "description": given["AlarmDescription"],
            "expression": result.get("Expression", ""),
            "comparison": given["ComparisonOperator"],
            "threshold": given["Threshold"],
            "period": period,
            "periods": given["EvaluationPeriods"],
            "datapoints": given["DatapointsToAlarm"],
            "metrics": {
                name: {"metric": each["Metric"]["MetricName"], "stat": each["Stat"]} for name, each in read.items()
            },
        }
    return found


def in_the_module(folder: Path) -> dict[str, dict[str, Any]]:
    """alarms.tf is complete in itself: no provider is needed to see what is in it."""
    terraform = need("terraform")
    shutil.copy(DEPLOY / "terraform/alarms.tf", folder)
    (folder / "out.tf").write_text('output "all" {\n  value = local.alarms\n}\n')
    environ = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    for words in (["init", "-backend=false"], ["apply", "-auto-approve"], ["output", "-json", "all"]):
        done = subprocess.run([terraform, *words], cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def in_the_construct() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "cdk/src/alarms.ts").read_text()
    found: dict[str, dict[str, Any]] = json.loads(text.split("AlarmDescription } = ")[1].rstrip().removesuffix(";"))
    return found


def test_the_template_has_the_alarms_of_the_description() -> None:
    assert in_the_template() == alarms.table()


def test_the_module_has_the_alarms_of_the_description(tmp_path: Path) -> None:
    assert in_the_module(tmp_path) == alarms.table()


def test_the_construct_has_the_alarms_of_the_description() -> None:
    assert in_the_construct() == alarms.table()


def test_an_alert_without_an_alarm_says_why() -> None:
    names = {alert.short for alert in alerts.ALERTS if isinstance(alert.cloudwatch, alerts.Alarm)}
    assert names | {alert.short for alert in alerts.AWS_ALERTS} == set(alarms.table())
    for alert in alerts.ALERTS:
        assert alert.cloudwatch, alert.name


def test_a_threshold_is_written_once_for_prometheus_and_cloudwatch() -> None:
    for alert in alerts.ALERTS:
        assert re.search(r"[<>] THRESHOLD", alert.expression), alert.name
        assert re.search(rf"[<>] {alert.threshold:g}(?!\.)\b", alert.query), alert.name
        if isinstance(alert.cloudwatch, alerts.Alarm):
            assert alert.cloudwatch.below == ("< THRESHOLD" in alert.expression), alert.name


def test_an_expression_uses_each_figure_that_is_read() -> None:
    for name, alarm in alarms.table().items():
        words = set(re.findall(r"[a-z]\w*", alarm["expression"]))
        assert words in (set(alarm["metrics"]), set()), name
        assert words or len(alarm["metrics"]) == 1, name


def test_the_alarm_that_rolls_back_is_one() -> None:
    assert alerts.ROLLBACK in alarms.table()
    named = TEMPLATE["Resources"]["Service"]["Properties"]["DeploymentConfiguration"]["Alarms"]["Fn::If"][1]
    assert named["AlarmNames"] == [{"Ref": f"{alerts.ROLLBACK}Alarm"}]


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(1, instances=64, pools=1)
    board.claim_pool(b"web", time.monotonic_ns())
    yield board
    board.close()


def test_the_router_writes_each_figure_that_an_alarm_reads(board: Board) -> None:
    def look() -> View:
        return take(board, time.monotonic_ns(), time.time_ns())

    before = look()
    board.start_worker(0, 0, 1)
    worker = Board.attach(os.dup(board.fd), worker=0)
    try:
        now = time.monotonic_ns()
        place = board.allocate_instance(0, bytes(16), 10, now, now)
        assert place is not None
        worker.open_instance(*place, now + 1_000_000)  # a cold start that can be measured
        written = list(emf.lines(look(), before))[1]
    finally:
        worker.close()
    assert written["Function"] == "web"
    read = {
        each["metric"]
        for alarm in alarms.table().values()
        if alarm["source"] == alerts.ROUTER
        for each in alarm["metrics"].values()
    }
    assert read - written.keys() == set()
    assert len(read) >= 10
