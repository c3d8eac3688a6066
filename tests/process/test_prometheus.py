"""What a running router publishes, as promtool judges it and a Prometheus server takes it."""

import asyncio
import contextlib
import functools
import http.client
import json
import shutil
import socket
import subprocess
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.across import Fleet
from tests.support.clients import RawClient
from tests.support.instance_peer import Call
from tests.support.loop import run
from tests.support.supervised import DEADLINE, ROOT, Router, until

REQUESTS = 10_000
CLIENTS = 4
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (prometheus)")
needs_server = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def scrape(port: int, accept: str = "") -> tuple[str, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        client.request("GET", "/metrics", headers={"accept": accept} if accept else {})
        answer = client.getresponse()
        return answer.headers["content-type"], answer.read()
    finally:
        client.close()


def samples(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def answers(call: Call) -> None:
    await call.body()
    status = int(call.head.partition(b" /")[2][:3])
    if status == 500:
        await asyncio.sleep(0.002)
    await call.respond(status, body=b"0123456789")


def patiently(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A scenario with more time: thousands of requests, or a Prometheus server that starts."""

    @functools.wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs), patience=150)

    return pytest.mark.timeout(180)(runs)


@contextlib.asynccontextmanager
async def served(limit: int = CLIENTS, **config: Any) -> AsyncIterator[Fleet]:
    with Router(workers=2, real=True, admin_port=0, log_level="warning", **config) as router:
        board = router.board(write=True)
        fleet = Fleet(router, board, 2)
        try:
            await fleet.instance(answers, limit=limit)
            yield fleet
        finally:
            failures = [failure for peer in fleet.peers for failure in peer.failures]
            for peer in fleet.peers:
                await peer.leave()
            board.close()
            assert not failures, failures


async def ask(client: RawClient, count: int, seen: Counter[int]) -> None:
    """Of ten requests eight ask for 200, one for 404, one for 500. `seen` counts what the client got."""
    for number in range(count):
        status = {0: 404, 1: 500}.get(number % 10, 200)
        answer = await client.get(f"/{status}", "content-length: 5\r\n", "POST", b"12345")
        assert answer.status in (status, 502), answer
        seen[answer.status] += 1


async def load(fleet: Fleet, count: int, seen: Counter[int]) -> None:
    workers = sorted(fleet.router.pids())
    async with asyncio.timeout(120), contextlib.AsyncExitStack() as stack:
        # One after the other: which worker got a connection is seen by its count of connections.
        clients = [await stack.enter_async_context(await fleet.client(workers[n % 2])) for n in range(CLIENTS)]
        await asyncio.gather(*(ask(client, count // CLIENTS, seen) for client in clients))


def expected(seen: Counter[int]) -> dict[str, float]:
    function = 'lambda_dispatch_requests_total{function="fake",'
    return {
        f'{function}code="2xx",reason="ok"}}': seen[200],
        f'{function}code="4xx",reason="ok"}}': seen[404],
        f'{function}code="5xx",reason="app"}}': seen[500],
        f'{function}code="5xx",reason="router"}}': seen[502],
        'lambda_dispatch_request_body_bytes_total{function="fake"}': REQUESTS * 5,
        'lambda_dispatch_response_body_bytes_total{function="fake"}': (REQUESTS - seen[502]) * 10,
        'lambda_dispatch_request_duration_seconds_count{function="fake"}': REQUESTS,
        'lambda_dispatch_queue_wait_seconds_count{function="fake"}': REQUESTS,
        'lambda_dispatch_service_duration_seconds_count{function="fake"}': REQUESTS,
        'lambda_dispatch_cold_start_seconds_count{function="fake"}': 1,
    }


@needs_promtool
@patiently
async def test_promtool_finds_nothing_to_complain_about() -> None:
    async with served() as fleet:
        await load(fleet, 400, Counter())
        _, text = await asyncio.to_thread(scrape, fleet.router.ports["admin"])
        check = ["promtool", "check", "metrics"]
        found = await asyncio.to_thread(subprocess.run, check, input=text, capture_output=True, check=False)
        assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


@needs_promtool
def test_each_alert_fires_and_stays_silent_as_it_should() -> None:
    folder = ROOT / "contrib/prometheus"
    for command in (["check", "rules", "rules.yaml", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        found = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


@contextlib.contextmanager
def server(admin: int, folder: Path, *arguments: str) -> Iterator[int]:
    """A Prometheus server that scrapes the admin port."""
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: lambda-dispatch\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{admin}']}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            *arguments,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def query(port: int, expression: str) -> list[Any]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        client.request("GET", f"/api/v1/query?query={urllib.parse.quote(expression)}")
        return list(json.loads(client.getresponse().read())["data"]["result"])
    except (OSError, http.client.HTTPException, ValueError):
        return []  # it is not up yet
    finally:
        client.close()


@needs_server
@pytest.mark.parametrize("native", [False, True], ids=["text", "native histograms"])
@patiently
async def test_a_prometheus_server_scrapes_it(native: bool, tmp_path: Path) -> None:
    name = 'lambda_dispatch_request_duration_seconds{function="fake"}'
    count = f"histogram_count({name})" if native else name.replace("seconds{", "seconds_count{")
    total = f"histogram_sum({name})" if native else name.replace("seconds{", "seconds_sum{")
    async with served() as fleet:
        await load(fleet, 400, Counter())
        more = ["--enable-feature=native-histograms"] if native else []
        with server(fleet.router.ports["admin"], tmp_path, *more) as port:

            def value(expression: str) -> float:
                found = query(port, expression)
                return float(found[0]["value"][1]) if found else -1.0

            await asyncio.to_thread(until, lambda: value(count) == 400, "the count of the requests")
            sum_ns = fleet.board.numbers(0).total.sum_ns
            assert value(total) == pytest.approx(sum_ns / 1e9, rel=1e-12)
            assert value('lambda_dispatch_requests_total{code="4xx",reason="ok"}') == 40
            if native:
                median = value(f"histogram_quantile(0.5, {name})")
                at, seen = 0, 0
                counts = fleet.board.numbers(0).total.counts
                while seen + counts[at] < 200:
                    seen += counts[at]
                    at += 1
                assert 2 ** ((at - 1) / 4 - 16) <= median <= 2 ** (at / 4 - 16)
