"""Workers that do not accept: siblings take their connections. And a router whose supervisor has died."""

import hashlib
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.support import certs
from tests.support.supervised import DEADLINE, Router, until


def healthy(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return sock.makefile("rb").read()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def requests_in_hand(router: Router) -> int:
    board = router.board()
    try:
        return sum(worker.queued for worker in board.list_workers())
    finally:
        board.close()


def all_healthy(port: int, count: int = 40) -> None:
    """With two sets of sockets, 40 connections that miss one of them are one in a million million."""
    for _ in range(count):
        assert healthy(port).startswith(b"HTTP/1.1 200")


def test_connections_of_a_stopped_worker_are_served_by_its_sibling() -> None:
    with Router(workers=2, real=True, hang_timeout=60.0) as router:
        stopped = router.pids()[0]
        os.kill(stopped, signal.SIGSTOP)
        all_healthy(router.ports["http"])
        assert "vacant sockets adopted" in router.log()
        assert router.pids()[0] == stopped
        os.kill(stopped, signal.SIGCONT)
        until(lambda: "adopted sockets returned" in router.log(), "the worker serves its sockets again")
        all_healthy(router.ports["http"])


def test_a_worker_that_cannot_start_any_more_leaves_no_black_hole() -> None:
    with Router(workers=2, real=True) as router:
        router.boot_file.write_text("worker 78")
        os.kill(router.pids()[0], signal.SIGKILL)
        all_healthy(router.ports["http"])
        assert "vacant sockets adopted" in router.log()
        router.boot_file.write_text("")
        until(lambda: len(router.pids()) == 2, "both workers")
        until(lambda: "adopted sockets returned" in router.log(), "the new worker serves its sockets")


def test_at_the_end_of_a_router_with_a_vacant_set_nobody_is_left_waiting() -> None:
    with Router(workers=2, real=True, drain_deadline=1.0) as router:
        router.boot_file.write_text("worker 78")
        os.kill(router.pids()[0], signal.SIGKILL)
        until(lambda: "vacant sockets adopted" in router.log(), "the sibling has adopted the sockets")
        router.signal(signal.SIGTERM)
        assert router.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            healthy(router.ports["http"])


def test_tls_goes_on_when_the_certificates_files_are_gone(tmp_path: Path) -> None:
    pair = certs.make(tmp_path)
    context = pair.client_context("http/1.1")
    with Router(workers=1, real=True, https_port=0, cert_file=str(pair.cert), key_file=str(pair.key)) as router:
        pair.cert.unlink()
        pair.key.unlink()
        (old,) = router.pids().values()
        os.kill(old, signal.SIGKILL)
        until(lambda: old not in router.pids().values() and router.pids(), "the next worker")
        plain = socket.create_connection(("127.0.0.1", router.ports["https"]), DEADLINE)
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            tls.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
        assert "certificate reload failed" in router.log()


def test_without_a_certificate_instances_still_reach_the_control_port_over_tls() -> None:
    with Router(workers=1, real=True, self_signed=True, control_https_port=0) as router:
        assert "https" not in router.ports
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        trusting.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", router.ports["control_https"]), DEADLINE)
        with trusting.wrap_socket(plain) as tls:
            seen = tls.getpeercert(binary_form=True)
            assert seen is not None and tls.selected_alpn_protocol() == "h2"
        assert f"sha256={hashlib.sha256(seen).hexdigest()}" in router.log()


def test_when_the_supervisor_is_killed_a_request_in_hand_is_answered_and_the_ports_are_free() -> None:
    with Router(workers=2, real=True, lame_duck=30.0, incoming_request_timeout=3.0) as router:
        pids = set(router.pids().values())
        with socket.create_connection(("127.0.0.1", router.ports["http"]), DEADLINE) as slow:
            # No instance is there: it is queued.
            slow.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: requests_in_hand(router) == 1, "the request has arrived")
            router.process.kill()
            router.process.wait()
            until(lambda: not listens(router.ports["http"]), "the port is free")
            assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 504"), "what an instance did not take in time"
        until(lambda: not any(alive(pid) for pid in pids), "the workers have ended")
