"""The same application by Lambda's own dispatch and behind the router, side by side on this machine.

    python -m benchmarks.load.side_by_side [--scale 0.25] [--algorithms simple,adaptive] [--svg plot.svg]
                                           [--json figures.json]

A number of clients start at once, each with one request at a time over a connection it keeps. Lambda's own dispatch
begins with 10 warm environments, the router with 2; every further environment takes the cold start to come up.
`--scale` shortens all times alike. The embedded Lambda counts environments and what would be billed. The router runs
once with each of its scaling algorithms; beside what was billed stands what the simulator says of the same clients.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lambda_dispatch.simulator import distributions
from lambda_dispatch.simulator.outcome import Outcome
from lambda_dispatch.simulator.plot import Chart, Series, draw
from lambda_dispatch.simulator.policies import ALGORITHMS, parse
from lambda_dispatch.simulator.requests import of_clients
from lambda_dispatch.simulator.run import run as simulate
from lambda_dispatch.simulator.setting import Setting

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "app.py"
SAMPLE = 0.1  # seconds between two looks at the environments, before scaling
SETTLE = 30.0  # seconds instances get to end after the load, so that their invokes are billed
COLORS = {"direct": "#c0392b", "dispatch": "#1f6fb2", "simple": "#e67e22", "ewma": "#16a085", "adaptive": "#1f6fb2"}
NAMES = {
    "direct": "Lambda's own dispatch",
    "dispatch": "lambda-dispatch",
    "simple": "lambda-dispatch, simple",
    "ewma": "lambda-dispatch, ewma",
    "adaptive": "lambda-dispatch, adaptive",
}


@dataclass(slots=True)
class Options:
    clients: int
    request: float  # seconds a request takes in the application
    cold_start: float
    seconds: float
    warm: dict[str, int]


@dataclass(slots=True)
class Result:
    mode: str
    requests: list[tuple[float, float, int]] = field(default_factory=list)  # began, took, status
    environments: list[tuple[float, int]] = field(default_factory=list)
    cold_starts: int = 0
    billed_seconds: float = 0.0
    invokes: int = 0
    predicted: Outcome | None = None  # by the simulator

    @property
    def times(self) -> list[float]:
        return sorted(took for _, took, status in self.requests if status == 200)

    def quantile(self, share: float) -> float:
        times = self.times
        return times[min(len(times) - 1, math.ceil(share * len(times)) - 1)] if times else math.nan

    def figures(self, options: Options) -> dict[str, Any]:
        answered = len(self.times)
        return {
            "mode": self.mode,
            "requests": answered,
            "failed": len(self.requests) - answered,
            "rps": round(answered / options.seconds, 1),
            "p50_s": round(self.quantile(0.5), 3),
            "p99_s": round(self.quantile(0.99), 3),
            "max_s": round(self.quantile(1.0), 3),
            "environments": max((count for _, count in self.environments), default=0),
            "invokes": self.invokes,
            "billed_environment_seconds": round(self.billed_seconds, 1),
            "predicted_requests": self.predicted.served if self.predicted else None,
            "predicted_environment_seconds": round(self.predicted.environment_seconds, 1) if self.predicted else None,
        }


# processes


class Stack:
    """The embedded Lambda and, for dispatch, the router before it; ends both."""

    def __init__(
        self,
        mode: str,
        environments: int,
        app: Sequence[str] = (sys.executable, str(DEMO)),
        hold: str = "/delay?delay=500",
        router_flags: Sequence[str] = (),
    ) -> None:
        """`hold`: what to ask the application so that an environment stays busy until all have been asked for."""
        self.mode = mode
        self._app = app
        self._hold = hold
        self._stack = contextlib.ExitStack()
        try:
            self._stack.enter_context(self._lambda(environments))
            self.lambda_url, self.base = self._addresses()
            if mode == "dispatch":
                self._stack.enter_context(self._router(router_flags))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    @contextlib.contextmanager
    def _lambda(self, environments: int) -> Any:
        argv = [
            "lambda",
            "--lambda-port",
            "0",
            "--quiet",
            "--function-name",
            "app",
            "--runtime",
            self.mode,
            "--init-timeout",
            "120",
        ]
        argv += ["--max-environments", str(environments), "--idle-timeout", "600"]
        argv += ["--direct-port", "0"] if self.mode == "direct" else []
        with _process([*argv, "--", *self._app], {}) as process:
            self._said = [process.stdout.readline() for _ in range(3 if self.mode == "direct" else 2)]
            yield

    def _addresses(self) -> tuple[str, str]:
        urls = [word for line in self._said for word in line.split() if word.startswith("http://")]
        return urls[0], urls[-1].rstrip(":")

    @contextlib.contextmanager
    def _router(self, flags: Sequence[str]) -> Any:
        port, control = _free_ports(2)
        read_end, write_end = os.pipe()
        argv = ["router", "--function-name", "app", "--bind-host", "127.0.0.1", "--http-port", str(port)]
        argv += [
            "--control-http-port",
            str(control),
            "--allow-insecure-control=true",
            "--preferred-control-scheme",
            "http",
        ]
        argv += ["--callback-host", "127.0.0.1", "--log-level", "warning", "--lame-duck", "0"]
        argv += ["--ready-fd", str(write_end), *flags]
        variables = {"AWS_ENDPOINT_URL_LAMBDA": self.lambda_url, "AWS_REGION": "us-east-1"}
        variables |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        try:
            with _process(argv, variables, pass_fds=(write_end,)):
                os.close(write_end)
                with open(read_end) as ready:
                    if not ready.readline():
                        raise SystemExit("the router did not start")
                self.base = f"http://127.0.0.1:{port}"
                self.control = control
                yield
        finally:
            with contextlib.suppress(OSError):
                os.close(write_end)

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.lambda_url}/_local/status", timeout=60) as response:
            return dict(json.load(response))

    def turn(self, **knobs: object) -> None:
        request = urllib.request.Request(f"{self.lambda_url}/_local/knobs", json.dumps(knobs).encode(), method="PATCH")
        urllib.request.urlopen(request, timeout=60).close()

    async def warm(self, count: int) -> None:
        """Brings up `count` environments, all at once because one that is free would be used again."""
        path, bodies = self._hold, [b""] * count
        url = self.base
        if self.mode == "dispatch":
            url, path = self.lambda_url, "/2015-03-31/functions/app/invocations"
            bodies = [_init_only() for _ in range(count)]
            self.turn(init_at_least=0.5 + count / 50)  # so that none is ready before all have been asked for
        await asyncio.gather(*(Client(url).request(path, body) for body in bodies))
        warm = len(self.status()["environments"])
        if warm != count:
            raise SystemExit(f"{self.mode}: {warm} environments are warm instead of {count}")


@contextlib.contextmanager
def _process(argv: list[str], variables: dict[str, str], pass_fds: tuple[int, ...] = ()) -> Any:
    """What it and its environments log is shown only when something fails."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lambda_dispatch.cli", *argv],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
            pass_fds=pass_fds,
            text=True,
        )
        failed = True
        try:
            yield process
            failed = False
        finally:
            process.terminate()
            process.communicate()
            if failed:
                log.seek(0)
                sys.stderr.write(log.read())


