"""What a request pays at the board. The methods are timed through Python, so subtract the time of `a_call`."""

import os
import uuid
from array import array
from collections.abc import Iterator

import pytest

from lambda_dispatch_core.board.board import Board


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(8)
    made.start_worker(0, 0, 1)
    worker = Board.attach(os.dup(made.fd), worker=0)
    yield worker
    worker.close()
    made.close()


def fill(board: Board, count: int, busy: int) -> list[bytes]:
    """`count` open instances; all but one in a hundred have `busy` requests."""
    names = [uuid.uuid4().bytes for _ in range(count)]
    for at, name in enumerate(names):
        taken = board.allocate_instance(0, name, 10, 1, 2)
        assert taken is not None
        board.open_instance(*taken, 3)
        for _ in range(busy if at % 100 != 37 else busy - 1):
            assert board.reserve(*taken)
    return names


def test_a_call(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    benchmark(board.in_flight_at, 0)


@pytest.mark.parametrize("count", [10, 100, 1000, 4096])
def test_pick(benchmark, board, count) -> None:  # type: ignore[no-untyped-def]
    fill(board, count, 5)
    assert benchmark(board.pick_from, array("h", [0] * count).tobytes()) >= 0


def test_pick_when_all_of_1000_are_full(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    for slot in range(1000):
        taken = board.allocate_instance(0, uuid.uuid4().bytes, 1, 1, 2)
        board.open_instance(*taken, 3)
        board.reserve(slot, 1)
    assert benchmark(board.pick_from, array("h", [0] * 1000).tobytes()) == -1


def test_reserve_and_release(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    fill(board, 10, 1)

    def both(reserve=board.reserve, release=board.release) -> None:  # type: ignore[no-untyped-def]
        reserve(3, 1)
        release(3)

    benchmark(both)


def test_two_empty_calls(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    """The price of calling, to be taken off `reserve_and_release`: a reservation refused, nothing released."""

    def both(reserve=board.reserve, release=board.release) -> None:  # type: ignore[no-untyped-def]
        reserve(3, 1)
        release(3)

    benchmark(both)


def test_find_among_4096(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    names = fill(board, 4096, 1)
    assert benchmark(board.find_instance, names[2345]) == (2345, 1)


def test_find_what_is_not_there(benchmark, board) -> None:  # type: ignore[no-untyped-def]
    fill(board, 4096, 1)
    assert benchmark(board.find_instance, uuid.uuid4().bytes) is None
