"""The board's steps within one process; with real processes: tests/process/test_board_processes.py."""

import os
import uuid
from array import array
from collections.abc import Iterator

import pytest

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board, BoardError

SEC = 1_000_000_000
FREE = bytes(2)
NOT_USABLE = array("h", [b.NOT_USABLE]).tobytes()


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(4, instances=256, pools=8)
    yield made
    made.close()


@pytest.fixture
def first(board: Board) -> Iterator[Board]:
    attached = Board.attach(os.dup(board.fd), worker=0)
    board.start_worker(0, 0, 1)
    board.set_worker_state(0, b.WORKER_READY)
    yield attached
    attached.close()


@pytest.fixture
def second(board: Board) -> Iterator[Board]:
    attached = Board.attach(os.dup(board.fd), worker=1)
    board.start_worker(1, 1, 1)
    board.set_worker_state(1, b.WORKER_READY)
    yield attached
    attached.close()


def instance(board: Board, limit: int = 10, pool: int = 0, opened: bool = True) -> tuple[int, int]:
    taken = board.allocate_instance(pool, uuid.uuid4().bytes, limit, 5, 900 * SEC)
    assert taken is not None
    if opened:
        assert board.open_instance(*taken, 7)
    return taken


def usable(*slots: int, of: int = 256) -> bytes:
    return b"".join(FREE if slot in slots else NOT_USABLE for slot in range(of))


# -- making and attaching ----------------------------------------------------------------------------------------------


def test_attach_sees_the_board_that_was_created(board: Board) -> None:
    other = Board.attach(os.dup(board.fd))
    assert (other.workers, other.instances, other.pools) == (4, 256, 8)
    assert other.supervisor_pid == os.getpid()
    other.close()


def test_attach_refuses_what_is_no_board() -> None:
    fd = os.memfd_create("something-else")
    try:
        with pytest.raises(BoardError, match="is no board: 0 bytes"):
            Board.attach(fd)
        os.ftruncate(fd, 1 << 20)
        with pytest.raises(BoardError, match="is no board"):
            Board.attach(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("offset", "message"),
    [(8, "version"), (12, "version"), (16, "layout"), (36, "layout"), (64, "layout"), (24, "range")],
)
def test_attach_refuses_a_board_with_another_header(board: Board, offset: int, message: str) -> None:
    os.pwrite(board.fd, b"\xff\xff", offset)
    with pytest.raises(BoardError, match=message):
        Board.attach(board.fd)


def test_attach_refuses_a_worker_slot_the_board_does_not_have(board: Board) -> None:
    with pytest.raises(BoardError, match="no worker slot 4: the board has 4"):
        Board.attach(board.fd, worker=4)


@pytest.mark.parametrize("sizes", [(0, 256, 8), (129, 256, 8), (1, 100, 8), (1, 8192, 8), (1, 256, 0), (1, 256, 65)])
def test_sizes_out_of_range_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(BoardError):
        Board.create(*sizes)


def test_the_memory_cannot_be_shrunk_under_the_others(board: Board) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(board.fd, 4096)


def test_a_read_only_mapping_reads(board: Board) -> None:
    reader = os.open(f"/proc/self/fd/{board.fd}", os.O_RDONLY)
    taken = instance(board)
    other = Board.attach(reader, readonly=True)
    assert [it.slot for it in other.list_instances()] == [taken[0]]
    other.close()


# -- the life of an instance -------------------------------------------------------------------------------------------


def test_an_instance_is_found_by_its_id_until_it_is_closed(board: Board) -> None:
    name = uuid.uuid4().bytes
    taken = board.allocate_instance(0, name, 10, 1, 2)
    assert taken is not None
    assert board.find_instance(name) == taken
    board.open_instance(*taken, 3)
    board.begin_drain(*taken, 4)
    assert board.find_instance(name) == taken
    board.close_instance(*taken, 5)
    assert board.find_instance(name) is None
    assert board.find_instance(uuid.uuid4().bytes) is None
    assert board.find_instance(b"short") is None


