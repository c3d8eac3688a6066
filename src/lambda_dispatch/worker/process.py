"""One worker process: what it is handed, what it listens on, its clock, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import uvloop
from setproctitle import setproctitle

from lambda_dispatch import __version__
from lambda_dispatch.boot import Boot, BootError
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.control.channel import ControlWire
from lambda_dispatch.control.control import Control
from lambda_dispatch.dispatch.matcher import Matcher
from lambda_dispatch.dispatch.siblings.borrow import Peers, PeerWire
from lambda_dispatch.dispatch.siblings.lend import GuestWire
from lambda_dispatch.errors import StartError
from lambda_dispatch.exits import EX_CONFIG, EXIT_BOOT
from lambda_dispatch.front.door import Door
from lambda_dispatch.front.h1 import H1Wire
from lambda_dispatch.front.trace import Tracer
from lambda_dispatch.settings import Reader
from lambda_dispatch.telemetry import log, otel
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch.tls import server_context
from lambda_dispatch.worker import reload
from lambda_dispatch.worker.drain import Drain
from lambda_dispatch.worker.handshakes import Handshakes
from lambda_dispatch.worker.health import Health
from lambda_dispatch.worker.listener import Listener
from lambda_dispatch.worker.memory import MemoryBudget
from lambda_dispatch.worker.room import Room
from lambda_dispatch.worker.vacant import VacantSets
from lambda_dispatch_core.board.board import WORKER_DRAINING, WORKER_READY, Board, ring, silence
from lambda_dispatch_core.board.trace_ring import TraceRing
from lambda_dispatch_net.wire import Hub

# By ALPN.
FRONT_PROTOCOLS = ("h2", "http/1.1")
CONTROL_PROTOCOLS = ("h2",)
# How often time-outs of waiting requests, go-aways that are due and the board's gauges are looked at. A request may
# wait this much longer than its time-out.
TICK = 0.1
TICK_NS = int(TICK * 1e9)
# How often everything slower is: rates and time-outs of client connections, PINGs, heartbeat, title.
SLOW_TICKS = 10
# How soon a slot that was left to a sibling is looked at again; some thirty times what waking the sibling takes.
AFTER_GIVING_WAY = 0.002


class Worker:
    def __init__(self, boot: Boot, config: RouterConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.boot = boot
        self.config = config
        self.loop = loop
        self.board = Board.attach(boot.board_fd, worker=boot.index)
        self.hub = Hub(loop, self._broken)
        self.matcher = Matcher(
            self.board, config.max_queue, config.incoming_request_timeout, self.ring_scaler, self.ring_sibling
        )
        self.control = Control(self.hub, self.board, self.matcher, self.ring_scaler, boot.index, config)
        self.peers = Peers(self.hub, self.matcher, boot.peer_addresses, self._dial)
        if len(boot.peer_addresses) > 1:
            self.matcher.lender = self.peers
        self.health = Health(self)
        self.door = Door(self.hub, self.matcher, self.board, config, _common(config))
        self.door.pool = self.matcher.add_pool(0, b"default", self.board.pool(0).generation)
        self.door.on_health = self.health.answer
        if boot.trace_fd >= 0:
            self.door.tracer = _tracer(boot, self.board)
            self.matcher.tells_instance = True
        self.drain = Drain(self)
        self.overrides = RouterOverrides(self.board, config.log_level)
        self.listeners: dict[str, Listener] = {}  # by kind of port
        self.handshakes = Handshakes(self.hub, loop, config.head_timeout)
        self.memory = MemoryBudget(self.hub, self.door, self.board, self.handshakes, config.memory_budget)
        reload.apply(self, config)
        self.settings = Reader(boot.settings_fd, boot.settings_number)
        self.contexts: list[ssl.SSLContext] = []  # of the listening sockets
        self.vacant: VacantSets | None = None
        self.peer_server: asyncio.Server | None = None
        self.done = asyncio.Event()
        self._ticks = 0
        self._due = 0  # when the next tick should come; 0: none has come
        self._dials: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._title = ""
        self._orphan = False

    def _broken(self, trace: str) -> None:
        log.limited(log.ERROR, "connection aborted by internal error", trace=trace)

    def ring_scaler(self) -> None:
        ring(self.boot.scaler_bell_fd)

    def ring_sibling(self, worker: int) -> None:
        """A slot here is left to a request of that worker's; what it does not take is given out here after all."""
        ring(self.boot.bells[worker])
        if self._again is None:
            self._again = self.loop.call_later(AFTER_GIVING_WAY, self._serve_again)

    def _serve_again(self) -> None:
        self._again = None
        self.matcher.serve_all(self.hub.clock())

    def _dial(self, worker: int) -> None:
        task = self.loop.create_task(self._connect(worker))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, worker: int) -> None:
        try:
            await self.loop.create_unix_connection(
                cast("Callable[[], asyncio.BaseProtocol]", lambda: PeerWire(self.peers, worker)),
                self.boot.peer_addresses[worker],
            )
        except OSError as error:
            self.peers.failed(worker)
            log.limited(log.WARNING, "sibling unreachable", worker=worker, error=str(error))

    # birth ------------------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        door, boot = self.door, self.boot
        front_tls = control_tls = None
        if boot.front_tls_fds or boot.control_tls_fds:
            files = self._certificate()
            front_tls = server_context(*files, FRONT_PROTOCOLS)
            control_tls = server_context(*files, CONTROL_PROTOCOLS, self.config.control_client_ca)
            self.contexts = [front_tls, control_tls]
        control = partial(ControlWire, self.hub, self.matcher, self.control)
        room = Room(
            self.hub, door, self.board, self.handshakes, self.config.max_connections, 2 * len(boot.peer_addresses)
        )
        for kind, fds, make, context in (
            ("http", boot.front_fds, partial(H1Wire, door, b"http"), None),
            ("https", boot.front_tls_fds, partial(H1Wire, door, b"https"), front_tls),
            ("control_http", boot.control_fds, control, None),
            ("control_https", boot.control_tls_fds, control, control_tls),
        ):
            for fd in fds:
                sock = socket.socket(fileno=fd)
                if kind.startswith("control"):
                    self._keep_alive(sock)
                protocols = CONTROL_PROTOCOLS if kind.startswith("control") else (*FRONT_PROTOCOLS, "http/1.0")
                spoken = frozenset(name.encode() for name in protocols)
                listener = Listener(self.hub, sock, make, room.entrance(kind), context, self.handshakes, spoken)
                await listener.serve()
                self.listeners[kind] = listener
        self.vacant = VacantSets(self.board, boot.index, self.loop, self._other_sets(), self.hub.clock())
        if boot.peer_fd >= 0:
            self.peer_server = await _serve_unix(
                self.loop, lambda: GuestWire(self.hub, self.matcher), socket.socket(fileno=boot.peer_fd)
            )

    def _certificate(self) -> tuple[str, str]:
        if self.boot.cert_fd < 0:
            return self.config.cert_file, self.config.key_file
        return f"/proc/self/fd/{self.boot.cert_fd}", f"/proc/self/fd/{self.boot.key_fd}"

    def _other_sets(self) -> dict[int, list[tuple[int, Listener]]]:
        sets: dict[int, list[tuple[int, Listener]]] = {}
        for kind, number, fd in self.boot.sibling_fds:
            if kind in self.listeners:
                sets.setdefault(number, []).append((fd, self.listeners[kind]))
        return sets

    @property
    def fronts(self) -> list[Listener]:
        return [listener for kind, listener in self.listeners.items() if not kind.startswith("control")]

    @property
    def controls(self) -> list[Listener]:
        return [listener for kind, listener in self.listeners.items() if kind.startswith("control")]

    def _keep_alive(self, sock: socket.socket) -> None:
        # Inherited by the connections accepted from it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, self.config.tcp_keepalive_idle),
            (socket.TCP_KEEPINTVL, self.config.tcp_keepalive_interval),
            (socket.TCP_KEEPCNT, self.config.tcp_keepalive_count),
        ):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    async def run(self) -> None:
        await self.listen()
        self.loop.add_signal_handler(signal.SIGTERM, self._terminate)
        self.loop.add_signal_handler(signal.SIGUSR2, self.drain.replaced)
        self.loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor's business
        self.loop.add_reader(self.boot.bell_fd, self._bell)
        self.loop.add_reader(self.boot.life_fd, self._orphaned)
        self.board.beat(self.hub.clock())
        self.board.set_worker_state(self.boot.index, WORKER_READY)
        ring(self.boot.supervisor_bell_fd)
        self.tick()
        await self.done.wait()

    # life -------------------------------------------------------------------------------------------------------------

    def _bell(self) -> None:
        silence(self.boot.bell_fd)
        self.control.look()

    def _terminate(self) -> None:
        if os.getppid() == self.boot.parent_pid or self._orphan:
            self.drain.terminate()
        else:
            # The kernel's signal that the supervisor has died; the next one is an operator's.
            self._orphan = True
            self.drain.orphaned()

    def _orphaned(self) -> None:
        self.loop.remove_reader(self.boot.life_fd)
        self.drain.orphaned()

    def tick(self) -> None:
        self.loop.call_later(TICK, self.tick)
        now = self.hub.clock()
        self.board.beat(now, self._due)
        self._due = now + TICK_NS
        if self.vacant is not None:
            self.vacant.look(now)
        self.handshakes.sweep(now)
        self.memory.look(now)
        self.matcher.expire(now)
        self.control.look()
        self.matcher.publish_all()
        self.door.publish()
        self.drain.step(now)
        self.take_up(now)
        self.matcher.tunnels.tick(now)
        if self.door.access is not None:
            self.door.access.flush()
        log.flush()
        if (news := self.settings.news()) is not None:
            reload.take(self, news)
        self._ticks += 1
        if self._ticks % SLOW_TICKS == 0:
            self.door.sweep(now)
            self.matcher.tunnels.sweep(now)
            self.control.probe(int(self.config.ping_interval * 1e9), int(self.config.ping_timeout * 1e9))
            self.control.forget_pools()
            self._show()

    def take_up(self, now: int) -> None:
        """What operators have changed. A drained router serves what comes, and keeps no connection for more."""
        self.overrides.look(now)
        if self.overrides.draining != self.door.draining and not self.drain.began:
            if self.overrides.draining:
                self.door.begin_drain()
            else:
                self.door.end_drain()

    def _show(self) -> None:
        title = (
            f"lambda-dispatch: worker {self.boot.index} · {len(self.matcher.instances)} instances · "
            f"{self.matcher.queued()} queued" + (" · draining" if self.drain.began else "")
        )
        if title != self._title:
            self._title = title
            setproctitle(title)

    # end --------------------------------------------------------------------------------------------------------------

    def clients_remain(self) -> bool:
        """Whether a client has a connection, or is in the middle of getting one."""
        return bool(self.door.wires) or any(listener.busy for listener in self.fronts)

    def begin_drain(self) -> None:
        self.board.set_worker_state(self.boot.index, WORKER_DRAINING)
        if self.vacant is not None:
            self.vacant.close()
        self.door.begin_drain()


