"""The board's numbers as CloudWatch and Prometheus take them."""

import json
import os
import re
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lambda_dispatch.telemetry import emf, prometheus, protobuf
from lambda_dispatch.telemetry.emf import EmfWriter
from lambda_dispatch.telemetry.metrics import FAMILIES
from lambda_dispatch.telemetry.view import BREAKER_STATES, View, quantile, take
from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

WALL = 1_700_000_000_000
# docs/shared-memory.md: where the first worker slot's counters are, and its histograms of the first pool.
WORKERS_AT, REQUESTS, STATUS_2XX = 64, 64, 80
NUMBERS_AT, TOTAL = 184, 2 * 864


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(2, instances=64, pools=4)
    board.claim_pool(b"web", time.monotonic_ns())
    board.start_worker(0, 0, 1)
    yield board
    board.close()


def put(board: Board, at: int, value: int) -> None:
    """A word of the first worker slot, as its worker would write it."""
    start = struct.unpack("=Q", os.pread(board.fd, 8, WORKERS_AT))[0]
    os.pwrite(board.fd, struct.pack("=Q", value), start + at)


def put_total(board: Board, ns: int, count: int) -> None:
    start = struct.unpack("=Q", os.pread(board.fd, 8, NUMBERS_AT))[0] + TOTAL
    os.pwrite(board.fd, struct.pack("=Q", count), start + 8 + 8 * b.bucket_of(ns))
    sum_ns = struct.unpack("=Q", os.pread(board.fd, 8, start))[0]
    os.pwrite(board.fd, struct.pack("=Q", sum_ns + ns * count), start)


def view(board: Board) -> View:
    return take(board, time.monotonic_ns(), WALL * 1_000_000)


def writer(board: Board, fd: int) -> EmfWriter:
    return EmfWriter(fd, 0, view(board))


def lines(fd: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(fd, 1 << 16).splitlines()]


def test_each_line_is_whole_embedded_metric_format(board: Board) -> None:
    read_end, write_end = os.pipe()
    try:
        writer(board, write_end).write(0, view(board))
        router, web = lines(read_end)
        for line in (router, web):
            assert line["_aws"]["Timestamp"] == WALL
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "LambdaDispatch"
            for named in directive["Metrics"]:
                assert isinstance(line[named["Name"]], int | float)
                assert named["Unit"] in ("Count", "Milliseconds", "Seconds")
            assert all(name in line for name in directive["Dimensions"][0])
        assert web["Function"] == "web"
        assert web["InstancesOpen"] == 0
    finally:
        os.close(read_end)
        os.close(write_end)


def test_what_was_written_once_is_not_written_again(board: Board) -> None:
    read_end, write_end = os.pipe()
    try:
        put(board, REQUESTS, 5)
        written = writer(board, write_end)
        put(board, REQUESTS, 12)
        put(board, STATUS_2XX, 6)
        put_total(board, 3_000_000, 7)
        written.write(0, view(board))
        router, web = lines(read_end)
        assert web["RequestTimeP50"] == web["RequestTimeP99"] == router["RequestTimeP50"]
        assert web["QueueOldest"] == 0 and "ColdStartP50" not in web
        assert (router["Requests"], router["Responses2xx"]) == (7, 6)
        assert 3 < router["RequestTimeP50"] <= 3.3
        assert "QueueWaitP50" not in router
        written.write(0, view(board))
        router = lines(read_end)[0]
        assert router["Requests"] == 0
        assert "RequestTimeP50" not in router
    finally:
        os.close(read_end)
        os.close(write_end)


def test_instances_are_counted_by_state(board: Board) -> None:
    now = time.monotonic_ns()
    for _ in range(3):
        place = board.allocate_instance(0, uuid.uuid4().bytes, 10, now, now)
        assert place is not None
    board.open_instance(*place, now)
    web = list(emf.lines(view(board), view(board)))[1]
    assert (web["InstancesStarting"], web["InstancesOpen"], web["InstancesDraining"]) == (2, 1, 0)


@pytest.mark.parametrize("state", BREAKER_STATES)
def test_a_breaker_that_tries_has_not_closed(board: Board, state: str) -> None:
    now = view(board)
    now = replace(now, pools=tuple(replace(pool, breaker=state) for pool in now.pools))
    web = list(emf.lines(now, now))[1]
    assert web["BreakerOpen"] == (state != "closed")


