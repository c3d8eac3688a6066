"""Traces of a running router, as a collector gets them and as the instance is told of them."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from lambda_dispatch.telemetry.span_parts import invoke_ids
from tests.support.across import Fleet
from tests.support.clients import ask
from tests.support.collector import Collector
from tests.support.instance_peer import Call
from tests.support.loop import run, soon, until
from tests.support.supervised import Router

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
XRAY = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1"
NAMES = ("traceparent", "tracestate", "baggage", "x-amzn-trace-id", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled")
speaks = pytest.mark.parametrize("speaks", ["h1", "h2"])


class Rig:
    def __init__(self, fleet: Fleet, collector: Collector) -> None:
        self.fleet = fleet
        self.collector = collector
        self.calls: list[Call] = []

    async def answers(self, call: Call) -> None:
        self.calls.append(call)
        await call.body()
        if call.target.startswith("/broken"):
            await call.write(b"nonsense\r\n\r\n", end=True)
        else:
            await call.respond(int(call.target[1:4]), body=b"0123456789")

    async def get(self, fields: list[tuple[str, str]], path: str = "/200", speaks: str = "h1") -> dict[str, str]:
        """The trace fields that the instance got."""
        await soon(ask(speaks, self.fleet.port, path, fields), "the answer")
        return {name: value for name, value in self.calls[-1].fields if name in NAMES}

    async def spans(self, count: int) -> list[Span]:
        await until(lambda: len(self.collector.spans()) >= count, f"{count} spans")
        return self.collector.spans()


@contextlib.asynccontextmanager
async def traced(collector: Collector, patch: pytest.MonkeyPatch, **environ: str) -> AsyncIterator[Rig]:
    """A router with one instance that traces to the collector."""
    patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    patch.setenv("OTEL_METRICS_EXPORTER", "none")
    patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    patch.setenv("AWS_REGION", "eu-west-1")
    for name, value in environ.items():
        patch.setenv(name, value)
    with Router(workers=1, real=True, admin_port=0, log_level="warning") as router:
        board = router.board(write=True)
        fleet = Fleet(router, board, 1)
        rig = Rig(fleet, collector)
        try:
            await fleet.instance(rig.answers, limit=4)
            yield rig
        finally:
            for peer in fleet.peers:
                await peer.leave()
            board.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


def attributes(span: Span) -> dict[str, object]:
    return {it.key: getattr(it.value, str(it.value.WhichOneof("value"))) for it in span.attributes}


@speaks
def test_a_request_with_a_context_becomes_two_spans_in_its_trace_and_a_link(
    speaks: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            given = [("traceparent", SAMPLED), ("tracestate", "a=b"), ("baggage", "k=v"), ("b3", "0")]
            got = await rig.get(given, "/200/x?secret=1", speaks)
            server, client, invoke = await rig.spans(3)
            assert got["tracestate"] == "a=b" and got["baggage"] == "k=v" and got["b3"] == "0"
            assert got["traceparent"] == f"00-{TRACE}-{client.span_id.hex()}-01"
            assert server.trace_id.hex() == client.trace_id.hex() == TRACE
            assert (server.parent_span_id.hex(), client.parent_span_id) == (PARENT, server.span_id)
            assert (server.kind, client.kind, invoke.kind) == (Span.SPAN_KIND_SERVER, 3, 3)
            assert server.name == client.name == "GET" and server.flags == 0x301 and client.flags == 0x101
            assert server.start_time_unix_nano <= client.start_time_unix_nano
            assert client.end_time_unix_nano == server.end_time_unix_nano
            shown = attributes(server)
            assert shown.pop("lambda_dispatch.queue.wait_ms") == 0
            assert shown == {
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "url.scheme": "http",
                "url.path": "/200/x",
                "server.address": "example.test",
                "server.port": 80,
                "network.protocol.version": "1.1" if speaks == "h1" else "2",
                "lambda_dispatch.function": "fake",
                "lambda_dispatch.decision": "warm",
            }
            (key,) = {peer.id for peer in rig.fleet.peers}
            id = bytes.fromhex(key.replace("-", ""))
            shown = attributes(client)
            assert (shown["faas.invoked_name"], shown["faas.invoked_provider"]) == ("fake", "aws")
            assert (shown["faas.invoked_region"], shown["faas.coldstart"]) == ("eu-west-1", False)
            assert shown["lambda_dispatch.instance.id"] == id[:4].hex()
            (link,) = client.links
            assert (link.trace_id, link.span_id) == (invoke.trace_id, invoke.span_id) == invoke_ids(id)
            assert invoke.name == "invoke fake" and invoke.start_time_unix_nano < invoke.end_time_unix_nano
            assert invoke.end_time_unix_nano <= server.start_time_unix_nano
            # The invoke of an instance is told once.
            await rig.get([("traceparent", SAMPLED)])
            assert [span.kind for span in (await rig.spans(5))[3:]] == [2, 3]

    run(scenario(), 30)


def test_a_request_without_a_context_begins_a_trace(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            got = await rig.get([("tracestate", "of=nobody")])
            server, client, _ = await rig.spans(3)
            assert got == {"traceparent": f"00-{server.trace_id.hex()}-{client.span_id.hex()}-01"}
            assert server.parent_span_id == b"" and server.flags == 0x101
            assert any(server.trace_id) and any(server.span_id)
            await rig.get([])
            spans = await rig.spans(5)
            assert len({span.trace_id for span in spans}) == 3 and len({span.span_id for span in spans}) == 5

    run(scenario(), 30)


BROKEN = [
    f"00-{TRACE}-{PARENT}-0",
    f"00-{TRACE}-{PARENT}-0g",
    f"00-{TRACE}-{PARENT}-01-more",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00_{TRACE}_{PARENT}_01",
    "",
]


def test_what_is_no_context_begins_a_trace_and_a_later_version_is_read(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            for text in BROKEN:
                got = await rig.get([("traceparent", text), ("tracestate", "a=b")])
                assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", got["traceparent"]), text
                assert TRACE not in got["traceparent"] and "tracestate" not in got, text
            got = await rig.get([("traceparent", SAMPLED), ("traceparent", SAMPLED)])
            assert TRACE not in got["traceparent"]
            got = await rig.get([("traceparent", f"cc-{TRACE}-{PARENT}-03-what-will-be")])
            assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", got["traceparent"])

    run(scenario(), 30)


def test_a_context_that_is_not_sampled_passes_as_it_came_and_leaves_nothing(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            given = {"traceparent": UNSAMPLED, "tracestate": "a=b"}
            assert await rig.get(list(given.items())) == given
            await rig.get([])
            spans = await rig.spans(3)
            assert TRACE not in {span.trace_id.hex() for span in spans} and len(spans) == 3

    run(scenario(), 30)


def test_the_sampler_decides_by_the_traces_id_as_every_sdk_does(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
        async with traced(collector, monkeypatch, **sampler) as rig:
            for low, flags in (("3fffffffffffffff", "01"), ("4000000000000000", "00"), ("0000000000000001", "01")):
                got = await rig.get([("traceparent", f"00-{'a' * 16}{low}-{PARENT}-{'00' if flags == '01' else '01'}")])
                assert got["traceparent"].endswith(f"-{flags}"), low
                # Where no span of ours is recorded, the application's has the client's as its parent.
                assert (PARENT in got["traceparent"]) == (flags == "00")
            for _ in range(40):
                await rig.get([])
            told = [call.field("traceparent") or "" for call in rig.calls[3:]]
            sampled = [text[3:35] for text in told if text.endswith("-01")]
            assert 0 < len(sampled) < 40 and all(int(text[19:35], 16) < 2**62 for text in told if text.endswith("-01"))
            assert all(int(text[19:35], 16) >= 2**62 for text in told if text.endswith("-00"))
            await rig.spans(2 * (2 + len(sampled)) + 1)
            traces = {span.trace_id.hex() for span in rig.collector.spans()}
            assert {text[3:35] for text in told if text.endswith("-00")}.isdisjoint(traces)

    run(scenario(), 30)


def test_the_other_propagators_are_read_and_written(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch, OTEL_PROPAGATORS="b3,b3multi,xray,baggage") as rig:

            def all_carry(got: dict[str, str], trace: str) -> str:
                span = got["x-b3-spanid"]
                assert got["b3"] == f"{trace}-{span}-1"
                assert (got["x-b3-traceid"], got["x-b3-sampled"]) == (trace, "1")
                assert got["x-amzn-trace-id"] == f"Root=1-{trace[:8]}-{trace[8:]};Parent={span};Sampled=1"
                return span

            xray = "67891233abcdef012345678912345678"
            for given, trace, parent in (
                ([("b3", f"{TRACE}-{PARENT}-1-{PARENT}")], TRACE, PARENT),
                ([("b3", f"{TRACE[16:]}-{PARENT}-d")], "0" * 16 + TRACE[16:], PARENT),
                ([("x-b3-traceid", TRACE), ("x-b3-spanid", PARENT), ("x-b3-sampled", "1")], TRACE, PARENT),
                ([("x-amzn-trace-id", XRAY)], xray, "463ac35c9f6413ad"),
                ([("x-amzn-trace-id", "Self=1-2-3;Root=1-67891233-abcdef012345678912345678")], xray, ""),
            ):
                before = len(rig.collector.spans())
                span = all_carry(await rig.get(given), trace)
                found = (await rig.spans(before + 2))[before:]
                assert (found[0].trace_id.hex(), found[0].parent_span_id.hex()) == (trace, parent)
                assert found[1].span_id.hex() == span
            # traceparent is nobody's business here.
            assert (await rig.get([("traceparent", SAMPLED)]))["traceparent"] == SAMPLED
            given = {"b3": f"{TRACE}-{PARENT}-0"}
            assert await rig.get(list(given.items())) == given

    run(scenario(), 30)


def test_failures_say_why_and_whose(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            await rig.get([], "/404")
            await rig.get([], "/500")
            await rig.get([], "/broken")
            spans = [span for span in await rig.spans(7) if not span.name.startswith("invoke")]
            kinds = [(span.kind, span.status.code, attributes(span).get("error.type")) for span in spans]
            assert kinds == [
                (2, 0, None),
                (3, 2, "404"),
                (2, 2, "500"),
                (3, 2, "500"),
                (2, 2, "answer_malformed"),
                (3, 2, "answer_malformed"),
            ]
            assert attributes(spans[4])["lambda_dispatch.fault"] == "answer_malformed"

    run(scenario(), 30)


def test_a_health_check_is_no_trace_and_an_odd_method_names_no_span(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            await soon(ask("h1", rig.fleet.port, "/health"), "the answer")
            await soon(ask("h1", rig.fleet.port, "/200", method="WHATEVER"), "the answer")
            server, client, _ = await rig.spans(3)
            assert server.name == client.name == "HTTP"
            shown = attributes(server)
            assert (shown["http.request.method"], shown["http.request.method_original"]) == ("_OTHER", "WHATEVER")

    run(scenario(), 30)


def test_a_request_that_waits_for_a_cold_start_says_so(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with traced(collector, monkeypatch) as rig:
            for peer in rig.fleet.peers:
                await peer.leave()
            rig.fleet.peers.clear()
            await until(
                lambda: rig.fleet.board.worker_numbers(0)["instance_connections"] == 0, "the instance to be gone"
            )
            asked = asyncio.create_task(ask("h1", rig.fleet.port, "/200"))
            await until(lambda: rig.fleet.board.pool_totals(0).queued == 1, "the request to wait")
            await rig.fleet.instance(rig.answers, limit=1)
            assert (await soon(asked, "the answer")).status == 200
            server, client, invoke = await rig.spans(3)
            assert attributes(server)["lambda_dispatch.decision"] == "cold"
            assert float(str(attributes(server)["lambda_dispatch.queue.wait_ms"])) > 0
            assert attributes(client)["faas.coldstart"] is True
            assert server.start_time_unix_nano < invoke.end_time_unix_nano <= client.start_time_unix_nano

    run(scenario(), 30)


def test_without_tracing_every_field_of_a_trace_passes_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with Router(workers=1, real=True, log_level="warning") as router:
            board = router.board(write=True)
            fleet = Fleet(router, board, 1)
            rig = Rig(fleet, None)  # type: ignore[arg-type]
            try:
                await fleet.instance(rig.answers, limit=4)
                given = {"traceparent": "whatever", "tracestate": "a=b", "baggage": "k=v", "x-amzn-trace-id": XRAY}
                given |= {"b3": "0", "x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-sampled": "1"}
                for protocol in ("h1", "h2"):
                    assert await rig.get(list(given.items()), speaks=protocol) == given
            finally:
                for peer in fleet.peers:
                    await peer.leave()
                board.close()

    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    run(scenario(), 30)
