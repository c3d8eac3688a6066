"""A worker whose log is not read, and clients that could make it write what is no log line."""

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path

from tests.support import certs
from tests.support.clients import ask
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess


@scenario
async def test_wrong_control_connections_do_not_stop_a_worker_whose_log_is_not_read() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write_end, True)
    try:
        async with WorkerProcess.running(stderr=write_end) as worker:
            for _ in range(600):
                with socket.create_connection(("127.0.0.1", worker.ports["control_http"])) as wrong:
                    wrong.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    while wrong.recv(4096):
                        pass
            await worker.instance(channels=1)
            assert (await soon(ask("h1", worker.ports["http"]), "the answer")).status == 200
    finally:
        os.close(read_end)
        os.close(write_end)


@scenario
async def test_wrong_control_connections_write_a_few_lines_only() -> None:
    async with WorkerProcess.running() as worker:
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", worker.ports["control_http"])) as wrong:
                wrong.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                while wrong.recv(4096):
                    pass
        assert 0 < worker.text().count("control connection violated protocol") <= 10


@scenario
async def test_a_client_that_ends_tls_properly_writes_no_line(tmp_path: Path) -> None:
    pair = certs.make(tmp_path)
    context = pair.client_context("http/1.1")

    def visit(port: int) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            tls.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert tls.recv(4096).startswith(b"HTTP/1.1 200")
            with contextlib.suppress(ssl.SSLError, OSError):
                tls.unwrap()

    async with WorkerProcess.running(certs=pair) as worker:
        await asyncio.to_thread(visit, worker.ports["https"])
        assert (await ask("h1", worker.ports["http"], "/health")).status == 200
        assert worker.text() == ""
