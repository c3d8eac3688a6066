"""What a service manager receives from the router, and the unit that is shipped for systemd."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lambda_dispatch.supervisor.notify import Notifier
from tests.support.supervised import DEADLINE, Router, until

UNIT = Path(__file__).resolve().parents[2] / "deploy/systemd/lambda-dispatch.service"


class Manager:
    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE)
        self.socket.bind(path)
        self.received: list[str] = []

    def until(self, line: str) -> None:
        """Reads until a message has a line that matches."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            self.received += lines
            if any(re.fullmatch(line, each) for each in lines):
                return


def test_the_manager_receives_ready_reloading_stopping_and_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with manager.socket, Router(workers=1) as router:
        manager.until("READY=1")
        manager.until("STATUS=1 of 1 workers ready, 0 instances open")
        manager.until("WATCHDOG=1")
        manager.until("WATCHDOG=1")
        with router.client() as client:
            boot_environ = Path(f"/proc/{client.ask('pid')}/environ").read_text()
            assert "NOTIFY_SOCKET" not in boot_environ and "WATCHDOG_USEC" not in boot_environ
        for reload in (lambda: router.signal(signal.SIGHUP), lambda: router.tell(op="reload")):
            manager.received.clear()
            reload()
            manager.until("RELOADING=1")
            assert any(re.fullmatch(r"MONOTONIC_USEC=[0-9]+", line) for line in manager.received)
            manager.until("READY=1")
        router.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert router.wait() == 0


def test_a_reload_during_the_start_does_not_report_readiness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with manager.socket, Router(workers=1, ready=False, boot="worker stall") as router:
        until(lambda: "process ready process=scaler" in router.log(), "a supervisor that waits for its worker")
        assert router.tell(op="reload")["ok"]
        router.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert not {"READY=1", "RELOADING=1"} & set(manager.received)
        assert router.wait() == 0


def test_a_router_that_stops_refuses_to_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with manager.socket, Router(workers=1) as router, router.client() as client:
        client.ask("pid")  # from now on the worker waits for this client
        router.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        manager.received.clear()
        refused = router.tell(op="reload")
        assert (refused["status"], "the router is stopping" in refused["error"]) == (409, True)
        client.close()
        assert router.wait() == 0
        manager.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.until("READY=1")


def test_a_change_of_state_outlasts_a_full_queue(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, os.getpid())
        other.connect(str(tmp_path / "notify"))
        with pytest.raises(BlockingIOError):
            while True:
                other.send(b"X=1")
        notifier.ready()
        notifier.status("one")
        due = notifier.due
        assert due is not None
        manager.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.until("READY=1")
        notifier.step(due)
        notifier.status("one")
        manager.until("READY=1")
        manager.until("STATUS=one")
        assert notifier.due is None
        notifier.close()


def test_a_watchdog_of_another_process_or_no_manager_is_none_of_ours(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}
        notifier = Notifier(environ, os.getpid())
        assert (environ, notifier.due) == ({}, None)
        notifier.close()
        mine = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}, os.getpid())
        assert mine.period == 1_000_000_000
        mine.close()
    for address in ("", "/nowhere/notify", "vsock:1:2"):
        silent = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}, os.getpid())
        silent.ready()
        assert silent.due is None


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here; Debian's package systemd has it")
    # `verify` also looks whether the command exists.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/lambda-dispatch ", "/bin/true "))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_unit_gives_the_drain_its_time_and_does_not_repeat_what_cannot_work() -> None:
    from lambda_dispatch.config import default_of
    from lambda_dispatch.exits import EX_CONFIG, EX_USAGE
    from lambda_dispatch.supervisor.supervisor import DRAIN_MARGIN, SCALER_DEADLINE, SECOND

    text = UNIT.read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])  # type: ignore[index]
    assert stop > default_of("drain_deadline") + (DRAIN_MARGIN + SCALER_DEADLINE) / SECOND
    assert f"RestartPreventExitStatus={EX_USAGE} {EX_CONFIG}\n" in text
