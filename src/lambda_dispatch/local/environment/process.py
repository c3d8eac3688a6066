"""Processes of an environment: each leads a session and a group of its own, and dies with all it has started.

`Process` owns the descriptors of one child: the pipe with its output and the pidfd that says when it ended. Both are
released when it ended. A child may start processes in groups of their own (the extension does so with the application);
those groups are looked up among its descendants, and stopped, continued and killed with it.

A daemon leaves its parent, and so its family. Under orphans_adopted() the kernel gives it to this process; it belongs
to the child with whose Runtime API it was started.
"""

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

READ_SIZE = 65536
LOOK_EVERY = 1.0  # seconds between two looks for groups of descendants when nothing is to be killed
PORTS = range(
    20_000, 32_000
)  # below Linux's ephemeral range, so that no outgoing connection takes one between pick and bind
PAGE = os.sysconf("SC_PAGE_SIZE")
OWNER = "AWS_LAMBDA_RUNTIME_API"  # the variable whose value each environment has alone
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

_children: set[int] = set()  # processes that this one has started; under orphans_adopted() all others were given to it
_adopting = False


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
        _children.add(self._process.pid)

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
        _children.discard(self._process.pid)


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
        pass_fds: tuple[int, ...] = (),
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
                pass_fds=pass_fds,
            )
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        self.pid = self._popen.pid
        self._mark = f"{OWNER}={variables[OWNER]}".encode() if OWNER in variables else b""
        _children.add(self.pid)
        self._groups: dict[int, str] = {}  # groups of it and its descendants, with the leader's start time
        self._looked = 0.0
        self._add_group(self.pid)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._output, self._readable)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def signal(self, number: int) -> None:
        """To all groups; SIGTERM to the first alone, whose business it is to tell the others."""
        if not self.alive:
            return
        if number == signal.SIGTERM:
            self._signal_group(self.pid, number)
            return
        self.look(at_once=number == signal.SIGKILL)
        for group in self._groups:
            self._signal_group(group, number)

    def look(self, *, at_once: bool = True) -> None:
        """Learns of groups that descendants have made since the last look."""
        now = time.monotonic()
        if not at_once and now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for pid in (*family(self.pid), *self._daemons()):
            with contextlib.suppress(ProcessLookupError):
                group = os.getpgid(pid)
                if group not in self._groups:
                    self._add_group(group)

    def _daemons(self) -> list[int]:
        """What it has started and what has left it since, with all descendants."""
        reap()
        found: list[int] = []
        if self._mark:
            for pid in children(os.getpid()):
                if pid not in _children and self._mark in started_with(pid):
                    found += family(pid)
        return found

    def _add_group(self, group: int) -> None:
        self._groups[group] = start_time(group)
        self._guard.watch(group)

    def _signal_group(self, group: int, number: int) -> None:
        # As long as a group has members its number is not used again. A leader with another start time means that the
        # number was given away again.
        begun = start_time(group)
        if not begun or begun == self._groups[group]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)

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
        self.look()
        # The groups before the leader is reaped: until then its number cannot belong to anybody else.
        for group in self._groups:
            self._signal_group(group, signal.SIGKILL)
        self.status = self._popen.wait()
        _children.discard(self.pid)
        for group in self._groups:
            self._guard.forget(group)
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
        waiting += children(pid)
    return found


def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


@contextlib.contextmanager
def orphans_adopted() -> Iterator[None]:
    """Meanwhile descendants whose parents have ended are children of this process. It must start its own by Process."""
    global _adopting
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _adopting = True
    try:
        yield
    finally:
        reap()
        _adopting = False
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def reap() -> None:
    """Waits for the adopted that have ended."""
    for pid in children(os.getpid()) if _adopting else ():
        if pid not in _children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def started_with(pid: int) -> list[bytes]:
    """The environment that a process got at its start."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def start_time(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none. With the pid it is a name for good."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


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


def free_port(taken: set[int]) -> int:
    """A loopback port without a listener, which this process has not given away; the caller adds it to `taken`.

    Never by the seed of the faults: two local Lambdas with one seed would give the same ports at the same time.
    """
    for _ in range(200):
        port = random.choice(PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port found between {PORTS.start} and {PORTS.stop}")
