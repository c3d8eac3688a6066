import io
import json
from collections.abc import Iterator

import pytest

from lambda_dispatch.telemetry import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = (log._Log.process, log._Log.level, log._Log.as_json, log._Log.stream)
    yield io.StringIO()
    log._Log.process, log._Log.level, log._Log.as_json, log._Log.stream = before


def test_a_text_line_has_time_level_process_event_and_particulars(stream: io.StringIO) -> None:
    log.configure("scaler", "info", "text", stream)
    log.info("instance opened", pool="default", after=0.3125, why='said "so"\n')
    stamp, level, rest = stream.getvalue().split(maxsplit=2)
    assert stamp.endswith("Z") and len(stamp) == len("2026-01-01T00:00:00.000Z")
    assert (level, rest) == ("info", 'scaler: instance opened pool=default after=0.3125 why="said \\"so\\"\\n"\n')


def test_a_json_line_is_one_object(stream: io.StringIO) -> None:
    log.configure("worker 1", "debug", "json", stream)
    log.error("boom", count=3)
    record = json.loads(stream.getvalue())
    assert (record["event"], record["count"], record["level"], record["process"]) == ("boom", 3, "error", "worker 1")


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    log.configure("x", "warning", "text", stream)
    log.info("no")
    log.debug("no")
    log.warning("yes")
    assert stream.getvalue().count("\n") == 1
    assert log.enabled(log.ERROR) and not log.enabled(log.INFO)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked(stream: io.StringIO, form: str) -> None:
    log.configure("x", "info", form, stream)
    log.info("credentials", function_secret="hush", aws_access_key="hush", Authorization="hush", session_token="hush")
    assert "hush" not in stream.getvalue()


def test_a_closed_stream_stops_nobody(stream: io.StringIO) -> None:
    log.configure("x", "info", "text", stream)
    stream.close()
    log.info("still here")
