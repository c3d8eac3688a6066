"""The rings of traced requests: what is written is read once, and a late reader knows what it has lost."""

import os
import re
from pathlib import Path

import pytest

from lambda_dispatch_core.board import trace_ring as t
from lambda_dispatch_core.board.layout import BoardError
from lambda_dispatch_core.board.trace_ring import Span, TraceRing
from lambda_dispatch_testing.trace_face import record, values_of

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "trace": bytes(range(16)),
    "parent": b"p" * 8,
    "server": b"s" * 8,
    "client": b"c" * 8,
    "arrived": 1,
    "asked": 2,
    "sent": 3,
    "ended": 4,
    "instance": b"i" * 16,
    "invoked": 5,
    "opened": 6,
    "request_bytes": 11,
    "answer_bytes": 12,
    "pool": 7,
    "status": 200,
    "flags": 3,
    "word": 9,
    "version": 20,
    "trace_flags": 1,
    "method": b"GET",
    "host": b"h",
    "target": b"/t",
}


def statuses(found: list[Span]) -> list[int]:
    return [values_of(span)["status"] for span in found]


def test_a_record_is_read_as_it_was_written_by_its_worker() -> None:
    ring = TraceRing.create(2, 4)
    try:
        writer = TraceRing.attach(ring.fd, 1)
        record(writer, **VALUES)
        reader = TraceRing.attach(ring.fd)
        assert reader.read(0, 0, 10) == ([], 0, 0)
        (span,), last, lost = reader.read(1, 0, 10)
        assert (last, lost) == (1, 0)
        assert values_of(span) == VALUES
        assert reader.read(1, last, 10) == ([], 1, 0)
        for each in (writer, reader):
            each.close()
    finally:
        ring.close()


def test_a_reader_that_is_late_loses_the_oldest_and_knows_how_many() -> None:
    ring = TraceRing.create(1, 4)
    try:
        writer = TraceRing.attach(ring.fd, 0)
        for number in range(1, 11):
            record(writer, status=number)
        found, last, lost = ring.read(0, 0, 3)
        assert (statuses(found), last, lost) == ([7, 8, 9], 9, 6)
        found, last, lost = ring.read(0, last, 3)
        assert (statuses(found), last, lost) == ([10], 10, 0)
        writer.close()
    finally:
        ring.close()


def test_a_record_that_is_being_written_is_not_read() -> None:
    ring = TraceRing.create(1, 4)
    try:
        writer = TraceRing.attach(ring.fd, 0)
        for number in range(1, 4):
            record(writer, status=number)
        # As if the writer had begun with what will be number 6, in the place of number 2.
        at = 64 + 64 + 2 * 512
        os.pwrite(ring.fd, bytes(8), at)
        found, last, lost = ring.read(0, 0, 10)
        assert (statuses(found), last, lost) == ([1, 3], 3, 1)
        writer.close()
    finally:
        ring.close()


def test_what_is_longer_than_its_place_is_cut() -> None:
    ring = TraceRing.create(1, 1)
    try:
        writer = TraceRing.attach(ring.fd, 0)
        record(writer, method=b"M" * 100, host=b"h" * 100, target=b"t" * 1000)
        ((span,), _, _) = ring.read(0, 0, 1)
        it = values_of(span)
        assert (len(it["method"]), len(it["host"]), len(it["target"])) == (t.SPAN_METHOD, t.SPAN_HOST, t.SPAN_TARGET)
        writer.close()
    finally:
        ring.close()


def test_memory_that_is_none_of_ours_is_refused() -> None:
    fd = os.memfd_create("other")
    try:
        with pytest.raises(BoardError, match="no trace rings"):
            TraceRing.attach(fd)
        os.ftruncate(fd, 4096)
        with pytest.raises(BoardError, match="no trace rings"):
            TraceRing.attach(fd)
        ring = TraceRing.create(2, 1)
        with pytest.raises(BoardError, match="2 worker slots"):
            TraceRing.attach(ring.fd, 2)
        ring.close()
    finally:
        os.close(fd)


SIZES = {"uint8": 1, "uint16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8}


@pytest.mark.parametrize(("struct", "whole"), [("TraceHeader", 64), ("TraceCount", 64), ("SpanRecord", 512)])
def test_the_page_and_the_structs_name_the_same_fields_at_the_same_offsets(struct: str, whole: int) -> None:
    source = (ROOT / "cython_ext/lambda_dispatch_core/board/trace_ring.pxd").read_text()
    body = re.search(rf"^cdef struct {struct}:.*?\n((?:    .*\n)+)", source, re.M)
    assert body is not None
    fields, at = {}, 0
    for line in body[1].splitlines():
        found = re.match(r"    (\w+?)_t (\w+)(?:\[(\w+)\])?", line)
        assert found is not None, line
        size = SIZES[found[1]]
        count = 1 if found[3] is None else int(found[3]) if found[3].isdigit() else getattr(t, found[3])
        assert at % size == 0, f"{struct}.{found[2]} would be padded"
        if not found[2].startswith("pad"):
            fields[found[2]] = (at, size * count, found[1] + (f"[{count}]" if count > 1 else ""))
        at += size * count
    assert at == whole
    page = (ROOT / "docs/shared-memory.md").read_text().split(f"\n### {struct}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \| ([\w\[\]]+) \|", page, re.M)
    assert {name: (int(offset), int(size), type_) for offset, size, name, type_ in rows} == fields
