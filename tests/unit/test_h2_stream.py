"""The table of h2/stream.pxd against the words of RFC 9113 section 5.1: every pair of state and input."""

import pytest

from lambda_dispatch_testing.h2_plain import stream_table

STATES = ["idle", "open", "half_local", "half_remote", "reset", "closed"]
INPUTS = [
    "recv_head",
    "recv_data",
    "recv_end",
    "recv_reset",
    "recv_window",
    "recv_priority",
    "send_head",
    "send_data",
    "send_end",
    "send_reset",
]
DROP, NOTHING, STREAM_CLOSED_STREAM, STREAM_CLOSED_ALL, PROTOCOL_ERROR_ALL = range(16, 21)


def expected(state: str, what: str) -> str | int:
    """The rules in words; a state's name is the state after."""
    direction, kind = what.split("_")
    if kind == "priority":
        return state
    if direction == "send":
        if state in ("reset", "closed"):
            return NOTHING
        if state == "idle":
            return "open" if kind == "head" else NOTHING
        if kind == "reset":
            return "closed" if state == "half_remote" else "reset"
        if state == "half_local":
            return NOTHING
        if kind == "end":
            return "closed" if state == "half_remote" else "half_local"
        return state
    message = kind in ("head", "data", "end")
    if state == "idle":
        return "open" if kind == "head" else PROTOCOL_ERROR_ALL
    if state == "reset":
        return DROP
    if state == "closed":
        return STREAM_CLOSED_ALL if message else DROP
    if kind == "reset":
        return "closed"
    if state == "half_remote" and message:
        return STREAM_CLOSED_STREAM
    if kind == "end":
        return "closed" if state == "half_local" else "half_remote"
    return state


@pytest.mark.parametrize("what", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_each_cell_says_what_the_rfc_says(state: str, what: str) -> None:
    cell = stream_table()[STATES.index(state)][INPUTS.index(what)]
    rule = expected(state, what)
    assert cell == (STATES.index(rule) if isinstance(rule, str) else rule)


def test_the_table_has_no_other_cells() -> None:
    table = stream_table()
    assert len(table) == len(STATES)
    assert {len(row) for row in table} == {len(INPUTS)}
