"""What the load benchmarks need of the machine: programs, two cores, processes that end with us, and a meter of CPU."""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent / "c"
BUILD = ROOT / "build" / "load"
PATIENCE = 30.0  # s, for everything that is waited for; far beyond what any of it takes

PROGRAMS = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "nghttpx": "nghttp2-proxy",
    "h2load": "nghttp2-client",
    "wrk": "wrk",
    "openssl": "openssl",
}


class Missing(Exception):
    """Something has to be installed first."""


def find(program: str) -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = shutil.which(program, path=path)
    if found is None:
        raise Missing(program)
    return found


def check(programs: Iterable[str]) -> None:
    """Raises Missing with the line to type when a program is not installed."""
    lacking = []
    for program in programs:
        try:
            find(program)
        except Missing:
            lacking.append(program)
    if lacking:
        packages = " ".join(sorted({PROGRAMS[program] for program in lacking}))
        raise Missing(
            f"not installed: {', '.join(lacking)}. On Debian: apt-get install --no-install-recommends {packages}"
        )


def compiled(name: str) -> str:
    """One of our C programs, compiled when its sources are newer."""
    target = BUILD / name
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = (os.environ.get("CC") or "cc").split()
        flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-function"]
        subprocess.run([*compiler, *flags, "-o", str(target), str(SOURCES / f"{name}.c")], check=True)
    return str(target)


def cores() -> tuple[int, int]:
    """(the contestant's core, everybody else's)."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Missing("a second CPU: the contestant has one of its own")
    return usable[0], usable[1]


def connections_at_most() -> int:
    """What the limit on open files leaves for clients, with one descriptor for each and one for its upstream."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2


def pin(pids: Iterable[int], core: int) -> None:
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU these processes have used so far."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    return total


def descendants(pid: int) -> list[int]:
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def stop(process: subprocess.Popen[Any]) -> None:
    """Asks the process to end, and ends it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Stage:
    """A scratch directory and every process of a run; leaving it ends them all."""

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="lambda-dispatch-race-")
        self.scratch = Path(self._scratch.name)
        self.contestant_core, self.other_core = cores()
        self._processes: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            self.stop(process)
        self._scratch.cleanup()

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        stop(process)
        if process in self._processes:
            self._processes.remove(process)

    def start(
        self,
        command: Sequence[str],
        core: int,
        name: str,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdout: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        with (self.scratch / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
                cwd=ROOT,
            )
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.scratch / f"{name}.log").read_text(errors="replace")[-2000:]

    def own(self, name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """One of our C programs on the others' core, and the port it prints."""
        process = self.start([compiled(name), *arguments], self.other_core, name)
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            raise RuntimeError(f"{name} does not start: {self.log(name)}")
        return process, int(process.stdout.readline())


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Waits for the condition; what: what to say when it never comes true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {PATIENCE:g} s: {what()}")
        time.sleep(0.02)
