"""The proxies side by side: `./run bench --load [CASE…]`.

Each contestant is pinned to one core, client and backends to another. All run all the time; the rounds of a case go
round the contestants in turn, so that what the machine does meanwhile meets all of them. Figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.load.clients import BROWSER, ClientFailed, Figures, Load, ask
from benchmarks.load.contestants import PEERS, Contestant, nginx, ours
from benchmarks.load.crowd import idle_connections, latency
from benchmarks.load.machine import PROGRAMS, Missing, Stage, check, cpu_ns

MB = 1_000_000


@dataclass
class Case:
    title: str
    load: Load
    answer: int  # bytes of each answer; -1: the request's body
    peers: tuple[str, ...] = tuple(PEERS)
    per_mb: float = 0  # megabytes moved per request: the figure is per MB
    instances: tuple[int, ...] = (10,)  # routers of ours, each with so many
    access_log: bool = False


CASES = {
    "4b-64": Case("4 B, 64 connections", Load(), 4),
    "4b-256": Case("4 B, 256 connections", Load(connections=256), 4),
    "16k-64": Case("16 KiB, 64 connections", Load("/16384"), 16384),
    "16k-256": Case("16 KiB, 256 connections", Load("/16384", 256), 16384),
    "headers": Case("browser headers, 4 B, 64 connections", Load(headers=BROWSER), 4),
    "download": Case("50 MB download, 4 connections", Load(f"/{50 * MB}", 4), 50 * MB, per_mb=50),
    "upload": Case("50 MB upload, 4 connections", Load("/swallow", 4, body=50 * MB), 2, per_mb=50),
    "echo": Case("9 MB echo, 4 connections", Load("/echo", 4, body=9 * MB), -1, per_mb=9),
    "tls": Case("TLS, 4 B, 64 connections", Load(tls=True), 4),
    "http2": Case(
        "HTTP/2 over TLS, 4 B, 8 connections of 16 streams", Load(connections=8, streams=16, http2=True, tls=True), 4
    ),
    "instances": Case("4 B, 64 connections, more instances", Load(), 4, tuple(PEERS), instances=(1, 10, 100, 1000)),
    "access-log": Case("4 B, 64 connections, access log", Load(), 4, ("nginx",), access_log=True),
}
# Those that are not a round of requests and a figure: called with rounds and seconds.
OTHERS = {"idle": idle_connections, "latency": latency}
CORE = ("4b-64", "4b-256", "16k-64", "headers", "download")


@dataclass
class Score:
    """One contestant's rounds of one case."""

    cpu: list[float] = field(default_factory=list)  # us per request, or per MB
    beside: list[float] = field(default_factory=list)
    rounds: list[Figures] = field(default_factory=list)

    def add(self, figures: Figures, cpu_ns: int, beside_ns: int, per_mb: float) -> None:
        units = figures.requests * (per_mb or 1)
        if units:
            self.cpu.append(cpu_ns / 1e3 / units)
            self.beside.append(beside_ns / 1e3 / units)
        self.rounds.append(figures)

    def line(self, name: str, base: float) -> str:
        if not self.cpu:
            return f"  {name:28} no request was answered"
        cpu = statistics.median(self.cpu)
        rate = statistics.median(one.requests / one.seconds for one in self.rounds)
        p50, p99 = (1e3 * statistics.median(getattr(one, share) for one in self.rounds) for share in ("p50", "p99"))
        beside = statistics.median(self.beside)
        errors = sum(one.errors for one in self.rounds)
        ratio = f"{cpu / base:5.2f}" if base else "    -"
        return (
            f"  {name:28} {cpu:8.2f} {ratio}  {rate:9,.0f} {p50:8.2f} {p99:8.2f}"
            + (f"   beside it {beside:.2f}" if beside else "")
            + (f"   {errors} errors" if errors else "")
        )


def measure(stage: Stage, contestant: Contestant, case: Case, duration: float, score: Score | None) -> None:
    port = contestant.tls_port if case.load.tls else contestant.port
    before, beside = cpu_ns(contestant.pids), cpu_ns(contestant.beside)
    figures = ask(case.load, port, duration, stage.other_core, stage.scratch)
    if score is not None:
        score.add(figures, cpu_ns(contestant.pids) - before, cpu_ns(contestant.beside) - beside, case.per_mb)


def race(case: Case, rounds: int, duration: float, only: list[str]) -> dict[str, Score]:
    with Stage() as stage:
        _, h1 = stage.own("backend", "h1")
        _, h2 = stage.own("backend", "h2", "echo" if case.answer < 0 else str(case.answer))
        field_of = [PEERS[name](stage, h1, h2) for name in case.peers if not only or name in only]
        if not only or "ours" in only:
            field_of += [ours(stage, instances) for instances in case.instances]
        if case.access_log:
            field_of += [nginx(stage, h1, h2, "/dev/null"), ours(stage, access_log="text")]
        scores = {contestant.name: Score() for contestant in field_of}
        for number in range(rounds + 1):  # the first warms up
            for contestant in field_of:
                with suppress(ClientFailed):
                    measure(
                        stage, contestant, case, duration if number else 1, scores[contestant.name] if number else None
                    )
    return scores


def show(case: Case, scores: dict[str, Score]) -> None:
    unit = "us/MB" if case.per_mb else "us/req"
    print(f"\n{case.title}\n  {'':28} {unit:>8} ratio  {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    first = scores.get("nginx h1-h1")
    base = statistics.median(first.cpu) if first and first.cpu else 0.0
    for name, score in scores.items():
        print(score.line(name, base), flush=True)


def main(argv: list[str]) -> int:
    known = [*CASES, *OTHERS]
    parser = argparse.ArgumentParser(prog="./run bench --load", description="The router against its peers.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(known)}; default: {', '.join(CORE)}")
    parser.add_argument("--all", action="store_true", help="every case")
    parser.add_argument("--quick", action="store_true", help="one short round of each: does it still run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=f"{', '.join(PEERS)}, ours")
    options = parser.parse_args(argv)
    names = options.cases or (known if options.all else list(CORE))
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    if options.quick:
        options.rounds, options.seconds = 1, 1
    try:
        check(PROGRAMS)
        for name in names:
            if name in OTHERS:
                OTHERS[name](options.rounds, options.seconds)
                continue
            show(CASES[name], race(CASES[name], options.rounds, options.seconds, options.only))
    except Missing as error:
        parser.exit(2, f"bench: {error}\n")
    return 0
