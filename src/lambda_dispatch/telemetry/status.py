"""`lambda-dispatch status`: finds the board of a running router and prints a View of it.

It only reads shared memory, so it works when the router hangs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lambda_dispatch.exits import EX_UNAVAILABLE
from lambda_dispatch.supervisor import runtime
from lambda_dispatch.telemetry import prometheus
from lambda_dispatch.telemetry.view import View, quantiles, take
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board, BoardError


class NoRouter(Exception):
    """Nothing to show; the text says what to do."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lambda-dispatch status", description="What a running router is doing, read from its shared memory."
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, as JSON")
    form.add_argument("--prometheus", action="store_true", help="counters and gauges in Prometheus' text format")
    parser.add_argument("--pid", type=int, help="the router's process, when there are several")
    options = parser.parse_args(argv)
    try:
        pid = options.pid or find()
        board = open_board(pid)
    except (NoRouter, BoardError) as error:
        print(f"lambda-dispatch status: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    try:
        view = take(board, time.monotonic_ns(), time.time_ns())
    finally:
        board.close()
    if options.prometheus:
        print(prometheus.render(view), end="")
    else:
        print(json.dumps(view.document(), indent=2) if options.json else table(view))
    return 0


# finding it -----------------------------------------------------------------------------------------------------------


def find() -> int:
    """The one router of this user in this network namespace. Others (containers of this host) need --pid."""
    found = runtime.running() or [pid for pid in _processes() if _board_of(pid, supervisor=True) is not None]
    pids = [pid for pid in found if _network(pid) == _network(os.getpid())]
    if not pids and found:
        others = ", ".join(map(str, found))
        raise NoRouter(f"no router of this user is running here; in other network namespaces: --pid {others}")
    if not pids:
        raise NoRouter("no router of this user is running")
    if len(pids) > 1:
        raise NoRouter(f"several routers are running; choose one with --pid: {', '.join(map(str, pids))}")
    return pids[0]


def open_board(pid: int) -> Board:
    if not Path("/proc/self/fd").is_dir():
        raise NoRouter("the router's shared memory can be opened from outside on Linux only")
    if not runtime.alive(pid):
        raise NoRouter(f"there is no process {pid}")
    board = _board_of(pid, supervisor=False)
    if board is None:
        raise NoRouter(f"process {pid} is no router, or belongs to another user")
    return board


def _network(pid: int) -> str:
    """The network namespace of a process; empty when it may not be asked or has ended."""
    return _target(Path(f"/proc/{pid}/ns/net"))


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isascii() and path.name.isdigit()]


def _board_of(pid: int, supervisor: bool) -> Board | None:
    """The board a process has open; with `supervisor`, only when the process is the one that made it."""
    try:
        links = [path for path in Path(f"/proc/{pid}/fd").iterdir() if f"memfd:{b.NAME}" in _target(path)]
        if not links:
            return None
        fd = os.open(links[0], os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        board = Board.attach(fd, readonly=True)
    except BoardError:
        os.close(fd)
        raise
    if supervisor:
        made_by = board.supervisor_pid
        board.close()
        return board if made_by == pid else None
    return board


def _target(link: Path) -> str:
    """Of a descriptor of another process, which may have closed it since it was listed."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


# showing it -----------------------------------------------------------------------------------------------------------


def table(view: View) -> str:
    scaler, totals = view.scaler, view.totals
    failed = {name: totals[name] for name in ("bad_gateways", "rejected", "queue_timeouts", "clients_gone", "resends")}
    wait, took = quantiles(view.wait), quantiles(view.time)
    lines = [
        f"router {view.pid}, up {duration(view.uptime)}; scaler {scaler.pid} {scaler.state}, "
        f"{scaler.open_invokes} invokes open, {scaler.invokes} sent, {scaler.invokes_failed} failed, "
        f"{scaler.throttled} throttled",
        f"{totals['requests']} requests: {totals['status_2xx']} 2xx, {totals['status_3xx']} 3xx, "
        f"{totals['status_4xx']} 4xx, {totals['status_5xx']} 5xx; "
        + ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in failed.items()),
        f"queue wait p50 {_ms(wait['p50'])}, p99 {_ms(wait['p99'])}; "
        f"total time p50 {_ms(took['p50'])}, p99 {_ms(took['p99'])}",
        f"{totals['upgrades_open']} upgraded connections open of {totals['upgrades_opened']}, "
        f"{totals['grpc_open']} gRPC calls open of {totals['grpc_opened']}",
        "",
        *columns(
            ("WORKER", "PID", "STATE", "UP", "SILENT", "CONNS", "QUEUED", "OLDEST", "RUNNING", "IDLE", "REQUESTS"),
            (
                (
                    w.slot,
                    w.pid,
                    w.state,
                    duration(w.uptime),
                    duration(w.silent),
                    w.numbers["connections"],
                    w.queued,
                    duration(w.oldest_queued),
                    w.running,
                    w.numbers["idle_channels"],
                    w.numbers["requests"],
                )
                for w in view.workers
            ),
        ),
        "",
        *columns(
            (
                "FUNCTION",
                "STATE",
                "DESIRED",
                "STARTING",
                "OPEN",
                "DRAINING",
                "BUSY",
                "IDLE",
                "QUEUED",
                "REQ/S",
                "WAIT",
                "ENV-S",
                "BY LAMBDA",
                "BREAKER",
            ),
            (
                (
                    p.function,
                    p.state,
                    p.desired,
                    p.starting,
                    p.open,
                    p.draining,
                    p.in_flight,
                    p.idle_channels,
                    p.queued,
                    f"{p.requests_per_second:.1f}",
                    f"{p.predicted_wait:.1f}",
                    f"{p.open_seconds:.0f}",
                    f"{p.direct_seconds:.0f}",
                    (p.budget or p.breaker) + (f" (no start for {p.backoff} s)" if p.backoff else ""),
                )
                for p in view.pools
            ),
        ),
    ]
    if view.overrides:
        heads = ("OVERRIDE", "FUNCTION", "LEFT", "BY", "REASON")
        rows = (
            (it["says"], it["function"] or "-", duration(it["left"]), it["who"], it["reason"]) for it in view.overrides
        )
        lines += ["", *columns(heads, rows)]
    if view.instances:
        lines += [
            "",
            *columns(
                ("INSTANCE", "ID", "FUNCTION", "STATE", "BUSY", "LIMIT", "IDLE", "REQUESTS", "AGE", "LEFT"),
                (
                    (
                        i.slot,
                        i.id + "…",
                        i.function,
                        i.state + (" (close requested)" if i.close_requested else ""),
                        i.in_flight,
                        i.limit,
                        i.idle_channels,
                        i.requests,
                        duration(i.age),
                        duration(i.left),
                    )
                    for i in view.instances
                ),
            ),
        ]
    return "\n".join(lines)


def columns(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Numbers to the right, texts to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(heads), *cells]) for at in range(len(heads))]
    right = [bool(cells) and all(row[at][:1].isdigit() or row[at] == "-" for row in cells) for at in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return [line(heads), *map(line, cells)]


def duration(seconds: float | None) -> str:
    """12.3s, 4m05s, 2h07m, 3d04h; - when there is none."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"
