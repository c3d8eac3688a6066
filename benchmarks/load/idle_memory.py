"""What an idle client connection costs the router in memory.

    python -m benchmarks.load.idle_memory [--connections 10000] [--speaks h1|h2|silent]

One worker process, kept-alive connections that have had one answer each (h1, h2) or have not said a word (silent). The
figure is the growth of the worker's anonymous memory over the number of connections; the kernel's part is not in it.
Beside them a normal client is served, and its slowest answer is printed. The promise is less than 12 KiB each.
"""

import argparse
import asyncio
import resource
import socket
import time

from tests.support.clients import ask
from tests.support.worker_process import WorkerProcess

HEALTH_H1 = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
# Preface, empty SETTINGS, and a request of indexed fields: GET, http, /health (literal), host a (literal).
HEALTH_H2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\x00\x00\x0e\x01\x05\x00\x00\x00\x01\x82\x86\x04\x07/health\x01\x01a"
)
SAID = {"h1": HEALTH_H1, "h2": HEALTH_H2, "silent": b""}
PROMISED = 12 * 1024
LOOKS = 50


def room_for(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < connections + 500:
        raise SystemExit(f"{connections} connections need {connections + 500} descriptors; at most {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, connections + 500), hard))


async def measure(connections: int, speaks: str) -> bool:
    loop = asyncio.get_running_loop()
    async with WorkerProcess.running("--keepalive-timeout", "3600", "--head-timeout", "3600") as worker:
        await worker.instance(channels=2)
        await ask("h1", worker.ports["http"])
        before = worker.resident()
        crowd = []
        try:
            for _ in range(connections):
                sock = socket.socket()
                sock.setblocking(False)
                crowd.append(sock)
                await loop.sock_connect(sock, ("127.0.0.1", worker.ports["http"]))
                await loop.sock_sendall(sock, SAID[speaks])
            if SAID[speaks]:
                for sock in crowd:
                    data = b""
                    while not data.endswith(b"OK"):
                        piece = await loop.sock_recv(sock, 65536)
                        if not piece:
                            raise SystemExit(f"a connection ended after {data!r}")
                        data += piece
            slowest = 0.0
            for _ in range(LOOKS):
                began = time.perf_counter()
                answer = await ask("h1", worker.ports["http"])
                assert answer.status == 200
                slowest = max(slowest, time.perf_counter() - began)
            accepted = worker.numbers()["connections"]
            each = (worker.resident() - before) / connections
        finally:
            for sock in crowd:
                sock.close()
        print(
            f"{speaks}: {accepted} connections, {each:.0f} bytes each"
            f" (promised: less than {PROMISED}); slowest of {LOOKS} answers beside them {slowest * 1000:.1f} ms"
        )
        return each < PROMISED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--speaks", choices=sorted(SAID), action="append")
    options = parser.parse_args()
    room_for(options.connections)
    kept = [asyncio.run(measure(options.connections, speaks)) for speaks in options.speaks or sorted(SAID)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())