def test_the_state_moves_forward_and_each_step_is_taken_once(board: Board) -> None:
    slot, generation = instance(board, opened=False)
    assert board.open_instance(slot, generation, 7)
    assert not board.open_instance(slot, generation, 8)
    assert board.instance(slot).opened == 7
    assert not board.free_instance(slot, generation)
    assert board.begin_drain(slot, generation, 99)
    assert not board.begin_drain(slot, generation, 100)
    assert board.instance(slot).goaway_at == 99
    assert not board.open_instance(slot, generation, 9)
    assert board.close_instance(slot, generation, 9)
    assert not board.close_instance(slot, generation, 9)
    assert not board.begin_drain(slot, generation, 100)
    assert board.free_instance(slot, generation)
    assert not board.free_instance(slot, generation)
    assert board.state(slot, generation) == b.INSTANCE_FREE


def test_a_step_meant_for_a_slots_last_tenant_does_not_touch_the_next(board: Board, first: Board) -> None:
    slot, old = instance(board)
    board.close_instance(slot, old, 1)
    board.free_instance(slot, old)
    again, new = instance(board, opened=False)
    assert again == slot and new == old + 1
    assert not board.open_instance(slot, old, 1)
    assert not board.begin_drain(slot, old, 1)
    assert not board.close_instance(slot, old, 1)
    assert not board.request_close(slot, old)
    assert not first.park(slot, old)
    assert first.idle_at(0, slot) == 0
    board.open_instance(slot, new, 1)
    assert not first.reserve(slot, old)
    first.release(slot)
    assert board.in_flight_at(slot) == 0


def test_a_slot_is_not_freed_while_a_worker_holds_something_of_it(board: Board, first: Board) -> None:
    slot, generation = instance(board)
    assert first.park(slot, generation)
    assert first.reserve(slot, generation)
    board.close_instance(slot, generation, 1)
    assert not board.free_instance(slot, generation)
    first.release(slot)
    assert not board.free_instance(slot, generation)
    first.unpark(slot)
    assert board.free_instance(slot, generation)


def test_all_slots_taken_is_none_and_a_freed_one_is_taken_again(board: Board) -> None:
    taken = [instance(board) for _ in range(256)]
    assert board.allocate_instance(0, uuid.uuid4().bytes, 1, 1, 1) is None
    board.close_instance(*taken[77], 1)
    board.free_instance(*taken[77])
    assert instance(board)[0] == 77


def test_the_index_survives_thousands_of_instances_coming_and_going(board: Board) -> None:
    live: dict[bytes, tuple[int, int]] = {}
    for round_ in range(5000):
        name = uuid.uuid5(uuid.NAMESPACE_OID, str(round_)).bytes
        taken = board.allocate_instance(0, name, 1, 1, 1)
        assert taken is not None
        live[name] = taken
        if len(live) > 200:
            gone = next(iter(live))
            board.close_instance(*live[gone], 1)
            board.free_instance(*live.pop(gone))
            assert board.find_instance(gone) is None
    assert all(board.find_instance(name) == taken for name, taken in live.items())


def test_closing_is_asked_for_once(board: Board) -> None:
    slot, generation = instance(board)
    assert not board.instance(slot).close_requested
    assert board.request_close(slot, generation)
    assert not board.request_close(slot, generation)
    assert board.instance(slot).close_requested


@pytest.mark.parametrize("name", [b"", bytes(15), bytes(17)])
def test_an_id_that_is_not_16_bytes_is_refused(board: Board, name: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        board.allocate_instance(0, name, 1, 1, 1)


# -- picking and reserving ---------------------------------------------------------------------------------------------


def test_pick_takes_the_least_in_flight_among_usable_ones(board: Board, first: Board) -> None:
    slots = [instance(board) for _ in range(5)]
    for at, (slot, generation) in enumerate(slots):
        for _ in range(5 - at):
            assert first.reserve(slot, generation)
    assert first.pick_from(usable(0, 1, 2, 3, 4)) == 4
    assert first.pick_from(usable(0, 1, 2)) == 2
    assert first.pick_from(usable()) == -1


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 200, 256])
def test_pick_looks_at_every_slot_of_any_count(board: Board, first: Board, count: int) -> None:
    for _ in range(256):
        instance(board)
    for slot in range(0, count, 7):
        assert first.pick_from(usable(slot)[: 2 * count]) == slot
    if count < 256:
        assert first.pick_from(usable(count)[: 2 * count]) == -1


