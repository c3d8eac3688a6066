"""Routing, fields and counters at the front door; what it is stands in door.pxd."""

import fcntl
import socket
import struct
import termios
from email.utils import formatdate
from heapq import nsmallest

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from lambda_dispatch.dispatch.exchange cimport Exchange
from lambda_dispatch.dispatch.matcher cimport Matcher, Pool
from lambda_dispatch.front.reserved cimport is_reserved
from lambda_dispatch.front.uploads cimport Uploads
from lambda_dispatch_net.wire cimport Entrance, Hub, Wire
from lambda_dispatch_core.board.board cimport Board, WorkerSlot, latency_bucket
from lambda_dispatch_core.bytes.fields cimport (
    LAST_HOP, T_CONTENT_LENGTH, T_COOKIE, T_EXPECT, T_HOST, T_X_CHANNEL_ID, T_X_FORWARDED_FOR, T_X_FORWARDED_PORT,
    T_X_FORWARDED_PROTO, T_X_LAMBDA_DISPATCH_DEBUG, T_X_LAMBDA_DISPATCH_SECRET, T_X_LAMBDA_ID, T_X_LAMBDA_NAME,
    T_X_POOL_ID, UNKNOWN, Field, FieldList,
)
from lambda_dispatch_core.http1.head cimport named_by_connection

cdef enum:
    SECOND = 1000000000
    # What an idle connection's client gets to close its side, too, when the worker drains: the way to it and back.
    FAREWELL = SECOND // 2
    OWN_FIELDS = 5              # that write_fields() adds at most: Host, transfer-encoding and X-Forwarded-…
    TCP_CLOSE = 7               # linux/tcp_states.h
    TCP_CLOSE_WAIT = 8

cdef int IPPROTO_TCP = socket.IPPROTO_TCP
cdef int TCP_INFO = getattr(socket, "TCP_INFO", -1)     # Linux; elsewhere it is noticed when the body goes on


cdef inline uint8_t* put(uint8_t* to, const void* p, Py_ssize_t n) noexcept:
    memcpy(to, p, n)
    return to + n


