"""docs/shared-memory.md, the structs in board/layout.pxd and the compiled board say the same."""

import os
import re
import uuid
from pathlib import Path
from struct import unpack

import pytest

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/shared-memory.md").read_text()
PXD = (ROOT / "cython_ext/lambda_dispatch_core/board/layout.pxd").read_text()
SIZES = {"double": 8, "uint8": 1, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8}
STRUCTS = {
    "Header": 256,
    "ScalerSlot": 128,
    "PoolSlot": 896,
    "WorkerSlot": 1408,
    "WorkerPool": 64,
    "Histogram": 864,
    "PoolNumbers": 4352,
    "InstanceSlot": 128,
    "DecisionSlot": 768,
    "OverrideSlot": 256,
    "LifeSlot": 64,
}

Field = tuple[int, int, str]  # offset, bytes, type


def in_pxd(name: str) -> tuple[dict[str, Field], int]:
    """Fields as C lays them out; every struct is written so that nothing needs padding of the compiler's."""
    body = re.search(rf"^cdef struct {name}:.*?\n((?:    .*\n)+)", PXD, re.M)
    assert body is not None
    fields: dict[str, Field] = {}
    at = 0
    for line in body[1].splitlines():
        found = re.match(r"    (\w+?)(?:_t)? (\w+)(?:\[(\w+)\])?", line)
        if found is None:
            continue
        size = STRUCTS["Histogram"] if found[1] == "Histogram" else SIZES[found[1]]
        unit = min(size, 8)
        count = 1 if found[3] is None else int(found[3]) if found[3].isdigit() else getattr(b, found[3])
        assert at % unit == 0, f"{name}.{found[2]} would be padded"
        if not found[2].startswith(("pad", "spare")):
            fields[found[2]] = (at, size * count, found[1] + (f"[{count}]" if count > 1 else ""))
        at += size * count
    return fields, at


def in_doc(struct: str) -> dict[str, Field]:
    section = DOC.split(f"\n## {struct}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \| ([\w\[\]]+) \|", section, re.M)
    return {name: (int(offset), int(size), type_) for offset, size, name, type_ in rows}


def number(board: Board, offset: int, size: int = 4) -> int:
    return int.from_bytes(os.pread(board.fd, size, offset), "little")


@pytest.mark.parametrize("struct", STRUCTS)
def test_the_page_and_the_structs_name_the_same_fields_at_the_same_offsets(struct: str) -> None:
    fields, size = in_pxd(struct)
    assert in_doc(struct) == fields
    assert size == STRUCTS[struct]
    if struct not in ("Header", "Histogram"):
        assert re.search(rf"\| {struct}\b.*\| {size}( each)? \|", DOC)


