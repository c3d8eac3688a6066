"""Clients that ask at a steady pace, check every byte of the answers, and never ask twice for the same thing.

Each keeps its connection as HTTP allows: it is closed after `connection: close`, and a new one is made when the router
has closed an idle one. What became of each request is kept as an Outcome.
"""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass

PATIENCE = 60.0  # seconds for an answer; longer than the router lets anyone wait in these loads


@dataclass(frozen=True, slots=True)
class Outcome:
    began: float  # monotonic seconds
    ended: float
    status: int  # 0: no answer
    problem: str  # empty when it was what it should be
    fresh: bool  # on a new connection
    name: str = ""  # its name in the query, which no other request has
    port: int = 0  # the client's, of its connection
    dialled: float = 0.0  # monotonic seconds: when that connection was made

    @property
    def took(self) -> float:
        return self.ended - self.began


LONGEST = 32768  # bytes of a posted body


class Wrong(Exception):
    """The answer is not what was asked for."""


class SteadyLoad:
    """`async with SteadyLoad(port, clients=20, per_second=10) as load:`; outcomes in load.outcomes."""

    def __init__(
        self,
        port: int,
        clients: int = 20,
        per_second: float = 10.0,
        seed: int = 0,
        patient: bool = False,
        keep: bool = True,
        fields: str = "",
    ) -> None:
        """`patient`: a connection that is refused is tried again; `refusals` says when that was.

        Without `keep` every request has a connection of its own. `fields`: header lines of every request.
        """
        self.port = port
        self.clients = range(clients)
        self.pause = 1 / per_second
        self.patient = patient
        self.keep = keep
        self.fields = fields
        self.outcomes: list[Outcome] = []
        self.refusals: list[float] = []  # monotonic seconds
        self.in_hand: dict[int, float] = {}  # client, and since when it waits
        self.stopped = asyncio.Event()
        self._sources = [random.Random(f"{seed}-{number}") for number in range(clients)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "SteadyLoad":
        self._tasks = [asyncio.create_task(self._client(n, source)) for n, source in enumerate(self._sources)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped.set()
        await asyncio.gather(*self._tasks)

    @property
    def answered(self) -> int:
        return sum(outcome.status == 200 for outcome in self.outcomes)

    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.problem]

    async def _client(self, number: int, source: random.Random) -> None:
        link: Link | None = None
        asked = 0
        await self._sleep(source.random() * self.pause)
        while not self.stopped.is_set():
            if link is not None and link.ended:
                link.close()
                link = None
            fresh, status, problem = link is None, 0, ""
            began = self.in_hand[number] = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    link = link or await Link.dial(self.port)
                    asked += 1
                    status = await self._ask(link, source, f"n={number}.{asked}")
            except ConnectionRefusedError as error:
                if link is None and self.patient:
                    del self.in_hand[number]
                    self.refusals.append(time.monotonic())
                    await self._sleep(0.02)
                    continue
                problem = repr(error)
            except Wrong as error:
                problem, status = error.args
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                problem = repr(error)
            del self.in_hand[number]
            where = (link.port, link.dialled) if link is not None else (0, 0.0)
            outcome = Outcome(began, time.monotonic(), status, problem, fresh, f"n={number}.{asked}", *where)
            self.outcomes.append(outcome)
            if link is not None and (problem or link.last or not self.keep):
                link.close()
                link = None
            await self._sleep(self.pause * source.uniform(0.5, 1.5))
        if link is not None:
            link.close()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    async def _ask(self, link: "Link", source: random.Random, name: str) -> int:
        kind = source.random()
        if kind < 0.4:
            status, body = await link.ask("GET", f"/ping?{name}", self.fields)
            expected = b"pong"
        elif kind < 0.7:
            delay = source.choice((10, 30, 100, 300))
            status, body = await link.ask("GET", f"/delay?delay={delay}&{name}", self.fields)
            expected = b"Delayed for %d ms" % delay
        else:
            sent = source.randbytes(source.randrange(LONGEST))
            status, body = await link.ask("POST", f"/echo?{name}", self.fields, sent)
            expected = sent
        if status != 200:
            raise Wrong(f"{status} {link.error}", status)
        if body != expected:
            raise Wrong(f"{len(body)} bytes that are not the {len(expected)} expected", status)
        return status


class Link:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.port = int(writer.get_extra_info("sockname")[1])
        self.dialled = time.monotonic()
        self.last = False  # the router will take no more requests on it
        self.error = ""  # x-lambda-dispatch-error of the last answer

    @classmethod
    async def dial(cls, port: int) -> "Link":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @property
    def ended(self) -> bool:
        """The router has closed it."""
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        self.writer.transport.abort()

    async def ask(self, method: str, path: str, fields: str, body: bytes = b"") -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nhost: load.test\r\n{fields}"
        head += f"content-length: {len(body)}\r\n" if method == "POST" else ""
        self.writer.write(f"{head}\r\n".encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        self.error = fields.get("x-lambda-dispatch-error", "")
        self.last = fields.get("connection") == "close"
        if fields.get("transfer-encoding") == "chunked":
            return int(lines[0].split()[1]), await self._chunks()
        return int(lines[0].split()[1]), await self.reader.readexactly(int(fields["content-length"]))

    async def _chunks(self) -> bytes:
        whole = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            whole += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return whole