def test_equals_are_taken_in_turn(board: Board, first: Board) -> None:
    for _ in range(130):
        instance(board)
    mask = usable(3, 64, 65, 129)
    assert [first.pick_from(mask) for _ in range(8)] == [3, 64, 65, 129, 3, 64, 65, 129]


def test_the_hint_wins_among_equals_only(board: Board, first: Board) -> None:
    slots = [instance(board) for _ in range(4)]
    mask = usable(0, 1, 2, 3)
    assert [first.pick_from(mask, 2) for _ in range(3)] == [2, 2, 2]
    first.reserve(*slots[2])
    assert first.pick_from(mask, 2) != 2
    assert first.pick_from(usable(0, 1), 3) in (0, 1)


def test_packing_takes_the_fullest_below_and_above_it_the_least_busy(board: Board, first: Board) -> None:
    slots = [instance(board) for _ in range(4)]
    for at, busy in enumerate((0, 3, 5, 6)):
        for _ in range(busy):
            assert first.reserve(*slots[at])
    mask = usable(0, 1, 2, 3)
    assert [first.pick_from(mask, packs=packs) for packs in (0, 1, 3, 4, 5, 6, 7)] == [0, 0, 0, 1, 1, 2, 3]
    assert first.pick_from(usable(2, 3), packs=5) == 2
    assert first.pick_from(usable(0, 3), 3, packs=6) == 0


def test_packing_fills_in_turn_as_many_as_are_needed(board: Board, first: Board) -> None:
    slots = [instance(board, limit=10) for _ in range(70)]
    mask = usable(*(slot for slot, _ in slots))
    for _ in range(24):
        assert first.reserve(*slots[first.pick_from(mask, packs=8)])
    assert sorted(board.in_flight_at(slot) for slot, _ in slots)[-4:] == [0, 8, 8, 8]


def test_a_full_instance_is_left_out_even_with_the_least_in_flight(board: Board, first: Board) -> None:
    small, _ = instance(board, limit=1)
    large, generation = instance(board, limit=10)
    first.reserve(small, 1)
    first.reserve(large, generation)
    first.reserve(large, generation)
    assert first.pick_from(usable(small, large)) == large
    assert first.pick_from(usable(small)) == -1


def test_a_reservation_stops_at_the_limit_over_all_workers(board: Board, first: Board, second: Board) -> None:
    taken = instance(board, limit=3)
    assert first.reserve(*taken) and second.reserve(*taken) and first.reserve(*taken)
    assert not second.reserve(*taken)
    assert board.in_flight_at(taken[0]) == 3
    second.release(taken[0])
    assert second.reserve(*taken)


def test_releasing_what_is_not_held_changes_nothing(board: Board, first: Board, second: Board) -> None:
    taken = instance(board)
    first.reserve(*taken)
    second.release(taken[0])
    assert board.in_flight_at(taken[0]) == 1
    first.release(taken[0])
    first.release(taken[0])
    assert board.in_flight_at(taken[0]) == 0


def test_only_an_open_instance_takes_requests(board: Board, first: Board) -> None:
    slot, generation = instance(board, opened=False)
    assert not first.reserve(slot, generation)
    board.open_instance(slot, generation, 1)
    assert first.reserve(slot, generation)
    board.begin_drain(slot, generation, 50)
    assert not first.reserve(slot, generation)
    assert first.reserve_last_resort(slot, generation, 49)
    assert not first.reserve_last_resort(slot, generation, 50)
    board.close_instance(slot, generation, 1)
    assert not first.reserve_last_resort(slot, generation, 1)
    assert board.in_flight_at(slot) == first.reserved_at(0, slot) == 2


# -- siblings ----------------------------------------------------------------------------------------------------------


def test_a_sibling_with_a_free_channel_of_the_pool_is_found(board: Board, first: Board, second: Board) -> None:
    here, there = instance(board, pool=1, limit=1), instance(board, pool=1, limit=1)
    assert first.sibling_with_slot(1, 0) == -1
    second.park(*here)
    second.park(*there)
    assert first.sibling_with_slot(1, 0) == 1
    assert first.sibling_with_slot(0, 0) == -1
    assert second.sibling_with_slot(1, 0) == -1
    assert first.holder(here[0]) == 1
    second.reserve(*here)
    second.reserve(*there)
    assert first.sibling_with_slot(1, 0) == -1