def test_the_compiled_board_is_laid_out_as_the_page_says() -> None:
    board = Board.create(3, instances=64, pools=2)
    try:
        header = in_doc("Header")
        for name, value in {
            "version": b.BOARD_VERSION,
            "workers": 3,
            "instances": 64,
            "pools": 2,
            "index_cells": 128,
        }.items():
            assert number(board, header[name][0]) == value, name
        for name, struct in {
            "worker_size": "WorkerSlot",
            "pool_size": "PoolSlot",
            "instance_size": "InstanceSlot",
        }.items():
            assert number(board, header[name][0]) == STRUCTS[struct]

        def at(section: str, index: int, size: int) -> int:
            return number(board, header[section][0], 8) + index * size

        worker = Board.attach(os.dup(board.fd), worker=1)
        board.start_worker(1, 7, 99)
        slot = at("workers_at", 1, STRUCTS["WorkerSlot"])
        fields = in_doc("WorkerSlot")
        assert number(board, slot + fields["listening"][0]) == 7
        assert number(board, slot + fields["started"][0], 8) == 99
        for number_, name in enumerate((*b.COUNTERS, *b.GAUGES)):
            os.pwrite(board.fd, (number_ + 5).to_bytes(8, "little"), slot + fields[name][0])
        assert list(board.worker_numbers(1).values()) == list(range(5, 5 + len(b.COUNTERS) + len(b.GAUGES)))

        histogram = in_doc("Histogram")
        start = slot + fields["lag"][0]
        worker.beat(1_000_000, 0)
        assert board.lag(1).sum_ns == number(board, start + histogram["sum_ns"][0], 8) == 0
        worker.beat(5_000_000, 1_000_000)
        worker.beat(6_000_000, 7_000_000)  # early: not late
        assert board.lag(1).sum_ns == number(board, start + histogram["sum_ns"][0], 8) == 4_000_000
        assert number(board, start + histogram["bucket"][0] + 8 * b.bucket_of(4_000_000), 8) == 1
        assert sum(board.lag(1).counts) == 2 and sum(board.lag(0).counts) == 0

        fields = in_doc("PoolNumbers")
        slot = at("pool_numbers_at", 3 + 1, 4352)  # worker 1, pool 1; there is one more per worker than pools
        for name in ("wait", "service", "total", "cold_start"):
            start = slot + fields[name][0]
            os.pwrite(board.fd, (fields[name][0] + 7).to_bytes(8, "little"), start + histogram["sum_ns"][0])
            os.pwrite(board.fd, (3).to_bytes(8, "little"), start + histogram["bucket"][0] + 8 * 105)
        for name in ("outcomes", "request_bytes", "response_bytes", "resends", "words", "grpc"):
            os.pwrite(board.fd, (fields[name][0]).to_bytes(8, "little"), slot + fields[name][0])
        numbers = board.numbers(1)
        for name in ("wait", "service", "total", "cold_start"):
            times = getattr(numbers, name)
            assert times.sum_ns == fields[name][0] + 7 and times.counts[105] == sum(times.counts) == 3
        assert (numbers.request_bytes, numbers.response_bytes, numbers.resends) == tuple(
            fields[name][0] for name in ("request_bytes", "response_bytes", "resends")
        )
        for name in ("outcomes", "words", "grpc"):
            assert getattr(numbers, name)[0] == fields[name][0]
        assert board.numbers(2).request_bytes == 0

        name = uuid.uuid4().bytes
        board.allocate_instance(0, uuid.uuid4().bytes, 10, 11, 12)
        taken = board.allocate_instance(1, name, 10, 13, 14)
        assert taken == (1, 1)
        secret = os.urandom(16)
        board.set_secret(1, secret)
        board.open_instance(1, 1, 15)
        worker.reserve(1, 1)
        worker.park(1, 1)
        slot = at("instances_at", 1, 128)
        fields = in_doc("InstanceSlot")
        assert os.pread(board.fd, 16, slot) == name
        assert os.pread(board.fd, 16, slot + fields["secret"][0]) == worker.secret(1) == secret
        assert number(board, slot + fields["life"][0], 8) == 1 << 32 | b.INSTANCE_OPEN
        assert number(board, slot + fields["pool"][0]) == 1
        assert [number(board, slot + fields[f][0], 8) for f in ("created", "opened", "deadline")] == [13, 15, 14]
        assert number(board, at("in_flight_at", 1, 2), 2) == 1
        assert number(board, at("limits_at", 1, 2), 2) == 10
        assert number(board, at("reserved_at", 64 + 1, 2), 2) == 1
        assert number(board, at("idle_at", 64 + 1, 2), 2) == 1

        worker.claim_pool(b"first", 1)
        worker.claim_pool(b"second", 1)
        fields = in_doc("PoolSlot")
        assert os.pread(board.fd, 6, at("pools_at", 1, STRUCTS["PoolSlot"]) + fields["name"][0]) == b"second"
        board.set_pool_limits(1, limit=9, channels=8, min_instances=7, max_instances=6)
        slot = at("pools_at", 1, STRUCTS["PoolSlot"])
        names = ("limit", "channels", "min_instances", "max_instances")
        assert [number(board, slot + fields[f][0]) for f in names] == [9, 8, 7, 6]
        board.publish_demand(
            1, desired_raw=5, tokens_milli=4, decisions=range(1, b.CAUSES + 1), exits=range(2, b.EXITS + 2)
        )
        assert number(board, slot + fields["decisions"][0], 8) == 1 and number(board, slot + fields["exits"][0], 8) == 2
        assert number(board, slot + fields["decisions"][0] + 8 * 23, 8) == 24
        shown = board.pool(1)
        assert (shown.desired_raw, shown.tokens_milli) == (5, 4)
        assert (shown.decisions, shown.exits) == (tuple(range(1, 25)), tuple(range(2, 26)))

        fields = in_doc("WorkerPool")
        slot = at("worker_pools_at", 2 + 1, 64)
        for offset, size, _ in fields.values():
            os.pwrite(board.fd, (offset + 1).to_bytes(size, "little"), slot + offset)
        totals = board.pool_totals(1)._asdict()
        assert totals == {name: offset + 1 for name, (offset, _, _) in fields.items()}

        board.publish_scaler(
            ticks=1,
            invokes=2,
            invokes_ended=3,
            invokes_failed=4,
            throttled=5,
            open_invokes=6,
            tokens_milli=7,
            breaker=8,
        )
        fields = in_doc("ScalerSlot")
        shown = board.scaler_view()._asdict()
        assert {f: number(board, 256 + fields[f][0], fields[f][1]) for f in fields} == shown

        own = ("number", "at", "pool", "held", "inputs", "who", "why")
        given = {name: value for value, name in enumerate(b.Decision._fields) if name not in own}
        assert (
            board.record_decision(9, 1, **given, held="rate of starts", inputs=(1.5, -2.0), who="Zoë", why="a test")
            == 1
        )
        fields = in_doc("DecisionSlot")
        slot = number(board, header["decisions_at"][0], 8)
        recorded = {name: number(board, slot + fields[name][0], fields[name][1]) for name in given}
        assert recorded == given and number(board, header["decisions_written"][0], 8) == 1
        assert number(board, slot + fields["inputs_used"][0]) == 2
        assert unpack("2d", os.pread(board.fd, 16, slot + fields["inputs"][0])) == (1.5, -2.0)
        assert os.pread(board.fd, 15, slot + fields["held"][0]) == b"rate of starts\0"
        assert os.pread(board.fd, 5, slot + fields["who"][0]) == "Zoë".encode() + b"\0"
        assert os.pread(board.fd, 7, slot + fields["why"][0]) == b"a test\0"

        given = {"at": 3, "until": 4, "first": 5, "second": 6}
        assert board.set_override(1, b.OVERRIDE_RECYCLE, **given, who="Zoë", reason="a test") == 1
        fields = in_doc("OverrideSlot")
        slot = number(board, header["overrides_at"][0], 8) + (8 + b.OVERRIDE_RECYCLE) * 256
        recorded = {name: number(board, slot + fields[name][0], fields[name][1]) for name in given}
        assert recorded == given and number(board, header["commands"][0], 8) == 1
        assert [number(board, slot + fields[f][0], 8) for f in ("sequence", "number", "ended")] == [2, 1, 0]
        assert number(board, slot + fields["pool"][0]) == 1
        assert os.pread(board.fd, 7, slot + fields["reason"][0]) == b"a test\0"
        board.take_command(1, 1)

        place = board.allocate_instance(1, b"life" + bytes(12), 10, 5, 99)
        assert place is not None
        board.open_instance(*place, 6)
        assert board.record_life(place[0], 7, 8, True) == 1
        fields = in_doc("LifeSlot")
        slot = number(board, header["lives_at"][0], 8)
        names = ("number", "pool", "asked", "opened", "ended", "reason", "let_go")
        assert [number(board, slot + fields[f][0], fields[f][1]) for f in names] == [1, 1, 5, 6, 7, 8, 1]
        assert os.pread(board.fd, 4, slot + fields["id"][0]) == b"life"
        assert number(board, header["lives_written"][0], 8) == 1
        assert number(board, at("pools_at", 1, STRUCTS["PoolSlot"]) + in_doc("PoolSlot")["commands_taken"][0], 8) == 1
        worker.close()
    finally:
        board.close()
