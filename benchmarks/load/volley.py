"""Clients that ask for the same thing one after another, each over a connection of its own, and count every byte.

What `hey -c CLIENTS -n COUNT` does: all begin at once, each asks COUNT / CLIENTS times, the run is over with the last.
"""

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import cast

import httptools

PATIENCE = 120.0  # seconds a whole volley may take


@dataclass(frozen=True, slots=True)
class Shot:
    """What every request of a volley is."""

    target: str
    body: int = 0  # bytes of a POST's body; 0: GET
    answer: int = 0  # bytes an answer has; -1: as many as come

    def bytes(self) -> bytes:
        head = f"{'POST' if self.body else 'GET'} {self.target} HTTP/1.1\r\nHost: load.test\r\n"
        if self.body:
            head += f"Content-Type: image/jpeg\r\nContent-Length: {self.body}\r\n"
        return f"{head}\r\n".encode() + b"x" * self.body


@dataclass(slots=True)
class Volley:
    """What came back."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)  # s, of the requests that were answered as they should be
    failed: dict[str, int] = field(default_factory=dict)  # what came instead, and how often

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


class _Client(asyncio.Protocol):
    def __init__(self, shot: Shot, message: bytes, times: int, result: Volley) -> None:
        self._shot = shot
        self._message = message
        self._left = times
        self._result = result
        self._in_hand = False
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        if not self._left:
            self._transport.close()
            return
        self._left -= 1
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self._in_hand = True
        self._began = time.perf_counter()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._received += len(body)

    def on_message_complete(self) -> None:
        took = time.perf_counter() - self._began
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._in_hand = False
        if status != 200:
            self._fail(f"status {status}")
        elif self._shot.answer not in (-1, self._received):
            self._fail(f"{self._received} bytes instead of {self._shot.answer}")
        else:
            self._result.times.append(took)
        if self._parser.should_keep_alive():
            self.ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in_hand:
            self._fail("connection lost")
        if self._left:
            self._fail("connection closed", self._left)
        if not self.over.done():
            self.over.set_result(None)

    def _fail(self, why: str, count: int = 1) -> None:
        self._result.failed[why] = self._result.failed.get(why, 0) + count


async def fire(port: int, shot: Shot, clients: int, count: int) -> Volley:
    """`count` requests in all, shared out evenly among `clients`."""
    loop = asyncio.get_running_loop()
    result = Volley()
    message = shot.bytes()
    each = max(1, count // clients)
    made = [
        loop.create_connection(lambda: _Client(shot, message, each, result), "127.0.0.1", port) for _ in range(clients)
    ]
    protocols = [protocol for _, protocol in await asyncio.gather(*made)]
    began = time.perf_counter()
    for protocol in protocols:
        protocol.ask()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(protocol.over for protocol in protocols))
    result.seconds = time.perf_counter() - began
    return result