def test_a_reader_that_has_stopped_is_not_waited_for(board: Board) -> None:
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(write_end, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(write_end, bytes(4096))
        os.set_blocking(write_end, True)
        written = writer(board, write_end)
        written.write(0, view(board))
        assert written.dropped == 2
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_reader_that_has_gone_is_no_fault(board: Board) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        written = writer(board, write_end)
        written.write(0, view(board))
        assert written.dropped == 2
    finally:
        os.close(write_end)


def test_the_next_lines_are_due_a_minute_later(board: Board) -> None:
    with open(os.devnull, "w") as out:
        written = EmfWriter(out.fileno(), 5, view(board))
        assert written.due == 5 + 60_000_000_000
        written.write(written.due, view(board))
        assert written.due == 5 + 120_000_000_000


def test_quantiles_are_the_upper_bounds_of_buckets() -> None:
    counts = [0] * len(b.bucket_bounds())
    assert quantile(counts, 0.5) is None
    counts[0] = 99
    counts[b.bucket_of(1_000_000_000)] = 1
    assert quantile(counts, 0.5) == round(2**-16 * 1000, 6)
    assert quantile(counts, 1.0) == 1000


SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+-]+')


@pytest.mark.parametrize("openmetrics", [False, True])
def test_text_is_well_formed_and_complete(board: Board, openmetrics: bool) -> None:
    put(board, REQUESTS, 12)
    text = prometheus.render(view(board), openmetrics)
    assert text.endswith("# EOF\n" if openmetrics else "\n")
    typed: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in typed
            typed[name] = kind
        elif not line.startswith("#"):
            assert SAMPLE.fullmatch(line), line
            full = re.split(r"[{ ]", line)[0]
            name = re.sub(r"_(bucket|sum|count)$", "", full)
            if openmetrics:
                name = name.removesuffix("_total")
            assert name in typed, line
            assert (typed[name] == "counter") == full.endswith("_total")
    assert [family.full for family in FAMILIES if family.full.removesuffix("_total") not in text] == []
    assert 'lambda_dispatch_instances{function="web",state="open"} 0' in text


def test_a_histogram_only_grows_and_ends_with_its_count_and_exact_sum(board: Board) -> None:
    for ns, count in ((500, 2), (3_000_000, 5), (1 << 42, 1)):
        put_total(board, ns, count)
    text = prometheus.render(view(board))
    found = re.findall(r'lambda_dispatch_request_duration_seconds_bucket\{function="web",le="([^"]+)"\} (\d+)', text)
    counts = [int(count) for _, count in found]
    assert counts == sorted(counts)
    assert found[0] == ("1.52587890625e-05", "2")
    assert found[-1] == ("+Inf", "8") and found[-2] == ("1024.0", "7")
    assert [float(le) for le, _ in found] == sorted(float(le) for le, _ in found)
    assert 'lambda_dispatch_request_duration_seconds_count{function="web"} 8' in text
    assert 'lambda_dispatch_request_duration_seconds_sum{function="web"} 4398.061512104' in text
    assert 2 * 500 + 5 * 3_000_000 + (1 << 42) == 4398061512104


def test_labels_are_escaped() -> None:
    assert prometheus._labels({"function": 'a"b\\c\n'}) == '{function="a\\"b\\\\c\\n"}'


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", prometheus.TEXT),
        ("*/*", prometheus.TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", prometheus.OPENMETRICS),
        ("text/plain, application/openmetrics-text;q=0.4", prometheus.TEXT),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
            "application/openmetrics-text;version=1.0.0;q=0.8",
            prometheus.PROTOBUF,
        ),
        ("application/vnd.google.protobuf;proto=other;encoding=delimited", prometheus.TEXT),
        ("application/openmetrics-text;q=x", prometheus.TEXT),
        ("application/openmetrics-text;q=0", prometheus.TEXT),
    ],
)
def test_the_form_is_what_the_accept_field_likes_best(accept: str, form: str) -> None:
    assert prometheus.negotiate(accept) == form


def test_numbers_of_protobuf_are_as_its_page_shows_them() -> None:
    assert protobuf.varint(150) == b"\x96\x01" and protobuf.varint(0) == b"\0"
    assert [protobuf.zigzag(n) for n in (0, -1, 1, -2, 2147483647, -2147483648)] == [0, 1, 2, 3, 4294967294, 4294967295]
    assert protobuf.text(2, "testing") == b"\x12\x07testing"
    assert protobuf.message(3, protobuf.number(1, 150)) == b"\x1a\x03\x08\x96\x01"
    assert protobuf.packed(6, [3, 270, 86942]) == bytes.fromhex("3206038e029ea705")
