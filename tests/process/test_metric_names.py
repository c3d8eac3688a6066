"""Every metric that is described, drawn, alerted on or documented is written by a router under load, and the other way
round: what is written is described, drawn and documented."""

import asyncio
import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from lambda_dispatch.telemetry.metrics import FAMILIES
from tests.process.test_prometheus import scrape
from tests.process.test_worker_grpc import GRPC, answers_with_trailers
from tests.support.clients import RawClient, ask
from tests.support.collector import Collector
from tests.support.instance_peer import ANNOUNCED, Call, Gone
from tests.support.lambda_stand_in import Reply
from tests.support.loop import run, soon
from tests.support.router_process import RouterProcess
from tests.support.websocket import ACCEPT, FIELDS

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    name: (ROOT / name).read_text()
    for name in (
        "docs/metrics.md",
        "contrib/grafana/lambda-dispatch.json",
        "contrib/prometheus/alerts.yaml",
        "contrib/prometheus/rules.yaml",
    )
}
KNOWN = {each.full for each in FAMILIES}
NAME = re.compile(r"\blambda_dispatch_[a-z_0-9]+")
SELECTOR = re.compile(r'\b(lambda_dispatch_[a-z_0-9]+)\{([a-z_]+=~?"[^{}]*)\}')
SAMPLE = re.compile(r"(lambda_dispatch_[a-z_0-9]+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-z_]+)=~?"((?:[^"\\]|\\.)*)"')
BY = re.compile(r"\bby \(([a-z_, ]+)\)")

SPEAKS = (*ANNOUNCED, ("x-lambda-dispatch-features", "upgrade, grpc"))

# What this load does not move, and why. test_published_numbers.py says which test moves it.
AT_REST = {
    "lambda_dispatch_budget_spent": "a spent budget ends the starts that the rest of the load needs",
    "lambda_dispatch_connections_reclaimed_total": "needs MaxConnections connections at once",
    "lambda_dispatch_connections_refused_total": "needs MaxConnections connections at once",
    "lambda_dispatch_environments_frozen": "no invoke returns while the load lasts",
    "lambda_dispatch_handshakes": "a TLS handshake lasts milliseconds",
    "lambda_dispatch_memory_pressure_total": "needs bodies of MemoryBudget at once",
    "lambda_dispatch_override_active": "an operator's commands, not load",
    "lambda_dispatch_packed_concurrency": "needs more open instances than are wanted",
    "lambda_dispatch_slow_clients_total": "needs a client that is slower than MinReadRate for longer than BodyGrace",
    "lambda_dispatch_traced_requests_lost_total": "the collector takes everything",
}
# What is above zero only while something is open, or waits.
OPEN = [f"lambda_dispatch_{name}" for name in ("idle_channels", "upgrades_open", "grpc_calls_open", "invokes_open")]
WAITING = [
    f"lambda_dispatch_{name}"
    for name in (
        *("queue_length", "queue_oldest_seconds", "predicted_wait_seconds", "in_flight", "uploads_held"),
        *("memory_held_bytes", "invokes_throttled_total"),
    )
]


class Seen:
    """What scrapes said: by family the values of each label, and the greatest sample."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.most: dict[str, float] = {}

    def add(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            name = family(sample[1])
            self.most[name] = max(self.most.get(name, 0.0), float(sample[3]))
            for label, value in LABEL.findall(sample[2] or ""):
                self.labels[name][label].add(value)

    def still(self) -> set[str]:
        """What no scrape has seen above zero, though it should have been moved."""
        return {name for name in KNOWN - set(AT_REST) if not self.most.get(name)}


def family(series: str) -> str:
    """Without the end that a histogram's series have."""
    return series if series in KNOWN else re.sub(r"_(bucket|sum|count)$", "", series)


def named(text: str) -> set[str]:
    return {family(name) for name in NAME.findall(text)}


def unmatched(text: str, seen: Seen) -> Iterator[str]:
    """Selectors that no sample matches: the label is not there, or never has such a value."""
    for name, selectors in SELECTOR.findall(text):
        there: Mapping[str, set[str]] = seen.labels[family(name)]
        for label, value in LABEL.findall(selectors):
            if label == "job" or value.startswith("$"):  # the scraper's label; what a dashboard's reader chooses
                if label != "job" and label not in there:
                    yield f"{name} has no {label}"
            elif not any(re.fullmatch(value, each) for each in there.get(label, ())):
                yield f"{name} never has {label}={value}"


class Rig:
    """A router with its instance; `look` scrapes it."""

    def __init__(self, router: RouterProcess) -> None:
        self.router = router
        self.seen = Seen()
        self.released = asyncio.Event()
        self.refused = False

    async def serve(self, call: Call) -> None:
        if call.target == "/refused" and not self.refused:
            self.refused = True
            call.reset(ErrorCodes.REFUSED_STREAM)
        elif call.field("upgrade") is not None:
            fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", ACCEPT)]
            await call.write(call.head_text(101, fields, reason="Switching Protocols"))
            with contextlib.suppress(Gone):
                while piece := await call.read():
                    await call.write(piece)
                await call.end()
        elif call.field("content-type") == "application/grpc":
            await answers_with_trailers(call)
        else:
            await call.body()
            if call.target == "/hold":
                await self.released.wait()
            if call.target == "/early":
                await call.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
            await call.respond(int(call.target[1:]) if call.target[1:].isdigit() else 200, body=b"0123456789")

    async def look(self) -> None:
        _, text = await asyncio.to_thread(scrape, self.router.ports["admin"])
        self.seen.add(text.decode())

    async def until(self, names: Collection[str], patience: float = 10.0) -> None:
        """Looks until these have been above zero."""
        end = time.monotonic() + patience
        while zero := sorted(name for name in names if not self.seen.most.get(name)):
            assert time.monotonic() < end, f"never above zero: {', '.join(zero)}"
            await self.look()
            await asyncio.sleep(0.05)

    async def load(self) -> None:
        port = self.router.ports["http"]
        for speaks in ("h1", "h2"):
            for path in ("/200", "/301", "/404", "/500", "/early", "/health", "/refused"):
                await soon(ask(speaks, port, path), path)
        async with await RawClient.dial(port) as client:
            answer = await soon(client.get(fields="Host: second\r\n"), "a refusal")
            assert answer.status == 400
        async with contextlib.AsyncExitStack() as stack:
            # Over both workers, one of which has no channel.
            clients = [await stack.enter_async_context(await RawClient.dial(port)) for _ in range(12)]
            for client in clients:
                answer = await soon(client.get("/200", "content-length: 5\r\n", "POST", b"12345"), "an answer")
                assert (answer.status, answer.body) == (200, b"0123456789")
            await self.upgrade(clients[0])
            clients[0].writer.write_eof()
            assert await soon(clients[0].reader.read(), "the end") == b""
            await self.upgrade(clients[1])
            grpc = await stack.enter_async_context(await self.router.h2())
            call = grpc.open("/a.B/C", GRPC, "POST", end=False)
            await self.until(OPEN)
            await call.send(b"hello", end=True)
            await soon(call.done(), "the call's end")
            # Lambda throttles another function's starts.
            self.router.lambda_.function("throttled").refuse = lambda _: Reply(429, error_type="TooManyRequests")
            await clients[2].send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Lambda-Name: throttled\r\n\r\n")
            # More requests than slots, so that some wait; and one whose body is on its way.
            await clients[3].send(b"POST /200 HTTP/1.1\r\nHost: a\r\ncontent-length: 100000\r\n\r\n" + bytes(50_000))
            for client in clients[4:]:
                await client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
            await self.until(WAITING)
            self.released.set()
            for client in clients[4:]:
                assert (await soon(client.response(), "an answer")).status == 200
        with contextlib.suppress(AssertionError):  # the test's own assertion says more
            await self.until(self.seen.still(), patience=15)
        await self.look()

    async def upgrade(self, client: RawClient) -> None:
        await client.send(f"GET /chat HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n".encode())
        assert (await soon(client.head(), "101")).status == 101
        await client.send(b"hello")
        assert await soon(client.reader.readexactly(5), "the echo") == b"hello"


@pytest.mark.timeout(120)
def test_what_is_described_drawn_alerted_on_and_documented_is_what_a_router_under_load_writes() -> None:
    flags = "--admin-port=0 --allow-function-header --min-instances=1 --max-instances=1 --channel-count=4"
    flags += " --max-concurrent-count=4 --function-memory-mb=1024 --max-cost-per-hour=100 --log-level=warning"

    async def scenario() -> Seen:
        with Collector() as collector:
            environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
            async with RouterProcess.running(*flags.split(), workers=2, environ=environ) as router:
                rig = Rig(router)
                router.function.handler, router.function.more_fields = rig.serve, SPEAKS
                await rig.load()
                return rig.seen

    seen = run(scenario(), patience=100)
    written = set(seen.most)
    dashboard, page = FILES["contrib/grafana/lambda-dispatch.json"], FILES["docs/metrics.md"]
    expressions = "\n".join(FILES.values()).replace('\\"', '"').replace("\\|", "|")
    labels = {label for each in seen.labels.values() for label in each} | {"job", "instance"}
    wrong = {
        "described and not written": KNOWN - written,
        "written and not described": written - KNOWN,
        "written and not drawn": written - named(dashboard),
        "written and not documented": written - named(page),
        **{f"not written, but in {name}": named(text) - written for name, text in FILES.items()},
        "selected and never written": set(unmatched(expressions, seen)),
        "grouped by, and no label": {it.strip() for each in BY.findall(expressions) for it in each.split(",")} - labels,
        "not moved": seen.still(),
        "moved, though it is said to be at rest": {name for name in AT_REST if seen.most.get(name)},
    }
    assert {what: sorted(names) for what, names in wrong.items() if names} == {}
