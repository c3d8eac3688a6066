"""A supervisor in a process of its own, with stand-ins for worker and scaler that tests can tell what to do.

`real` takes the worker itself; the scaler stays a stand-in, and the test is the scaler.

Run as a module it is one of the three: `supervisor CONFIG REAL`, `worker FD`, `scaler FD`. The stand-in worker speaks
lines on its front port: "pid" is answered with its pid, "echo" with the next line, "hang" never, "exit N" ends it.
What a starting stand-in is to do stands in the file named by FAKE_BOOT: "worker 78" makes workers exit with 78.
"""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lambda_dispatch.boot import Boot
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.supervisor.supervisor import Supervisor
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from tests.support import image_root

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 20.0  # for everything waited for here; far beyond what any of it takes


def until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true answer. For what no descriptor tells: processes and files of others."""
    end = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited {DEADLINE} s for: {what}"
        time.sleep(0.005)


def target(link: Path) -> str:
    """Where a link of /proc points; nowhere once its descriptor is closed, which may be at any moment."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


class Router:
    """`with Router(workers=2) as router:` — started and ready; ended or killed, with all it started, at the end."""

    def __init__(self, workers: int = 2, ready: bool = True, real: bool = False, **config: Any) -> None:
        self.scratch = image_root.scratch()
        self.boot_file = Path(self.scratch.name, "boot")
        self.boot_file.write_text(config.pop("boot", ""))
        self.log_file = Path(self.scratch.name, "log")
        read_end, write_end = os.pipe()
        settings = RouterConfig(
            **{
                "function_name": "fake",
                "http_port": 0,
                "control_http_port": 0,
                "admin_port": -1,
                "allow_insecure_control": True,
                "preferred_control_scheme": "http",
                "bind_host": "127.0.0.1",
                "cert_file": "",
                "key_file": "",
                "channel_count": 20,
                "workers": workers,
                "lame_duck": 0.0,
                "drain_deadline": 5.0,
                "ready_fd": write_end,
                "log_level": "debug",
                **config,
            }
        )
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *image_root.of_the_tests("tests.support.supervised"),
                    "supervisor",
                    settings.to_json(),
                    str(real),
                ],
                pass_fds=[write_end],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": image_root.path(),
                    "FAKE_BOOT": str(self.boot_file),
                    "XDG_RUNTIME_DIR": self.scratch.name,
                },
            )
        os.close(write_end)
        self.ready_fd = read_end
        self.ports: dict[str, int] = {}
        if ready:
            try:
                self.wait_ready()
            except BaseException:
                self.__exit__(None, None, None)
                raise

    def wait_ready(self) -> None:
        assert select.select([self.ready_fd], [], [], DEADLINE)[0], self.log()
        line = os.read(self.ready_fd, 4096)
        assert line, self.log()
        self.ports = json.loads(line)

    def log(self) -> str:
        return self.log_file.read_text()

    def wait(self) -> int:
        return self.process.wait(DEADLINE)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def runtime(self) -> Path:
        return Path(self.scratch.name, "lambda-dispatch")

    def board(self, write: bool = False) -> Board:
        """The board from outside; the caller closes it. One that may be written to counts as the first worker."""
        link = next(fd for fd in Path(f"/proc/{self.process.pid}/fd").iterdir() if b.NAME in target(fd))
        fd = os.open(link, os.O_RDWR if write else os.O_RDONLY)
        return Board.attach(fd, worker=0, readonly=False) if write else Board.attach(fd, readonly=True)

    def pids(self, state: int = b.WORKER_READY) -> dict[int, int]:
        """Worker slot to pid, of workers in that state."""
        board = self.board()
        try:
            return {worker.slot: worker.pid for worker in board.list_workers() if worker.state == state}
        finally:
            board.close()

    def scaler(self) -> int:
        board = self.board()
        try:
            return board.scaler_view().pid
        finally:
            board.close()

    def client(self) -> "Client":
        return Client(self.ports["http"])

    @property
    def command_path(self) -> Path:
        return Path(json.loads((self.runtime / f"{self.process.pid}.json").read_text())["commands"])

    def call(self) -> socket.socket:
        """A connection to the command socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(DEADLINE)
        sock.connect(str(self.command_path))
        return sock

    def tell(self, **command: Any) -> dict[str, Any]:
        """The answer to a command."""
        with self.call() as sock, sock.makefile("rb") as file:
            sock.sendall(json.dumps(command).encode() + b"\n")
            answer: dict[str, Any] = json.loads(file.readline())
            return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        family = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.close(self.ready_fd)
        self.scratch.cleanup()


def descendants(pid: int) -> list[int]:
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [grandchild for child in found for grandchild in descendants(child)]


class Client:
    """A connection to a stand-in worker."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.file = self.socket.makefile("rb")

    def say(self, line: str) -> None:
        self.socket.sendall(line.encode() + b"\n")

    def hear(self) -> str:
        return self.file.readline().decode().strip()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- the other side ----------------------------------------------------------------------------------------------------


