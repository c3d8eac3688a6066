"""The extension's log: one line per event, bounded in number, and what it has while the application is not healthy."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_dispatch_extension import health, log
from lambda_dispatch_extension.options import Options


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(log, "_windows", {})
    yield now


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (7, "7"),
        (0.5, "0.5"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("a=b", '"a=b"'),
        (b"\x00\xff\r\nHTTP", '"\\x00\\xff\\r\\nHTTP"'),
        ("\u2028line\U0001f600", '"\\u2028line\\U0001f600"'),
        ("back\\slash", '"back\\\\slash"'),
        ("x" * 1001, "x" * 1000 + "..."),
        (b"x" * 1001, "x" * 1000 + "..."),
    ],
)
def test_a_value_is_one_word_or_quoted(value: object, written: str) -> None:
    assert log.text(value) == written


def test_an_event_is_one_line_whatever_its_fields_hold(capsys: pytest.CaptureFixture[str]) -> None:
    log.say("request failed", cause="a\nb", sent=b"\r\n\x1b[31m")
    assert capsys.readouterr().err == (
        'lambda-dispatch extension: request failed cause="a\\nb" sent="\\r\\n\\x1b[31m"\n'
    )


def test_a_flood_of_one_event_is_bounded_and_counted(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    for _ in range(100):
        log.say_limited("request failed", cause="x")
    log.say_limited("request returned", cause="y")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == log.BURST + 1 and "request returned" in lines[-1]
    clock[0] += log.WINDOW
    log.say_limited("request failed", cause="x")
    assert capsys.readouterr().err.endswith(f"suppressed={100 - log.BURST}\n")
    log.say_suppressed()
    assert capsys.readouterr().err == ""


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.sys, "stderr", None)
    log.say("environment ending")


def waited(monkeypatch: pytest.MonkeyPatch, clock: list[float], seconds: float, options: Options) -> list[float]:
    """Runs the wait for an application that becomes healthy after so long; the pauses between its polls."""
    pauses: list[float] = []

    async def sleep(pause: float) -> None:
        pauses.append(pause)
        clock[0] += pause

    class Slow(health.Health):
        async def poll(self) -> bool:
            self.polls += 1
            self.answer = "status 404"
            return clock[0] >= 1000 + seconds

    monkeypatch.setattr(health, "sleep", sleep)
    monkeypatch.setattr(health.time, "monotonic", lambda: clock[0])
    asyncio.run(Slow(options, None).wait())  # type: ignore[arg-type]  # the pool is not used
    return pauses


def test_polls_are_close_at_first_and_never_cost_more_than_a_twentieth(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    pauses = waited(monkeypatch, clock, 8.0, Options())
    assert pauses[:10] == [0.01] * 10
    assert max(pauses) == 0.25
    assert clock[0] - 1008 <= 0.25


def test_the_init_limit_is_announced_where_lambda_would_restart(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    waited(monkeypatch, clock, 12.0, Options())
    said = capsys.readouterr().err
    assert said.count("init limit near") == 1 and "LAMBDA_DISPATCH_ASYNC_INIT=true" in said
    assert said.count("application not healthy") == 3  # after 1, 6 and 11 s
    assert said.splitlines()[-1].startswith("lambda-dispatch extension: application healthy waited=12.")
    for options, kind in ((Options(async_init=True), "on-demand"), (Options(), "provisioned-concurrency")):
        clock[0] = 1000.0
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
        waited(monkeypatch, clock, 12.0, options)
        assert "init limit near" not in capsys.readouterr().err


def test_every_event_is_on_the_page_and_the_page_has_no_other() -> None:
    root = Path(__file__).resolve().parents[2]
    package = root / "extension" / "lambda_dispatch_extension"
    said: set[str] = set()
    for source in (*package.glob("*.py"), *package.glob("*.pyx")):
        said |= set(re.findall(r'\b(?:say|say_limited|note|on_trouble)\(\s*"([^"]+)"', source.read_text()))
    page = (root / "docs" / "extension.md").read_text().partition("## Log events")[2].partition("\n## ")[0]
    listed = {
        event
        for line in page.splitlines()
        if line.startswith("| `")
        for event in re.findall(r"`([^`]+)`", line.split("|")[1])
    }
    assert listed == said
