"""The supervisor's loop: start what is missing; see which are ready, dead or hanging; replace, drain, end.

    starting    every seat is being filled for the first time; a configuration error, or a seat that cannot be filled,
                ends the router
    running     who dies is replaced; SIGHUP reads configuration and certificate again; SIGUSR1 replaces the workers
                one after the other, each only when its successor is ready
    stopping    SIGTERM or SIGINT: the workers drain, then the scaler ends, then we do. Where no worker is ready just
                then, one comes up first: connections may wait on its sockets. A second signal hurries them, a third
                kills

Signals, deaths and news from the board all arrive as readable descriptors; every wait has a time at which it ends.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from setproctitle import setproctitle

from lambda_dispatch import settings
from lambda_dispatch.boot import Boot
from lambda_dispatch.config import RouterConfig
from lambda_dispatch.errors import StartError
from lambda_dispatch.exits import EX_CONFIG, EX_UNAVAILABLE, EXIT_BOOT
from lambda_dispatch.supervisor import child as children
from lambda_dispatch.supervisor.admin import AdminKeeper
from lambda_dispatch.supervisor.certificate import Certificate
from lambda_dispatch.supervisor.child import Child, how_it_ended
from lambda_dispatch.supervisor.command_socket import CommandSocket
from lambda_dispatch.supervisor.notify import Notifier
from lambda_dispatch.supervisor.operator import Operator
from lambda_dispatch.supervisor.reload import Reload
from lambda_dispatch.supervisor.runtime import Whereabouts
from lambda_dispatch.supervisor.seat import SECOND, Seat
from lambda_dispatch.supervisor.signals import SignalQueue
from lambda_dispatch.supervisor.sockets import BACKLOG, Listeners
from lambda_dispatch.telemetry import log, otel
from lambda_dispatch.telemetry.emf import EmfWriter
from lambda_dispatch.telemetry.overrides import RouterOverrides
from lambda_dispatch.telemetry.view import take
from lambda_dispatch_core.board.board import WORKER_FREE, WORKER_GONE, WORKER_READY, Board, make_bell, ring, silence
from lambda_dispatch_core.board.trace_ring import TraceRing

# A worker's clients, instances and siblings. macOS refuses more than this though its hard limit says infinity.
DESCRIPTORS = 65536
# Heartbeats come every second; they are looked at as often.
WATCH = SECOND
# A hung process gets this long to write its traceback after SIGABRT.
ABORT_GRACE = SECOND
# Importing everything takes a second on a slow machine under load; a minute is no start.
BOOT_TIMEOUT = 60 * SECOND
# Workers end by themselves within the drain deadline and what instances get to leave; then they are killed.
DRAIN_MARGIN = 3 * SECOND
# The scaler has nothing left to wait for when the workers have ended but the answers of invokes.
SCALER_DEADLINE = 4 * SECOND
# Another worker was in the middle of the same counter: that takes it nanoseconds, or it is dead and about to be reaped.
SETTLE_AGAIN = SECOND // 100


class Supervisor:
    def __init__(
        self,
        config: RouterConfig,
        worker_argv: Sequence[str] = (),
        scaler_argv: Sequence[str] = (),
        read_again: Callable[[], RouterConfig] | None = None,
    ) -> None:
        self.config = config
        self.read_again = read_again
        self.notifier = Notifier(os.environ, os.getpid())
        self.argv = {
            "worker": list(worker_argv) or children.python("lambda_dispatch.worker"),
            "scaler": list(scaler_argv) or children.python("lambda_dispatch.scaler"),
        }
        self.hang_timeout = int(config.hang_timeout * SECOND)
        self.seats = [Seat("worker", index) for index in range(config.workers)]
        self.scaler_seat = Seat("scaler", 0)
        self.announced = False
        self.stopping = 0  # how often we were told to
        self.exit_code = 0
        self.end_by = 0  # when workers that were told to end are killed
        self.unserved: list[Seat] = []  # while stopping: whose sockets only we hold until a worker is ready there
        self.rolling: deque[Seat] = deque()  # workers still to be replaced
        self.rolling_since = 0  # who was started later needs no replacing
        self.unsettled: list[Child] = []  # dead workers whose reservations could not all be returned yet
        self.watched_at = 0
        self.poll = select.poll()
        self.metrics: EmfWriter | None = None
        self.unattended: set[int] = set()  # worker slots without a process, whose siblings' calls are ours to end

    # birth ------------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        with ExitStack() as undo:
            undo.callback(self.notifier.close)
            try:
                self._open(undo)
            except (StartError, OSError) as error:
                log.error("router start failed", error=str(error))
                return getattr(error, "exit_code", EX_UNAVAILABLE)
            self._loop()
            self._measure(time.monotonic_ns(), last=True)
        log.info("router stopped", exit_code=self.exit_code)
        return self.exit_code

    def _open(self, undo: ExitStack) -> None:
        setproctitle("lambda-dispatch: supervisor")
        _raise_descriptor_limit()
        config = self.config
        slots = 2 * config.workers
        self.certificate = Certificate(config)
        undo.callback(self.certificate.close)
        self.listeners = Listeners(config)
        undo.callback(self.listeners.close)
        self.board = Board.create(slots)
        undo.callback(self.board.close)
        self.whereabouts = Whereabouts()
        undo.callback(self.whereabouts.close)
        self.whereabouts.open_peers(slots, BACKLOG)
        self.bells = tuple(make_bell() for _ in range(slots))
        self.scaler_bell = make_bell()
        self.bell = make_bell()
        # Nothing is ever written into it; that its one writing end is gone says that we are.
        self.life_fd, alive_fd = os.pipe()
        for fd in (*self.bells, self.scaler_bell, self.bell, self.life_fd, alive_fd):
            undo.callback(os.close, fd)
        self.signals = SignalQueue()
        undo.callback(self.signals.close)
        undo.callback(self._kill_all)
        pool = self.board.claim_pool(str(config.function).encode(), time.monotonic_ns())
        assert pool is not None and pool[0] == 0, "the first pool of a new board is pool 0"
        self.board.set_pool_limits(
            0,
            limit=config.max_concurrent_count,
            channels=config.channel_count,
            min_instances=config.min_instances,
            max_instances=config.max_instances,
        )
        if config.cloudwatch_metrics_enabled:
            now = time.monotonic_ns()
            self.metrics = EmfWriter(sys.stdout.fileno(), now, take(self.board, now, time.time_ns()))
        self.settings = settings.Writer()
        undo.callback(self.settings.close)
        self.overrides = RouterOverrides(self.board, config.log_level)
        self.reloading = Reload(config, self.read_again, self.certificate, self.settings, self.overrides, self.board)
        self.operator = Operator(self.board, lambda: self.config, self._ring_all, self.reload)
        self.commands = CommandSocket(self.whereabouts.open_commands(), self.operator, self.poll)
        undo.callback(self.commands.close)
        self.admin = AdminKeeper(config, self.settings, self.whereabouts.commands)
        undo.callback(self.admin.close)
        self.trace = self._open_trace(slots)
        if self.trace is not None:
            undo.callback(self.trace.close)
        self.whereabouts.announce(self._ports(), self.board.fd)

    def _open_trace(self, slots: int) -> TraceRing | None:
        """What workers leave their traced requests in; None: tracing is off."""
        try:
            wanted = otel.tracing(os.environ)
        except ValueError as error:
            log.warning("tracing not started", error=str(error))
            return None
        if wanted is None:
            return None
        if not self.admin.port:
            log.warning("tracing not started", error="the admin process sends the traces; set AdminPort")
            return None
        return TraceRing.create(slots)

    def _ports(self) -> dict[str, int]:
        return {**self.listeners.ports, "admin": self.admin.port}

    def _kill_all(self) -> None:
        for child in self._children():
            child.process.kill()
            child.process.wait()

    # the loop ---------------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self.poll.register(self.signals.fd, select.POLLIN)
        self.poll.register(self.bell, select.POLLIN)
        while True:
            now = time.monotonic_ns()
            self._settle()
            self._turn_away()
            self._fill(now)
            self.admin.step(now, self.board.fd, self.life_fd, self.trace.fd if self.trace is not None else -1)
            self._roll(now)
            self._watch(now)
            self._end_scaler(now)
            self._measure(now)
            self.notifier.step(now)
            self.operator.step(now)
            self.overrides.look(now)
            log.flush()
            if self.stopping and not (self._children() or self.unserved):
                return
            # Rounded up: waking a little early would only go round once more.
            self.poll.poll(-(-max(0, self._next_due(now) - now) // 1_000_000))
            for number in self.signals.take():
                self._on_signal(number)
            silence(self.bell)
            self._on_news()
            self.commands.serve(time.monotonic_ns())

    def _measure(self, now: int, last: bool = False) -> None:
        if self.metrics is not None and (last or now >= self.metrics.due):
            self.metrics.write(now, take(self.board, now, time.time_ns()))

    def _next_due(self, now: int) -> int:
        due = [self.watched_at + WATCH]
        if self.metrics is not None:
            due.append(self.metrics.due)
        due += [child.kill_at for child in self._children() if child.kill_at]
        steps = (self.admin, self.operator, self.commands, self.notifier)
        due += [it.due for it in steps if it.due is not None]
        if self.unsettled:
            due.append(now + SETTLE_AGAIN)
        if not self.stopping:
            due += [seat.start_at for seat in (*self.seats, self.scaler_seat) if seat.child is None]
        return min(due)

    def _children(self) -> list[Child]:
        return [child for seat in (*self.seats, self.scaler_seat) for child in seat.children]

    def _workers(self) -> list[Child]:
        return [child for seat in self.seats for child in seat.children]

    # starting ---------------------------------------------------------------------------------------------------------

    def _fill(self, now: int) -> None:
        for seat in list(self.unserved) if self.stopping else (*self.seats, self.scaler_seat):
            if seat.child is None and seat.successor is not None:
                # It was to take over, and now it has to; readiness will come.
                seat.child, seat.successor = seat.successor, None
            elif seat.child is None and now >= seat.start_at:
                seat.child = self._start(seat, now)
                if self.stopping:
                    self._hold_to_the_end(seat)

    def _start(self, seat: Seat, now: int) -> Child | None:
        """None when it failed; the seat says when to try again."""
        if seat.role == "worker":
            slot = self._free_slot(seat.index)
            if slot is None:
                seat.start_at = now + SETTLE_AGAIN
                return None
            generation = self.board.start_worker(slot, seat.index, now)
        else:
            slot, generation = 0, self.board.start_scaler(now)
        try:
            child = children.start(self.argv[seat.role], self._boot(seat, slot, generation), now)
        except OSError as error:
            log.error("process start failed", role=seat.role, error=str(error))
            if seat.role == "worker":
                self.board.reclaim(slot)
            seat.failures += 1
            seat.start_at = now + SECOND
            self._give_up_if_hopeless(seat)
            return None
        if seat.role == "worker":
            self.board.set_worker_pid(slot, child.pid)
        else:
            self.board.set_scaler_pid(child.pid)
        log.debug("process started", process=child.name, pid=child.pid, generation=generation)
        return child

    def _free_slot(self, wish: int) -> int | None:
        """A free worker slot: the seat's own if possible, so that in quiet times worker 2 is seat 2."""
        workers = self.board.list_workers()
        free = [worker.slot for worker in workers if worker.state == WORKER_FREE]
        return wish if wish in free else next(iter(free), None)

    def _boot(self, seat: Seat, slot: int, generation: int) -> Boot:
        worker = seat.role == "worker"

        cert_fd, key_fd = self.certificate.descriptors() if worker else (-1, -1)

        def sockets(kind: str) -> tuple[int, ...]:
            return self.listeners.descriptors(seat.index, kind) if worker else ()

        return Boot(
            role=seat.role,
            index=slot,
            generation=generation,
            listening=seat.index,
            workers=len(self.seats),
            config=self.config.to_json(),
            board_fd=self.board.fd,
            bell_fd=self.bells[slot] if worker else self.scaler_bell,
            bells=self.bells,
            scaler_bell_fd=self.scaler_bell,
            supervisor_bell_fd=self.bell,
            front_fds=sockets("http"),
            front_tls_fds=sockets("https"),
            control_fds=sockets("control_http"),
            control_tls_fds=sockets("control_https"),
            peer_fd=self.whereabouts.peers[slot].fileno() if worker else -1,
            peer_addresses=tuple(self.whereabouts.addresses),
            ports=self.listeners.ports,
            sibling_fds=self.listeners.of_others(seat.index) if worker else (),
            cert_fd=cert_fd,
            key_fd=key_fd,
            certificate_sha256=self.certificate.sha256,
            life_fd=self.life_fd,
            parent_pid=os.getpid(),
            settings_fd=self.settings.fd,
            settings_number=self.settings.number,
            trace_fd=self.trace.fd if worker and self.trace is not None else -1,
        )

    # news -------------------------------------------------------------------------------------------------------------

    def _on_news(self) -> None:
        """Looks at the board for processes that have become ready."""
        now = time.monotonic_ns()
        for seat in (*self.seats, self.scaler_seat):
            for child in seat.children:
                if child.ready or self._state(child) < WORKER_READY:
                    continue
                child.ready = True
                child.ready_at = now
                seat.filled()
                took = round((now - child.started) / SECOND, 3)
                log.info("process ready", process=child.name, pid=child.pid, took=took)
                if seat in self.unserved:
                    self._leave_unserved(seat)
                    self._drain(child)
        # The scaler has looked at region and credentials when it is ready.
        needed = (*self.seats, self.scaler_seat)
        if not self.announced and all(seat.child is not None and seat.child.ready for seat in needed):
            self._announce()

    def _state(self, child: Child) -> int:
        if child.role == "scaler":
            return self.board.scaler_view().state
        return self.board.worker_state(child.slot)

    def _announce(self) -> None:
        self.announced = True
        ports = {kind: port for kind, port in self._ports().items() if port}
        self.notifier.ready()
        self._tell_status()
        log.info("router ready", workers=len(self.seats), pid=os.getpid(), **ports)
        if self.config.ready_fd >= 0:
            try:
                with os.fdopen(self.config.ready_fd, "w") as out:
                    out.write(json.dumps({**ports, "pid": os.getpid()}) + "\n")
            except OSError as error:
                log.warning("ready line not written", fd=self.config.ready_fd, error=str(error))

    # deaths -----------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        now = time.monotonic_ns()
        self.admin.reap(now)
        for seat in (*self.seats, self.scaler_seat):
            for child in seat.children:
                code = child.process.poll()
                if code is not None:
                    self._on_exit(seat, child, code, now)

    def _on_exit(self, seat: Seat, child: Child, code: int, now: int) -> None:
        if child.role == "worker":
            if not self.board.reclaim(child.slot):
                self.unsettled.append(child)
            # What it held is free again, and what it was to answer stays unanswered: siblings and the scaler look.
            self._ring_all()
        was_successor = child is seat.successor
        seat.ended(child, now)
        ended = how_it_ended(code)
        if seat in self.unserved and seat.child is None:
            self._leave_unserved(seat)
        if self.stopping or (child.draining and code == 0):
            log.info("process ended", process=child.name, pid=child.pid, by=ended)
            return
        log.warning("process died", process=child.name, pid=child.pid, by=ended, ready=child.ready)
        if was_successor:
            self.rolling.clear()
            log.error("rolling restart abandoned", reason="the successor died before it was ready", kept=seat.role)
        elif code == EX_CONFIG and not (seat.was_filled and any(other.ready for other in self._workers())):
            # What has become wrong since (a certificate, say) does not take down those that serve.
            log.error("restart refused", process=child.name, reason="configuration error")
            self._stop(EX_CONFIG)
        else:
            self._give_up_if_hopeless(seat)

    def _give_up_if_hopeless(self, seat: Seat) -> None:
        if seat.hopeless and not self.stopping:
            log.error("restart abandoned", role=seat.role, reason="it died at each start", tries=seat.failures)
            self._stop(EXIT_BOOT)

    def _ring_all(self) -> None:
        for bell in (*self.bells, self.scaler_bell):
            ring(bell)

    def _settle(self) -> None:
        # The order of deaths does not matter: each makes the others' easier.
        self.unsettled = [child for child in self.unsettled if not self.board.reclaim(child.slot)]

    def _turn_away(self) -> None:
        """A sibling may call a worker that has just ended: no answer will come, and it must know at once.

        (Clients' connections wait for a successor; that one may come in another worker slot, or not at all.)
        """
        empty = {w.slot for w in self.board.list_workers() if w.state in (WORKER_FREE, WORKER_GONE)}
        for slot in self.unattended - empty:
            self.poll.unregister(self.whereabouts.peers[slot])
        for slot in empty - self.unattended:
            self.poll.register(self.whereabouts.peers[slot], select.POLLIN)
        self.unattended = empty
        for slot in empty:
            try:
                while True:
                    self.whereabouts.peers[slot].accept()[0].close()
            except BlockingIOError:
                continue

    # hangs ------------------------------------------------------------------------------------------------------------

    def _watch(self, now: int) -> None:
        for child in self._children():
            if child.kill_at and now >= child.kill_at:
                log.warning("process killed", process=child.name, pid=child.pid, reason="it did not end in time")
                child.kill_at = 0
                child.send(signal.SIGKILL)
        late = now - self.watched_at - WATCH
        if late < 0:
            return
        first = self.watched_at == 0
        self.watched_at = now
        if self.announced:
            self._tell_status()
        if not first and late > 2 * WATCH:
            return  # we were stopped ourselves, and so perhaps were they: their silence means nothing
        for child in self._children():
            silent = now - self._heartbeat(child)
            if child.kill_at or silent < (self.hang_timeout if child.ready else BOOT_TIMEOUT):
                continue
            log.error("process unresponsive", process=child.name, pid=child.pid, silent=round(silent / SECOND, 1))
            child.send(signal.SIGABRT)
            child.kill_at = now + ABORT_GRACE

    def _tell_status(self) -> None:
        ready = sum(child.ready and not child.draining for child in self._workers())
        pools = [self.board.pool(pool.pool) for pool in self.board.list_pools()]
        self.notifier.status(
            f"{ready} of {len(self.seats)} workers ready, {sum(pool.open for pool in pools)} instances open"
        )

    def _heartbeat(self, child: Child) -> int:
        if child.role == "scaler":
            return self.board.scaler_view().heartbeat
        return self.board.list_workers()[child.slot].heartbeat

    # replacing --------------------------------------------------------------------------------------------------------

    def _roll(self, now: int) -> None:
        """One step of the rolling restart: the first seat gets a successor, which takes over when it is ready."""
        if self.stopping or not self.rolling:
            return
        seat = self.rolling[0]
        old, new = seat.child, seat.successor
        if new is None:
            if old is None or not old.ready:
                return  # it is being filled anyhow; what comes then is replaced, or has just come
            if old.started > self.rolling_since:
                self.rolling.popleft()
                self._roll(now)
                return
            seat.successor = self._start(seat, now)
            if seat.successor is None:
                self.rolling.clear()
                log.error("rolling restart abandoned", reason="the successor did not start", kept=old.name)
        elif old is not None and new.ready and not old.draining:
            old.draining = True
            old.kill_at = now + int(self.config.drain_deadline * SECOND) + DRAIN_MARGIN
            old.send(signal.SIGUSR2)

    # reloading --------------------------------------------------------------------------------------------------------

    def reload(self, by: str) -> dict[str, Any]:
        """By SIGHUP or by a command. The answer says what became of what."""
        if self.stopping:
            return {"reloaded": False, "problems": ["the router is stopping"]}
        # To the service manager READY=1 says that the start is complete, too: not before it is.
        if self.announced:
            self.notifier.reloading()
        answer = self.reloading.carry_out(by)
        self.config = self.admin.config = self.reloading.config
        self.hang_timeout = int(self.config.hang_timeout * SECOND)
        self._ring_all()
        if self.announced:
            self.notifier.ready()
        return answer

    # signals ----------------------------------------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self.reload("SIGHUP")
        elif number == signal.SIGUSR1:
            if not self.stopping:
                log.info("rolling restart started", signal="SIGUSR1")
                self.rolling_since = time.monotonic_ns()
                self.rolling = deque(self.seats)
        else:
            self._stop(0)

    def _stop(self, exit_code: int) -> None:
        now = time.monotonic_ns()
        self.stopping += 1
        if self.stopping == 1:
            self.exit_code = exit_code
            self.rolling.clear()
            self.notifier.stopping()
            log.info("router stopping", exit_code=exit_code)
            self.end_by = now + int(self.config.drain_deadline * SECOND) + DRAIN_MARGIN
            if exit_code == 0 and self.announced:
                self.unserved = [seat for seat in self.seats if not any(child.ready for child in seat.children)]
            for seat in self.seats:
                if seat in self.unserved:
                    seat.start_at = now
                    for child in seat.children:
                        child.kill_at = self.end_by
                    continue
                # The workers have their own: when the last of them stops listening, clients are refused instead of
                # accepted by no process.
                self.listeners.close_set(seat.index)
                for child in seat.children:
                    # Who was replaced drains already; another signal would hurry it.
                    if not child.draining:
                        self._drain(child)
        elif self.stopping == 2:
            log.warning("stop hurried", signals=2)
            for child in self._children():
                child.send(signal.SIGTERM)
        else:
            log.warning("stop forced", signals=3)
            for child in self._children():
                child.send(signal.SIGKILL)

    def _drain(self, child: Child) -> None:
        child.draining = True
        child.kill_at = self.end_by
        child.send(signal.SIGTERM)

    def _hold_to_the_end(self, seat: Seat) -> None:
        if seat.child is None:
            self._leave_unserved(seat)
        else:
            seat.child.kill_at = self.end_by

    def _leave_unserved(self, seat: Seat) -> None:
        """A worker is ready to serve what waits there, or there will be none."""
        self.unserved.remove(seat)
        self.listeners.close_set(seat.index)

    def _end_scaler(self, now: int) -> None:
        """The scaler goes last: until the workers have ended, instances still finish what they have."""
        scaler = self.scaler_seat.child
        if self.stopping and scaler is not None and not scaler.draining and not (self._workers() or self.unserved):
            scaler.draining = True
            scaler.kill_at = now + SCALER_DEADLINE
            scaler.send(signal.SIGTERM)


def _raise_descriptor_limit() -> None:
    """Each connection and open invoke is a descriptor; children inherit the limit. The soft one is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
