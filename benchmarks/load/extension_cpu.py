"""What a relayed request costs the extension, in CPU-microseconds, beside python-hyper h2 doing the same.

    python -m benchmarks.load.extension_cpu [--rounds 5] [--seconds 2] [--channels 20]

The extension under test has one CPU, this process (router, application and Lambda at once) another. The router is a
frame scanner that answers every park with the next request at once, so all channels are always busy; the application
answers from a fixed string. CPU time is the process's own from /proc/PID/schedstat. The contestants take turns; the
medians are what counts. Also told: CPU from exec to register, and resident memory under load.
"""

import argparse
import asyncio
import os
import statistics
import struct
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from tests.support.runtime_api import RuntimeApi

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
REQUEST = b"GET /four HTTP/1.1\r\nhost: example.org\r\nuser-agent: benchmark\r\naccept: */*\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nfour"
CREDIT = 1 << 28  # bytes after which the connection's window is opened again by as much


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Router(asyncio.Protocol):
    """Sends the same request down every channel that is parked. Reads frame heads only and leaves HPACK alone."""

    def __init__(self, bench: "Bench") -> None:
        self.bench = bench
        self.rest = b""
        self.preface = True
        self.since_credit = 0
        self.transport: Any = None
        self.request = frame(DATA, END_STREAM, 0, REQUEST)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        window = struct.pack(">HI", 4, (1 << 31) - 1)
        self.transport.write(
            frame(SETTINGS, 0, 0, window) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1 - 65535))
        )

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        at = 0
        if self.preface:
            at = len(PREFACE)
            self.preface = False
        out = []
        end = len(data)
        while end - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if end - at - 9 < length:
                break
            kind = data[at + 3]
            if kind == DATA:
                self.since_credit += length
                if data[at + 4] & END_STREAM:
                    self.bench.answered += 1
            elif kind == HEADERS:
                stream = data[at + 5 : at + 9]
                out.append(b"\x00\x00\x01\x01\x04" + stream + b"\x88" + self.request[:5] + stream + REQUEST)
            elif kind == SETTINGS and not data[at + 4] & ACK:
                out.append(frame(SETTINGS, ACK, 0))
            at += 9 + length
        self.rest = data[at:]
        if self.since_credit > CREDIT:
            out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self.since_credit)))
            self.since_credit = 0
        if out:
            self.transport.write(b"".join(out))


class App(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /health"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nOK")
        elif data.endswith(b"\r\n\r\n"):
            self.transport.write(ANSWER)


@dataclass
class Result:
    cpu: float  # microseconds per request
    rate: float  # requests per second
    resident: int  # KiB
    start: float | None  # ms of CPU from exec to register


class Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.seconds = arguments.seconds
        self.channels = arguments.channels
        self.answered = 0

    async def measure(self, contestant: str) -> Result:
        loop = asyncio.get_running_loop()
        router = await loop.create_server(lambda: Router(self), "127.0.0.1", 0)
        app = await loop.create_server(App, "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (router, app)]
        async with RuntimeApi() as api:
            if contestant == "engine":
                command = ["-m", "lambda_dispatch_extension"]
                env = {"AWS_LAMBDA_RUNTIME_API": api.address, "LAMBDA_DISPATCH_PORT": str(ports[1])}
            else:
                command = ["-m", "benchmarks.load.extension_hyper", *map(str, ports), str(self.channels)]
                env = {}
            child = await asyncio.create_subprocess_exec(
                sys.executable, *command, env={**os.environ, **env}, preexec_fn=lambda: pin(0)
            )
            try:
                start = None
                if contestant == "engine":
                    while not api.registered:  # noqa: ASYNC110  # as soon as can be
                        await asyncio.sleep(0)
                    start = cpu(child.pid) * 1000
                    api.invoke(
                        {
                            "Id": str(uuid.uuid4()),
                            "DispatcherUrl": f"http://127.0.0.1:{ports[0]}/api/chunked",
                            "NumberOfChannels": self.channels,
                            "SentTime": datetime.now(UTC).isoformat(),
                        },
                        timeout=600,
                    )
                before = self.answered
                while self.answered < before + 1000:  # noqa: ASYNC110  # warm
                    await asyncio.sleep(0.01)
                count, spent, began = self.answered, cpu(child.pid), time.monotonic()
                await asyncio.sleep(self.seconds)
                requests = self.answered - count
                spent = cpu(child.pid) - spent
                return Result(spent / requests * 1e6, requests / (time.monotonic() - began), resident(child.pid), start)
            finally:
                child.kill()
                await child.wait()
                router.close()
                app.close()


def pin(cpu: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """This process on one CPU, until it is over."""
    everything = os.sched_getaffinity(0)
    pin(cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, everything)


def cpu(pid: int) -> float:
    """Seconds of CPU the process has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(f"no VmRSS of {pid}")


async def run(arguments: argparse.Namespace) -> None:
    contestants = ["engine", "python-hyper h2"]
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    bench = Bench(arguments)
    for _ in range(arguments.rounds):
        for name in contestants:
            results[name].append(await bench.measure(name))
    for name in contestants:
        told = [f"{statistics.median(r.cpu for r in results[name]):6.1f} CPU-us per request"]
        told.append(f"{statistics.median(r.rate for r in results[name]):8.0f} requests/s")
        told.append(f"{statistics.median(r.resident for r in results[name]) / 1024:5.1f} MiB")
        starts = [r.start for r in results[name] if r.start is not None]
        if starts:
            told.append(f"{statistics.median(starts):5.1f} CPU-ms to register")
        print(f"{name:16} {'  '.join(told)}")
    ratio = statistics.median(
        hyper.cpu / ours.cpu for ours, hyper in zip(results[contestants[0]], results[contestants[1]], strict=True)
    )
    print(f"{'':16} {ratio:6.1f} times less")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--channels", type=int, default=20)
    arguments = parser.parse_args()
    with pinned(1):
        uvloop.run(run(arguments))


if __name__ == "__main__":
    main()
