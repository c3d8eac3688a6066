"""The front door and its connections; what they are stands in door.pxd."""

import fcntl
import socket
import struct
import termios
from email.utils import formatdate
from heapq import nsmallest

from libc.stdint cimport int64_t, uint64_t

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport PRESSURE
from lambda_dispatch.front.uploads cimport Uploads
from lambda_dispatch_net.wire cimport Entrance, Hub, Wire
from lambda_dispatch_core.board.board cimport Board, WorkerSlot
from lambda_dispatch_core.bytes.fields cimport FieldList

cdef enum:
    SECOND = 1000000000
    # What an idle connection's client gets to close its side, too, when the worker drains: the way to it and back.
    FAREWELL = SECOND // 2
    # What is read and thrown away of a client that goes on sending after our last words.
    LINGER_BYTES = 4 * 1024 * 1024
    # How long a client may take to read our last words before its connection is closed under it.
    LINGER = 2 * SECOND
    # While memory is short: request bytes that an HTTP/1.1 client without a slot is read ahead, instead of PRESSURE.
    NARROW_PRESSURE = 16 * 1024
    TCP_CLOSE = 7               # linux/tcp_states.h
    TCP_CLOSE_WAIT = 8

cdef int IPPROTO_TCP = socket.IPPROTO_TCP
cdef int TCP_INFO = getattr(socket, "TCP_INFO", -1)     # Linux; elsewhere it is noticed when the body goes on


cdef class Door:
    def __init__(self, Hub hub not None, Matcher matcher not None, Board board not None, config, list common not None):
        self.hub = hub
        self.matcher = matcher
        self.board = board
        self.common_fields = FieldList()
        self.common = b""
        for name, value in common:
            self.common_fields.append(name, value)
            self.common += b"%s: %s\r\n" % (name, value)
        self.fields = FieldList()
        self.wires = set()
        self.pressure = PRESSURE
        if board.me != NULL:
            # The slot still holds what its last process counted.
            self.told_in = hub.bytes_in - board.me.instance_bytes_in
            self.told_out = hub.bytes_out - board.me.instance_bytes_out
        self.uploads = Uploads(hub, matcher, board, config)
        self.apply(config)

    def apply(self, config):
        """Takes a configuration, for requests and connections that begin now."""
        self.limits.head = config.max_head_bytes
        self.limits.line = config.max_request_line
        self.limits.fields = config.max_head_fields
        self.expose_ids = config.expose_lambda_ids
        self.trusted_hops = config.trusted_hops
        self.allow_underscores = config.allow_underscore_fields
        self.upgrades = frozenset(config.upgrade_allow.encode("ascii").split(b",")) - {b"none"}
        self.head_timeout = <int64_t> (config.head_timeout * SECOND)
        self.idle_timeout = <int64_t> (config.keepalive_timeout * SECOND)
        self.grace = <int64_t> (config.body_grace * SECOND)
        self.min_body_rate = config.min_body_rate
        self.min_read_rate = config.min_read_rate
        self.uploads.apply(config)

    def begin_drain(self):
        """Answers ask for no more requests on their connection from now on; HTTP/2 connections get a first GOAWAY."""
        cdef ClientWire wire
        self.draining = True
        for wire in list(self.wires):
            wire.drain(False)

    def end_drain(self):
        """The router wants clients again: connections that come from now on are kept. Those that were told go."""
        self.draining = False

    def close_idle(self):
        """Closes every connection that has nothing in hand."""
        cdef ClientWire wire
        for wire in list(self.wires):
            wire.drain(True)

    def reclaim(self, int most, long long before, Entrance of=None):
        """Closes up to `most` connections with nothing in hand since `before`, oldest first, of one port or of all.

        The answer is how many it were.
        """
        cdef ClientWire wire
        cdef int64_t since
        cdef list idle = []
        for wire in self.wires:
            since = wire.idle_since()
            if since and since <= before and (of is None or wire.entrance is of):
                idle.append((since, id(wire), wire))
        idle = nsmallest(most, idle)
        for _, _, wire in idle:
            wire.drop()
        return len(idle)

    def measure(self):
        """Bytes held for clients now: (heads, request bodies, answers)."""
        cdef ClientWire wire
        cdef Held held
        held.heads = held.bodies = held.answers = 0
        for wire in self.wires:
            wire.measure(&held)
        return held.heads, held.bodies, held.answers

    def narrow_credit(self, bint on, long long least):
        """Smaller windows for request bodies, or what they were; how many connections that changed.

        New connections have them, and of those that are open the ones that hold at least so much.
        """
        cdef ClientWire wire
        cdef int changed = 0
        self.narrow = on
        self.pressure = NARROW_PRESSURE if on else PRESSURE
        for wire in self.wires:
            changed += wire.narrow(on, least)
        return changed

    def halt(self, long long least, long long least_h2):
        """Reads nothing more of connections that hold at least so much and have no slot; how many more they are."""
        cdef ClientWire wire
        cdef int halted = 0
        for wire in self.wires:
            halted += wire.halt(least, least_h2)
        return halted

    def resume(self):
        """Reads again what was halted."""
        cdef ClientWire wire
        for wire in list(self.wires):
            if wire.halted:
                wire.resume()

    def shed(self, long long wanted, long long least):
        """Ends what holds most, of those that hold at least so much, until `wanted` bytes are free.

        (how many were ended, bytes). Of clients that hold as much the one that came first goes first. What connections
        hold that are closing already is as good as free, unless their clients do not read: those are aborted first.
        """
        cdef ClientWire wire
        cdef Held held
        cdef Py_ssize_t n
        cdef long long freed = 0
        cdef int ended = 0
        found = []
        stuck = []
        for wire in self.wires:
            n = wire.measure(&held)
            if n == 0:
                continue
            if wire.closing:
                if wire.paused and not wire.cut:
                    stuck.append(wire)
                freed += n
            elif n >= least:
                found.append((-n, wire.came, id(wire), wire))
        for wire in stuck:
            wire.cut = True
            wire.abort()
        found.sort()
        for size, _, _, wire in found:
            if freed >= wanted:
                break
            freed -= size
            ended += 1
            wire.cut = wire.paused
            wire.shed()
        return ended, freed

    def cut_all(self):
        """Ends every connection as it stands."""
        cdef ClientWire wire
        for wire in list(self.wires):
            wire.abort()

    def sweep(self, long long now):
        """Time-outs and rates of every client connection. Once a second."""
        cdef ClientWire wire
        for wire in list(self.wires):
            wire.sweep(now)

    def publish(self):
        """Tells the board what came from and went to clients, and starts uploads that have waited. On every tick."""
        cdef WorkerSlot* me = self.board.me
        cdef uint64_t now_in
        cdef uint64_t now_out
        self.uploads.tick(self.hub.now)
        if me == NULL:
            return
        now_in = self.hub.bytes_in - me.instance_bytes_in
        now_out = self.hub.bytes_out - me.instance_bytes_out
        me.bytes_in += now_in - self.told_in
        me.bytes_out += now_out - self.told_out
        self.told_in = now_in
        self.told_out = now_out

    cdef bytes date_value(self):
        cdef int64_t now = self.hub.now
        if now >= self.date_until:
            self.date = formatdate(usegmt=True).encode("ascii")
            self.date_until = now + SECOND // 2
        return self.date