def _free_ports(count: int) -> list[int]:
    import socket

    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _init_only() -> bytes:
    return json.dumps(
        {
            "Id": str(uuid.uuid4()),
            "DispatcherUrl": "http://127.0.0.1:1/api/chunked",
            "NumberOfChannels": 0,
            "SentTime": datetime.now(UTC).isoformat(),
            "InitOnly": True,
        }
    ).encode()


# load


class Client:
    """One connection, one request at a time."""

    def __init__(self, base: str) -> None:
        host, _, port = base.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, path: str, body: bytes = b"") -> int:
        """The status; 0 when there was no whole answer."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            method = "POST" if body else "GET"
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            return int(answer.split()[1])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def measure(stack: Stack, options: Options, name: str) -> Result:
    result = Result(name)
    await stack.warm(options.warm[stack.mode])
    stack.turn(init_at_least=options.cold_start)
    before = stack.status()["functions"]["app"]
    path = f"/delay?delay={options.request * 1000:.0f}"
    begin = time.monotonic()

    async def one() -> None:
        client = Client(stack.base)
        while (began := time.monotonic()) - begin < options.seconds:
            status = await client.request(path)
            result.requests.append((began - begin, time.monotonic() - began, status))
            if status != 200:
                await asyncio.sleep(0.1)
        client.close()

    async def watch() -> None:
        while True:
            status = await asyncio.to_thread(stack.status)
            result.environments.append((time.monotonic() - begin, len(status["environments"])))
            await asyncio.sleep(SAMPLE)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(one() for _ in range(options.clients)))
    after = await asyncio.to_thread(all_ended, stack)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    result.cold_starts = after["cold_starts"] - before["cold_starts"]
    result.invokes = after["invokes"] - before["invokes"]
    result.billed_seconds = (after["billed_ms"] - before["billed_ms"]) / 1000
    return result


def all_ended(stack: Stack) -> dict[str, Any]:
    """The function's counts once no invoke is open."""
    until = time.monotonic() + SETTLE
    while (counts := dict(stack.status()["functions"]["app"]))["busy"] and time.monotonic() < until:
        time.sleep(0.1)
    return counts


