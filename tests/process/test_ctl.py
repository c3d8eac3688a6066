"""`lambda-dispatch ctl` and the command socket against a real supervisor: effect, refusals, bounds, survival."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch import ctl
from lambda_dispatch.supervisor import runtime
from lambda_dispatch.supervisor.command_socket import MAX_CALLERS, MAX_COMMAND
from lambda_dispatch_core.board import board as b
from tests.support.supervised import DEADLINE, Router, until


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(workers=1, real=True, min_instances=1, max_instances=40) as router:
        yield router


def run(router: Router, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.setenv("XDG_RUNTIME_DIR", router.scratch.name)
    return ctl.main([*argv, "--pid", str(router.process.pid)])


def in_force(router: Router, kind: int, pool: int = 0) -> b.Override | None:
    board = router.board()
    try:
        found = board.override(board.pools if pool < 0 else pool, kind)
        return found if found is not None and found.in_force(time.monotonic_ns()) else None
    finally:
        board.close()


def test_the_socket_is_for_this_user_alone_and_goes_with_the_router() -> None:
    with Router(workers=1) as router:
        path = router.command_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        router.signal(signal.SIGTERM)
        router.wait()
        assert not path.exists()


def test_limits_are_set_shown_and_cleared(
    router: Router, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(router, monkeypatch, "limits", "--min", "2", "--max", "5", "--for", "2h", "--reason", "a sale") == 0
    shown = capsys.readouterr().out
    assert "min 2, max 5 for 1h59m more, by " in shown and "a sale" in shown
    found = in_force(router, b.OVERRIDE_LIMITS)
    assert found is not None and (found.first, found.second, found.reason) == (2, 5, "a sale")
    again = router.tell(op="limits", min=2, max=5, ttl=60, reason="a sale")
    assert again["ok"] and not again["changed"]
    assert run(router, monkeypatch, "limits", "--clear", "--reason", "over", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pool"]["overrides"] == []
    assert in_force(router, b.OVERRIDE_LIMITS) is None
    assert router.tell(op="limits", clear=True, reason="over")["changed"] is False
    assert "command carried out op=limits" in router.log() and "a sale" in router.log()


def test_a_paused_pool_is_resumed_and_its_count_stays_when_asked_again(router: Router) -> None:
    board = router.board(write=True)
    more = dict.fromkeys(
        ("starting", "open", "draining", "starts", "starts_failed", "ended", "backoff_until", "rate_milli")
        + ("average_us", "breaker", "last_decision", "last_exit"),
        0,
    )
    board.publish_pool(0, desired=7, **more)
    assert router.tell(op="pause", reason="a test")["changed"]
    board.publish_pool(0, desired=9, **more)
    assert not router.tell(op="pause", reason="a test", ttl=5)["changed"]
    board.close()
    found = in_force(router, b.OVERRIDE_PAUSE)
    assert found is not None and found.first == 7 and found.until
    assert router.tell(op="resume")["changed"] and in_force(router, b.OVERRIDE_PAUSE) is None


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ({"op": "limits", "min": 9, "max": 3}, 400, "min 9 is more than max 3"),
        ({"op": "limits", "min": 41}, 400, "min 41 is more than MaxInstances 40"),
        ({"op": "limits", "max": 0}, 400, "MinInstances 1 is more than max 0"),
        ({"op": "limits"}, 400, "needs min, max or both"),
        ({"op": "limits", "min": True}, 400, "min is 'True'; it must be a whole number"),
        ({"op": "limits", "min": 1.5}, 400, "min is '1.5'"),
        ({"op": "limits", "min": -1}, 400, "min is '-1'"),
        ({"op": "limits", "min": 10**400}, 400, "it must be a whole number"),
        ({"op": "limits", "min": 2, "clear": True}, 400, "clear goes with none of"),
        ({"op": "limits", "min": 2, "ttl": float("nan")}, 400, "ttl is 'nan'"),
        ({"op": "limits", "min": 2, "ttl": 1e300}, 400, "ttl is"),
        ({"op": "limits", "min": 2, "reason": ""}, 400, "needs a reason"),
        ({"op": "limits", "min": 2, "reason": "x" * 200}, 400, "at most 144 bytes"),
        ({"op": "limits", "min": 2, "reason": "two\nlines"}, 400, "printable"),
        ({"op": "limits", "min": 2, "who": 3}, 400, "who is '3'"),
        ({"op": "limits", "min": 2, "pool": "nobody"}, 404, "there is no pool 'nobody'; there are fake"),
        ({"op": "limits", "min": 2, "pool": 1}, 400, "pool is '1'"),
        ({"op": "limits", "min": 2, "colour": 1}, 400, "knows no 'colour'"),
        ({"op": "drain-instance", "instance": "abc"}, 400, "8 to 32 hex digits"),
        ({"op": "drain-instance", "instance": "00000000"}, 404, "no instance 00000000"),
        ({"op": "log-level", "level": "loud"}, 400, "level is 'loud'"),
        ({"op": "dance"}, 404, "there is no op 'dance'"),
        ({"op": ["limits"]}, 404, "there is no op"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    router: Router, command: dict[str, Any], status: int, said: str
) -> None:
    board = router.board()
    before = board.commands
    answer = router.tell(**{"reason": "a test", **command})
    assert (answer["ok"], answer["status"]) == (False, status) and said in answer["error"]
    assert board.commands == before
    board.close()


def test_lines_that_are_no_commands_are_answered_and_bounded(router: Router) -> None:
    with router.call() as sock, sock.makefile("rb") as file:
        for line in (b"{", b"[]", b"\xff\xfe", b"", b"[" * 3000, b'"limits"'):
            sock.sendall(line + b"\n")
            assert json.loads(file.readline())["error"] == "a command is one JSON object on one line"
        sock.sendall(b"x" * (MAX_COMMAND + 1))
        assert json.loads(file.readline())["status"] == 413
        assert file.readline() == b""
    assert router.tell(op="state")["ok"]


def test_callers_are_bounded_and_a_silent_one_stops_nobody(router: Router) -> None:
    silent = [router.call() for _ in range(MAX_CALLERS - 1)]
    for sock in silent:
        sock.sendall(b'{"op": "st')
    assert router.tell(op="state")["ok"]
    last = router.call()
    last.sendall(b'{"op": "state"}\n')
    assert json.loads(last.makefile("rb").readline())["ok"]
    with router.call() as beyond:
        assert beyond.recv(1) == b""
    for sock in (*silent, last):
        sock.close()
    until(lambda: router.tell(op="state")["ok"], "room for a caller")


def test_an_override_ends_by_itself_and_survives_the_scaler_and_a_reload() -> None:
    with Router(workers=1) as router:
        assert router.tell(op="limits", max=5, reason="stays")["ok"]
        assert router.tell(op="drain", ttl=1, reason="short")["router"]["draining"]
        os.kill(router.scaler(), signal.SIGKILL)
        assert router.tell(op="reload")["ok"]
        until(lambda: "override ended kind=drain" in router.log(), "the drain's end")
        assert in_force(router, b.OVERRIDE_DRAIN, -1) is None
        found = in_force(router, b.OVERRIDE_LIMITS)
        assert found is not None and found.second == 5
        assert "configuration reloaded by=command" in router.log()


def test_a_drained_router_answers_health_checks_with_503_and_is_taken_back(router: Router) -> None:
    def health() -> bytes:
        with socket.create_connection(("127.0.0.1", router.ports["http"]), DEADLINE) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return sock.makefile("rb").readline()

    assert b" 200 " in health()
    assert router.tell(op="drain", reason="a test")["router"]["draining"]
    assert b" 503 " in health()
    assert not router.tell(op="drain", reason="a test")["changed"]
    assert not router.tell(op="undrain")["router"]["draining"]
    assert b" 200 " in health()


def test_the_log_level_changes_in_every_process_and_back(router: Router) -> None:
    assert router.tell(op="log-level", level="error")["router"]["log_level"] == "error"
    before = router.log()
    router.tell(op="state")
    router.tell(op="breaker", reason="unlogged")
    assert router.log() == before
    assert router.tell(op="log-level", level="default")["router"]["log_level"] == "debug"
    router.tell(op="breaker", reason="logged")
    assert "reason=logged" in router.log()


def test_a_reload_does_not_end_a_timed_log_level(router: Router) -> None:
    assert router.tell(op="log-level", level="error", ttl=600)["ok"]
    before = router.log()
    assert router.tell(op="reload")["router"]["log_level"] == "error"
    assert router.tell(op="breaker", reason="unlogged")["ok"]
    assert router.log() == before, "not even the reload's own lines: they are below the level"
    assert router.tell(op="log-level", level="default")["router"]["log_level"] == "debug"


def test_an_instance_is_drained_by_what_status_shows_of_its_id(router: Router) -> None:
    board = router.board(write=True)
    id = bytes.fromhex("c0ffee00" + "ab" * 12)
    slot, generation = board.allocate_instance(0, id, 10, time.monotonic_ns(), time.monotonic_ns() + 10**12) or (0, 0)
    board.open_instance(slot, generation, time.monotonic_ns())
    assert router.tell(op="drain-instance", instance="c0ffee00")["changed"]
    assert board.state(slot, generation) == b.INSTANCE_DRAINING
    assert not router.tell(op="drain-instance", instance="c0ffee00")["changed"]
    board.close_instance(slot, generation, time.monotonic_ns())
    board.close()


def test_recycling_ends_when_every_old_instance_is_gone(router: Router) -> None:
    board = router.board(write=True)
    now = time.monotonic_ns()
    slot, generation = board.allocate_instance(0, b"r" * 16, 10, now, now + 10**12) or (0, 0)
    assert router.tell(op="recycle", reason="new code", max_unavailable=2)["changed"]
    found = in_force(router, b.OVERRIDE_RECYCLE)
    assert found is not None and found.first == 2 and found.at > now
    assert not router.tell(op="recycle", reason="new code", max_unavailable=2)["changed"]
    again = in_force(router, b.OVERRIDE_RECYCLE)
    assert again is not None and again.at == found.at
    board.close_instance(slot, generation, time.monotonic_ns())
    until(lambda: in_force(router, b.OVERRIDE_RECYCLE) is None, "the end of recycling")
    assert "override ended kind=recycle" in router.log()
    board.close()


def test_without_a_router_ctl_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime.command_path(os.getpid()) == ""
    assert ctl.main(["state", "--pid", str(os.getpid())]) == 69
    assert "is no router of this user" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5d", 129600)])
def test_times_have_units(value: str, seconds: float) -> None:
    assert ctl.span(value) == seconds


@pytest.mark.parametrize("value", ["", "90", "h", "1x", "-1s", "1s2", "١s"])
def test_what_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(ctl.argparse.ArgumentTypeError, match="is no time"):
        ctl.span(value)
