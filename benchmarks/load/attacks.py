"""The router under attack, beside nginx and HAProxy:  python -m benchmarks.load.attacks [NAME ...]

One worker with 10 instances; each proxy has its own core; attacker, normal client and backends share another. Told for
each: the highest memory and number of descriptors of the processes under attack, memory before and afterwards (ours:
once it is within 20 MiB of what it was, a minute later at the latest),
the fewest instances (ours), and the longest wait of a normal client, which asks for 4 bytes on a new connection ten
times a second. Everything is on the loopback interface.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import contestants
from benchmarks.load.attackers import CASES, Aim, Case
from benchmarks.load.contestants import Contestant, haproxy, nginx, ours
from benchmarks.load.machine import Missing, Stage, check, resident_mib, title

NORMAL_PATIENCE = 5.0  # s; a wait is cut there
NORMAL_PAUSE = 0.1
WORST_WAIT = 1.0  # s, promised to a normal client
BUDGET = 256.0  # MiB, MemoryBudget's default
REST = 20.0  # MiB above idle when the attack is over
REST_PEERS = 3.0  # s, for those that we promise nothing of
CONTESTANTS = ("nginx", "haproxy", "ours")


class AttackedStage(Stage):
    """Starts what is under attack with a limit of descriptors, or with a standard error that nothing reads."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.pipes: list[int] = []

    def start(
        self,
        command: Sequence[str],
        core: int,
        name: str,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdout: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        under_attack = name.startswith(("nginx", "haproxy", "router"))
        if self.case.descriptors and under_attack:
            command = ["prlimit", f"--nofile={self.case.descriptors}:{self.case.descriptors}", *command]
        if self.case.full_pipe and under_attack:
            read_end, write_end = os.pipe()
            os.set_blocking(write_end, False)
            with suppress(BlockingIOError):
                while os.write(write_end, b"x" * 4096):
                    pass
            os.set_blocking(write_end, True)
            self.pipes += [read_end, write_end]
            command = ["sh", "-c", f'exec 2>&{write_end} {write_end}>&-; exec "$@"', "sh", *command]
            pass_fds = [*pass_fds, write_end]
        return super().start(command, core, name, env, pass_fds, stdout)

    def __exit__(self, *more: Any) -> None:
        super().__exit__(*more)
        for descriptor in self.pipes:
            os.close(descriptor)


@dataclass
class Watch:
    """Looks at the processes all the time."""

    pids: list[int]
    before: float = 0.0
    peak: float = 0.0
    descriptors: int = 0
    instances: float = math.inf  # fewest that the worker's title told
    _ended: threading.Event = field(default_factory=threading.Event)

    def memory(self) -> float:
        return max(resident_mib(pid) for pid in self.pids)

    def start(self) -> None:
        # A worker's title is a second old at most, and its instances have just come.
        until = time.monotonic() + 2
        while re.search(r"\b0 instances\b", title(self.pids[0])) and time.monotonic() < until:
            time.sleep(0.05)
        self.before = self.peak = self.memory()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(OSError, IndexError):
                self.peak = max(self.peak, self.memory())
                self.descriptors = max(self.descriptors, *(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids))
                if found := re.search(r"(\d+) instances?\b", title(self.pids[0])):
                    self.instances = min(self.instances, int(found[1]))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@dataclass
class Normal:
    """A normal client's waits, in seconds."""

    asked: int
    failed: int
    worst: float
    median: float


def normal_client(port: int) -> None:
    """Until its standard input ends: one request after the other. Prints what it waited."""
    waits, failed = [], 0
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", port), NORMAL_PATIENCE) as connection:
                connection.settimeout(NORMAL_PATIENCE)
                connection.sendall(b"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
                failed += not answer.startswith(b"HTTP/1.1 200 ")
        except OSError:
            failed += 1
        waits.append(time.monotonic() - began)
        ended.wait(NORMAL_PAUSE)
    # On a busy machine a short run may have got no answer at all.
    waits.sort()
    print(json.dumps([len(waits), failed, waits[-1] if waits else 0.0, waits[len(waits) // 2] if waits else 0.0]))


class NormalClient:
    def __init__(self, stage: Stage, port: int) -> None:
        command = ["taskset", "-c", str(stage.other_core), sys.executable, "-m", "benchmarks.load.attacks"]
        self.process = subprocess.Popen(
            [*command, "--normal", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def stop(self) -> Normal:
        out, _ = self.process.communicate()
        return Normal(*json.loads(out))


@dataclass
class Outcome:
    watch: Watch
    normal: Normal
    after: float
    rested: float  # s until memory was looked at again
    told: dict[str, int]


def attack(stage: Stage, contestant: Contestant, case: Case, seconds: float, rest: float) -> Outcome:
    aim = Aim(contestant.port, contestant.tls_port, contestant.control_port, seconds)
    watch = Watch(contestant.pids)
    watch.start()
    client = NormalClient(stage, contestant.port)
    try:
        time.sleep(0.5)
        asyncio.run(case.attack(aim))
        time.sleep(0.5)
        normal = client.stop()
        ended = time.monotonic()
        time.sleep(min(REST_PEERS, rest))
        while (after := watch.memory()) > watch.before + REST and time.monotonic() < ended + rest:
            time.sleep(0.5)
        rested = time.monotonic() - ended
    finally:
        if client.process.poll() is None:
            client.process.kill()
            client.process.wait()
        watch.stop()
    return Outcome(watch, normal, after, rested, aim.told)


def contestant_of(name: str, stage: Stage, h1: int) -> Contestant:
    if name == "nginx":
        return nginx(stage, h1, h1)
    if name == "haproxy":
        return haproxy(stage, h1, h1, "h1")
    return ours(stage)


def show(name: str, outcome: Outcome) -> bool:
    watch, normal = outcome.watch, outcome.normal
    told = ", ".join(f"{key} {value:,}" for key, value in sorted(outcome.told.items()))
    print(
        f"  {name:18} memory {watch.before:6.1f} -> {watch.peak:7.1f}, "
        f"after {outcome.rested:.0f} s {outcome.after:6.1f} MiB  descriptors {watch.descriptors:5}  "
        f"normal client: {normal.asked} asked, {normal.failed} failed, "
        f"median {normal.median * 1000:.1f} ms, worst {normal.worst:.2f} s\n  {'':18} {told}",
        flush=True,
    )
    if watch.instances < math.inf:
        print(f"  {'':18} fewest instances: {watch.instances}", flush=True)
    back = outcome.after <= watch.before + REST
    return back and normal.worst < WORST_WAIT and not normal.failed and watch.peak <= BUDGET


def run(name: str, case: Case, only: Sequence[str], seconds: float, rest: float) -> bool:
    print(f"\n{name}: {case.title}", flush=True)
    kept = True
    for player in CONTESTANTS if case.peers else ("ours",):
        if only and player not in only:
            continue
        with AttackedStage(case) as stage:
            _, h1 = stage.own("backend", "h1")
            if case.descriptors:  # what their configuration promises must fit
                contestants.connections_at_most = lambda: (case.descriptors - 200) // 2  # type: ignore[assignment]
            limit = rest if player == "ours" else REST_PEERS
            outcome = attack(stage, contestant_of(player, stage, h1), case, seconds, limit)
        good = show(player, outcome)
        kept &= good or player != "ours"
        if player == "ours" and not good:
            promised = f"worst wait < {WORST_WAIT:g} s, no failure, at most {BUDGET:g} MiB, back within {REST:g}"
            print(f"  {'':18} NOT KEPT: {promised}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CASES)}; default: all")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds until memory must be back, of ours")
    parser.add_argument("--only", action="append", default=[], choices=CONTESTANTS)
    parser.add_argument("--normal", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.normal:
        normal_client(options.normal)
        return 0
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no such attack: {', '.join(unknown)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plain = contestants.connections_at_most
    kept = True
    try:
        check(["openssl", *(name for name in options.only or CONTESTANTS if name != "ours")])
        for name in options.names or CASES:
            kept &= run(name, CASES[name], options.only, options.seconds, options.rest)
            contestants.connections_at_most = plain
    except Missing as error:
        parser.exit(2, f"attacks: {error}\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
