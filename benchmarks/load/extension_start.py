"""What the extension's start costs an environment: the bundle from /opt/extensions beside the Python program.

    python -m benchmarks.load.extension_start [--rounds 5] [--channels 20] [--bundle DIR]

Told, as medians of runs that take turns: wall time from exec to the register call, CPU from exec to the first
`next` call (/proc/PID/schedstat), resident memory with all channels parked. The bundle is built first (./run bundle).
"""

import argparse
import asyncio
import os
import platform
import socket
import statistics
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load.extension_cpu import App, cpu, pin, pinned, resident
from tests.support.router_peer import RouterPeer
from tests.support.runtime_api import RuntimeApi

ROOT = Path(__file__).resolve().parent.parent.parent
ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
TARGETS = {"registered": 3.0, "cpu": 45.0, "resident": 18.0}  # ms, CPU-ms, MiB: the bundle's


@dataclass
class Result:
    registered: float  # ms of wall time from exec
    cpu: float  # ms from exec to the first next
    resident: float  # MiB


def until_registered(command: list[str]) -> float:
    """Blocking, so that nothing but the program under test takes its time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}"}
        began = time.perf_counter()
        pid = os.posix_spawn(command[0], command, env)
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            spent = time.perf_counter() - began
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return spent * 1000


async def measure(command: list[str], channels: int) -> Result:
    registered = until_registered(command)
    loop = asyncio.get_running_loop()
    app = await loop.create_server(App, "127.0.0.1", 0)
    async with RuntimeApi(["lambda-dispatch"]) as api, RouterPeer() as router:
        env = {
            **os.environ,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "LAMBDA_DISPATCH_PORT": str(app.sockets[0].getsockname()[1]),
            "LAMBDA_DISPATCH_LAST_ACTIVE_GRACE_PERIOD_MS": "60000",
        }
        child = await asyncio.create_subprocess_exec(*command, env=env, preexec_fn=lambda: pin(0))
        try:
            await api.ready.wait()
            spent = cpu(child.pid) * 1000
            api.invoke(
                {
                    "PoolId": "default",
                    "Id": str(uuid.uuid4()),
                    "DispatcherUrl": router.url,
                    "NumberOfChannels": channels,
                    "SentTime": datetime.now(UTC).isoformat(),
                }
            )
            await router.all_parked(channels)
            return Result(registered, spent, resident(child.pid) / 1024)
        finally:
            child.kill()
            await child.wait()
            app.close()


async def run(arguments: argparse.Namespace) -> None:
    launcher = arguments.bundle / "opt" / "extensions" / "lambda-dispatch"
    if not launcher.exists():
        sys.exit(f"{launcher} is missing: ./run bundle writes it")
    contestants = {
        "bundle": [str(launcher)],
        "Python program": [sys.executable, "-m", "lambda_dispatch_extension"],
    }
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, command in contestants.items():
            results[name].append(await measure(command, arguments.channels))
    for name in contestants:
        medians = (statistics.median(getattr(r, field) for r in results[name]) for field in TARGETS)
        print(line(name, *medians))
    print(line("wanted of it", *TARGETS.values()))


def line(name: str, registered: float, spent: float, memory: float) -> str:
    return f"{name:16} registered after {registered:6.1f} ms  {spent:5.1f} CPU-ms to next  {memory:5.1f} MiB resident"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--bundle", type=Path, default=ROOT / "dist" / f"bundle-{ARCH}")
    arguments = parser.parse_args()
    with pinned(1):
        asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
