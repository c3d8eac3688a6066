"""Starting, ready, ending: the supervisor with stand-ins for its workers and its scaler."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from lambda_dispatch.exits import EX_CONFIG, EXIT_BOOT
from lambda_dispatch_core.board import board as b
from tests.support.supervised import Router, descendants, until


def test_the_ready_line_names_every_port_and_they_serve() -> None:
    with Router(workers=2) as router:
        assert set(router.ports) == {"http", "control_http", "pid"}
        assert router.ports["pid"] == router.process.pid
        with router.client() as client:
            assert int(client.ask("pid")) in router.pids().values()
        assert len(router.pids()) == 2
        socket.create_connection(("127.0.0.1", router.ports["control_http"]), 5).close()
        assert "router ready" in router.log()


def test_a_worker_is_handed_what_the_boot_record_promises() -> None:
    with Router(workers=2) as router:
        with router.client() as client:
            boot = json.loads(client.ask("boot"))
        assert boot["parent_pid"] == router.process.pid
        assert boot["workers"] == 2 and len(boot["bells"]) == len(boot["peer_addresses"]) == 4
        assert boot["ports"]["http"] == router.ports["http"] and boot["ports"]["https"] == 0
        assert boot["front_tls_fds"] == boot["control_tls_fds"] == []
        pid = router.pids()[boot["index"]]
        fds = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
        assert {boot["board_fd"], boot["bell_fd"], boot["peer_fd"], boot["life_fd"], *boot["bells"]} <= fds
        address = boot["peer_addresses"][boot["index"]]
        assert Path(address).parent == router.runtime and router.runtime.stat().st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(address)


def test_the_configured_function_is_pool_0_with_its_limits() -> None:
    with Router(workers=1, function_qualifier="live", max_concurrent_count=7, min_instances=2) as router:
        board = router.board()
        pool = board.pool(0)
        board.close()
        assert pool.name == b"fake:live"
        assert (pool.limit, pool.channels, pool.min_instances, pool.max_instances) == (7, 20, 2, 1000)


def test_sigterm_lets_what_is_in_hand_finish_then_the_scaler_goes_and_the_exit_is_0() -> None:
    with Router(workers=2) as router, router.client() as client:
        client.ask("pid")
        client.say("echo")
        scaler = router.scaler()
        router.signal(signal.SIGTERM)
        until(lambda: b.WORKER_DRAINING in {w.state for w in list_workers(router)}, "a worker to drain")
        assert Path(f"/proc/{scaler}").exists()
        assert client.ask("still here") == "still here"
        client.close()
        assert router.wait() == 0
        assert not Path(f"/proc/{scaler}").exists()
        assert list(router.runtime.iterdir()) == []
        log = router.log()
        assert log.index("ended process=scaler") > log.rindex('ended process="worker')


def list_workers(router: Router) -> list[b.Worker]:
    board = router.board()
    try:
        return board.list_workers()
    finally:
        board.close()


def test_sigint_is_the_same() -> None:
    with Router(workers=1) as router:
        router.signal(signal.SIGINT)
        assert router.wait() == 0


def test_a_second_sigterm_hurries_the_workers() -> None:
    with Router(workers=1, drain_deadline=1000.0) as router, router.client() as client:
        client.ask("pid")
        client.say("echo")
        router.signal(signal.SIGTERM)
        until(lambda: router.pids(b.WORKER_DRAINING), "the worker to drain")
        router.signal(signal.SIGTERM)
        assert router.wait() == 0


def test_who_waits_for_a_worker_that_is_coming_up_when_the_end_is_told_is_served() -> None:
    with Router(workers=1, real=True) as router:
        before = router.pids()[0]
        os.kill(before, signal.SIGKILL)
        coming = until(lambda: coming_up(router, before), "its successor is started")
        os.kill(coming, signal.SIGSTOP)
        assert router.pids() == {}
        with socket.create_connection(("127.0.0.1", router.ports["http"]), 20) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            router.signal(signal.SIGTERM)
            until(lambda: "stopping" in router.log(), "the end to be told")
            os.kill(coming, signal.SIGCONT)
            answer = client.makefile("rb").read()
        # Whether it has been told to drain when it looks is left open.
        assert answer.endswith((b"OK", b"draining"))
        assert router.wait() == 0


def test_a_worker_that_cannot_come_up_any_more_does_not_hold_up_the_end() -> None:
    with Router(workers=1) as router:
        before = router.pids()[0]
        router.boot_file.write_text("worker stall")
        os.kill(before, signal.SIGKILL)
        coming = until(lambda: coming_up(router, before), "its successor is started")
        router.signal(signal.SIGTERM)
        until(lambda: "stopping" in router.log(), "the end to be told")
        os.kill(coming, signal.SIGKILL)
        assert router.wait() == 0


def coming_up(router: Router, before: int) -> int:
    """The pid of the one worker, once it is another."""
    return next((w.pid for w in list_workers(router) if w.state == b.WORKER_BOOTING and w.pid not in (0, before)), 0)


def test_a_third_sigterm_kills_who_does_not_listen() -> None:
    with Router(workers=1, drain_deadline=1000.0) as router, router.client() as client:
        client.say("hang")
        until(lambda: stuck(next(iter(router.pids().values()))), "the worker to hang")
        for number in range(3):
            router.signal(signal.SIGTERM)
            until(lambda n=number: router.log().count("stop") > n, "the signal to be taken")
        assert router.wait() == 0


def stuck(pid: int) -> bool:
    blocked = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked.split()[1], 16) >> (signal.SIGABRT - 1) & 1)


def test_who_does_not_drain_in_time_is_killed() -> None:
    with Router(workers=1, drain_deadline=0.0) as router, router.client() as client:
        client.say("hang")
        until(lambda: stuck(next(iter(router.pids().values()))), "the worker to hang")
        router.signal(signal.SIGTERM)
        assert router.wait() == 0
        assert "process killed" in router.log()


@pytest.mark.parametrize("role", ["worker", "scaler"])
def test_a_configuration_error_of_a_child_ends_everything_at_once(role: str) -> None:
    with Router(workers=2, ready=False, boot=f"{role} 78") as router:
        assert router.wait() == EX_CONFIG
        log = router.log()
        assert "restart refused" in log
        assert log.count("died") <= 3


@pytest.mark.parametrize("code", [EXIT_BOOT, 1])
def test_workers_that_cannot_boot_are_tried_a_few_times_and_no_more(code: int) -> None:
    with Router(workers=1, ready=False, boot=f"worker {code}") as router:
        assert router.wait() == EXIT_BOOT
        assert router.log().count('died process="worker 0"') == 5
        assert "restart abandoned" in router.log()


def test_a_boot_that_fails_first_and_works_then_is_only_late() -> None:
    with Router(workers=1, ready=False, boot="worker 79") as router:
        until(lambda: "died" in router.log(), "the first failure")
        router.boot_file.write_text("")
        router.wait_ready()
        assert len(router.pids()) == 1


def test_a_port_in_use_is_named_and_nothing_is_started() -> None:
    with Router(workers=1) as router, Router(workers=1, ready=False, http_port=router.ports["http"]) as second:
        assert second.wait() == 69
        assert f"cannot listen on 127.0.0.1 port {router.ports['http']} (http): something listens there" in second.log()
        assert "started" not in second.log()


def test_when_the_supervisor_is_killed_nobody_is_left_behind() -> None:
    with Router(workers=2) as router:
        family = descendants(router.process.pid)
        assert len(family) == 3
        router.process.kill()
        until(lambda: not any(Path(f"/proc/{pid}/fd").exists() and alive(pid) for pid in family), "the children to end")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_files_of_a_router_that_was_killed_are_removed_by_the_next() -> None:
    with Router(workers=1) as router:
        router.runtime.joinpath("999999999.json").write_text("{}")
        stale = str(router.runtime / "999999999.abcd.0.sock")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(stale)
        from lambda_dispatch.supervisor import runtime

        runtime.sweep(router.runtime)
        names = [path.name for path in router.runtime.iterdir()]
        assert f"{router.process.pid}.json" in names
        assert not [name for name in names if name.startswith("999999999")]
        assert len(names) == 4, names  # who it is, its workers' two sockets, and that of commands
