"""How many invokes one process can send in a second, and what a thousand open ones cost in memory.

    python -m benchmarks.load.scaler_invokes [--tls] [--threads] [--open 1000] [--burst 200] [--rounds 5]

A stand-in for Lambda runs in a process of its own, takes the requests and does not answer until told to. --threads
measures the alternative, a boto3 client with a thread per call. With two CPUs or more the sender is pinned to one.
"""

import argparse
import asyncio
import json
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PAYLOAD = json.dumps(
    {
        "Id": "b2d0fd9b-59ad-4a6e-8a9c-0d0a86b0f3a5",
        "DispatcherUrl": "https://10.0.0.1:5004/api/chunked",
        "NumberOfChannels": 20,
        "NumberOfConnections": 2,
        "SentTime": "2026-01-01T00:00:00.000+00:00",
        "InitOnly": False,
    }
).encode()


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Service(asyncio.Protocol):
    """Counts requests whose head and body have arrived; answers them all when the parent says so."""

    waiting: set["Service"] = set()
    more = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, blank, body = self.got.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length:
            Service.waiting.add(self)
            Service.more.set()

    def connection_lost(self, error: Exception | None) -> None:
        Service.waiting.discard(self)

    @classmethod
    def answer_all(cls) -> None:
        for call in cls.waiting:
            call.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        cls.waiting.clear()


async def serve(certificate: str) -> None:
    """The service: `n` on stdin waits until n requests stand open; `answer` answers them."""
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await loop.create_server(Service, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        if line == "answer":
            Service.answer_all()
        else:
            while len(Service.waiting) < int(line):
                Service.more.clear()
                await Service.more.wait()
        print("done", flush=True)


class Stand:
    """The service's process, from here."""

    def __init__(self, certificate: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load.scaler_invokes", "--serve", certificate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self._line()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def certificate_in(directory: str) -> str:
    path = f"{directory}/pair.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(
        [*command.split(), *names, "-keyout", path, "-out", f"{directory}/ca.pem"], check=True, capture_output=True
    )
    with open(path, "a") as pair:
        pair.write(Path(f"{directory}/ca.pem").read_text())
    os.environ["AWS_CA_BUNDLE"] = f"{directory}/ca.pem"
    return path


async def ours(stand: Stand, options: argparse.Namespace) -> tuple[list[float], list[float], float, float]:
    from lambda_dispatch.function_name import FunctionName
    from lambda_dispatch.scaler.lambda_api import LambdaApi

    api = LambdaApi(os.environ, FunctionName("app", None))
    before = resident_mib()
    loop = asyncio.get_running_loop()
    walls, cpus = [], []
    for _ in range(options.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        calls = [loop.create_task(api.invoke(FunctionName("app", None), PAYLOAD)) for _ in range(options.burst)]
        await asyncio.to_thread(stand.say, str(options.burst))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        await asyncio.to_thread(stand.say, "answer")
        await asyncio.gather(*calls)
    calls = [loop.create_task(api.invoke(FunctionName("app", None), PAYLOAD)) for _ in range(options.open)]
    await asyncio.to_thread(stand.say, str(options.open))
    after = resident_mib()
    await asyncio.to_thread(stand.say, "answer")
    await asyncio.gather(*calls)
    return walls, cpus, before, after


def threads(stand: Stand, options: argparse.Namespace) -> tuple[list[float], list[float], float, float]:
    import boto3
    from botocore.config import Config

    most = max(options.open, options.burst)
    settings = Config(max_pool_connections=most, retries={"total_max_attempts": 1}, read_timeout=930)
    client = boto3.client("lambda", config=settings)
    before = resident_mib()

    def send(count: int) -> list[threading.Thread]:
        started = [
            threading.Thread(target=client.invoke, kwargs={"FunctionName": "app", "Payload": PAYLOAD})
            for _ in range(count)
        ]
        for thread in started:
            thread.start()
        return started

    walls, cpus = [], []
    for _ in range(options.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        started = send(options.burst)
        stand.say(str(options.burst))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        stand.say("answer")
        for thread in started:
            thread.join()
    started = send(options.open)
    stand.say(str(options.open))
    after = resident_mib()
    stand.say("answer")
    for thread in started:
        thread.join()
    return walls, cpus, before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--open", type=int, default=1000)
    parser.add_argument("--burst", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs="?", const="", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        os.environ.pop(name, None)
    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION="us-east-1")
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    with tempfile.TemporaryDirectory() as directory:
        stand = Stand(certificate_in(directory) if options.tls else "")
        os.environ["AWS_ENDPOINT_URL_LAMBDA"] = f"http{'s' * options.tls}://127.0.0.1:{stand.port}"
        if len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        try:
            if options.threads:
                walls, cpus, before, after = threads(stand, options)
            elif options.uvloop:
                import uvloop

                walls, cpus, before, after = uvloop.run(ours(stand, options))
            else:
                walls, cpus, before, after = asyncio.run(ours(stand, options))
        finally:
            stand.close()
    print(f"{options.burst} invokes sent and received: median {statistics.median(walls) * 1000:.0f} ms", end=" ")
    print(f"(CPU {statistics.median(cpus) * 1e6 / options.burst:.0f} us each), worst {max(walls) * 1000:.0f} ms")
    print(f"resident: {before:.0f} MiB idle, {after:.0f} MiB with {options.open} open", end=" ")
    print(f"({(after - before) * 1024 / options.open:.1f} KiB each)")


if __name__ == "__main__":
    main()
