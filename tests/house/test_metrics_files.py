"""What is generated from the description of the metrics is current, and nothing of it is left out."""

import re

import pytest
from tools.gen_metrics import ALERTS, FILES, ROOT, RULES

from lambda_dispatch.telemetry.metrics import FAMILIES

NAME = re.compile(r"\blambda_dispatch_[a-z_0-9]+")


@pytest.mark.parametrize("name", FILES)
def test_generated_files_are_what_the_generator_writes(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), "run: python tools/gen_metrics.py"


def family(name: str) -> str:
    """Without the end that a histogram's series have."""
    known = {each.full for each in FAMILIES}
    return name if name in known else re.sub(r"_(bucket|sum|count)$", "", name)


def test_dashboard_alerts_and_rules_use_metrics_that_there_are() -> None:
    known = {each.full for each in FAMILIES}
    used = {family(name) for text in FILES.values() for name in NAME.findall(text())}
    assert used - known == set()
    recorded = {name for alert in ALERTS for name in re.findall(r"lambda_dispatch:[\w:]+", alert.expression)}
    assert recorded <= set(RULES)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {family(name) for name in NAME.findall(FILES["contrib/grafana/lambda-dispatch.json"]())}
    assert {each.full for each in FAMILIES} - shown == set()


def test_names_are_unique_and_end_with_their_unit() -> None:
    assert len({each.full for each in FAMILIES}) == len(FAMILIES)
    assert [each.name for each in FAMILIES if each.unit and not each.name.endswith("_" + each.unit)] == []
    assert [each.name for each in FAMILIES if not each.help.endswith(".")] == []
