"""python -m lambda_dispatch.admin FD: the admin process, as the supervisor starts it."""

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

from setproctitle import setproctitle

from lambda_dispatch.admin.server import Admin
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.exits import EXIT_BOOT
from lambda_dispatch.settings import Reader
from lambda_dispatch.telemetry import log, otel, otlp
from lambda_dispatch.telemetry.spans import SpanExporter
from lambda_dispatch_core.board.board import Board, BoardError
from lambda_dispatch_core.board.trace_ring import TraceRing

NICENESS = 5  # workers and the scaler come first


def main() -> int:
    try:
        with os.fdopen(int(sys.argv[1]), "rb") as file:
            record = json.loads(file.read())
        config = RouterConfig.from_json(record["config"])
        # A descriptor of its own that cannot write, so that no bug here can change the board.
        fd = os.open(f"/proc/self/fd/{record['board_fd']}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(record["board_fd"])
        board = Board.attach(fd, readonly=True)
        settings = Reader(record["settings_fd"], record["settings_number"])
        listener = socket.socket(fileno=record["socket_fd"])
    except (BoardError, OSError, ValueError, TypeError, KeyError, IndexError) as error:
        print(f"lambda-dispatch: admin: {error}", file=sys.stderr)
        return EXIT_BOOT
    log.configure("admin", config.log_level, config.log_format)
    setproctitle("lambda-dispatch: admin")
    os.nice(NICENESS)
    try:
        traces = exporter_of(record, board)
        asyncio.run(run(board, config, listener, record["life_fd"], settings, record["commands"], traces))
    finally:
        board.close()
    return 0


async def run(
    board: Board,
    config: RouterConfig,
    listener: socket.socket,
    life_fd: int,
    settings: Reader,
    commands: str,
    traces: SpanExporter | None,
) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    # End of file: the supervisor is gone.
    loop.add_reader(life_fd, over.set)
    admin = Admin(board, config, command_path=commands)
    admin.settings = settings
    admin.traces = traces
    await admin.server.start_on(listener)
    log.info("admin port opened", host=config.admin_host, port=admin.server.port)
    ticking = loop.create_task(admin.run())
    exporting = loop.create_task(otlp.export(os.environ, admin.look, board.created_wall))
    tracing = loop.create_task(admin.traces.run()) if admin.traces is not None else None
    ended = loop.create_task(over.wait())
    await asyncio.wait((ticking, ended), return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(life_fd)
    for task in filter(None, (ticking, ended, exporting, tracing)):
        task.cancel()
    if admin.traces is not None:
        admin.traces.finish()
    await admin.server.close()
    log.flush()
    if ticking.done() and not ticking.cancelled():
        ticking.result()


def exporter_of(record: dict[str, Any], board: Board) -> SpanExporter | None:
    """None where nothing is traced."""
    wanted = otel.tracing(os.environ) if record["trace_fd"] >= 0 else None  # the supervisor has read it before us
    if wanted is None:
        return None

    def function(pool: int) -> str:
        return board.pool_name(pool).decode(errors="replace") if pool < board.pools else ""

    ring = TraceRing.attach(record["trace_fd"])
    return SpanExporter(ring, wanted, function, os.environ.get("AWS_REGION", ""), record["traces_from_start"])


if __name__ == "__main__":
    sys.exit(main())
