"""`lambda-dispatch status`: what a running router is doing, read from its board and from nothing else.

The router is not asked and does not notice; it may hang, and this still tells where.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lambda_dispatch.exits import EX_UNAVAILABLE
from lambda_dispatch.supervisor import runtime
from lambda_dispatch.telemetry.metrics import prometheus
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board, BoardError

BREAKERS = ("closed", "half open", "open")

# Shares of requests whose time is shown: the median, and what one in a hundred exceeds.
QUANTILES = {"p50": 0.5, "p99": 0.99}


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
        if options.prometheus:
            print(prometheus(board), end="")
            return 0
        shown = snapshot(board, time.monotonic_ns())
    finally:
        board.close()
    print(json.dumps(shown, indent=2) if options.json else table(shown))
    return 0


# finding it -----------------------------------------------------------------------------------------------------------


def find() -> int:
    """The one router of this user."""
    pids = runtime.running() or [pid for pid in _processes() if _board_of(pid, supervisor=True) is not None]
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


# reading it -----------------------------------------------------------------------------------------------------------


def snapshot(board: Board, now: int) -> dict[str, Any]:
    """Everything the board says, in words and seconds. Ids of instances are capabilities: only their beginning."""
    scaler = board.scaler_view()
    names = {pool.pool: pool.name.decode(errors="replace") for pool in board.list_pools()}
    workers = [_worker(board, worker, now) for worker in board.list_workers() if worker.state != b.WORKER_FREE]
    totals: dict[str, int] = {}
    waits = [0] * len(b.bucket_bounds())
    times = list(waits)
    for slot in range(board.workers):
        for name, value in board.worker_numbers(slot).items():
            totals[name] = totals.get(name, 0) + value
        wait, total = board.histograms(slot)
        waits = [x + y for x, y in zip(waits, wait, strict=True)]
        times = [x + y for x, y in zip(times, total, strict=True)]
    return {
        "pid": board.supervisor_pid,
        "uptime": _ago(board.created, now),
        "scaler": {
            "pid": scaler.pid,
            "state": b.WORKER_STATES[scaler.state],
            "silent": _ago(scaler.heartbeat, now),
            "open_invokes": scaler.open_invokes,
            "invokes": scaler.invokes,
            "invokes_ended": scaler.invokes_ended,
            "invokes_failed": scaler.invokes_failed,
            "throttled": scaler.throttled,
            "start_budget": scaler.tokens_milli / 1000,
            "breakers_open": scaler.breaker,
        },
        "workers": workers,
        "totals": totals,
        "wait_ms": quantiles(waits),
        "time_ms": quantiles(times),
        "pools": [_pool(board, pool, now) for pool in board.list_pools()],
        "instances": [_instance(it, names, now) for it in board.list_instances()],
    }


def _ago(since: int, now: int) -> float | None:
    return round((now - since) / 1e9, 1) if since else None


def _worker(board: Board, worker: b.Worker, now: int) -> dict[str, Any]:
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": b.WORKER_STATES[worker.state],
        "listening": worker.listening,
        "uptime": _ago(worker.started, now),
        "silent": _ago(worker.heartbeat, now),
        "queued": worker.queued,
        "running": worker.running,
        "oldest_queued": _ago(worker.oldest_queued, now),
        **board.worker_numbers(worker.slot),
    }


def _pool(board: Board, pool: b.Pool, now: int) -> dict[str, Any]:
    counts = board.pool_counts(pool.pool)
    totals = board.pool_totals(pool.pool)
    return {
        "pool": pool.pool,
        "function": pool.name.decode(errors="replace"),
        "state": b.POOL_STATES[pool.state],
        "desired": pool.desired,
        "starting": counts.starting,
        "open": counts.open,
        "draining": counts.draining,
        "closed": counts.closed,
        "in_flight": counts.in_flight,
        "idle_channels": counts.idle,
        "queued": totals.queued,
        "oldest_queued": _ago(totals.oldest_queued, now),
        "arrivals": totals.arrivals,
        "completions": totals.completions,
        "failures": totals.failures,
        "average_ms": round(totals.duration_ns / totals.completions / 1e6, 2) if totals.completions else None,
        "requests_per_second": pool.rate_milli / 1000,
        "breaker": BREAKERS[pool.breaker] if pool.breaker < len(BREAKERS) else str(pool.breaker),
        "backoff": max(0.0, round((pool.backoff_until - now) / 1e9, 1)),
        "starts": pool.starts,
        "starts_failed": pool.starts_failed,
        "ended": pool.ended,
        "limit": pool.limit,
        "min_instances": pool.min_instances,
        "max_instances": pool.max_instances,
        "unused": _ago(totals.last_used, now),
    }


def _instance(it: b.Instance, names: dict[int, str], now: int) -> dict[str, Any]:
    return {
        "slot": it.slot,
        "id": it.id.hex()[:8],
        "function": names.get(it.pool, "?"),
        "state": b.INSTANCE_STATES[it.state],
        "in_flight": it.in_flight,
        "limit": it.limit,
        "idle_channels": it.idle,
        "channels": it.channels,
        "requests": it.requests,
        "age": _ago(it.created, now),
        "open_for": _ago(it.opened, now),
        "left": round((it.deadline - now) / 1e9, 1) if it.deadline else None,
        "close_requested": it.close_requested,
    }


def quantiles(counts: Sequence[int]) -> dict[str, float | None]:
    """Upper bounds in ms of the buckets in which the quantiles lie; None when nothing was counted."""
    total = sum(counts)
    found: dict[str, float | None] = dict.fromkeys(QUANTILES)
    bounds = b.bucket_bounds()
    for name, share in QUANTILES.items():
        seen = 0
        for count, bound in zip(counts, bounds, strict=True):
            seen += count
            if count and seen >= share * total:
                found[name] = round((bound or 2**38) / 1e6, 3)
                break
    return found


# showing it -----------------------------------------------------------------------------------------------------------


def table(shown: dict[str, Any]) -> str:
    scaler, totals = shown["scaler"], shown["totals"]
    failed = {name: totals[name] for name in ("bad_gateways", "rejected", "queue_timeouts", "clients_gone", "resends")}
    wait, took = shown["wait_ms"], shown["time_ms"]
    lines = [
        f"router {shown['pid']}, up {duration(shown['uptime'])}; scaler {scaler['pid']} {scaler['state']}, "
        f"{scaler['open_invokes']} invokes open, {scaler['invokes']} sent, {scaler['invokes_failed']} failed, "
        f"{scaler['throttled']} throttled",
        f"{totals['requests']} requests: {totals['status_2xx']} 2xx, {totals['status_3xx']} 3xx, "
        f"{totals['status_4xx']} 4xx, {totals['status_5xx']} 5xx; "
        + ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in failed.items()),
        f"waiting p50 {_ms(wait['p50'])}, p99 {_ms(wait['p99'])}; "
        f"in all p50 {_ms(took['p50'])}, p99 {_ms(took['p99'])}",
        "",
        *columns(
            ("WORKER", "PID", "STATE", "UP", "SILENT", "CONNS", "QUEUED", "OLDEST", "RUNNING", "IDLE", "REQUESTS"),
            (
                (
                    w["slot"],
                    w["pid"],
                    w["state"],
                    duration(w["uptime"]),
                    duration(w["silent"]),
                    w["connections"],
                    w["queued"],
                    duration(w["oldest_queued"]),
                    w["running"],
                    w["idle_channels"],
                    w["requests"],
                )
                for w in shown["workers"]
            ),
        ),
        "",
        *columns(
            (
                "FUNCTION",
                "STATE",
                "WANTED",
                "STARTING",
                "OPEN",
                "DRAINING",
                "BUSY",
                "IDLE",
                "QUEUED",
                "REQ/S",
                "BREAKER",
            ),
            (
                (
                    p["function"],
                    p["state"],
                    p["desired"],
                    p["starting"],
                    p["open"],
                    p["draining"],
                    p["in_flight"],
                    p["idle_channels"],
                    p["queued"],
                    f"{p['requests_per_second']:.1f}",
                    p["breaker"] + (f" (no start for {p['backoff']} s)" if p["backoff"] else ""),
                )
                for p in shown["pools"]
            ),
        ),
    ]
    if shown["instances"]:
        lines += [
            "",
            *columns(
                ("INSTANCE", "ID", "FUNCTION", "STATE", "BUSY", "LIMIT", "IDLE", "REQUESTS", "AGE", "LEFT"),
                (
                    (
                        i["slot"],
                        i["id"] + "…",
                        i["function"],
                        i["state"] + (" (asked to)" if i["close_requested"] else ""),
                        i["in_flight"],
                        i["limit"],
                        i["idle_channels"],
                        i["requests"],
                        duration(i["age"]),
                        duration(i["left"]),
                    )
                    for i in shown["instances"]
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
