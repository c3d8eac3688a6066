"""Processes of an environment: each leads a session and a group of its own, and dies with the whole group.

`Process` owns the descriptors of one child: the pipe with its output and the pidfd that says when it ended. Both are
released when it ended, and not before the group is killed, so nothing it started stays behind.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

READ_SIZE = 65536
PORTS = range(
    20_000, 32_000
)  # below Linux's ephemeral range, so that no outgoing connection takes one between pick and bind
PAGE = os.sysconf("SC_PAGE_SIZE")


class Guard:
    """The watchdog process of guard.py, and the pipe to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("guard.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # somebody killed it; there is nothing better to do
            self._process.stdin.write(line.encode())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Process:
    """One child. `on_output` gets what it writes, `on_exit` is called once, after its last output."""

    def __init__(
        self,
        command: tuple[str, ...],
        variables: Mapping[str, str],
        directory: str,
        guard: Guard,
        on_output: Callable[[bytes], None],
        on_exit: Callable[["Process"], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._guard = guard
        self._on_output = on_output
        self._on_exit = on_exit
        self.name = os.path.basename(command[0])
        self.status: int | None = None  # as subprocess gives it: the exit status, or minus the signal
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._output, write_end = os.pipe()
        try:
            os.set_blocking(self._output, False)
            self._popen = subprocess.Popen(
                command,
                env=variables,
                cwd=directory or None,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        self.pid = self._popen.pid
        guard.watch(self.pid)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._output, self._readable)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def signal(self, number: int) -> None:
        """To the whole group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def read_pending(self) -> None:
        """Takes what is in the pipe now: whatever the child wrote before it spoke to us is there."""
        while self.alive and self._read():
            pass

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        if self._output < 0:
            return False
        try:
            data = os.read(self._output, READ_SIZE)
        except BlockingIOError:
            return False
        if data:
            self._on_output(data)
            return len(data) == READ_SIZE
        self._close_output()
        return False

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The group before the leader is reaped: until then its number cannot belong to anybody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.status = self._popen.wait()
        self._guard.forget(self.pid)
        self.read_pending()
        self._close_output()
        self.ended.set_result(None)
        self._on_exit(self)


def why_ended(status: int | None) -> str:
    """The way Lambda words the end of a process."""
    if status is None or status == 0:
        return "exit status 0"
    if status < 0:
        try:
            name = signal.Signals(-status)
            return f"signal: {_SIGNAL_WORDS.get(name) or name.name.lower()}"
        except ValueError:
            return f"signal: {-status}"
    return f"exit status {status}"


_SIGNAL_WORDS = {
    signal.SIGKILL: "killed",
    signal.SIGTERM: "terminated",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGINT: "interrupt",
}


def family(pid: int) -> list[int]:
    """A process and all its descendants, as far as /proc shows them."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                    waiting.extend(int(child) for child in children.read().split())
        except OSError:
            continue
    return found


def memory(pids: list[int]) -> int:
    """Resident bytes of these processes together; pages they share count in each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as statm:
                total += int(statm.read().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def free_port(taken: set[int], source: random.Random) -> int:
    """A loopback port nobody listens on and this process has not given away; the caller adds it to `taken`."""
    for _ in range(200):
        port = source.choice(PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port found between {PORTS.start} and {PORTS.stop}")
