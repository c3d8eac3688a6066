"""WebSockets through one worker: what an idle one takes, and what a message costs beside nginx.

    python -m benchmarks.load.websockets [--sockets 5000] [--clients 64] [--rounds 5] [--seconds 1] [--only idle echo]

Idle: the worker's anonymous memory before the first client and after the last, by socket. Its channels stood parked
before; what they took is printed too. Echo: every client sends 64 bytes and waits for them to come back; CPU time is
the router's or nginx's own, from /proc/PID/schedstat, and neither the application's nor the extension's. The two take
turns; the medians are what counts.
"""

import argparse
import asyncio
import contextlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.extension_rig import rig
from tests.support.instance_peer import Call, Gone
from tests.support.shipped import join
from tests.support.websocket import ACCEPT, FEATURES, FIELDS, frame
from tests.support.worker_process import WorkerProcess

REQUEST = f"GET /chat HTTP/1.1\r\nHost: example.test\r\n{FIELDS}\r\n".encode()
SWITCHED = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()
MESSAGE = 64
MASK = b"\1\2\3\4"
PER_INSTANCE = 100


class Echo(asyncio.Protocol):
    """The application: a handshake, then frames of MESSAGE bytes back without their mask. Answers /health."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.data = b""
        self.upgraded = False

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.upgraded:
            head, end, self.data = self.data.partition(b"\r\n\r\n")
            if not end:
                self.data = head
                return
            if b"pgrade: websocket" not in head:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK")
                return
            self.upgraded = True
            self.transport.write(SWITCHED)
        whole = len(self.data) // (MESSAGE + 6)
        if whole:
            self.transport.write(frame(bytes(MESSAGE)) * whole)
            self.data = self.data[whole * (MESSAGE + 6) :]


class Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self.opened = opened
        self.sent = frame(bytes(MESSAGE), mask=MASK)
        self.count = 0
        self.got = 0
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.head += data
            if b"\r\n\r\n" in self.head:
                if self.head.startswith(b"HTTP/1.1 101 "):
                    self.opened.set_result(None)
                else:
                    self.opened.set_exception(RuntimeError(repr(self.head[:80])))
            return
        self.got += len(data)
        if self.got >= MESSAGE + 2:
            self.got -= MESSAGE + 2
            self.count += 1
            self.transport.write(self.sent)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before the answer"))


async def opened(port: int) -> Client:
    loop = asyncio.get_running_loop()
    client = Client(loop.create_future())
    await loop.create_connection(lambda: client, "127.0.0.1", port)
    await client.opened
    return client


def cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


async def idle(sockets: int) -> None:
    async def holds(call: Call) -> None:
        await call.write(call.head_text(101, [("Connection", "Upgrade"), ("Upgrade", "websocket")]))
        with contextlib.suppress(Gone):
            await call.body()
            await call.end()

    async with WorkerProcess.running("--memory-budget", "1024MiB") as worker:
        bare = worker.resident()
        for _ in range(-(-sockets // PER_INSTANCE)):
            await worker.instance(holds, limit=PER_INSTANCE, channels=PER_INSTANCE, more_fields=FEATURES)
        parked = worker.resident()
        clients = [await opened(worker.ports["http"]) for _ in range(sockets)]
        open_now = worker.resident()
        print(f"idle: {sockets} WebSockets through one worker")
        print(f"  {(open_now - parked) / sockets / 1024:6.1f} KiB of the worker's memory for each")
        print(f"  {(parked - bare) / sockets / 1024:6.1f} KiB for its channel, parked before")
        for client in clients:
            client.transport.abort()
        await worker.quiet()


async def measure(pid: int, port: int, clients: int, seconds: float) -> tuple[float, float]:
    """CPU-microseconds and number of messages."""
    peers = [await opened(port) for _ in range(clients)]
    for peer in peers:
        peer.transport.write(peer.sent)
    await asyncio.sleep(seconds / 4)
    before, began = sum(peer.count for peer in peers), cpu_ns(pid)
    await asyncio.sleep(seconds)
    count, used = sum(peer.count for peer in peers) - before, cpu_ns(pid) - began
    for peer in peers:
        peer.transport.abort()
    return used / 1000 / count, count / seconds


@contextlib.contextmanager
def nginx(app: int) -> Iterator[tuple[int, int]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        port = free_port()
        Path(folder, "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port};\n"
            f"client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;\n"
            f"uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n"
            f"location / {{ proxy_pass http://127.0.0.1:{app}; proxy_http_version 1.1; proxy_buffering off;\n"
            'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } } }\n'
        )
        process = subprocess.Popen([shutil.which("nginx") or "nginx", "-p", folder, "-c", f"{folder}/nginx.conf"])
        stack.callback(process.wait)
        stack.callback(process.terminate)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, port


@contextlib.contextmanager
def application() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.load.websockets", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def echo(app: int, other: tuple[int, int], clients: int, rounds: int, seconds: float) -> None:
    async with WorkerProcess.running() as worker, rig(app=None, app_port=app) as r:
        join(worker, r, PER_INSTANCE)
        assert worker.process is not None
        contestants = {"nginx": other, "ours": (worker.process.pid, worker.ports["http"])}
        costs: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, (pid, at) in contestants.items():
                cost, rate = await measure(pid, at, clients, seconds)
                costs[name].append(cost)
                print(f"  {name:6} {cost:7.2f} us of CPU per message, {rate:8,.0f}/s")
        medians = {name: statistics.median(values) for name, values in costs.items()}
        print(f"echo of {MESSAGE} B, {clients} clients: medians {medians['ours']:.2f} us of CPU per message here,")
        print(f"  {medians['nginx']:.2f} us in nginx: {medians['ours'] / medians['nginx']:.2f} of it")


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=("idle", "echo"), default=("idle", "echo"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65536)), hard))
    if args.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
        return
    if "idle" in args.only:
        asyncio.run(idle(args.sockets))
    if "echo" in args.only:
        with application() as app, nginx(app) as other:
            asyncio.run(echo(app, other, args.clients, args.rounds, args.seconds))


if __name__ == "__main__":
    main()
