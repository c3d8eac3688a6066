"""Metrics of a running router: what it writes by itself, and what `status --prometheus` reads from outside."""

import json
import signal

import pytest

from lambda_dispatch.telemetry import status
from tests.support.supervised import Router


def written(router: Router) -> list[dict[str, object]]:
    return [json.loads(line) for line in router.log().splitlines() if line.startswith('{"_aws"')]


def test_a_router_that_ends_writes_what_the_last_minute_was() -> None:
    with Router(workers=1, cloudwatch_metrics_enabled=True) as router:
        assert written(router) == []
        router.signal(signal.SIGTERM)
        assert router.wait() == 0, router.log()
        totals, fake = written(router)
        assert totals["Requests"] == 0
        assert fake["Function"] == "fake"


def test_without_the_option_nothing_is_written() -> None:
    with Router(workers=1) as router:
        router.signal(signal.SIGTERM)
        assert router.wait() == 0, router.log()
        assert written(router) == []


def test_status_speaks_prometheus(capsys: pytest.CaptureFixture[str]) -> None:
    with Router(workers=2) as router:
        assert status.main(["--prometheus", "--pid", str(router.process.pid)]) == 0
        text = capsys.readouterr().out
        assert 'lambda_dispatch_workers{state="ready"} 2' in text
        assert 'lambda_dispatch_instances_desired{function="fake"} 0' in text
