"""Whether the application is up."""

import asyncio

from lambda_dispatch_extension.local_http import BadAnswer, read_head
from lambda_dispatch_extension.options import Options

HOST = "127.0.0.1"
PAUSE = 0.01  # s between two tries
TRY = 1.0  # s that one try may take: a port that swallows connections is tried again


async def wait_until_healthy(options: Options) -> None:
    """Asks until the application is up, however long that takes."""
    while True:
        try:
            async with asyncio.timeout(TRY):
                if await healthy(options):
                    return
        except (OSError, TimeoutError, asyncio.IncompleteReadError, BadAnswer):
            pass
        await asyncio.sleep(PAUSE)


async def healthy(options: Options) -> bool:
    reader, writer = await asyncio.open_connection(HOST, options.port)
    try:
        if options.health_protocol == "tcp":
            return True
        writer.write(f"GET {options.health_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status, _ = await read_head(reader)
        return options.is_healthy(status)
    finally:
        writer.close()
