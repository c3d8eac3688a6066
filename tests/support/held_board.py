"""A board held by a test that plays supervisor and worker, with a real scaler process looking at it."""

import asyncio
import mmap
import os
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from lambda_dispatch import config
from lambda_dispatch.boot import Boot
from lambda_dispatch_core.board import board as b

NS = 1_000_000_000


class HeldBoard:
    """One worker slot, played by the test. Its gauges are written by offset, as docs/shared-memory.md has them."""

    def __init__(self, *argv: str, instances: int = 256) -> None:
        self.config = config.load(
            {},
            [
                "--function-name=app",
                "--allow-insecure-control",
                "--callback-host=router.test",
                "--log-level=debug",
                "--scaling-algorithm=simple",  # its arithmetic is known, and does not depend on times
                *argv,
            ],
        )
        self.board = b.Board.create(1, instances=instances, pools=16)
        self.board.claim_pool(b"app", time.monotonic_ns())
        self.board.start_worker(0, 0, time.monotonic_ns())
        self.worker = b.Board.attach(os.dup(self.board.fd), worker=0)
        self.worker.set_worker_state(0, b.WORKER_READY)
        self.bell, self.scaler_bell, self.supervisor_bell = b.make_bell(), b.make_bell(), b.make_bell()
        self.life_end, self._life = os.pipe()
        self._map = mmap.mmap(self.board.fd, os.fstat(self.board.fd).st_size)
        (self._worker_pools,) = struct.unpack_from("=Q", self._map, 72)
        (self._pool_numbers,) = struct.unpack_from("=Q", self._map, 184)
        self.process: subprocess.Popen[str] | None = None

    # the scaler's process

    def boot(self) -> Boot:
        return Boot(
            role="scaler",
            index=0,
            generation=self.board.start_scaler(time.monotonic_ns()),
            listening=0,
            workers=1,
            config=self.config.to_json(),
            board_fd=self.board.fd,
            bell_fd=self.scaler_bell,
            bells=(self.bell, self.bell),
            scaler_bell_fd=self.scaler_bell,
            supervisor_bell_fd=self.supervisor_bell,
            front_fds=(),
            front_tls_fds=(),
            control_fds=(),
            control_tls_fds=(),
            peer_fd=-1,
            peer_addresses=(),
            ports={"http": 0, "https": 0, "control_http": 5003, "control_https": 0},
            sibling_fds=(),
            cert_fd=-1,
            key_fd=-1,
            certificate_sha256="",
            life_fd=self.life_end,
            parent_pid=os.getpid(),
        )

    def start(self, url: str, **environ: str) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, self.boot().to_json().encode())
        os.close(write_end)
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lambda_dispatch.scaler", str(read_end)],
            pass_fds=[
                read_end,
                self.board.fd,
                self.bell,
                self.scaler_bell,
                self.supervisor_bell,
                self.life_end,
            ],
            env=clean
            | {"AWS_LAMBDA_SERVICE_URL": url, "AWS_CONFIG_FILE": "/dev/null", "PYTHONPATH": os.pathsep.join(sys.path)}
            | environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(read_end)

    def kill(self) -> str:
        """SIGKILL; what it had logged."""
        assert self.process is not None
        self.process.kill()
        return self._ended()[1]

    async def ended(self) -> tuple[int, str]:
        """Exit code and log, once it has ended by itself."""
        return await asyncio.to_thread(self._ended)

    def _ended(self) -> tuple[int, str]:
        process = self.process
        assert process is not None and process.stderr is not None
        self.process = None
        said = process.stderr.read()
        process.stderr.close()
        return process.wait(), said

    def supervisor_dies(self) -> None:
        os.close(self._life)
        self._life = -1

    # a worker's part

    def demand(self, queued: int, running: int = 0, pool: int = 0, bell: bool = True) -> None:
        """So many requests wait and run now; the scaler is rung."""
        struct.pack_into("=ii", self._map, self._worker_pools + 64 * pool, queued, running)
        if bell:
            b.ring(self.scaler_bell)

    def used_now(self, pool: int) -> None:
        struct.pack_into("=q", self._map, self._worker_pools + 64 * pool + 48, time.monotonic_ns())

    def served(self, ns: int, pool: int = 0) -> None:
        """A request was over that took so long."""
        at = self._pool_numbers + 864 + 8 + 8 * b.bucket_of(ns)
        assert pool == 0
        (count,) = struct.unpack_from("=Q", self._map, at)
        struct.pack_into("=Q", self._map, at, count + 1)

    def place(self, id: str) -> tuple[int, int]:
        found = self.board.find_instance(uuid.UUID(id).bytes)
        assert found is not None, f"{id} is not on the board"
        return found

    def opens(self, id: str, channels: int = 1) -> tuple[int, int]:
        """The instance's first channels are parked here."""
        place = self.place(id)
        assert self.worker.open_instance(*place, time.monotonic_ns())
        for _ in range(channels):
            assert self.worker.park(*place)
        return place

    def asks_to_end(self, id: str, wait: float) -> tuple[int, int]:
        place = self.place(id)
        self.worker.request_close(*place)
        assert self.worker.begin_drain(*place, time.monotonic_ns() + int(wait * NS))
        b.ring(self.scaler_bell)
        return place

    def state(self, place: tuple[int, int]) -> int:
        return self.board.state(*place)

    # news

    async def until(self, what: Callable[[], Any]) -> Any:
        """What `what` returns as soon as that is true: the board has no event to wait for, so it is read again."""
        while not (found := what()):
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the scaler ended:\n{self._ended()[1]}")
            await asyncio.sleep(0.005)
        return found

    def rung(self) -> bool:
        """Has the worker's bell been rung since the last time?"""
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self.process is not None:
            self.kill()
        self._map.close()
        self.worker.close()
        self.board.close()
        for fd in (self.bell, self.scaler_bell, self.supervisor_bell, self.life_end, self._life):
            if fd >= 0:
                os.close(fd)
