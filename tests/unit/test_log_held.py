"""The log while standard error is not read, and events that outsiders can cause."""

import fcntl
import io
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.sink import Sink


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Sink]]:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    sink = Sink(write_end)
    monkeypatch.setattr(log._Log, "sink", sink)
    monkeypatch.setattr(log._Log, "stream", None)
    monkeypatch.setattr(log._Log, "process", "x")
    monkeypatch.setattr(log._Log, "as_json", False)
    yield read_end, sink
    sink.close()
    log._Held.lines.clear()
    log._Held.size = log._Held.dropped = log._Held.dropped_ever = 0
    for fd in (read_end, write_end):
        os.close(fd)


def drain(fd: int) -> str:
    os.set_blocking(fd, False)
    text = b""
    while True:
        try:
            text += os.read(fd, 65536)
        except BlockingIOError:
            if not log._Held.lines:
                return text.decode()
            log.flush()


def test_lines_wait_within_a_bound_and_the_rest_is_dropped_and_counted(pipe: tuple[int, Sink]) -> None:
    read_end, _ = pipe
    lines = 0
    while not log.dropped():
        log.error("event", number=lines, filler="x" * 1000)
        lines += 1
    for _ in range(9):
        log.error("event", filler="x" * 1000)
    assert log._Held.size <= log.BOUND
    text = drain(read_end)
    assert text.count(" event ") == lines - 1
    assert [line.split("log lines dropped ")[1] for line in text.splitlines() if "dropped" in line] == ["count=10"]
    log.error("after")
    assert "after" in drain(read_end)


def test_a_blocking_descriptor_stays_blocking_for_those_who_share_it(pipe: tuple[int, Sink]) -> None:
    _, sink = pipe
    assert sink.write(b"x" * 100_000) == 4096
    assert os.get_blocking(sink.fd)


def test_a_socket_that_takes_nothing_more_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = Sink(ours.fileno())
        try:
            assert 0 < sink.write(bytes(10_000_000)) < 10_000_000
        finally:
            sink.close()


def test_a_reader_that_is_gone_stops_nobody(pipe: tuple[int, Sink]) -> None:
    read_end, sink = pipe
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, read_end)
    os.close(null)
    log.error("event")
    assert sink.broken and not log._Held.lines


def test_events_of_outsiders_are_limited_and_what_was_suppressed_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(log._Log, "stream", stream)
    monkeypatch.setattr(log._Log, "level", log.INFO)  # whatever a test before has configured
    monkeypatch.setattr(log, "_limits", {})
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    for _ in range(1000):
        log.limited(log.WARNING, "wrong call", address="a")
    assert stream.getvalue().count("wrong call") == log.BURST
    log.limited(log.WARNING, "another event")
    assert "another event" in stream.getvalue()
    now[0] += log.PERIOD
    log.flush()
    assert f'log lines suppressed suppressed="wrong call" count={1000 - log.BURST} seconds=10' in stream.getvalue()
    log.limited(log.WARNING, "wrong call", address="a")
    assert stream.getvalue().count(": wrong call ") == log.BURST + 1
    for _ in range(2):
        now[0] += log.PERIOD
        log.flush()
    assert log._limits == {}
    assert stream.getvalue().count("log lines suppressed") == 1


def test_what_libraries_log_becomes_one_of_our_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(log, "_limits", {})
    before = (log._Log.process, log._Log.level, log._Log.as_json, log._Log.stream)
    handlers = list(logging.getLogger().handlers)
    try:
        log.configure("x", "info", "text", stream)
        try:
            raise OSError("no")
        except OSError:
            logging.getLogger("asyncio").error("a\nb", exc_info=True)
        (line,) = stream.getvalue().splitlines()
        assert 'x: library message library=asyncio text="a\\nb" trace="Traceback' in line
    finally:
        logging.getLogger().handlers = handlers
        log._Log.process, log._Log.level, log._Log.as_json, log._Log.stream = before


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_closed_standard_descriptors_do_not_prevent_the_start(closed: str) -> None:
    code = (
        "import os, sys, subprocess\n"
        "from lambda_dispatch.cli import main\n"
        "main(['--version'])\n"
        "assert all(os.fstat(fd) for fd in (0, 1, 2))\n"
        "fd = os.open('/dev/null', os.O_RDONLY)\n"
        "print('x', file=sys.stderr)\n"
        "os._exit(fd < 3)\n"
    )
    redirect = " ".join(f"{fd}>&-" for fd in closed)
    ran = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code], timeout=60, check=False)
    assert ran.returncode == 0
