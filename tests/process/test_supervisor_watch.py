"""Replacing who dies, hangs or is to be renewed: the supervisor with stand-ins."""

import os
import random
import signal
import socket
import threading
import time
from pathlib import Path

from lambda_dispatch.boot import Boot
from lambda_dispatch_core.board import board as b
from tests.support.supervised import Client, Router, until


def others(router: Router, old: set[int], count: int) -> dict[int, int]:
    """Ready workers, once there are `count` and none of them is old."""

    def look() -> dict[int, int]:
        pids = router.pids()
        return pids if len(pids) == count and not old & set(pids.values()) else {}

    found: dict[int, int] = until(look, "new workers")
    return found


def test_a_killed_worker_is_replaced_and_who_waited_in_its_accept_queue_is_served() -> None:
    with Router(workers=1) as router:
        old = router.pids()[0]
        os.kill(old, signal.SIGSTOP)
        with router.client() as waiting:
            waiting.say("pid")
            os.kill(old, signal.SIGKILL)
            assert int(waiting.hear()) == others(router, {old}, 1)[0]
        assert 'died process="worker 0"' in router.log() and "by=SIGKILL" in router.log()


def test_the_others_go_on_while_one_is_replaced() -> None:
    with Router(workers=2) as router:
        before = router.pids()
        os.kill(before[1], signal.SIGKILL)
        after = others(router, {before[1]}, 2)
        assert after[0] == before[0]
        with router.client() as client:
            assert int(client.ask("pid")) in after.values()


def test_a_killed_workers_slot_gets_the_next_generation() -> None:
    with Router(workers=1) as router:
        os.kill(router.pids()[0], signal.SIGKILL)
        others(router, set(), 1)
        until(lambda: generation(router) == 2, "the second generation")


def generation(router: Router) -> int:
    board = router.board()
    try:
        return board.list_workers()[0].generation
    finally:
        board.close()


def test_a_killed_scaler_is_replaced() -> None:
    with Router(workers=1) as router:
        old = until(router.scaler, "the scaler")
        os.kill(old, signal.SIGKILL)
        until(lambda: router.scaler() not in (0, old), "another scaler")


def test_a_hanging_worker_is_aborted_then_killed_then_replaced() -> None:
    with Router(workers=1, hang_timeout=1.0) as router, router.client() as client:
        old = router.pids()[0]
        client.say("hang")
        others(router, {old}, 1)
        log = router.log()
        assert log.index("process unresponsive") < log.index("process killed") < log.index("by=SIGKILL")


def test_a_worker_that_dies_again_and_again_is_waited_with_but_never_given_up() -> None:
    with Router(workers=1) as router:
        for _ in range(6):
            pid = until(lambda: next(iter(router.pids().values()), None), "a worker")
            os.kill(pid, signal.SIGKILL)
            others(router, {pid}, 1)
        assert "giving up" not in router.log()
        assert router.process.poll() is None


def test_sighup_replaces_every_worker_and_drops_neither_connections_nor_the_ports() -> None:
    with Router(workers=2) as router, router.client() as kept:
        old = set(router.pids().values())
        served_by = int(kept.ask("pid"))
        kept.say("echo")
        router.signal(signal.SIGUSR1)
        until(lambda: b.WORKER_DRAINING in states(router), "a worker to drain")
        assert kept.ask("not lost") == "not lost"
        assert int(kept.ask("pid")) == served_by
        kept.close()
        new = others(router, old, 2)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in old), "the old ones to go")
        with router.client() as client:
            assert int(client.ask("pid")) in new.values()
        assert "died" not in router.log()


def states(router: Router) -> set[int]:
    board = router.board()
    try:
        return {worker.state for worker in board.list_workers()}
    finally:
        board.close()


def test_no_connection_is_refused_or_cut_during_rolling_restarts() -> None:
    with Router(workers=2) as router:
        failures: list[str] = []
        served = 0
        stop = threading.Event()

        def clients() -> None:
            nonlocal served
            while not stop.is_set():
                try:
                    with Client(router.ports["http"]) as client:
                        if not client.ask("pid"):
                            failures.append("cut")
                    served += 1
                except OSError as error:
                    failures.append(repr(error))

        thread = threading.Thread(target=clients)
        thread.start()
        try:
            for _ in range(3):
                old = set(router.pids().values())
                router.signal(signal.SIGUSR1)
                others(router, old, 2)
        finally:
            stop.set()
            thread.join()
        assert failures == [] and served > 10


def test_a_rolling_restart_whose_successor_does_not_start_keeps_the_old_workers() -> None:
    with Router(workers=2) as router:
        old = router.pids()
        router.boot_file.write_text("worker 78")
        router.signal(signal.SIGUSR1)
        until(lambda: "rolling restart abandoned" in router.log(), "the attempt to end")
        assert router.pids() == old
        router.boot_file.write_text("")
        router.signal(signal.SIGUSR1)
        others(router, set(old.values()), 2)


def test_sigterm_during_a_rolling_restart_ends_old_and_new() -> None:
    with Router(workers=1) as router:
        router.boot_file.write_text("worker stall")
        router.signal(signal.SIGUSR1)
        until(lambda: b.WORKER_BOOTING in states(router), "a successor")
        router.signal(signal.SIGTERM)
        assert router.wait() == 0


def test_workers_killed_at_random_leave_a_board_without_debts() -> None:
    rng = random.Random(3)
    with Router(workers=2) as router:
        for _ in range(8):
            pids = until(router.pids, "a worker")
            os.kill(rng.choice(sorted(pids.values())), signal.SIGKILL)
            time.sleep(rng.uniform(0, 0.05))
        until(lambda: len(router.pids()) == 2, "both workers")
        board = router.board()
        try:
            assert {worker.state for worker in board.list_workers()} == {b.WORKER_FREE, b.WORKER_READY}
            assert not any(board.in_flight_at(slot) for slot in range(board.instances))
        finally:
            board.close()


def test_a_sibling_that_calls_where_no_worker_is_is_turned_away() -> None:
    with Router(workers=1) as router:
        with router.client() as client:
            boot = Boot.from_json(client.ask("boot"))
        empty = next(slot for slot in range(2) if slot not in router.pids())
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(20)
            caller.connect(boot.peer_addresses[empty])
            assert caller.recv(1) == b""