async def _serve_unix(loop: Any, make: Callable[[], object], sock: socket.socket) -> asyncio.Server:
    # Without cleanup_socket=False, Python 3.13 and later delete the path when the server closes. The path belongs to
    # the supervisor: the next worker in this slot serves the same socket. (uvloop accepts the argument on 3.11, too.)
    server: asyncio.Server = await loop.create_unix_server(make, sock=sock, cleanup_socket=False)
    return server


def _tracer(boot: Boot, board: Board) -> Tracer | None:
    wanted = otel.tracing(os.environ)  # the supervisor has read it before us
    if wanted is None:
        return None
    ring = TraceRing.attach(boot.trace_fd, boot.index)
    return Tracer(ring, board, wanted.ratio, wanted.follows, wanted.propagators)


def _common(config: RouterConfig) -> list[tuple[bytes, bytes]]:
    """The fields every answer carries (protocol.md section 5)."""
    return [
        (b"x-lambda-dispatch-version", (config.git_hash or __version__).encode("ascii", "replace")),
        (b"x-lambda-dispatch-build-time", (config.build_time or "unknown").encode("ascii", "replace")),
    ]


def main(argv: Sequence[str]) -> int:
    try:
        boot = Boot.receive(argv)
    except BootError as error:
        print(f"lambda-dispatch worker: {error}", file=sys.stderr)
        return EX_CONFIG
    config = RouterConfig.from_json(boot.config)
    log.configure(f"worker {boot.index}", config.log_level, config.log_format)
    setproctitle(f"lambda-dispatch: worker {boot.index}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            worker = Worker(boot, config, runner.get_loop())
            runner.run(worker.run())
        except StartError as error:
            log.error("worker start failed", error=str(error))
            return error.exit_code
        except OSError as error:
            log.error("worker start failed", error=str(error))
            return EXIT_BOOT
    return 0
