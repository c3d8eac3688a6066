"""The board between real processes that are killed at random points."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from array import array
from collections.abc import Iterator

import pytest

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.board import Board

USABLE = array("h", [0] * 64).tobytes()
LIMIT = 3


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(8, instances=64, pools=16)
    yield made
    made.close()


class Workers:
    """Processes that run HAMMER on one worker slot each; what is left of them at the end is killed."""

    def __init__(self, board: Board, code: str) -> None:
        self.board = board
        self.code = code
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, slot: int, *arguments: str) -> subprocess.Popen[bytes]:
        self.board.start_worker(slot, 0, 1)
        child = subprocess.Popen(
            [sys.executable, "-c", self.code, str(self.board.fd), str(slot), *arguments],
            pass_fds=[self.board.fd],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.running[slot] = child
        return child

    def said(self, slot: int) -> bytes:
        out = self.running[slot].stdout
        assert out is not None
        return out.readline()

    def kill(self, slot: int) -> None:
        child = self.running.pop(slot)
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for slot in list(self.running):
            self.kill(slot)


HAMMER = """
import random, sys
from lambda_dispatch_core.board.board import Board
fd, slot = int(sys.argv[1]), int(sys.argv[2])
board = Board.attach(fd, worker=slot)
mask = bytes(2 * 4)
held = []
rng = random.Random(slot)
print("up", flush=True)
while True:
    for _ in range(200):
        if held and rng.random() < 0.5:
            board.release(held.pop())
        else:
            at = board.pick_from(mask)
            if at >= 0 and board.reserve(at, 1):
                held.append(at)
                board.park(at, 1)
                if rng.random() < 0.5:
                    board.unpark(at)
"""


def test_what_killed_workers_held_returns_exactly_and_no_limit_is_ever_passed(board: Board) -> None:
    taken = [board.allocate_instance(0, uuid.uuid4().bytes, LIMIT, 1, 2) for _ in range(4)]
    for it in taken:
        assert it is not None
        board.open_instance(*it, 1)
    rng = random.Random(5)
    slots = [0, 1, 2]
    pending: set[int] = set()
    with Workers(board, HAMMER) as workers:
        for slot in slots:
            workers.start(slot)
        for slot in slots:
            assert workers.said(slot) == b"up\n"
        for _ in range(25):
            until = time.monotonic() + rng.uniform(0.001, 0.03)
            while time.monotonic() < until:
                for at in range(4):
                    assert 0 <= board.in_flight_at(at) <= LIMIT
            victim = rng.choice(sorted(workers.running))
            workers.kill(victim)
            pending.add(victim)
            pending = {slot for slot in pending if not board.reclaim(slot)}
            for slot in set(slots) - set(workers.running) - pending:
                workers.start(slot)
                assert workers.said(slot) == b"up\n"
        for slot in list(workers.running):
            workers.kill(slot)
            pending.add(slot)
        for _ in range(3):
            pending = {slot for slot in pending if not board.reclaim(slot)}
    assert not pending
    assert [board.in_flight_at(at) for at in range(64)] == [0] * 64
    for it in taken:
        assert it is not None
        assert board.close_instance(*it, 1)
        assert board.free_instance(*it)


STOPPED = """
import os, signal, sys
from lambda_dispatch_core.board.board import Board
board = Board.attach(int(sys.argv[1]), worker=int(sys.argv[2]))
board.reserve(0, 1)
board.reserve(0, 1)
print("holds", flush=True)
signal.pause()
"""


def test_a_successor_of_the_slot_starts_with_nothing_held(board: Board) -> None:
    taken = board.allocate_instance(0, uuid.uuid4().bytes, LIMIT, 1, 2)
    assert taken is not None
    board.open_instance(*taken, 1)
    with Workers(board, STOPPED) as workers:
        workers.start(5)
        assert workers.said(5) == b"holds\n"
        assert board.in_flight_at(0) == board.reserved_at(5, 0) == 2
        workers.kill(5)
    assert board.reclaim(5)
    assert board.in_flight_at(0) == 0
    successor = Board.attach(os.dup(board.fd), worker=5)
    assert board.start_worker(5, 0, 1) == 2
    successor.release(0)
    assert board.in_flight_at(0) == 0
    successor.close()


CLAIM = """
import sys
from lambda_dispatch_core.board.board import Board
board = Board.attach(int(sys.argv[1]), worker=int(sys.argv[2]))
print("up", flush=True)
while not board.find_pool(b"go"):
    pass
got = [board.claim_pool(b"function-%d" % n, 1) for n in range(int(sys.argv[3]))]
print(got, flush=True)
"""


def test_processes_that_want_the_same_functions_at_once_end_with_one_pool_each(board: Board) -> None:
    with Workers(board, CLAIM) as workers:
        for slot in range(4):
            workers.start(slot, "15")
        for slot in range(4):
            assert workers.said(slot) == b"up\n"
        board.claim_pool(b"go", 1)
        answers = {workers.said(slot) for slot in range(4)}
    assert len(answers) == 1
    names = [pool.name for pool in board.list_pools()]
    assert sorted(names) == sorted([b"go", *(b"function-%d" % n for n in range(15))])


CLAIM_FOR_EVER = """
import sys
from lambda_dispatch_core.board.board import Board
board = Board.attach(int(sys.argv[1]), worker=int(sys.argv[2]))
print("up", flush=True)
while True:
    for n in range(12):
        board.claim_pool(b"function-%d" % n, 1)
"""


def test_no_pool_is_twice_or_nameless_after_claimants_were_killed_and_pools_freed(board: Board) -> None:
    rng = random.Random(9)
    with Workers(board, CLAIM_FOR_EVER) as workers:
        for slot in range(3):
            workers.start(slot)
        for slot in range(3):
            assert workers.said(slot) == b"up\n"
        freed = 0
        for round_ in range(60):
            until = time.monotonic() + rng.uniform(0.001, 0.02)
            while time.monotonic() < until:
                for pool in range(16):
                    board.retire_pool(pool, 1)
                freed += board.free_pools(range(16)) or 0
            names = [pool.name for pool in board.list_pools()]
            assert len(names) == len(set(names)) and all(name.startswith(b"function-") for name in names)
            if round_ % 6 == 5:
                victim = rng.randrange(3)
                workers.kill(victim)
                board.reclaim(victim)
                workers.start(victim)
                assert workers.said(victim) == b"up\n"
    for slot in range(3):
        board.reclaim(slot)
    assert freed > 50
    for pool in range(16):
        board.retire_pool(pool, 1)
    assert board.free_pools(range(16)) is not None
    assert board.list_pools() == []
    assert all(board.claim_pool(b"other-%d" % n, 1) for n in range(16))


def test_a_bell_wakes_another_process(board: Board) -> None:
    here, there = b.make_bell(), b.make_bell()
    code = (
        "import select, sys\n"
        "from lambda_dispatch_core.board import board\n"
        "here, there = int(sys.argv[1]), int(sys.argv[2])\n"
        "select.select([there], [], [])\n"
        "board.silence(there)\n"
        "board.ring(here)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(here), str(there)],
        pass_fds=[here, there],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert b.ring(there)
        os.set_blocking(here, True)
        assert os.eventfd_read(here) == 1
        assert child.wait() == 0
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.wait()
        os.close(here)
        os.close(there)
