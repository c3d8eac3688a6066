"""What a service manager hears from the router, and the unit that is shipped for systemd."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lambda_dispatch.supervisor.notify import Notifier
from tests.support.supervised import DEADLINE, Router

UNIT = Path(__file__).resolve().parents[2] / "deploy/systemd/lambda-dispatch.service"


class Manager:
    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE)
        self.socket.bind(path)
        self.heard: list[str] = []

    def until(self, line: str) -> None:
        """Reads until a message has a line that matches."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            self.heard += lines
            if any(re.fullmatch(line, each) for each in lines):
                return


def test_the_manager_hears_ready_reloading_stopping_and_signs_of_life(
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
        manager.heard.clear()
        router.signal(signal.SIGHUP)
        manager.until("RELOADING=1")
        assert any(re.fullmatch(r"MONOTONIC_USEC=[0-9]+", line) for line in manager.heard)
        manager.until("READY=1")
        router.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert router.wait() == 0


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
