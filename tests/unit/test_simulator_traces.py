"""Each form of recorded arrivals, and lines that cannot be read."""

import gzip
import os
from pathlib import Path

import pytest

from lambda_dispatch.simulator.requests import NS
from lambda_dispatch.simulator.traces import TraceError, read
from lambda_dispatch.telemetry.access import AccessLog
from lambda_dispatch.telemetry.access_fields import ALL_FIELDS, DEFAULT_FIELDS


def entries(kind: str, path: Path, skip: bool = False) -> list[tuple[float, float]]:
    requests, _ = read(kind, path, None, skip)
    pairs = zip(requests.arrive, requests.takes, strict=True)
    return [(round(at / NS, 6), round(takes / NS, 6)) for at, takes in pairs]


def test_a_csv_with_names_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,service_ms,time\n/a,250,10.5\n/b,1000,10\n")
    assert entries("csv", path) == [(0, 1), (0.5, 0.25)]


def test_a_csv_without_names_and_with_dates(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("2026-01-31T12:00:00Z,0.1\n2026-01-31T12:00:01.5Z,0.2\n")
    assert entries("csv", path) == [(0, 0.1), (1.5, 0.2)]


def test_a_compressed_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"0,0.1\n"))
    assert entries("csv", path) == [(0, 0.1)]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("fields", [DEFAULT_FIELDS, ALL_FIELDS])
def test_the_access_log_that_the_router_writes(form: str, fields: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = AccessLog(fd, form, fields)
    log.record(
        1,
        b"10.0.0.1",
        b'GET /a"b\xff HTTP/1.1\r\nx-request-id: a b\r\nuser-agent: c "d" fault=e\r\n\r\n',
        1,
        200,
        0,
        12,
        100_000_000,
        350_000_000,
        None,
        b"default",
        bytes(16),
        250_000_000,
    )
    log.record(1, b"10.0.0.1", b"GET /c HTTP/1.1\r\n", 1, 200, 0, 12, 0, 200_000_000, None)
    log.record(1, b"10.0.0.1", b"GET /d HTTP/1.1\r\n", 1, 503, 0, 12, 0, 0, "queue_full")
    log.flush()
    os.close(fd)
    # Of one second: they end at 1/6, 3/6 and 5/6 of it. The one that failed tells no time: the median of the others.
    found = entries("access-log", path)
    assert [takes for _, takes in found] == [0.25, 0.2, 0.225]
    first = 1 / 6 - 0.35
    assert [at for at, _ in found] == pytest.approx([0, 3 / 6 - 0.2 - first, 5 / 6 - first], abs=1e-5)


def test_combined_log_format_with_and_without_a_time(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    line = '1.2.3.4 - frank [10/Oct/2026:13:55:{second} -0700] "GET /a\\"b HTTP/1.1" 200 23 "-" "curl/8"{rest}\n'
    path.write_text(line.format(second="36", rest=" 250000") + line.format(second="38", rest=""))
    assert entries("combined", path) == [(0, 0.25), (2, 0.25)]
    path.write_text(line.format(second="36", rest=" 0.000") + line.format(second="38", rest=" 0.500"))
    assert entries("combined", path) == [(0, 0), (1.5, 0.5)]  # nginx tells the end


def test_common_log_format(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text('::1 - - [10/Oct/2026:13:55:36 +0000] "GET / HTTP/1.0" 200 2326\n')
    requests, _ = read("combined", path, lambda: 0.3, False)
    assert list(requests.takes) == [NS * 3 // 10]
    with pytest.raises(TraceError, match="no line tells how long a request took; give --service"):
        read("combined", path, None, False)


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        ("csv", "0,0.1\nyesterday,0.1\n", "a.log, line 2: 'yesterday' is no time"),
        ("csv", "0,0.1\n\n1,fast\n", "a.log, line 3: 'fast' is no service time"),
        ("csv", "0,-1\n", "a.log, line 1: '-1' is no service time"),
        ("csv", "when,service\n", "a.log, line 1: 'when,service' names no column of arrival times"),
        ("csv", "time,service\n5\n", "a.log: no line tells how long a request took"),
        ("access-log", '{"time":"x"}\n', 'a.log, line 1: \'{"time":"x"}\' has no usable time'),
        ("access-log", "{broken\n", "a.log, line 1: '{broken' is no JSON"),
        ("access-log", "hello\n", "a.log, line 1: 'hello' is no line of the router's access log"),
        ("combined", "hello\n", "a.log, line 1: 'hello' is no line of Common or Combined Log Format"),
        ("combined", '- - - [yesterday] "GET /" 200 1\n', "a.log, line 1: 'yesterday' is no time"),
        ("csv", "", "a.log: there is no request in it"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_its_value(kind: str, text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        read(kind, path, None, False)
    assert wrong in str(error.value)


def test_bad_lines_may_be_skipped_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("0,0.1\noops\n1,0.2\n2,oops\n")
    requests, skipped = read("csv", path, None, True)
    assert (len(requests), skipped) == (2, 2)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: No such file or directory"):
        read("csv", tmp_path / "none.csv", None, False)
