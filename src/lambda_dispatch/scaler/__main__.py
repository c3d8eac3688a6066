"""python -m lambda_dispatch.scaler FD: the scaler's process, as the supervisor starts it."""

import asyncio
import os
import signal
import sys

import setproctitle
import uvloop

from lambda_dispatch import callback
from lambda_dispatch.boot import Boot, BootError
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.exits import EX_SOFTWARE, EXIT_BOOT
from lambda_dispatch.scaler.access import AccessError
from lambda_dispatch.scaler.lambda_api import LambdaApi
from lambda_dispatch.scaler.loop import Scaler
from lambda_dispatch.telemetry import log
from lambda_dispatch_core.board.board import Board, BoardError


def main() -> int:
    try:
        boot = Boot.receive(sys.argv[1:])
        config = RouterConfig.from_json(boot.config)
        board = Board.attach(boot.board_fd)
    except (BootError, BoardError, OSError, ValueError, TypeError) as error:
        print(f"lambda-dispatch: scaler: {error}", file=sys.stderr)
        return EXIT_BOOT
    log.configure("scaler", config.log_level, config.log_format)
    setproctitle.setproctitle("lambda-dispatch: scaler")
    try:
        # AWS clients read the environment and files: once, before the loop.
        api = LambdaApi(os.environ, config.function)
    except AccessError as error:
        log.error("Lambda access missing", error=str(error))
        return error.exit_code
    address = callback.find(config, os.environ)
    scheme = config.preferred_control_scheme
    url = address.url(scheme, boot.ports["control_https" if scheme == "https" else "control_http"])
    log.info(
        "scaler started",
        callback=url,
        found_by=address.source,
        endpoint=api.endpoint_url,
        region=api.region,
        credentials=api.credentials_from,
    )
    if address.host == "127.0.0.1" and ".amazonaws.com" in api.endpoint_url:
        log.warning(
            "callback unreachable", host=address.host, fix="set RouterCallbackHost to an address Lambda can reach"
        )
    try:
        uvloop.run(run(boot, config, board, api, url))
    finally:
        board.close()
    return 0


async def run(boot: Boot, config: RouterConfig, board: Board, api: LambdaApi, url: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_bug)
    scaler = Scaler(boot, config, board, api, url)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, scaler.stop)
    fresh = loop.create_task(api.keep_credentials_fresh())

    def orphaned() -> None:
        # The descriptor's other end is the supervisor's: end of file means that it is no more.
        loop.remove_reader(boot.life_fd)
        log.warning("supervisor gone", action="closing all instances")
        if not scaler.stopping:
            scaler.stop()

    loop.add_reader(boot.life_fd, orphaned)
    scaler.begin()
    try:
        await scaler.stopped.wait()
    finally:
        fresh.cancel()
        scaler.end()
    log.info("scaler ended", instances_left=sum(len(fleet.runs) for fleet in scaler.fleets.values()))


def _bug(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """An uncaught exception is a bug: going on could cost money, and the next scaler adopts the instances."""
    error = context.get("exception")
    if isinstance(error, OSError):
        log.warning("connection failed", error=str(error))
        return
    loop.default_exception_handler(context)
    os._exit(EX_SOFTWARE)


if __name__ == "__main__":
    sys.exit(main())
