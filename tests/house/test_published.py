"""Every number that is published has a writer, and a description."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lambda_dispatch.telemetry import emf, metrics
from lambda_dispatch.telemetry.view import BREAKER_STATES, take
from lambda_dispatch_core.board.board import COUNTERS, GAUGES, Board

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = ROOT / "cython_ext/lambda_dispatch_core/board/layout.pxd"
STRUCTS = ("ScalerSlot", "WorkerSlot", "WorkerPool", "PoolSlot", "InstanceSlot")


def product(*ends: str) -> str:
    """The text of everything that ships."""
    paths = [path for root in ("src", "cython_ext") for path in (ROOT / root).rglob("*") if path.suffix in ends]
    return "\n".join(path.read_text() for path in paths if path != LAYOUT)


WRITERS = product(".pyx")


def fields(struct: str) -> list[str]:
    body = re.search(rf"^cdef struct {struct}:.*?\n((?:    .*\n)+)", LAYOUT.read_text(), re.M)
    assert body is not None
    names = re.findall(r"^    \w+_t (\w+)", body[1], re.M)
    return [name for name in names if not name.startswith(("pad", "spare"))]


def has_writer(name: str, text: str) -> bool:
    """An assignment of something other than 0, or an atomic step."""
    assigned = rf"\.{name}(?:\[[^\]\n]*(?:\([^)\n]*\))?[^\]\n]*\])? *(?:[-+|]?=)(?!=)(?! *0\b)"
    step = rf"\b(?:put|add|swap|or)u?\w*\(&[^,\n]*\.{name}\b"
    copied = rf"\bmemcpy\([^,\n]*\.{name}\b"
    return re.search(f"{assigned}|{step}|{copied}", text) is not None


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_field_of_the_board_has_a_writer(struct: str) -> None:
    assert [name for name in fields(struct) if not has_writer(name, WRITERS)] == []


def test_reading_and_resetting_are_no_writers() -> None:
    assert not has_writer("resends", "x = it.resends\nif it.resends == 3:\nit.resends = 0\n")
    assert has_writer("resends", "me.resends += 1") and has_writer("wait", "me.wait[bucket(now - then)] += 1")


# What requests_total, requests_rejected_total, requests_retried_total and idle_channels say by function.
BY_FUNCTION = {
    "requests",
    "bad_requests",
    "heads_too_large",
    "bad_gateways",
    "rejected",
    "queue_timeouts",
    "clients_gone",
    "resends",
    "idle_channels",
    *(f"status_{digit}xx" for digit in "2345"),
}


class Looked(dict[str, int]):
    """Knows which of its names were looked up."""

    def __init__(self, given: Mapping[str, int]) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> int:
        self.names.add(name)
        return super().__getitem__(name)


def test_every_counter_and_gauge_is_a_metric() -> None:
    board = Board.create(1)
    try:
        view = take(board, 1, 1)
    finally:
        board.close()
    totals = Looked(view.totals)
    for family in metrics.FAMILIES:
        list(family.samples(replace(view, totals=totals)))
    assert totals.names and {*COUNTERS, *GAUGES} - totals.names <= BY_FUNCTION
    assert set(emf.COUNTS) <= set(COUNTERS)


def test_a_breaker_state_is_spelt_one_way() -> None:
    from lambda_dispatch.scaler.guard import Breaker

    assert set(BREAKER_STATES) == {state.value for state in Breaker}
    assert "half open" not in product(".py", ".pyx", ".pxd") + LAYOUT.read_text()
