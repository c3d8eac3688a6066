"""`lambda-dispatch status` against a router in another process."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_dispatch.telemetry import status, view
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from tests.support.supervised import ROOT, Router, until


def ask(router: Router, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from lambda_dispatch.telemetry.status import main; sys.exit(main(sys.argv[1:]))",
        ]
        + list(arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(ROOT) for path in sys.path),
            "XDG_RUNTIME_DIR": router.scratch.name,
        },
    )


def test_status_finds_the_router_and_tells_of_its_processes() -> None:
    with Router(workers=2) as router:
        until(lambda: router.scaler() and "process=scaler" in router.log().split("ready", 1)[-1], "the scaler")
        done = ask(router, "--json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["pid"] == router.process.pid
        assert {worker["pid"] for worker in shown["workers"]} == set(router.pids().values())
        assert {worker["state"] for worker in shown["workers"]} == {"ready"}
        assert [(pool["function"], pool["state"]) for pool in shown["pools"]] == [("fake", "active")]
        text = ask(router, "--pid", str(router.process.pid)).stdout
        assert f"router {router.process.pid}, up " in text
        assert all(str(pid) in text for pid in router.pids().values())


def test_status_reads_the_board_of_a_router_that_hangs() -> None:
    with Router(workers=1) as router:
        router.signal(signal.SIGSTOP)
        assert ask(router).returncode == 0


def test_status_says_when_there_is_nothing_to_show() -> None:
    with Router(workers=1) as router:
        nobody = ask(router, "--pid", "999999999")
        assert (nobody.returncode, nobody.stderr) == (69, "lambda-dispatch status: there is no process 999999999\n")
        not_ours = ask(router, "--pid", str(os.getpid()))
        assert not_ours.returncode == 69 and "is no router" in not_ours.stderr


ELSEWHERE = """
import ctypes, os, sys
from lambda_dispatch_core.board.board import Board
both = 0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)  # CLONE_NEWNET, CLONE_NEWUSER
if ctypes.CDLL(None, use_errno=True).unshare(both):
    sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
board = Board.create(2)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_router_of_another_network_namespace_is_found_by_its_pid_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(ROOT) for path in sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        try:
            line = other.stdout.readline()
            if not line:
                pytest.skip("this machine lets nobody make a network namespace")
            monkeypatch.setattr(status, "_processes", lambda: [int(line)])
            with pytest.raises(status.NoRouter, match=f"in other network namespaces: --pid {int(line)}"):
                status.find()
            status.open_board(int(line)).close()
        finally:
            other.stdin.close()


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(2, instances=64, pools=2)
    made.claim_pool(b"shop:live", 1)
    yield made
    made.close()


def test_an_instance_is_shown_without_its_whole_id(board: Board) -> None:
    name = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef").bytes
    taken = board.allocate_instance(0, name, 10, 1_000_000_000, 901_000_000_000)
    assert taken is not None
    board.open_instance(*taken, 2_000_000_000)
    board.request_close(*taken)
    seen = view.take(board, 62_000_000_000, 0)
    shown = seen.document()
    assert shown["instances"] == [
        {
            "slot": 0,
            "id": "01234567",
            "function": "shop:live",
            "state": "open",
            "in_flight": 0,
            "limit": 10,
            "idle_channels": 0,
            "channels": 0,
            "requests": 0,
            "age": 61.0,
            "open_for": 60.0,
            "left": 839.0,
            "close_requested": True,
            "created_ms": shown["instances"][0]["created_ms"],
            "opened_ms": shown["instances"][0]["created_ms"] + 1_000,
            "deadline_ms": shown["instances"][0]["created_ms"] + 900_000,
        }
    ]
    text = status.table(seen)
    assert "01234567…" in text and "open (close requested)" in text and "1m01s" in text and "13m59s" in text
    assert "89ab" not in text and "89ab" not in json.dumps(shown)


def test_quantiles_are_the_upper_bounds_of_their_buckets() -> None:
    counts = [0] * len(b.bucket_bounds())
    assert view.quantiles(counts) == {"p50": None, "p99": None}
    counts[b.bucket_of(1_000_000)] = 98
    counts[b.bucket_of(500_000_000)] = 2
    found = view.quantiles(counts)
    assert found["p50"] is not None and 1.0 < found["p50"] <= 1.2
    assert found["p99"] is not None and found["p99"] == 500


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-3, "0.0s"), (59.94, "59.9s"), (61, "1m01s"), (7620, "2h07m"), (273600, "3d04h")],
)
def test_durations_are_told_with_two_units(seconds: float | None, text: str) -> None:
    assert status.duration(seconds) == text