cdef inline uint8_t* put_bytes(uint8_t* to, bytes text) noexcept:
    return put(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


# X-Lambda-Dispatch-Debug: true
cdef bint wants_debug(FieldList fields) noexcept:
    cdef Field* f = fields.find(T_X_LAMBDA_DISPATCH_DEBUG)
    return f != NULL and f.value_len == 4 and (f.value[0] | 0x20) == c"t" and (f.value[3] | 0x20) == c"e"


cdef class Door:
    def __init__(self, Hub hub not None, Matcher matcher not None, Board board not None, config, list common not None):
        self.hub = hub
        self.matcher = matcher
        self.board = board
        self.limits.head = config.max_head_bytes
        self.limits.line = config.max_request_line
        self.limits.fields = config.max_head_fields
        self.expose_ids = config.expose_lambda_ids
        self.head_timeout = <int64_t> (config.head_timeout * SECOND)
        self.idle_timeout = <int64_t> (config.keepalive_timeout * SECOND)
        self.grace = <int64_t> (config.body_grace * SECOND)
        self.min_body_rate = config.min_body_rate
        self.min_read_rate = config.min_read_rate
        self.common_fields = FieldList()
        self.common = b""
        for name, value in common:
            self.common_fields.append(name, value)
            self.common += b"%s: %s\r\n" % (name, value)
        self.fields = FieldList()
        self.wires = set()
        self.uploads = Uploads(hub, matcher, board, config)

    def begin_drain(self):
        """Answers ask for no more requests on their connection from now on; HTTP/2 connections are told."""
        cdef ClientWire wire
        self.draining = True
        for wire in list(self.wires):
            wire.drain(False)

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
        if self.told:   # the first time, the slot still holds what its last process counted
            me.bytes_in += now_in - self.told_in
            me.bytes_out += now_out - self.told_out
        self.told = True
        self.told_in = now_in
        self.told_out = now_out

    cdef bytes date_value(self):
        cdef int64_t now = self.hub.now
        if now >= self.date_until:
            self.date = formatdate(usegmt=True).encode("ascii")
            self.date_until = now + SECOND // 2
        return self.date

    cdef int route(self, Exchange exchange, const uint8_t* method, Py_ssize_t method_len, const uint8_t* target,
                   Py_ssize_t target_len, FieldList fields, Decision* decision) except -1:
        cdef Field* name
        cdef Field* secret
        decision.verdict = PASS
        self.to_pool = self.pool
        if (target_len >= 7 and memcmp(target, b"/health", 7) == 0 and (target_len == 7 or target[7] == c"?")
                and (method_len == 3 and memcmp(method, b"GET", 3) == 0
                     or method_len == 4 and memcmp(method, b"HEAD", 4) == 0)):
            decision.verdict = HERE
            if self.board.me != NULL:
                self.board.me.health_checks += 1
            decision.status, self.text = self.on_health(target[:target_len])
            return 0
        if is_reserved(target, target_len):
            decision.verdict = REFUSED
            decision.status = 404
            self.reason = "reserved_path"
            return 0
        if self.by_name is not None:
            name = fields.find(T_X_LAMBDA_NAME)
            if name != NULL:
                secret = fields.find(T_X_LAMBDA_DISPATCH_SECRET)
                found = self.by_name(
                    name.value[:name.value_len], b"" if secret == NULL else secret.value[:secret.value_len])
                if not isinstance(found, Pool):
                    decision.verdict = REFUSED
                    decision.status, self.reason = found
                    return 0
                self.to_pool = found
        if self.on_debug is not None and wants_debug(fields):
            exchange.debug = self.on_debug
            exchange.tell("received", self.hub.now)
            if target_len >= 11 and memcmp(target, b"/echo-local", 11) == 0:
                decision.verdict = ECHO
                return 0
        if self.to_pool is None:
            decision.verdict = REFUSED
            decision.status = 503
            self.reason = "no_function"
        return 0

    cdef int write_fields(self, Exchange exchange, FieldList fields, ClientWire wire, bint connection_options,
                          bint chunked, const uint8_t* host, Py_ssize_t host_len) except -1:
        cdef Py_ssize_t room = 160 + host_len + PyBytes_GET_SIZE(wire.peer) + PyBytes_GET_SIZE(wire.port)
        cdef bint has_proto = False
        cdef bint has_port = False
        cdef int forwarded = 0
        cdef int cookies = 0
        cdef int i
        cdef int j
        cdef Field* f
        cdef Field* g
        cdef uint8_t* to
        cdef uint8_t* start
        for i in range(fields.count):
            f = &fields.at[i]
            room += f.name_len + f.value_len + 4
            if f.token == T_COOKIE:
                cookies += 1
        start = to = exchange.reserve(room)
        if host != NULL:
            to = put(to, b"Host: ", 6)
            to = put(to, host, host_len)
            to = put(to, b"\r\n", 2)
        for i in range(fields.count):
            f = &fields.at[i]
            if f.token != UNKNOWN:
                if f.token <= LAST_HOP:
                    continue
                if f.token == T_HOST:
                    if host != NULL:
                        continue
                elif f.token == T_X_FORWARDED_FOR:
                    forwarded += 1
                    continue
                elif f.token == T_X_FORWARDED_PROTO:
                    has_proto = True
                elif f.token == T_X_FORWARDED_PORT:
                    has_port = True
                elif f.token == T_COOKIE and cookies > 1:
                    continue
                elif (f.token == T_EXPECT or f.token == T_X_POOL_ID or f.token == T_X_LAMBDA_ID
                        or f.token == T_X_CHANNEL_ID or f.token == T_X_LAMBDA_DISPATCH_SECRET):
                    continue
            if (connection_options and f.token != T_HOST and f.token != T_CONTENT_LENGTH
                    and named_by_connection(fields, f.name, f.name_len)):
                continue
            to = put(to, f.name, f.name_len)
            to = put(to, b": ", 2)
            to = put(to, f.value, f.value_len)
            to = put(to, b"\r\n", 2)
        if cookies > 1:
            # HTTP/2 may split Cookie for compression; HTTP/1.1 wants one (RFC 9113 8.2.3).
            to = put(to, b"cookie: ", 8)
            j = 0
            for i in range(fields.count):
                g = &fields.at[i]
                if g.token == T_COOKIE:
                    if j:
                        to = put(to, b"; ", 2)
                    to = put(to, g.value, g.value_len)
                    j += 1
            to = put(to, b"\r\n", 2)
        if chunked:
            to = put(to, b"transfer-encoding: chunked\r\n", 28)
        to = put(to, b"X-Forwarded-For: ", 17)
        if forwarded:
            for i in range(fields.count):
                g = &fields.at[i]
                if g.token == T_X_FORWARDED_FOR:
                    to = put(to, g.value, g.value_len)
                    to = put(to, b", ", 2)
        to = put_bytes(to, wire.peer)
        if not has_proto:
            to = put(to, b"\r\nX-Forwarded-Proto: ", 21)
            to = put_bytes(to, wire.proto)
        if not has_port:
            to = put(to, b"\r\nX-Forwarded-Port: ", 20)
            to = put_bytes(to, wire.port)
        to = put(to, b"\r\n\r\n", 4)
        exchange.stored += to - start
        exchange.head_fields = fields.count + OWN_FIELDS
        return 0

    cdef int count(self, Exchange exchange, ClientWire wire, int minor) except -1:
        cdef const uint8_t* line_end
        cdef WorkerSlot* me = self.board.me
        cdef int status = exchange.status
        cdef int64_t now = self.hub.now
        # When it asked for a slot: an upload does when its body allows.
        cdef int64_t asked = exchange.since if exchange.since else exchange.arrived
        if me != NULL:
            me.requests += 1
            if status < 300:
                if status >= 200:
                    me.status_2xx += 1
            elif status < 400:
                me.status_3xx += 1
            elif status < 500:
                me.status_4xx += 1
            else:
                me.status_5xx += 1
            if exchange.fault is not None:
                if exchange.fault == "client_gone":
                    me.clients_gone += 1
                elif status == 502:
                    me.bad_gateways += 1
                elif status == 503:
                    me.rejected += 1
                elif status == 504:
                    me.queue_timeouts += 1
            me.total[latency_bucket(now - exchange.arrived)] += 1
            if exchange.sent:
                me.wait[latency_bucket(exchange.sent - asked)] += 1
        if exchange.debug is not None:
            exchange.tell("over: %d %s" % (status, exchange.fault or "served"), now)
        if self.access is not None:
            # The store begins with the request line as it was tunnelled: "METHOD target HTTP/1.1".
            line_end = <const uint8_t*> memchr(exchange.store, c"\r", exchange.stored) if exchange.stored else NULL
            self.access.line(
                now, wire.peer, exchange.store, line_end - exchange.store - 9 if line_end != NULL else 0, minor, status,
                exchange.request_bytes, exchange.answer_bytes,
                (exchange.sent if exchange.sent else now) - asked, now - exchange.arrived, exchange.fault)
        return 0


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

    cdef bint hung_up(self) except -1:
        try:
            state = self.transport.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0]
        except (OSError, AttributeError, IndexError):
            return False
        return state == TCP_CLOSE or state == TCP_CLOSE_WAIT