def _misbehave(role: str) -> None:
    order = Path(os.environ["FAKE_BOOT"]).read_text().split()
    if order and order[0] == role:
        if order[1] == "stall":
            signal.pause()
        sys.exit(int(order[1]))


async def _worker(boot: Boot) -> None:
    board = Board.attach(boot.board_fd, worker=boot.index)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    busy: set[asyncio.StreamWriter] = set()
    servers: list[asyncio.Server] = []
    settling: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(writer)
        while line := (await reader.readline()).decode().strip():
            match line.split():
                case ["pid"]:
                    writer.write(f"{os.getpid()}\n".encode())
                case ["boot"]:
                    writer.write(boot.to_json().encode() + b"\n")
                case ["echo"]:
                    writer.write(await reader.readline())
                case ["hang"]:
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
                    signal.pause()
                case ["exit", code]:
                    os._exit(int(code))
        busy.discard(writer)
        writer.close()
        if drain.done() and not busy:
            ended.set()

    drain: asyncio.Future[None] = loop.create_future()

    def begin() -> None:
        if drain.done():
            ended.set()
            return
        drain.set_result(None)
        board.set_worker_state(boot.index, b.WORKER_DRAINING)
        for _, _, fd in boot.sibling_fds:
            os.close(fd)
        for server in servers:
            server.close()
        settling.append(loop.create_task(settle()))

    async def settle() -> None:
        # What has just been accepted is known to serve() some turns of the loop later.
        for _ in range(20):
            await asyncio.sleep(0)
        if not busy:
            ended.set()

    loop.add_signal_handler(signal.SIGTERM, begin)
    loop.add_signal_handler(signal.SIGUSR2, begin)
    loop.add_reader(boot.life_fd, lambda: os._exit(1))
    for fd in boot.front_fds:
        servers.append(await asyncio.start_server(serve, sock=socket.socket(fileno=fd)))
    board.set_worker_state(boot.index, b.WORKER_READY)
    b.ring(boot.supervisor_bell_fd)
    while not ended.is_set():
        board.beat(time.monotonic_ns())
        try:
            await asyncio.wait_for(ended.wait(), 0.2)
        except TimeoutError:
            pass


def _scaler(boot: Boot) -> None:
    board = Board.attach(boot.board_fd)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    board.set_scaler_state(b.WORKER_READY)
    b.ring(boot.supervisor_bell_fd)
    while not ended:
        board.scaler_beat(time.monotonic_ns())
        if select.select([boot.life_fd], [], [], 0.2)[0]:
            os._exit(1)


def main(argv: list[str]) -> int:
    role = argv[0]
    if role == "supervisor":
        module = [sys.executable, "-m", "tests.support.supervised"]
        stand_ins = {
            "scaler_argv": [*module, "scaler"],
            "worker_argv": [*module, "real" if argv[2] == "True" else "worker"],
        }
        config = RouterConfig.from_json(argv[1])
        from lambda_dispatch.telemetry import log

        log.configure("supervisor", config.log_level)
        return Supervisor(config, **stand_ins).run()
    _misbehave("worker" if role == "real" else role)
    if role == "real":
        from lambda_dispatch.worker.process import main as worker

        return worker(argv[1:])
    boot = Boot.receive(argv[1:])
    if role == "worker":
        asyncio.run(_worker(boot))
    else:
        _scaler(boot)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
