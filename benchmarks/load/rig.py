"""Router and embedded Lambda as processes of their own, with the demo application, for loads that harm them.

with Rig(workers=2) as rig:
    rig.port, rig.board(), rig.workers(), rig.environments(), rig.turn(throttle_rate=0.5), rig.restart()
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.load.machine import PATIENCE, stop

from lambda_dispatch import ctl
from lambda_dispatch.local.environment.process import family, start_time
from lambda_dispatch.telemetry import status, view
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "app.py"


@dataclass(frozen=True, slots=True)
class Environment:
    """One of the embedded Lambda's: the extension's process and the application's."""

    id: str
    state: str
    extension: int
    app: int | None
    instance: str  # what it was invoked as; empty between invokes


class Rig:
    def __init__(
        self, workers: int = 2, environments: int = 40, flags: tuple[str, ...] = (), direct_mode: str = ""
    ) -> None:
        """direct_mode: the function has a URL too, of this invoke mode, at `direct_port`."""
        self.worker_count = workers
        self.flags = flags
        self.scratch = tempfile.TemporaryDirectory()
        self.log_file = Path(self.scratch.name, "log")
        self.seen: set[tuple[int, str]] = set()  # every process that ever was: pid and when it started
        self.invokes_before = 0
        self._log = self.log_file.open("w")
        self.port, self.control_port, self.direct_port = free_ports(3)
        self.router: subprocess.Popen[bytes] | None = None
        argv = ["lambda", "--lambda-port", "0", "--quiet", "--function-name", "app", "--runtime", "dispatch"]
        argv += ["--init-timeout", "60", "--max-environments", str(environments)]
        if direct_mode:
            argv += ["--direct-port", str(self.direct_port), "--direct-mode", direct_mode]
            argv += ["--env", f"LAMBDA_DISPATCH_INVOKE_MODE={direct_mode}"]
        self.service = self._spawn([*argv, "--", sys.executable, str(DEMO)], stdout=subprocess.PIPE)
        try:
            assert self.service.stdout is not None
            words = self.service.stdout.readline().decode().split()
            self.url = next(word for word in words if word.startswith("http://"))
            self.start_router()
        except BaseException:
            self.close()
            raise

    # processes

    def _spawn(self, argv: list[str], **more: Any) -> "subprocess.Popen[bytes]":
        variables = {name: value for name, value in os.environ.items() if not name.startswith("LAMBDA_DISPATCH_")}
        variables |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}
        variables |= {"XDG_RUNTIME_DIR": self.scratch.name, "PYTHONUNBUFFERED": "1"}
        variables |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return subprocess.Popen(
            [sys.executable, "-m", "lambda_dispatch.cli", *argv],
            env=variables | more.pop("variables", {}),
            stderr=self._log,
            **{"stdout": self._log, **more},
        )

    def start_router(self) -> None:
        read_end, write_end = os.pipe()
        argv = ["router", "--function-name", "app", "--bind-host", "127.0.0.1", "--http-port", str(self.port)]
        argv += ["--control-http-port", str(self.control_port), "--allow-insecure-control=true"]
        argv += ["--preferred-control-scheme", "http", "--callback-host", "127.0.0.1"]
        argv += ["--workers", str(self.worker_count), "--ready-fd", str(write_end), *self.flags]
        try:
            self.router = self._spawn(argv, pass_fds=(write_end,), variables={"AWS_ENDPOINT_URL_LAMBDA": self.url})
        finally:
            os.close(write_end)
        try:
            if not select.select([read_end], [], [], PATIENCE)[0] or not os.read(read_end, 4096):
                raise RuntimeError(f"the router did not start:\n{self.log()}")
        finally:
            os.close(read_end)
        self.remember()

    def stop_router(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.router is not None
        self.remember()
        self.router.send_signal(signal.SIGTERM)
        return self.router.wait(PATIENCE)

    def remember(self) -> None:
        for process in (self.service, self.router):
            if process is not None and process.poll() is None:
                self.seen.update((pid, start_time(pid)) for pid in family(process.pid))

    def left(self) -> list[int]:
        """Processes that were started here and are still there."""
        return [pid for pid, began in self.seen if began and start_time(pid) == began and not _is_zombie(pid)]

    def close(self) -> list[int]:
        """Ends everything; the processes that would have stayed."""
        self.remember()
        for process in (self.router, self.service):
            if process is not None:
                stop(process)
        until = time.monotonic() + 5
        while (left := self.left()) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._log.close()
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.scratch.cleanup()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    # looking in

    @contextlib.contextmanager
    def board(self) -> Iterator[Board]:
        assert self.router is not None
        board = status.open_board(self.router.pid)
        try:
            yield board
        finally:
            board.close()

    def snapshot(self) -> dict[str, Any]:
        with self.board() as board:
            return view.take(board, time.monotonic_ns(), time.time_ns()).document()

    def workers(self, state: int = b.WORKER_READY) -> dict[int, int]:
        """Worker slot to pid."""
        with self.board() as board:
            return {worker.slot: worker.pid for worker in board.list_workers() if worker.state == state}

    def scaler(self, least: int = b.WORKER_FREE) -> int:
        """Its pid; 0 while its state is less than that."""
        with self.board() as board:
            view = board.scaler_view()
            return int(view.pid) if view.state >= least else 0

    def environments(self) -> list[Environment]:
        found = []
        for seen in self.lambda_status()["environments"]:
            if seen["pids"]:
                extension = seen["pids"][0]
                app = next((pid for pid in family(extension) if pid != extension and _runs(pid, DEMO.name)), None)
                instance = json.loads(seen["event"])["Id"] if seen["event"] else ""
                found.append(Environment(seen["id"], seen["state"], extension, app, instance))
        return found

    def about(self) -> dict[str, Any]:
        """What the router says of itself to tools: ports, and the socket for commands."""
        assert self.router is not None
        return dict(json.loads(Path(self.scratch.name, "lambda-dispatch", f"{self.router.pid}.json").read_text()))

    def command(self, **command: Any) -> dict[str, Any]:
        """As an operator gives it; the answer."""
        return ctl.call(self.about()["commands"], {"who": "chaos", "reason": "a test", **command})

    # the embedded Lambda

    def lambda_status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_local/status", timeout=PATIENCE) as response:
            return dict(json.load(response))

    def statistics(self) -> dict[str, Any]:
        return dict(self.lambda_status()["functions"]["app"])

    def turn(self, **knobs: object) -> None:
        self._post("PATCH", "knobs", knobs)

    def act(self, environment: str, what: str) -> None:
        """kill, freeze, thaw or stop; an environment that has ended meanwhile is left alone."""
        with contextlib.suppress(urllib.error.HTTPError):
            self._post("POST", f"environments/{environment}/{what}", {})

    def _post(self, method: str, path: str, value: object) -> None:
        request = urllib.request.Request(f"{self.url}/_local/{path}", json.dumps(value).encode(), method=method)
        urllib.request.urlopen(request, timeout=PATIENCE).close()


def _runs(pid: int, name: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # The extension has it among its arguments, too: the application is a program and its one argument.
    return len([a for a in arguments if a]) == 2 and arguments[1].endswith(name.encode())


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]