def predict(algorithm: str, options: Options) -> Outcome:
    """What the simulator says of the same clients, environments and times, knowing nothing of the run."""
    setting = Setting(cold=distributions.parse(str(options.cold_start)), frozen=options.warm["dispatch"])
    requests = of_clients(options.clients, options.seconds, options.request)
    return simulate(parse(algorithm, setting), requests, setting)


# showing it


def table(figures: list[dict[str, Any]]) -> str:
    heads = {
        "mode": "",
        "rps": "requests/s",
        "p50_s": "p50 s",
        "p99_s": "p99 s",
        "max_s": "worst s",
        "environments": "environments",
        "invokes": "invokes",
        "billed_environment_seconds": "billed environment-s",
        "predicted_environment_seconds": "predicted",
        "requests": "requests",
        "predicted_requests": "predicted",
        "failed": "failed",
    }
    rows = [list(heads.values()), ["---"] * len(heads)]
    rows += [
        [NAMES[f["mode"]] if key == "mode" else "" if f[key] is None else str(f[key]) for key in heads] for f in figures
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def slowest_by_time(result: Result, step: float) -> list[tuple[float, float]]:
    """Of the requests that began in each step, the slowest."""
    buckets: dict[int, float] = {}
    for began, took, status in result.requests:
        if status == 200:
            at = int(began / step)
            buckets[at] = max(buckets.get(at, 0.0), took)
    return [(at * step, took) for at, took in sorted(buckets.items())]


def plot(results: list[Result], options: Options) -> str:
    step = options.seconds / 80
    slow = [Series(NAMES[r.mode], COLORS[r.mode], slowest_by_time(r, step)) for r in results]
    count = [
        Series(NAMES[r.mode], COLORS[r.mode], [(at, float(n)) for at, n in r.environments if at <= options.seconds])
        for r in results
    ]
    title = f"{options.clients} clients at once, requests of {options.request:g} s, cold start {options.cold_start:g} s"
    return draw(
        title,
        [
            Chart("slowest request by the time it began, s", "s since the start", slow),
            Chart("environments", "s since the start", count),
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--request-ms", type=float, default=500)
    parser.add_argument("--cold-start", type=float, default=8, help="seconds")
    parser.add_argument("--seconds", type=float, default=20, help="length of the load")
    parser.add_argument("--warm-direct", type=int, default=10)
    parser.add_argument("--warm-dispatch", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1, help="multiplies all times")
    parser.add_argument("--svg", type=Path, help="where to write the plot")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--algorithms", default="simple,adaptive", help="of the router; default simple,adaptive")
    given = parser.parse_args()
    algorithms = given.algorithms.split(",")
    if unknown := [name for name in algorithms if name not in ALGORITHMS]:
        parser.error(f"--algorithms: {unknown[0]!r} is none of {', '.join(ALGORITHMS)}")
    options = Options(
        clients=given.clients,
        request=given.request_ms / 1000 * given.scale,
        cold_start=given.cold_start * given.scale,
        seconds=given.seconds * given.scale,
        warm={"direct": given.warm_direct, "dispatch": given.warm_dispatch},
    )
    with Stack("direct", options.clients + 20) as stack:
        results = [asyncio.run(measure(stack, options, "direct"))]
    for algorithm in algorithms:
        with Stack("dispatch", options.clients + 20, router_flags=("--scaling-algorithm", algorithm)) as stack:
            results.append(asyncio.run(measure(stack, options, algorithm)))
            results[-1].predicted = predict(algorithm, options)
    figures = [result.figures(options) for result in results]
    print(table(figures))
    if given.svg:
        given.svg.write_text(plot(results, options))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if any(f["failed"] for f in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