def test_a_sibling_lends_a_draining_instance_as_a_last_resort_until_its_go_away(
    board: Board, first: Board, second: Board
) -> None:
    here, there = instance(board, limit=1), instance(board, limit=1)
    second.park(*here)
    board.begin_drain(*here, 100)
    assert first.sibling_with_slot(0, 99) == 1
    assert first.sibling_with_slot(0, 100) == -1
    second.park(*there)
    assert first.sibling_with_slot(0, 100) == 1
    second.reserve_last_resort(*here, 99)
    second.reserve(*there)
    assert first.sibling_with_slot(0, 99) == -1


def test_a_sibling_that_is_gone_holds_nothing(board: Board, first: Board, second: Board) -> None:
    taken = instance(board)
    second.park(*taken)
    board.set_worker_state(1, b.WORKER_GONE)
    assert first.holder(taken[0]) == -1


# -- pools -------------------------------------------------------------------------------------------------------------


def test_a_name_is_one_pool_whoever_claims_it(board: Board, first: Board, second: Board) -> None:
    one = first.claim_pool(b"shop:live", 5)
    assert second.claim_pool(b"shop:live", 6) == one
    assert second.claim_pool(b"shop", 6) != one
    assert one is not None
    assert board.pool_name(one[0]) == b"shop:live"
    assert board.find_pool(b"shop:live") == one
    assert board.find_pool(b"other") is None


def test_a_full_table_gives_no_pool(first: Board) -> None:
    for number in range(8):
        assert first.claim_pool(b"f%d" % number, 1) is not None
    assert first.claim_pool(b"one-more", 1) is None
    assert first.claim_pool(b"f3", 1) is not None


