"""Metrics by OTLP: what a collector decodes, and that no collector can do harm."""

import contextlib
import gzip
import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from lambda_dispatch.telemetry import otel, otlp
from lambda_dispatch.telemetry.metrics import FAMILIES
from lambda_dispatch.telemetry.sender import Sender
from lambda_dispatch.telemetry.view import take
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board
from tests.support.collector import Collector
from tests.support.supervised import Router, until

TIMES = {3_000_000: 5, 1_000_000_000: 2, 500: 3}


@pytest.fixture
def board() -> Iterator[Board]:
    """A function with known times in its histogram of whole requests."""
    board = Board.create(2, instances=64, pools=4)
    board.claim_pool(b"web", 1)
    board.start_worker(0, 0, 1)
    start = struct.unpack("=Q", os.pread(board.fd, 8, 184))[0] + 2 * 864
    os.pwrite(board.fd, struct.pack("=Q", sum(ns * count for ns, count in TIMES.items())), start)
    for ns, count in TIMES.items():
        os.pwrite(board.fd, struct.pack("=Q", count), start + 8 + 8 * b.bucket_of(ns))
    yield board
    board.close()


def decode(body: bytes) -> dict[str, Any]:
    request = ExportMetricsServiceRequest()
    request.ParseFromString(body)
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def test_the_official_package_decodes_every_metric_exactly(board: Board) -> None:
    view = take(board, time.monotonic_ns(), time.time_ns())
    found = decode(otlp.encode(view, {"service.name": "x"}, board.created_wall))
    assert len(found) == len(FAMILIES)
    (point,) = found["lambda_dispatch.request_duration"].exponential_histogram.data_points
    assert found["lambda_dispatch.request_duration"].unit == "s"
    assert (point.count, point.sum) == (10, (3_000_000 * 5 + 2_000_000_000 + 1500) / 1e9)
    assert (point.scale, point.zero_count, point.zero_threshold) == (2, 3, 2**-16)
    assert {each.key: each.value.string_value for each in point.attributes} == {"function": "web"}
    assert point.start_time_unix_nano == board.created_wall
    for ns in (3_000_000, 1_000_000_000):
        (index,) = [
            point.positive.offset + n
            for n, count in enumerate(point.positive.bucket_counts)
            if count and 2 ** ((point.positive.offset + n) / 4) < ns / 1e9 <= 2 ** ((point.positive.offset + n + 1) / 4)
        ]
        assert point.positive.bucket_counts[index - point.positive.offset] == TIMES[ns]
    assert sum(point.positive.bucket_counts) == 7
    accepted = found["lambda_dispatch.connections_accepted"].sum
    assert accepted.is_monotonic and accepted.aggregation_temporality == 2 and len(accepted.data_points) == 2
    assert found["lambda_dispatch.instances_desired"].gauge.data_points[0].as_int == 0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


def exporter(url: str, timeout: str = "10000") -> Sender:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b"}
    wanted = otel.settings({**asked, "OTEL_EXPORTER_OTLP_TIMEOUT": timeout})
    assert wanted is not None
    return Sender(wanted, "metrics export failed")


@pytest.mark.parametrize("answer", [(503, {}, b""), (429, {}, b"x"), (0, {}, b""), (400, {}, b"\xff" * 100_000)])
def test_a_collector_that_refuses_is_counted_and_asked_again(
    collector: Collector, answer: tuple[int, dict[str, str], bytes]
) -> None:
    collector.answer = answer
    one = exporter(collector.url)
    one.offer(b"first")
    until(lambda: one.failed == 1, "the failure to be counted")
    collector.answer = (200, {}, b"")
    one.offer(b"second")
    until(lambda: one.sent == 1, "the next export")
    path, fields, body = collector.got[-1]
    assert (path, gzip.decompress(body)) == ("/v1/metrics", b"second")
    assert fields["content-type"] == "application/x-protobuf" and fields["content-encoding"] == "gzip"
    assert fields["x-key"] == "a b"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"])
def test_an_answer_that_comes_byte_by_byte_has_one_timeout(answer: bytes) -> None:
    def drip() -> None:
        client = server.accept()[0]
        with client, contextlib.suppress(OSError):
            client.sendall(answer)
            while not done.wait(0.05):
                client.sendall(b"x")

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            one = exporter(f"http://127.0.0.1:{server.getsockname()[1]}", "500")
            one.offer(b"first")
            until(lambda: one.failed == 1, "the failure to be counted")
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_takes_no_header_elsewhere(collector: Collector, status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        collector.answer = (status, {"location": f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"}, b"")
        one = exporter(collector.url)
        one.offer(b"first")
        until(lambda: one.failed + one.sent == 1 or readable(elsewhere), "the answer to be counted")
        assert (one.failed, one.sent, readable(elsewhere)) == (1, 0, False)


def readable(sock: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    return bool(select.select([sock], [], [], 0)[0])


def test_a_collector_that_asks_for_silence_gets_it(collector: Collector) -> None:
    collector.answer = (503, {"retry-after": "600"}, b"")
    one = exporter(collector.url)
    one.offer(b"first")
    until(lambda: one.failed == 1, "the failure to be counted")
    one.offer(b"second")
    assert one.dropped == 1 and len(collector.got) == 1


def test_a_collector_that_is_down_or_slow_holds_nobody_up_and_nothing_piles_up(collector: Collector) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = exporter(f"http://127.0.0.1:{free.getsockname()[1]}")
        down.offer(b"x")
        until(lambda: down.failed == 1, "the failure to be counted")
    collector.held.clear()
    slow = exporter(collector.url)
    for _ in range(100):
        slow.offer(b"y" * 10_000)
    assert slow.dropped >= 98 and slow.sent == 0
    collector.held.set()
    until(lambda: slow.sent + slow.dropped == 100, "what was on its way")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret-without-a-name"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1_000"),
    ],
)
def test_a_setting_that_cannot_be_meant_names_its_variable_and_no_header(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        otel.settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", name: value})
    assert "secret" not in str(raised.value)


def test_nothing_is_exported_unless_it_is_asked_for() -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
    assert otel.settings({}) is None
    assert otel.settings({**there, "OTEL_SDK_DISABLED": "true"}) is None
    assert otel.settings({**there, "OTEL_METRICS_EXPORTER": "none"}) is None


def test_a_running_router_exports(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "cloud.region=eu-west-1")
    with Router(workers=2, admin_port=0) as router:

        def ready() -> bool:
            if not collector.got:
                return False
            found = decode(gzip.decompress(collector.got[-1][2]))
            states = found["lambda_dispatch.workers"].gauge.data_points
            return any(p.attributes[0].value.string_value == "ready" and p.as_int == 2 for p in states)

        until(ready, "both workers in an export")
        assert json.loads(json.dumps(router.ports))
    request = ExportMetricsServiceRequest.FromString(gzip.decompress(collector.got[-1][2]))
    resource = {each.key: each.value.string_value for each in request.resource_metrics[0].resource.attributes}
    assert resource["service.name"] == "lambda-dispatch" and resource["cloud.region"] == "eu-west-1"
