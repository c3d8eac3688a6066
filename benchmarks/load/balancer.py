"""Routers behind HAProxy are drained and replaced as platforms do it, by clients that ask nothing twice.

    python -m benchmarks.load.balancer [--requests 20000] [--clients 60] [--seed 1] [--skip-drain | --skip-replace]

Drain: one of two routers gets SIGTERM, and the load balancer, whose checks come every 2 s and must fail six times,
sends to it for another 10 to 12 s. Replace: each of three routers is stopped by SIGTERM and started again on its
ports, one after the other, while two serve. HAProxy retries nothing. No request may fail, and every router must exit
with 0.
"""

import argparse
import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load.restarts import report, warm
from benchmarks.load.rig import Rig, free_ports
from benchmarks.load.steady import SteadyLoad

CONFIGURATION = """
global
    maxconn 4000
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    retries 0
frontend clients
    bind 127.0.0.1:{port}
    default_backend routers
backend routers
    balance leastconn
    option httpchk GET /health
    default-server check inter {every}ms fall {fall} rise 1
{servers}
"""
PATIENCE = 120.0  # seconds for a router's end, and for the load balancer to see a new one


class Fleet:
    """Routers of one embedded Lambda behind one HAProxy.  with Fleet(3) as fleet: fleet.port"""

    def __init__(self, routers: int, every: int = 2000, fall: int = 5, flags: tuple[str, ...] = ()) -> None:
        """`every`, `fall`: milliseconds between health checks, and how many must fail in a row."""
        if shutil.which("haproxy") is None:
            raise RuntimeError("no haproxy here: apt-get install haproxy")
        self.rig = Rig(workers=1, environments=60, flags=flags)
        self.ports = [(self.rig.port, self.rig.control_port)]
        self.routers = [self.rig.router]
        self.codes: list[int] = []
        self.balancer: subprocess.Popen[bytes] | None = None
        try:
            for _ in range(routers - 1):
                a, b = free_ports(2)
                self.ports.append((a, b))
                self.routers.append(None)
                self.start(len(self.ports) - 1)
            self._balance(every, fall)
        except BaseException:
            self.close()
            raise

    def start(self, number: int) -> None:
        self.rig.port, self.rig.control_port = self.ports[number]
        self.rig.start_router()
        self.routers[number] = self.rig.router

    def terminate(self, number: int) -> None:
        router = self.routers[number]
        assert router is not None
        router.send_signal(signal.SIGTERM)

    def wait(self, number: int) -> None:
        router = self.routers[number]
        assert router is not None
        self.codes.append(router.wait(PATIENCE))

    def _balance(self, every: int, fall: int) -> None:
        folder = Path(self.rig.scratch.name)
        self.port, self.socket = free_ports(1)[0], folder / "haproxy.sock"
        servers = "\n".join(f"    server router{n} 127.0.0.1:{port}" for n, (port, _) in enumerate(self.ports))
        file = folder / "haproxy.cfg"
        file.write_text(
            CONFIGURATION.format(socket=self.socket, port=self.port, every=every, fall=fall, servers=servers)
        )
        self.balancer = subprocess.Popen(["haproxy", "-db", "-q", "-f", file])
        for number in range(len(self.ports)):
            self.until_state(number, up=True)

    def up(self, number: int) -> bool:
        """What the load balancer thinks of it."""
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket))
            except OSError:
                return False
            link.sendall(b"show stat\n")
            text = b""
            while chunk := link.recv(65536):
                text += chunk
        rows = [line.split(",") for line in text.decode().splitlines()]
        at = rows[0].index("status")
        return next(row[at] for row in rows if row[1:2] == [f"router{number}"]).startswith("UP")

    def until_state(self, number: int, up: bool) -> None:
        end = time.monotonic() + PATIENCE
        while self.up(number) != up:
            if time.monotonic() > end:
                raise RuntimeError(f"the load balancer does not see router {number} {'up' if up else 'down'}")
            time.sleep(0.05)

    def close(self) -> list[int]:
        if self.balancer is not None:
            self.balancer.kill()
            self.balancer.wait()
        for router in self.routers:
            if router is not None and router.poll() is None:
                router.kill()
                router.wait()
        return self.rig.close()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.rig.scratch.cleanup()


async def drain(fleet: Fleet, load: SteadyLoad, requests: int) -> float:
    """SIGTERM to the first router a quarter into the load; for how long the load balancer went on sending to it."""
    async with load:
        await warm(load)
        await answered(load, requests // 4)
        fleet.terminate(0)
        told = time.monotonic()
        await asyncio.to_thread(fleet.until_state, 0, False)
        sent_for = time.monotonic() - told
        await asyncio.to_thread(fleet.wait, 0)
        await answered(load, requests)
    return sent_for


async def replace(fleet: Fleet, load: SteadyLoad, requests: int) -> None:
    async with load:
        await warm(load)
        for number in range(len(fleet.ports)):
            await answered(load, requests * (number + 1) // (len(fleet.ports) + 2))
            fleet.terminate(number)
            await asyncio.to_thread(fleet.wait, number)
            await asyncio.to_thread(fleet.start, number)
            await asyncio.to_thread(fleet.until_state, number, True)
        await answered(load, requests)


async def answered(load: SteadyLoad, requests: int) -> None:
    while len(load.outcomes) < requests:  # noqa: ASYNC110 - the load tells nobody
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def scene(routers: int, fall: int, log: Path | None) -> Iterator[Fleet]:
    flags = ("--lame-duck", "15", "--drain-deadline", "50", "--min-instances", "2")
    with Fleet(routers, fall=fall, flags=flags) as fleet:
        try:
            yield fleet
        finally:
            if log is not None:
                shutil.copy(fleet.rig.log_file, log)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--per-second", type=float, default=10.0, help="requests of each client")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip-drain", action="store_true")
    parser.add_argument("--skip-replace", action="store_true")
    parser.add_argument("--log", type=Path, help="keep the log of routers and Lambda here")
    options = parser.parse_args()
    wrong = 0
    for skipped, routers, fall in ((options.skip_drain, 2, 6), (options.skip_replace, 3, 2)):
        if skipped:
            continue
        with scene(routers, fall, options.log) as fleet:
            load = SteadyLoad(fleet.port, options.clients, options.per_second, options.seed)
            began = time.monotonic()
            if routers == 2:
                sent_for = asyncio.run(drain(fleet, load, options.requests))
                report("drain", 1, load.outcomes, time.monotonic() - began)
                print(f"    the load balancer sent to the router for {sent_for:.1f} s after SIGTERM")
            else:
                asyncio.run(replace(fleet, load, options.requests))
                report("routers replaced", routers, load.outcomes, time.monotonic() - began)
            print(f"    exit codes {fleet.codes}")
            wrong += len(load.failures()) + sum(code != 0 for code in fleet.codes)
    print("failed" if wrong else "all as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
