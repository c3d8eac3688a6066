"""What the OTEL_ variables mean, and that no collector can do harm to the export of traces."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from lambda_dispatch.telemetry import otel, otlp, prometheus, sender
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.spans import SpanExporter
from lambda_dispatch.telemetry.view import TraceView, take
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_core.board.trace_ring import TraceRing
from lambda_dispatch_testing.trace_face import record
from tests.support.collector import Collector
from tests.support.supervised import until

SPAN = {"trace": b"t" * 16, "server": b"s" * 8, "client": b"c" * 8, "arrived": 1, "ended": 3_000_001, "method": b"GET"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


@pytest.fixture
def ring() -> Iterator[TraceRing]:
    whole = TraceRing.create(1, 64)
    writer = TraceRing.attach(whole.fd, 0)
    yield writer
    writer.close()
    whole.close()


def tracing(url: str, **more: str) -> otel.Tracing:
    wanted = otel.tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": url, **more})
    assert wanted is not None
    return wanted


def exporter(ring: TraceRing, url: str, **more: str) -> SpanExporter:
    return SpanExporter(ring, tracing(url, **more), lambda pool: "web")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.001)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("OTEL_TRACES_SAMPLER", "xray", "xray"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "0x1", "0x1"),
        ("OTEL_PROPAGATORS", "tracecontext,jaeger", "jaeger"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "zipkin"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318/secret", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "secret", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "grpc"),
    ],
)
def test_a_setting_that_cannot_be_meant_names_its_variable_and_no_secret(name: str, value: str, shown: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", name: value}
    with pytest.raises(ValueError, match=name) as raised:
        otel.tracing(environ)
    assert shown in str(raised.value) and "secret" not in str(raised.value)


def test_what_the_variables_mean() -> None:
    assert otel.tracing({}) is None
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}
    assert otel.tracing({**there, "OTEL_TRACES_EXPORTER": "none"}) is None
    assert otel.tracing({**there, "OTEL_SDK_DISABLED": "TRUE"}) is None
    plain = tracing("http://c:4318/")
    assert (plain.export.url, plain.ratio, plain.follows) == ("http://c:4318/v1/traces", 1.0, True)
    assert plain.propagators == ("tracecontext", "baggage") and plain.export.interval == 5.0
    local = otel.tracing({"OTEL_TRACES_EXPORTER": "otlp"})
    assert local is not None and local.export.url == "http://localhost:4318/v1/traces"
    own = tracing("http://c", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://d/x", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="500")
    assert (own.export.url, own.export.timeout) == ("https://d/x", 0.5)
    for sampler, argument, ratio, follows in (
        ("always_on", "0.5", 1.0, False),
        ("always_off", "", 0.0, False),
        ("traceidratio", "0.25", 0.25, False),
        ("traceidratio", "", 1.0, False),
        ("parentbased_traceidratio", "0.01", 0.01, True),
        ("parentbased_always_off", "", 0.0, True),
    ):
        found = tracing("http://c", OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
        assert (found.ratio, found.follows) == (ratio, follows), sampler


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [(503, {}, b""), (429, {}, b"x"), (502, {"retry-after": "0"}, b""), (0, {}, b"")])
def test_an_export_that_fails_for_now_is_tried_again(
    ring: TraceRing, collector: Collector, answer: tuple[int, dict[str, str], bytes]
) -> None:
    collector.first = [answer] * (sender.TRIES - 1)
    one = exporter(ring, collector.url)
    record(ring, **SPAN)
    assert one.take() is False
    one.flush()
    until(lambda: one.sender.sent == 1, "the export")
    assert len(collector.got) == sender.TRIES
    assert (one.sender.failed, one.sender.dropped) == (0, 0)
    assert {span.trace_id for span in collector.spans()} == {b"t" * 16}


@pytest.mark.usefixtures("impatient")
def test_one_that_is_refused_or_never_taken_is_counted_by_requests(ring: TraceRing, collector: Collector) -> None:
    one = exporter(ring, collector.url)
    for status, tries in ((400, 1), (503, sender.TRIES)):
        collector.answer = (status, {}, b"\xff" * 100_000)
        collector.got.clear()
        before = one.sender.failed
        for _ in range(3):
            record(ring, **SPAN)
        one.take()
        one.flush()
        until(lambda before=before: one.sender.failed == before + 3, "the failure to be counted")  # type: ignore[misc]
        assert len(collector.got) == tries
    # A collector that takes an export says how much of it it did not take.
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    collector.answer = (200, {}, answer.SerializeToString())
    for _ in range(3):
        record(ring, **SPAN)
    one.take()
    one.flush()
    until(lambda: (one.sender.sent, one.sender.failed) == (1, 8), "the rest to be sent")


@pytest.mark.parametrize("answer", [b"", b"\xff" * 50, b"\x0a", b"\x0a\x05\x08", b"\x08\x01", b"\x0a\x02\x08\x00" * 9])
def test_an_answer_that_nobody_can_read_rejects_nothing(answer: bytes) -> None:
    assert sender.rejected(answer) == 0


def test_a_field_is_found_behind_others() -> None:
    message = pb.double(3, 1.5) + pb.fixed32(4, 1) + pb.text(5, "x") + pb.number(6, 300)
    assert pb.first(message, 6) == 300 and pb.first(message, 5) == b"x" and pb.first(message, 7) is None


def test_a_collector_that_is_slow_holds_nobody_up_and_the_oldest_are_dropped(
    ring: TraceRing, collector: Collector
) -> None:
    collector.held.clear()
    limits = {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2", "OTEL_BSP_MAX_QUEUE_SIZE": "4"}
    one = exporter(ring, collector.url, **limits)
    for number in range(20):
        record(ring, **{**SPAN, "status": 200 + number})
        one.take()
    # One batch of two may be on its way, two wait.
    assert 20 - 6 <= one.sender.dropped <= 20 - 4 and one.sender.sent == 0
    collector.held.set()
    until(lambda: one.sender.sent + one.sender.dropped == 20, "what was on its way")
    seen = {it.value.int_value for span in collector.spans() for it in span.attributes if it.key.endswith("code")}
    assert {216, 217, 218, 219} <= seen


def test_a_collector_that_is_down_is_asked_once_more_at_the_end_and_no_longer(ring: TraceRing) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one = exporter(ring, f"http://127.0.0.1:{free.getsockname()[1]}")
        record(ring, **SPAN)
        one.finish()
        until(lambda: one.sender.failed == 1, "the failure to be counted")


def test_what_is_left_at_the_end_is_sent(ring: TraceRing, collector: Collector) -> None:
    one = exporter(ring, collector.url)
    for _ in range(3):
        record(ring, **SPAN)
    one.finish()
    assert one.sender.sent == 3 and len(collector.spans()) == 3


def test_a_ring_that_runs_over_is_counted(ring: TraceRing, collector: Collector) -> None:
    one = exporter(ring, collector.url)
    for _ in range(64 + 10):
        record(ring, **SPAN)
    while one.take():
        pass
    shown = one.shown({"web"})
    assert (shown.overwritten, shown.sent) == (10, 0)
    one.finish()
    assert one.sender.sent == 64


def test_a_batch_does_not_wait_for_ever(ring: TraceRing, collector: Collector) -> None:
    async def scenario() -> None:
        one = exporter(ring, collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
        task = asyncio.create_task(one.run())
        record(ring, **SPAN)
        async with asyncio.timeout(20):
            while not one.sender.sent:  # noqa: ASYNC110 - no event is set for it
                await asyncio.sleep(0.005)
        task.cancel()

    asyncio.run(scenario())


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(2, instances=64, pools=4)
    board.claim_pool(b"web", 1)
    yield board
    board.close()


def test_histograms_have_the_last_trace_of_each_bucket_in_all_three_forms(
    ring: TraceRing, collector: Collector, board: Board
) -> None:
    one = exporter(ring, collector.url)
    record(ring, **{**SPAN, "trace": b"a" * 16})
    record(ring, **{**SPAN, "trace": b"b" * 16, "asked": 1, "sent": 2_000_001, "ended": 3_000_101})
    record(ring, **{**SPAN, "ended": 5_000_000_001})
    one.take()
    view = take(board, time.monotonic_ns(), time.time_ns())
    view = replace(view, traces=one.shown({"web"}))
    text = prometheus.render(view, openmetrics=True)
    lines = [line for line in text.splitlines() if "request_duration_seconds_bucket" in line and " # " in line]
    assert len(lines) == 2
    assert f'le="0.00390625"}} 0 # {{trace_id="{b"b".hex() * 16}",span_id="{b"s".hex() * 8}"}} 0.0030001 ' in lines[0]
    assert " # {" in text and " # {" not in prometheus.render(view)
    request = ExportMetricsServiceRequest.FromString(otlp.encode(view, {}, 1))
    metrics = {it.name: it for it in request.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = metrics["lambda_dispatch.request_duration"].exponential_histogram.data_points
    assert [(it.trace_id, it.span_id, it.as_double) for it in point.exemplars] == [
        (b"b" * 16, b"s" * 8, 0.0030001),
        (b"t" * 16, b"s" * 8, 5.0),
    ]
    (point,) = metrics["lambda_dispatch.queue_wait"].exponential_histogram.data_points
    assert [(it.trace_id, it.as_double) for it in point.exemplars] == [(b"b" * 16, 0.002)]
    body = prometheus.protobuf(view)
    assert body.count(b"b".hex().encode() * 16) >= 4  # a classic bucket and the native histogram, for total and wait
    assert one.shown(set()).exemplars.of("request_duration_seconds", "web") == {}
    assert TraceView().exemplars.of("request_duration_seconds", "web") == {} and b.BUCKETS == 106