cdef bint keeps(Pace* pace, int64_t now, uint64_t moved, int64_t rate, int64_t grace) noexcept:
    cdef bint enough = True
    if rate == 0:
        return True
    if pace.since == 0:
        pace.since = now
        pace.moved = moved
    elif now - pace.since >= grace:
        enough = <int64_t> (moved - pace.moved) >= rate * ((now - pace.since) // SECOND)
        pace.since = now
        pace.moved = moved
    return enough


cdef class ClientWire(Wire):
    def __init__(self, Door door not None, bytes proto not None):
        Wire.__init__(self, door.hub)
        self.door = door
        self.proto = proto
        self.peer = b""
        self.port = b""

    cdef int on_open(self) except -1:
        self.door.wires.add(self)
        self.came = self.hub.now
        peer = self.transport.get_extra_info("peername")
        here = self.transport.get_extra_info("sockname")
        if isinstance(peer, tuple):
            address = peer[0]
            if address.startswith("::ffff:"):
                address = address[7:]       # an IPv4 client on an IPv6 socket
            self.peer = address.encode("ascii")
        else:
            self.peer = b"unknown"
        self.port = b"%d" % here[1] if isinstance(here, tuple) else b"0"
        if self.door.board.me != NULL:
            self.door.board.me.accepted += 1
            self.door.board.me.connections += 1
        return 0

    cdef int on_lost(self) except -1:
        self.door.wires.discard(self)
        if self.door.board.me != NULL:
            self.door.board.me.connections -= 1
        return 0

    cdef int sweep(self, int64_t now) except -1:
        return 0

    cdef Py_ssize_t measure(self, Held* held) except -1:
        cdef Py_ssize_t n = self.out.capacity if self.out is not None else 0
        if self.paused and self.transport is not None:
            n += self.transport.get_write_buffer_size()
        held.answers += n
        return n

    cdef bint narrow(self, bint on, Py_ssize_t least) except -1:
        return False

    cdef bint halt(self, Py_ssize_t least, Py_ssize_t least_h2) except -1:
        return False

    cdef int resume(self) except -1:
        self.halted = False
        return 0

    cdef int shed(self) except -1:
        return self.abort()

    cdef int64_t idle_since(self) noexcept:
        return 0

    cdef int drain(self, bint idle) except -1:
        return 0

    cdef int part(self, int64_t patience) except -1:
        if not self.lingering and not self.closing:
            self.lingering = True
            self.deadline = self.hub.now + patience
            self.start_reading()
            self.touch()
        return 0

    cdef int linger(self) except -1:
        return self.part(LINGER)

    cdef int discard(self, Py_ssize_t n) except -1:
        self.discarded += n
        return self.close() if self.discarded > LINGER_BYTES else 0

    cdef int dismiss(self) except -1:
        if self.lingering:
            return self.close() if self.hub.now >= self.deadline else 0
        return self.part(FAREWELL)

    cdef bint has_come(self) except -1:
        if self.transport is None:
            return False
        sock = self.transport.get_extra_info("socket")
        return struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0] > 0

    cdef int flush(self) except -1:
        Wire.flush(self)
        if self.lingering and not self.closing and self.transport is not None:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.closing = True
                self.transport.close()
        return 0

    cdef bint stuck(self, int64_t now) except -1:
        cdef int64_t waiting
        if self.transport is None:
            return False
        waiting = self.transport.get_write_buffer_size()
        if not (self.paused or self.closing and waiting):
            return False
        return not keeps(&self.pace, now, self.handed - waiting, self.door.min_read_rate, self.door.grace)

    cdef int cut_reader(self) except -1:
        if self.door.board.me != NULL:
            self.door.board.me.slow_readers += 1
        return self.abort()

    cdef bint hung_up(self, bint half) except -1:
        try:
            state = self.transport.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0]
        except (OSError, AttributeError, IndexError):
            return False
        return state == TCP_CLOSE or state == TCP_CLOSE_WAIT and not half
