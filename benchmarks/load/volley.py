"""Clients that ask for the same thing one after another, each over a connection of its own, and count every byte."""

import asyncio
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import httptools

PATIENCE = 120.0  # seconds a whole volley may take
# AWS's SDKs send a throttled request again, after a pause that doubles: 10 ms first, 2.6 s in all.
FIRST_PAUSE = 0.01  # seconds
MOST_RETRIES = 8


@dataclass(frozen=True, slots=True)
class Shot:
    """What every request of a volley is."""

    target: str  # `{us}` in it: microseconds drawn for each request, evenly from half to one and a half of `us`
    body: int = 0  # bytes of a POST's body; 0: GET
    answer: int = 0  # bytes an answer has; -1: as many as come
    us: int = 0
    retries: int = 0  # how often a request that gets a 429 is sent again before it counts as failed

    def heads(self, seed: int = 1) -> Iterator[bytes]:
        source = random.Random(seed)
        method = "POST" if self.body else "GET"
        more = f"Content-Type: image/jpeg\r\nContent-Length: {self.body}\r\n" if self.body else ""
        rest = f" HTTP/1.1\r\nHost: load.test\r\n{more}\r\n"
        while True:
            target = self.target.replace("{us}", str(round(self.us * (0.5 + source.random()))))
            yield f"{method} {target}{rest}".encode()


@dataclass(slots=True)
class Volley:
    """What came back, and the time that counts: all of it, or what is left of it once all have settled."""

    begin: float = 0.0  # of what counts, perf_counter's seconds
    end: float = 0.0
    answers: list[tuple[float, float]] = field(default_factory=list)  # when, and s since it was asked for
    failed: dict[str, int] = field(default_factory=dict)  # what came instead, and how often
    throttled: int = 0  # requests that got a 429 and were sent again; their time goes on

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    @property
    def times(self) -> list[float]:
        return sorted(took for at, took in self.answers if self.begin <= at <= self.end)

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        times = self.times
        return times[max(0, math.ceil(share * len(times)) - 1)] if times else math.nan


class _Client(asyncio.Protocol):
    def __init__(self, shot: Shot, heads: Iterator[bytes], body: bytes, times: int, result: Volley) -> None:
        self._shot = shot
        self._heads = heads
        self._body = body
        self._left = times
        self._until = math.inf
        self._result = result
        self._in_hand = False
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def start(self, until: float) -> None:
        self._until = until
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        if not self._left or self._began >= self._until:
            self._left = 0
            self._transport.close()
            return
        self._left -= 1
        self._head = next(self._heads)
        self._tries = 0
        self._send()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self._in_hand = True
        self._tries += 1
        self._transport.write(self._head)
        if self._body:
            self._transport.write(self._body)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._received += len(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        status = self._parser.get_status_code()
        if status < 200:
            return
        if status == 429 and self._tries <= self._shot.retries and self._parser.should_keep_alive():
            self._result.throttled += 1
            asyncio.get_running_loop().call_later(FIRST_PAUSE * 2 ** (self._tries - 1), self._send)
            return
        self._in_hand = False
        if status != 200:
            self._fail(f"status {status}")
        elif self._shot.answer not in (-1, self._received):
            self._fail(f"{self._received} bytes instead of {self._shot.answer}")
        else:
            self._result.answers.append((now, now - self._began))
        if self._parser.should_keep_alive():
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in_hand:
            self._fail("connection lost")
        if self._left:
            self._fail("connection closed")
        if not self.over.done():
            self.over.set_result(None)

    def _fail(self, why: str) -> None:
        self._result.failed[why] = self._result.failed.get(why, 0) + 1


async def fire(port: int, shot: Shot, clients: int, count: int) -> Volley:
    """What `hey -c CLIENTS -n COUNT` does: all begin at once, each asks its share, it is over with the last."""
    result = Volley()
    result.begin = await _run(port, shot, clients, max(1, count // clients), math.inf, result)
    result.end = time.perf_counter()
    return result


async def keep_firing(port: int, shot: Shot, clients: int, settle: float, seconds: float) -> Volley:
    """All clients have a request on its way all the time; what is answered after `settle` counts, for `seconds`."""
    result = Volley()
    began = await _run(port, shot, clients, sys.maxsize, settle + seconds, result)
    result.begin, result.end = began + settle, began + settle + seconds
    return result


async def _run(port: int, shot: Shot, clients: int, each: int, seconds: float, result: Volley) -> float:
    """When the first requests were sent."""
    loop = asyncio.get_running_loop()
    heads, body = shot.heads(), b"x" * shot.body
    made = [
        loop.create_connection(lambda: _Client(shot, heads, body, each, result), "127.0.0.1", port)
        for _ in range(clients)
    ]
    protocols = [protocol for _, protocol in await asyncio.gather(*made)]
    began = time.perf_counter()
    for protocol in protocols:
        protocol.start(began + seconds)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(protocol.over for protocol in protocols))
    return began
