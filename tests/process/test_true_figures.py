"""10,000 requests whose times, waits and outcomes are known, from the access log and from the client: what each form of
the metrics says of them is true, also after a worker has died."""

import asyncio
import json
import math
import os
import signal
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.process.test_prometheus import CLIENTS, REQUESTS, expected, load, patiently, samples, scrape, served
from tests.support.collector import Collector
from tests.support.loop import until
from tests.support.supervised import Router

# Histogram, and the field of the access log that has the same time.
HISTOGRAMS = {"queue_wait": "wait_ms", "service_duration": "service_ms", "request_duration": "total_ms"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
CUT = 0.001  # ms: the access log has whole microseconds, what is beyond them cut off


class Figures(NamedTuple):
    requests: int
    sum: float  # s
    buckets: list[tuple[float, int]]  # upper bound in s, how many up to there; ascending


def in_text(text: str, name: str) -> Figures:
    found = samples(text)
    full = f"lambda_dispatch_{name}_seconds"
    begin, end = f'{full}_bucket{{function="fake",le="', '"}'
    bounds = {key[len(begin) : -len(end)]: int(count) for key, count in found.items() if key.startswith(begin)}
    return Figures(
        int(found[f'{full}_count{{function="fake"}}']),
        found[f'{full}_sum{{function="fake"}}'],
        sorted((float(bound), count) for bound, count in bounds.items()),
    )


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Its value, and where it ends."""
    value = shift = 0
    while data[at] > 0x7F:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(key & 7)
        if length is None:
            length, at = varint(data, at)
        yield key >> 3, data[at : at + length]
        at += length


def families(data: bytes) -> dict[bytes, list[tuple[int, Any]]]:
    """MetricFamily messages, each behind its length, by name."""
    found, at = {}, 0
    while at < len(data):
        length, at = varint(data, at)
        family = list(fields(data[at : at + length]))
        found[dict(family)[1]] = family
        at += length
    return found


def unzigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def number(value: bytes) -> float:
    return float(struct.unpack("<d", value)[0])


def in_protobuf(data: bytes, name: str) -> Figures:
    """Of the native histogram in io.prometheus.client's messages."""
    family = families(data)[f"lambda_dispatch_{name}_seconds".encode()]
    (metric,) = [value for field, value in family if field == 4]
    histogram = list(fields(dict(fields(metric))[7]))
    one = dict(histogram)
    assert unzigzag(one[5]) == 2
    span = dict(fields(one[12]))
    deltas = [unzigzag(value) for field, value in histogram if field == 13]
    assert span[2] == len(deltas)
    return Figures(one[1], number(one[2]), summed(number(one[6]), one[7], unzigzag(span[1]), 0, deltas))


def in_otlp(body: bytes, name: str) -> Figures:
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    (metric,) = [it for it in resource.scope_metrics[0].metrics if it.name == f"lambda_dispatch.{name}"]
    (point,) = metric.exponential_histogram.data_points
    assert point.scale == 2
    counts = list(point.positive.bucket_counts)
    deltas = [count - before for count, before in zip(counts, [0, *counts], strict=False)]
    # Index i ends at 2^((i + 1) / 4), where a native histogram's ends at 2^(i / 4).
    buckets = summed(point.zero_threshold, point.zero_count, point.positive.offset, 1, deltas)
    return Figures(point.count, point.sum, buckets)


def summed(zero: float, zeros: int, index: int, more: int, deltas: list[int]) -> list[tuple[float, int]]:
    buckets, total, count = [(zero, zeros)], zeros, 0
    for place, delta in enumerate(deltas, index + more):
        count += delta
        total += count
        buckets.append((2 ** (place / 4), total))
    return buckets


def bounds(figures: Figures, share: float) -> tuple[float, float]:
    """Between which the quantile is, in s."""
    low = 0.0
    for high, count in figures.buckets:
        if count >= math.ceil(share * figures.requests):
            return low, high
        low = high
    return low, math.inf


def logged(router: Router) -> list[Mapping[str, Any]]:
    """The access log's lines."""
    lines = (json.loads(line) for line in router.log().splitlines() if line.startswith("{") and '"total_ms"' in line)
    return list(lines)


def check(figures: Figures, times: list[float], octave: int) -> None:
    """`times`: ms, ascending. `octave`: buckets in one."""
    assert (figures.requests, figures.buckets[-1][1]) == (len(times), len(times))
    assert -CUT <= figures.sum * 1000 - math.fsum(times) <= len(times) * CUT
    for share in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        low, high = bounds(figures, share)
        true = times[math.ceil(share * len(times)) - 1]
        assert low * 1000 - CUT <= true <= high * 1000, (share, low, true, high)
        assert low <= 2**-16 or high == pytest.approx(low * 2 ** (1 / octave)), "a bucket is as wide as it should be"


@patiently
async def test_what_each_form_says_of_ten_thousand_requests_is_true_although_a_worker_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
        async with served(limit=CLIENTS // 2, access_log="json") as fleet:
            router, seen = fleet.router, Counter[int]()
            await load(fleet, REQUESTS // 2, seen)
            # The worker that holds no channel dies, once it has written what it has logged; what it counted stays.
            await until(lambda: len(logged(router)) == REQUESTS // 2, "the first lines of the access log", 30)
            other, pid = next((slot, pid) for slot, pid in router.pids().items() if slot != fleet.home)
            assert fleet.board.worker_numbers(other)["requests"] > 0
            os.kill(pid, signal.SIGKILL)
            await until(lambda: len(router.pids()) == 2 and pid not in router.pids().values(), "a new worker", 30)
            await load(fleet, REQUESTS // 2, seen)
            await until(lambda: len(logged(router)) == REQUESTS, "every line of the access log", 30)

            lines = logged(router)
            assert sum(seen.values()) == REQUESTS and Counter(line["status"] for line in lines) == seen
            admin = router.ports["admin"]
            _, text = await asyncio.to_thread(scrape, admin)
            _, openmetrics = await asyncio.to_thread(scrape, admin, OPENMETRICS)
            _, protobuf = await asyncio.to_thread(scrape, admin, PROTOBUF)
            exports = len(collector.got) + 1  # the next may have been written before
            await until(lambda: len(collector.got) > exports, "an export", 30)
            otlp = collector.bodies("/v1/metrics")[-1]
            for form in (text.decode(), openmetrics.decode()):
                found = samples(form)
                assert {name: found.get(name) for name in expected(seen)} == expected(seen)
            for name, field in HISTOGRAMS.items():
                times = sorted(line[field] for line in lines)
                exact = in_text(text.decode(), name)
                assert in_text(openmetrics.decode(), name) == exact
                check(exact, times, octave=1)
                native, exponential = in_protobuf(protobuf, name), in_otlp(otlp, name)
                assert native.sum == exponential.sum == exact.sum
                assert native.buckets == exponential.buckets
                check(native, times, octave=4)
            waits = sorted(line["wait_ms"] for line in lines)
            assert waits[len(waits) * 9 // 10] > 0.02, f"one in ten waits for another: {waits[:: len(waits) // 20]}"
