"""What a request costs the extension as a direct event, buffered and streamed, beside a dispatched one, in one run.

    python -m benchmarks.load.direct_cpu [--rounds 5] [--seconds 2]

The extension under test has one CPU, this process (router, Runtime API and application at once) another. A direct event
is a whole invoke: `next`, the request, the response. The ways take turns; CPU time is the process's own from
/proc/PID/schedstat, and the medians are what counts. A start is counted until the extension has asked for its first
invoke, and until it has answered its first event, which loads the code for direct events.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvloop
from benchmarks.load.extension_cpu import App, Router, cpu, pin, pinned, resident

WAYS = ("dispatched", "buffered", "streamed")
EVENT = json.dumps(
    {
        "version": "2.0",
        "rawPath": "/four",
        "rawQueryString": "",
        "headers": {"host": "example.org", "user-agent": "benchmark", "accept": "*/*"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnop",
            "domainName": "example.org",
            "http": {"method": "GET", "path": "/four", "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7"},
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }
).encode()


class RuntimeApi(asyncio.Protocol):
    """The least that the extension needs: registers it, gives it one payload after another, takes every answer."""

    def __init__(self, bench: "Bench") -> None:
        self.bench = bench
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (message := self._message()) is not None:
            self._answer(message)

    def _message(self) -> bytes | None:
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return None
        if b"Transfer-Encoding: chunked" in head:
            at = self.data.find(b"\r\n0\r\n\r\n")
            if at < 0:
                return None
            self.data = self.data[at + 7 :]
            return head
        length = 0
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        if len(body) < length:
            return None
        self.data = body[length:]
        return head

    def _answer(self, head: bytes) -> None:
        if b"/invocation/next" in head:
            self.bench.asked()
            if self.bench.payload is not None:
                self._say(self.bench.payload, b"lambda-runtime-aws-request-id: 1\r\n")
                self.bench.given()
            else:
                self.bench.idle.append(self)
        elif b"/event/next" not in head:
            if b"/response" in head:
                self.bench.answered += 1
            self._say(b"{}", b"lambda-extension-identifier: 1\r\n")

    def _say(self, body: bytes, fields: bytes = b"") -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (fields, len(body), body))


@dataclass
class Result:
    cpu: float  # microseconds per request
    resident: int  # KiB
    ready: float  # ms of CPU from exec to the first `next`
    first: float  # ms of CPU from exec to the first answer


class Bench:
    def __init__(self) -> None:
        self.answered = 0
        self.idle: list[RuntimeApi] = []
        self.payload: bytes | None = None
        self.once = False
        self.ready = asyncio.Event()

    def asked(self) -> None:
        self.ready.set()

    def given(self) -> None:
        if self.once:
            self.payload = None

    async def measure(self, way: str, seconds: float, channels: int) -> Result:
        loop = asyncio.get_running_loop()
        self.__init__()  # type: ignore[misc]
        router = await loop.create_server(lambda: Router(self), "127.0.0.1", 0)  # type: ignore[arg-type]
        app = await loop.create_server(App, "127.0.0.1", 0)
        api = await loop.create_server(lambda: RuntimeApi(self), "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (router, app, api)]
        env = {
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{ports[2]}",
            "LAMBDA_DISPATCH_PORT": str(ports[1]),
            "LAMBDA_DISPATCH_INVOKE_MODE": "response_stream" if way == "streamed" else "buffered",
        }
        command = [sys.executable, "-m", "lambda_dispatch_extension"]
        child = await asyncio.create_subprocess_exec(*command, env=env, preexec_fn=lambda: pin(0))
        try:
            await self.ready.wait()
            ready = cpu(child.pid) * 1000
            self.once = way == "dispatched"
            self.payload = EVENT
            if way == "dispatched":
                asked = {
                    "Id": str(uuid.uuid4()),
                    "DispatcherUrl": f"http://127.0.0.1:{ports[0]}/api/chunked",
                    "NumberOfChannels": channels,
                    "SentTime": datetime.now(UTC).isoformat(),
                }
                self.payload = json.dumps(asked).encode()
            for waiting in self.idle:
                waiting._say(self.payload or b"", b"lambda-runtime-aws-request-id: 1\r\n")
            self.given()
            while not self.answered:  # noqa: ASYNC110  # as soon as can be
                await asyncio.sleep(0)
            first = cpu(child.pid) * 1000
            while self.answered < 1000:  # noqa: ASYNC110  # warm
                await asyncio.sleep(0.01)
            count, spent = self.answered, cpu(child.pid)
            await asyncio.sleep(seconds)
            requests, spent = self.answered - count, cpu(child.pid) - spent
            return Result(spent / requests * 1e6, resident(child.pid), ready, first)
        finally:
            child.kill()
            await child.wait()
            for server in (router, app, api):
                server.close()


async def run(arguments: argparse.Namespace) -> None:
    results: dict[str, list[Result]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way in WAYS:
            results[way].append(await Bench().measure(way, arguments.seconds, arguments.channels))
    for way in WAYS:
        medians = [statistics.median(getattr(one, name) for one in results[way])
                   for name in ("cpu", "resident", "ready", "first")]  # fmt: skip
        print(
            f"{way:12} {medians[0]:6.1f} CPU-us per request  {medians[1] / 1024:5.1f} MiB  "
            f"{medians[2]:5.1f} CPU-ms to the first next  {medians[3]:5.1f} to the first answer"
        )


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