@pytest.mark.parametrize("name", [b"", b"x" * 257])
def test_a_name_that_does_not_fit_is_refused(first: Board, name: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 256 bytes"):
        first.claim_pool(name, 1)


def test_a_retired_pool_is_revived_by_its_name_and_freed_for_another(board: Board, first: Board) -> None:
    pool, generation = first.claim_pool(b"x" * 256, 1) or (-1, -1)
    assert board.retire_pool(pool, 2) and not board.retire_pool(pool, 2)
    assert board.find_pool(b"x" * 256) is None
    assert first.claim_pool(b"x" * 256, 3) == (pool, generation)
    assert board.free_pools([pool]) == 0
    board.retire_pool(pool, 4)
    assert board.free_pools([pool]) == 1
    assert board.pool_name(pool) == b""
    assert first.claim_pool(b"y", 5) == (pool, generation + 1)
    assert board.pool_name(pool) == b"y"


def test_no_pool_is_freed_while_a_worker_claims_one(board: Board, first: Board) -> None:
    pool, _ = first.claim_pool(b"f", 1) or (-1, -1)
    board.retire_pool(pool, 2)
    claiming = offset_of_worker(board, 1) + 40
    os.pwrite(board.fd, b"\1", claiming)
    assert board.free_pools([pool]) is None
    os.pwrite(board.fd, b"\0", claiming)
    assert board.free_pools([pool]) == 1


def offset_of_worker(board: Board, worker: int) -> int:
    size = int.from_bytes(os.pread(board.fd, 4, 36), "little")
    return int.from_bytes(os.pread(board.fd, 8, 64), "little") + size * worker


def test_a_scaler_killed_while_it_freed_pools_blocks_nobody_after_adoption(board: Board, first: Board) -> None:
    os.pwrite(board.fd, b"\1", 192)
    assert first.claim_pool(b"f", 1) is None
    board.adopt()
    assert first.claim_pool(b"f", 1) is not None


# -- worker slots ------------------------------------------------------------------------------------------------------


def test_a_dead_workers_reservations_return_once(board: Board, first: Board, second: Board) -> None:
    taken = instance(board)
    for worker in (first, first, second):
        worker.reserve(*taken)
    first.park(*taken)
    assert board.reclaim(0) and board.reclaim(0)
    assert board.in_flight_at(taken[0]) == 1
    assert board.idle_at(0, taken[0]) == board.reserved_at(0, taken[0]) == 0
    assert board.worker_state(0) == b.WORKER_FREE
    assert board.start_worker(0, 0, 1) == 2


def test_a_dead_workers_gauges_are_zero_and_its_counters_stay(board: Board, first: Board) -> None:
    for place in range(len(b.COUNTERS) + len(b.GAUGES)):
        os.pwrite(board.fd, (7).to_bytes(8, "little"), offset_of_worker(board, 0) + 64 + 8 * place)
    assert board.reclaim(0)
    numbers = board.worker_numbers(0)
    assert numbers == dict.fromkeys(b.COUNTERS, 7) | dict.fromkeys(b.GAUGES, 0)


@pytest.mark.parametrize("difference", [1, -1, 0])
def test_a_worker_killed_between_its_two_counters_is_settled(
    board: Board, first: Board, second: Board, difference: int
) -> None:
    """`intent` names the slot; what in_flight and the sum of the reservations differ by is the dead worker's."""
    slot, generation = instance(board)
    for worker in (first, first, second):
        worker.reserve(slot, generation)
    header = os.pread(board.fd, 128, 0)
    in_flight = int.from_bytes(header[88:96], "little") + 2 * slot
    os.pwrite(board.fd, (3 + difference).to_bytes(2, "little"), in_flight)
    os.pwrite(board.fd, (slot + 1).to_bytes(2, "little"), offset_of_worker(board, 0) + 32)
    assert board.reclaim(0)
    assert board.in_flight_at(slot) == 1


def test_a_slot_that_another_worker_is_changing_is_settled_later(board: Board, first: Board, second: Board) -> None:
    slot, generation = instance(board)
    first.reserve(slot, generation)
    for worker in (0, 1):
        os.pwrite(board.fd, (slot + 1).to_bytes(2, "little"), offset_of_worker(board, worker) + 32)
    assert not board.reclaim(0)
    assert board.worker_state(0) == b.WORKER_GONE
    with pytest.raises(BoardError, match="worker slot 0 is gone, not free"):
        board.start_worker(0, 0, 1)
    board.set_worker_state(1, b.WORKER_GONE)
    assert board.reclaim(0) and board.reclaim(1)
    assert board.in_flight_at(slot) == 0


# -- histograms --------------------------------------------------------------------------------------------------------


def test_every_bucket_holds_what_lies_between_its_bounds() -> None:
    bounds = b.bucket_bounds()
    assert len(bounds) == b.BUCKETS == 106 and bounds[-1] is None
    assert bounds[0] == 2**-16 and bounds[-2] == 2**10
    for bucket, bound in enumerate(bounds[:-1]):
        # In whole numbers: bound = 2^(bucket / 4 - 16) s; 10^9 * bound, to the fourth, is a fraction of two integers.
        assert bound is not None
        last = int(bound * 1e9)
        while (last + 1) ** 4 * 2**64 <= 10**36 * 2**bucket:
            last += 1
        while last**4 * 2**64 > 10**36 * 2**bucket:
            last -= 1
        assert b.bucket_of(last) == bucket, bound
        assert b.bucket_of(last + 1) == bucket + 1, bound
    assert b.bucket_of(0) == b.bucket_of(-5) == 0
    assert b.bucket_of(1 << 62) == 105


def test_an_instance_that_opens_is_a_cold_start_of_its_pool_and_counted_once() -> None:
    board = Board.create(2, instances=64, pools=4)
    try:
        board.start_worker(1, 0, 1)
        pool, _ = board.claim_pool(b"web", 1) or (-1, -1)
        place = board.allocate_instance(pool, uuid.uuid4().bytes, 10, 1_000, 10**12)
        assert place is not None
        slot, generation = place
        worker = Board.attach(os.dup(board.fd), worker=1)
        assert worker.open_instance(slot, generation, 2_000_001_000)
        assert not worker.open_instance(slot, generation, 3_000_000_000)
        worker.close()
        cold = board.numbers(pool).cold_start
        assert cold.sum_ns == 2_000_000_000 and sum(cold.counts) == 1 and cold.counts[b.bucket_of(2 * 10**9)] == 1
        assert board.retire_pool(pool, 1) and board.free_pools([pool]) == 1
        assert board.numbers(pool).cold_start.sum_ns == 0
    finally:
        board.close()


# -- bells -------------------------------------------------------------------------------------------------------------


def test_a_bell_rings_however_often_it_was_rung_and_is_silent_after_one_look() -> None:
    bell = b.make_bell()
    try:
        assert b.ring(bell) and b.ring(bell)
        b.silence(bell)
        b.silence(bell)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bell)
        os.eventfd_write(bell, 2**64 - 2)
        assert b.ring(bell)
    finally:
        os.close(bell)
    assert not b.ring(bell)


