"""A worker process alone: the test is its supervisor and its scaler, and so decides which instances there are.

async with WorkerProcess.running() as worker:
    peer = await worker.instance(handler, channels=4)
    async with await worker.client() as client: ...
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_dispatch import config as configuration
from lambda_dispatch.boot import Boot
from lambda_dispatch_core.board.board import INSTANCE_FREE, WORKER_READY, Board, make_bell, silence
from tests.support import image_root
from tests.support.clients import H2Client, RawClient
from tests.support.instance_peer import Handler, InstancePeer, says_hello
from tests.support.loop import soon, until

FUNCTION = "a-function"
# Small enough that a test that needs it passes quickly, large enough that one that does not never meets it.
SECONDS = 1_000_000_000
LIFE = 900 * SECONDS


@dataclass
class Given:
    """An instance that the test made: the board's place, and whoever speaks for it."""

    slot: int
    generation: int
    id: str
    peers: list[InstancePeer]


def listener(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, 0))
    sock.listen(1024)
    return sock


def with_memory(data: bytes) -> int:
    fd = os.memfd_create("boot")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class WorkerProcess:
    def __init__(self, board: Board, config: configuration.RouterConfig) -> None:
        self.board = board
        self.config = config
        self.ports: dict[str, int] = {}
        self.given: list[Given] = []
        self.process: asyncio.subprocess.Process | None = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.bell = make_bell()
        self.scaler_bell = make_bell()
        self.supervisor_bell = make_bell()
        self._life = os.pipe()
        self._sockets: list[socket.socket] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, *flags: str, certs: Any = None, environ: dict[str, str] | None = None, stderr: int | None = None
    ) -> AsyncIterator["WorkerProcess"]:
        """`flags` as for `lambda-dispatch router`; `stderr`: a descriptor instead of the file behind text()."""
        arguments = ["--function-name", FUNCTION, "--workers", "1", "--log-level", "warning", *flags]
        if certs is not None:
            certs = image_root.visible(certs)
            arguments += ["--cert-file", str(certs.cert), "--key-file", str(certs.key)]
        else:
            arguments += ["--allow-insecure-control", "--preferred-control-scheme", "http"]
        config = configuration.load({}, arguments)
        board = Board.create(2, instances=256, pools=64)
        worker = cls(board, config)
        try:
            await worker._start(environ or {}, worker.log if stderr is None else stderr)
            yield worker
            assert worker.process is not None
            await asyncio.sleep(0)
            assert worker.process.returncode in (None, 0), f"the worker died: {worker.process.returncode}"
        finally:
            await worker.stop()

    async def _start(self, environ: dict[str, str], stderr: Any) -> None:
        now = time.monotonic_ns()
        self.board.claim_pool(FUNCTION.encode(), now)
        generation = self.board.start_worker(0, 0, now)
        names = ["http", "control_http"] + (["https", "control_https"] if self.config.tls else [])
        sockets = {name: listener() for name in names}
        peer = socket.socket(socket.AF_UNIX)
        peer_path = f"\0lambda-dispatch-test-{uuid.uuid4()}"
        peer.bind(peer_path)
        self.peer_address = peer_path
        peer.listen(8)
        self._sockets = [*sockets.values(), peer]
        self.ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}

        def fds(name: str) -> tuple[int, ...]:
            return (sockets[name].fileno(),) if name in sockets else ()

        boot = Boot(
            role="worker",
            index=0,
            generation=generation,
            listening=0,
            workers=1,
            config=self.config.to_json(),
            board_fd=self.board.fd,
            bell_fd=self.bell,
            bells=(self.bell, self.bell),
            scaler_bell_fd=self.scaler_bell,
            supervisor_bell_fd=self.supervisor_bell,
            front_fds=fds("http"),
            front_tls_fds=fds("https"),
            control_fds=fds("control_http"),
            control_tls_fds=fds("control_https"),
            peer_fd=peer.fileno(),
            peer_addresses=(peer_path, ""),
            ports={name: self.ports.get(name, 0) for name in ("http", "https", "control_http", "control_https")},
            sibling_fds=(),
            cert_fd=-1,
            key_fd=-1,
            certificate_sha256="",
            life_fd=self._life[0],
            parent_pid=os.getpid(),
        )
        boot_fd = with_memory(boot.to_json().encode())
        passed = [boot_fd, self.board.fd, self.bell, self.scaler_bell, self.supervisor_bell, self._life[0]]
        passed += [sock.fileno() for sock in self._sockets]
        try:
            self.process = await asyncio.create_subprocess_exec(
                *image_root.module("lambda_dispatch.worker"),
                str(boot_fd),
                pass_fds=passed,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self.log,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": image_root.path(), **environ},
            )
        finally:
            os.close(boot_fd)
        self.board.set_worker_pid(0, self.process.pid)
        await until(
            lambda: self.board.worker_state(0) == WORKER_READY or self.process.returncode is not None,  # type: ignore[union-attr]
            "the worker is ready",
            patience=30,
        )
        assert self.process.returncode is None, self.text()
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    async def stop(self) -> None:
        """Ends the process, however it stands, and everything this side holds."""
        await self.clear()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
        if self.process is not None:
            await self.process.wait()
        for sock in self._sockets:
            sock.close()
        for fd in (*self._life, self.bell, self.scaler_bell, self.supervisor_bell):
            os.close(fd)
        self.board.close()
        self.log.close()

    def text(self) -> str:
        """What the worker has logged."""
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    # the scaler's part

    def now(self) -> int:
        return time.monotonic_ns()

    def start(self, limit: int = 10, pool: int = 0) -> Given:
        """An instance that is starting: the router will know it when it calls."""
        key = uuid.uuid4()
        found = self.board.allocate_instance(pool, key.bytes, limit, self.now(), self.now() + LIFE)
        assert found is not None
        given = Given(*found, str(key), [])
        self.given.append(given)
        return given

    async def dial(self, given: Given, handler: Handler = says_hello, **more: Any) -> InstancePeer:
        tls: ssl.SSLContext | None = more.get("tls")
        port = self.ports["control_https" if tls else "control_http"]
        peer = await InstancePeer.dial("127.0.0.1", port, given.id, handler, **more)
        given.peers.append(peer)
        return peer

    async def instance(
        self, handler: Handler = says_hello, *, limit: int = 10, pool: int = 0, wait: bool = True, **more: Any
    ) -> InstancePeer:
        """An instance whose channels are parked."""
        peer = await self.dial(self.start(limit, pool), handler, **more)
        if wait:
            await soon(peer.parked(), "all channels parked")
        return peer

    def close_instance(self, given: Given) -> None:
        """The invoke has returned."""
        self.board.close_instance(given.slot, given.generation, self.now())
        self.ring()

    def ring(self) -> None:
        os.eventfd_write(self.bell, 1)

    def rung(self) -> bool:
        """Whether the scaler's bell was rung since it was last asked."""
        os.set_blocking(self.scaler_bell, False)
        try:
            return os.eventfd_read(self.scaler_bell) > 0
        except BlockingIOError:
            return False

    # clients

    async def client(self, **more: Any) -> RawClient:
        port = self.ports["https" if more.get("tls") else "http"]
        return await RawClient.dial(port, **more)

    async def h2(self, **more: Any) -> H2Client:
        port = self.ports["https" if more.get("tls") else "http"]
        return await H2Client.dial(port, **more)

    # looking in

    def numbers(self) -> dict[str, int]:
        return self.board.worker_numbers(0)

    def queued(self, pool: int = 0) -> int:
        return self.board.pool_totals(pool).queued

    def running_now(self, pool: int = 0) -> int:
        return self.board.pool_totals(pool).running

    async def waits(self, n: int, pool: int = 0) -> None:
        """Waits until n requests stand in the queue."""
        await until(lambda: self.queued(pool) == n, f"{n} requests queued")

    async def quiet(self) -> None:
        """Waits until nothing is in hand; the books must balance."""
        await until(
            lambda: (
                not any(self.queued(p.pool) or self.running_now(p.pool) for p in self.board.list_pools())
                and not any(place.in_flight for place in self.board.list_instances())
            ),
            f"no request is counted any more: {[self.board.pool_totals(p.pool) for p in self.board.list_pools()]}",
        )

    def descriptors(self) -> int:
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Bytes of memory the process holds that is its own."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    # between tests

    async def clear(self) -> None:
        """Ends every instance the test made."""
        given, self.given = self.given, []
        for one in given:
            for peer in one.peers:
                await peer.leave()
            self.board.close_instance(one.slot, one.generation, self.now())
        self.ring()
        if self.process is None or self.process.returncode is not None:
            return
        for one in given:
            await until(
                lambda one=one: (
                    self.board.instance(one.slot).generation != one.generation  # type: ignore[misc]
                    or self.board.instance(one.slot).state == INSTANCE_FREE
                    or self.board.free_instance(one.slot, one.generation)
                ),
                f"the board's place {one.slot} is free",
            )
        silence(self.scaler_bell)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        assert self.process is not None
        return await soon(self.process.wait(), "the worker's end", patience=20)
