"""The admin process as the supervisor keeps it: its socket, its starts, its end. Its death costs no request."""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.errors import PortError
from lambda_dispatch.settings import Writer
from lambda_dispatch.supervisor import child as children
from lambda_dispatch.supervisor.child import how_it_ended
from lambda_dispatch.supervisor.seat import WAITS
from lambda_dispatch.telemetry import log

BACKLOG = 64
LIVED = 10 * 1_000_000_000  # ns after which a death counts as the first again
LAST_WAIT = 1.0  # s from SIGTERM to SIGKILL, when the router ends


class AdminKeeper:
    def __init__(self, config: RouterConfig, settings: Writer, commands: str) -> None:
        self.config = config
        self.commands = commands  # path of the socket for commands
        self._settings = settings
        self.port = 0
        self.pid = 0
        self._socket = self._listen()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0
        self._start_at = 0
        self._deaths = 0
        self._first = True  # no admin process has run yet

    def _listen(self) -> socket.socket | None:
        config = self.config
        if config.admin_port < 0:
            return None
        try:
            found = socket.getaddrinfo(config.admin_host, config.admin_port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                sock.listen(BACKLOG)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            where = f"AdminHost {config.admin_host} AdminPort {config.admin_port}"
            if "admin_port" in config.sources or "admin_host" in config.sources:
                raise PortError(f"cannot listen on {where}: {error.strerror}; choose another or -1") from error
            log.warning("admin port not opened", where=where, error=error.strerror, remedy="set AdminPort, or -1")
            return None
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        return sock

    @property
    def url(self) -> str:
        """For a browser; empty when there is no admin port."""
        if not self.port:
            return ""
        host = self.config.admin_host
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return f"http://{host}:{self.port}/"
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    @property
    def due(self) -> int | None:
        """When step() has something to do; None: not before something happens."""
        return self._start_at if self._socket is not None and self._process is None else None

    def step(self, now: int, board_fd: int, life_fd: int, trace_fd: int = -1) -> None:
        """`trace_fd`: rings of traced requests; -1: nothing is traced."""
        if self._socket is None or self._process is not None or now < self._start_at:
            return
        record = {
            "config": self.config.to_json(),
            "board_fd": board_fd,
            "socket_fd": self._socket.fileno(),
            "life_fd": life_fd,
            "settings_fd": self._settings.fd,
            "settings_number": self._settings.number,
            "commands": self.commands,
            "trace_fd": trace_fd,
            # A successor cannot know what its predecessor has sent: it goes on with what is written from now on.
            "traces_from_start": self._first,
        }
        read_end, write_end = os.pipe()
        try:
            os.set_blocking(write_end, False)
            os.write(write_end, json.dumps(record).encode())
            os.close(write_end)
            write_end = -1
            self._process = subprocess.Popen(
                [*children.python("lambda_dispatch.admin"), str(read_end)],
                pass_fds=[
                    *(read_end, board_fd, self._socket.fileno(), life_fd, self._settings.fd),
                    *([trace_fd] if trace_fd >= 0 else []),
                ],
                process_group=0,
                preexec_fn=children.DieWithParent(os.getpid()) if sys.platform == "linux" else None,
            )
        except OSError as error:
            log.error("process start failed", process="admin", error=str(error))
            self._died(now)
            return
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)
        self._first = False
        self.pid = self._process.pid
        self._started = now

    def reap(self, now: int) -> None:
        if self._process is None or (code := self._process.poll()) is None:
            return
        self._process = None
        log.warning("process died", process="admin", pid=self.pid, by=how_it_ended(code))
        self.pid = 0
        if now - self._started >= LIVED:
            self._deaths = 0
        self._died(now)

    def _died(self, now: int) -> None:
        self._start_at = now + WAITS[min(self._deaths, len(WAITS) - 1)]
        self._deaths += 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(LAST_WAIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