# -- the invoke's secret -----------------------------------------------------------------------------------------------


def test_a_secret_belongs_to_one_generation_of_a_slot(board: Board, first: Board) -> None:
    slot, generation = instance(board)
    assert first.secret(slot) == bytes(16)
    secret = os.urandom(16)
    board.set_secret(slot, secret)
    assert first.secret(slot) == secret
    assert board.close_instance(slot, generation, 9) and board.free_instance(slot, generation)
    assert instance(board) == (slot, generation + 1)
    assert first.secret(slot) == bytes(16)


def test_a_secret_of_another_length_or_slot_is_refused(board: Board) -> None:
    slot, _ = instance(board)
    with pytest.raises(ValueError, match="16 bytes, not 15"):
        board.set_secret(slot, bytes(15))
    with pytest.raises(IndexError, match="no instance slot 256"):
        board.set_secret(256, bytes(16))
    with pytest.raises(IndexError, match="no instance slot -1"):
        board.secret(-1)


def decide(board: Board, number: int) -> int:
    names = [
        name for name in b.Decision._fields if name not in ("number", "at", "pool", "held", "inputs", "who", "why")
    ]
    inputs = tuple(float(number + place) for place in range(b.DECISION_INPUTS + 3))
    return board.record_decision(number, 0, **dict.fromkeys(names, number), held="x" * 99, inputs=inputs)


def test_the_ring_keeps_the_last_decisions_in_order(board: Board) -> None:
    assert board.list_decisions() == [] and board.decided == 0
    for number in range(1, b.DECISIONS + 11):
        assert decide(board, number) == number
    kept = board.list_decisions()
    assert [it.number for it in kept] == list(range(11, b.DECISIONS + 11))
    assert all(it.desired == it.number for it in kept)
    assert kept[0].held == "x" * b.DECISION_TEXT, "longer texts are cut"
    assert kept[0].inputs == tuple(float(11 + place) for place in range(b.DECISION_INPUTS)), "and so are inputs"
    assert [it.number for it in board.list_decisions(b.DECISIONS + 8)] == [b.DECISIONS + 9, b.DECISIONS + 10]
    assert board.list_decisions(1 << 60) == []


def test_the_ring_of_lives_keeps_the_last_that_ended(board: Board, first: Board) -> None:
    assert board.list_lives() == [] and board.lived == 0
    slot, generation = instance(board)
    opened = board.instance(slot).opened
    assert first.reserve(slot, generation)
    board.count_busy(100)
    board.count_busy(50)
    assert board.instance(slot).busy_ns == 150
    first.release(slot)
    board.count_busy(1000)
    assert board.close_instance(slot, generation, 30)
    assert board.record_life(slot, 30, 4, True) == 1
    (life,) = first.list_lives()
    seen = board.instance(slot)
    assert life == b.Life(1, seen.id[:4], 0, seen.created, opened, 30, seen.requests, 150, 4, True)
    assert board.free_instance(slot, generation)
    again = instance(board)
    assert again == (slot, generation + 1)
    assert board.instance(slot).busy_ns == 0, "a new life begins at nothing"
    for number in range(2, b.LIVES + 4):
        assert board.record_life(slot, number, 0, False) == number
    kept = board.list_lives()
    assert [it.number for it in kept] == list(range(4, b.LIVES + 4))
    assert [it.number for it in board.list_lives(b.LIVES + 2)] == [b.LIVES + 3]
    assert board.list_lives(1 << 60) == [] and board.lived == b.LIVES + 3
