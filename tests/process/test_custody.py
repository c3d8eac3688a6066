"""How the chaos load knows who held what: on real processes and sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.load.custody import Trail, Victim, connections, ended_by_failure, held, stop, trails
from benchmarks.load.steady import Outcome


def lost(name: str = "n=1.1", port: int = 0, dialled: float = 0.0, began: float = 10.0, ended: float = 11.0) -> Outcome:
    return Outcome(began, ended, 0, "lost", False, name, port, dialled)


def test_connections_are_those_that_were_accepted_and_not_those_that_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)) as first,
            socket.create_connection(("127.0.0.1", port)) as second,
            server.accept()[0] as accepted,
        ):
            assert accepted.getpeername() == first.getsockname()
            # The clients' ends are this process's, too; they are not connections to its port from elsewhere.
            assert connections(os.getpid(), port) == {first.getsockname()[1]}
            assert second.getsockname()[1] not in connections(os.getpid(), port)


def test_a_process_that_was_stopped_is_stopped_and_one_that_is_no_more_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert stop(process.pid)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not stop(process.pid)


def test_the_trail_of_a_request_is_read_from_the_workers_lines_and_nobody_elses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stages = [
        ("GET /ping?n=1.1 HTTP/1.1", "received"),
        ("GET /ping?n=1.1 HTTP/1.1", "sent to worker 3"),
        ("GET /ping?n=1.1 HTTP/1.1", "sent to instance a"),
        ("GET /delay?delay=10&n=1.1 HTTP/1.1", "sent to instance b"),
        ("GET /ping?n=1.10 HTTP/1.1", "sent to instance c"),
    ]
    lines = [json.dumps({"request": request, "stage": stage}, separators=(",", ":")) for request, stage in stages]
    ends = [
        '{"event":"instance ended","id":"d","reason":"FunctionError"}',
        '{"event":"instance ended","id":"e","reason":"RouterGoAway"}',
    ]
    log.write_text("\n".join([*lines, 'app/1  "stage":"sent to instance z', *ends]) + "\n")
    assert trails(log, ["n=1.1"]) == {"n=1.1": Trail([3], ["a", "b"])}
    assert ended_by_failure(log) == {"d"}


def test_a_request_was_held_by_the_owner_of_its_connection_by_its_instance_or_by_the_sibling_it_went_to() -> None:
    worker = Victim("worker", connections=frozenset({4000}), worker=1, dead=10.7)
    nowhere = Trail()
    assert held(worker, 10.5, lost(port=4000), nowhere)
    assert not held(worker, 10.5, lost(port=4001), nowhere)
    assert not held(worker, 10.5, lost(port=4000, dialled=10.6), nowhere), "the port was another's by then"
    assert not held(worker, 11.5, lost(port=4000), nowhere), "it was lost before"
    assert held(worker, 10.5, lost(port=4001), Trail(workers=[1]))
    assert held(worker, 10.5, lost(port=4001, began=10.6), Trail(workers=[1])), "sent to it while it was dying"
    assert not held(worker, 10.5, lost(port=4001, began=10.8), Trail(workers=[1])), "its successor has the slot"
    assert not held(worker, 10.5, lost(port=4001), Trail(workers=[2]))
    environment = Victim("environment", instance="a")
    assert held(environment, 9.5, lost(), Trail(instances=["b", "a"]))
    assert not held(environment, 9.5, lost(), Trail(instances=["b"]))
    assert not held(Victim("scaler"), 10.5, lost(), Trail(workers=[-2], instances=[""]))
