"""Who held a request when it was lost: by evidence, not by the time.

A client's connection belongs to the process that has accepted it: before a worker is killed it is stopped, and the
sockets it has open are looked up among the kernel's. From there on the router itself says where a request goes: those
of this load carry the debug header, so that each worker logs the instance, or the sibling, that it gives one to. Which
environment is which instance the embedded Lambda knows.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from benchmarks.load.steady import Outcome

DEBUG = "x-lambda-dispatch-debug: true\r\n"
STOPPED = 1.0  # seconds until a process that was told to stop must have


@dataclass(slots=True)
class Victim:
    """A process that was killed, or frozen: what it had."""

    name: str
    connections: frozenset[int] = frozenset()  # clients' ports, if it is a worker
    worker: int = -1  # its slot, if it is a worker
    instance: str = ""  # what its environment was invoked as
    dead: float = float("inf")  # monotonic seconds: nothing was sent to it after that


@dataclass(slots=True)
class Trail:
    """Where a request has been."""

    workers: list[int] = field(default_factory=list)  # siblings it was sent to, by their slots
    instances: list[str] = field(default_factory=list)


def stop(pid: int) -> bool:
    """Stops a process, so that it takes nothing and gives nothing away. False when there is none."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    end = time.monotonic() + STOPPED
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "TtZX":
            return state in "Tt"
        time.sleep(0.0005)
    raise RuntimeError(f"process {pid} does not stop")


def waited(pid: int) -> float:
    """Seconds a process was ready to run and had no CPU: the machine's doing."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def connections(pid: int, port: int) -> frozenset[int]:
    """The other ends' ports of the connections to `port` that a process has open."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(link))
        except OSError:
            continue
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].rpartition(":")[2], 16) == port and f"socket:[{words[9]}]" in sockets:
            found.add(int(words[2].rpartition(":")[2], 16))
    return frozenset(found - {0})


def trails(log: Path, names: Iterable[str]) -> dict[str, Trail]:
    """Where requests of these names went, as the workers logged it."""
    found = {name: Trail() for name in names}
    with log.open("rb") as lines:
        for line in lines:
            if b'"stage":"sent to ' not in line or not line.startswith(b"{"):
                continue
            record = orjson.loads(line)
            # "GET /ping?n=3.14 HTTP/1.1"
            name = record["request"].split(" ")[1].rpartition("?")[2].rpartition("&")[2]
            if trail := found.get(name):
                kind, _, which = record["stage"].removeprefix("sent to ").partition(" ")
                if kind == "worker":
                    trail.workers.append(int(which))
                elif kind == "instance":
                    trail.instances.append(which)
    return found


def short(instance: str) -> str:
    """An instance as the logs show it: the first characters of its id."""
    return instance[:8]


def held(victim: Victim, at: float, outcome: Outcome, trail: Trail) -> bool:
    """Whether what was killed at that time had the request in its hands, or got it before that was noticed."""
    if outcome.ended < at:
        return False
    if outcome.port in victim.connections and outcome.dialled <= at:
        return True
    if victim.instance and short(victim.instance) in map(short, trail.instances):
        return True
    return victim.worker in trail.workers and outcome.began <= victim.dead


def ended_by_failure(log: Path) -> set[str]:
    """Instances (short) whose environment died under them, as Lambda answered the scaler."""
    found = set()
    with log.open("rb") as lines:
        for line in lines:
            if b'"event":"instance ended"' in line and b'"reason":"FunctionError"' in line and line.startswith(b"{"):
                record = orjson.loads(line)
                found.add(short(record.get("instance") or record["id"]))
    return found
