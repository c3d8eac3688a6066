"""Ten thousand silent connections, and the time to an answer under a load that does not wait for answers."""

from __future__ import annotations

import resource
import socket
import statistics

from benchmarks.load.clients import Load, ask, run
from benchmarks.load.contestants import PEERS, Contestant, ours
from benchmarks.load.machine import Stage, compiled, connections_at_most, cpu_ns, resident_mib

IDLE = 10_000
SHARES = (0.2, 0.5, 0.8)  # of what nginx serves at most, in the same run
CONNECTIONS = 64


def silent(port: int) -> socket.socket:
    """A connection that has had one answer and is kept."""
    held = socket.create_connection(("127.0.0.1", port), 30)
    held.sendall(b"GET /4 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nxxxx"):
        answer += held.recv(4096)
    return held


def idle_connections(rounds: int, seconds: float) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(IDLE, connections_at_most() - CONNECTIONS)
    print(f"\n{count:,} idle connections, then 4 B at {CONNECTIONS} beside them")
    print(f"  {'':28} {'KiB each':>8} {'us/req':>8} {'without':>8}")
    for name in ("nginx", "ours"):
        with Stage() as stage:
            _, h1 = stage.own("backend", "h1")
            contestant = ours(stage) if name == "ours" else PEERS[name](stage, h1, h1)
            cost_of(stage, contestant, 1)  # warms up
            without = statistics.median(cost_of(stage, contestant, seconds) for _ in range(rounds))
            before = sum(resident_mib(pid) for pid in contestant.pids)
            held = [silent(contestant.port) for _ in range(count)]
            each = (sum(resident_mib(pid) for pid in contestant.pids) - before) * 1024 / count
            crowded = statistics.median(cost_of(stage, contestant, seconds) for _ in range(rounds))
            print(f"  {contestant.name:28} {each:8.2f} {crowded:8.2f} {without:8.2f}", flush=True)
            for connection in held:
                connection.close()


def cost_of(stage: Stage, contestant: Contestant, seconds: float) -> float:
    before = cpu_ns(contestant.pids)
    figures = ask(Load(connections=CONNECTIONS), contestant.port, seconds, stage.other_core, stage.scratch)
    return (cpu_ns(contestant.pids) - before) / 1e3 / max(1, figures.requests)


def latency(rounds: int, seconds: float) -> None:
    with Stage() as stage:
        _, h1 = stage.own("backend", "h1")
        _, h2 = stage.own("backend", "h2", "4")
        contestants = [*(start(stage, h1, h2) for start in PEERS.values()), ours(stage)]
        load = Load(connections=CONNECTIONS)
        for contestant in contestants:
            ask(load, contestant.port, 1, stage.other_core, stage.scratch)
        most = statistics.median(
            figures.requests / figures.seconds
            for figures in (
                ask(load, contestants[0].port, seconds, stage.other_core, stage.scratch) for _ in range(rounds)
            )
        )
        print(f"\nTime to the answer, 4 B, {CONNECTIONS} connections, at a fixed rate (nginx at most: {most:,.0f}/s)")
        print(f"  {'':28} " + " ".join(f"{f'{share:.0%}: p50':>10} {'p99 us':>8}" for share in SHARES))
        taken: dict[str, list[list[tuple[int, int]]]] = {one.name: [[] for _ in SHARES] for one in contestants}
        for _ in range(rounds):
            for at, share in enumerate(SHARES):
                for contestant in contestants:
                    told = run(
                        [
                            compiled("pace"),
                            str(contestant.port),
                            "/4",
                            str(CONNECTIONS),
                            str(most * share),
                            str(seconds),
                        ],
                        stage.other_core,
                    ).split()
                    taken[contestant.name][at].append((int(told[2]), int(told[3])))
        for name, by_share in taken.items():
            medians = [[statistics.median(round_[which] for round_ in one) for which in (0, 1)] for one in by_share]
            print(f"  {name:28} " + " ".join(f"{p50:10,.0f} {p99:8,.0f}" for p50, p99 in medians), flush=True)
