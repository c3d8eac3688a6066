"""Borrowing a sibling's slot and lending one's own; the theory stands in peers.pxd."""

import os
import socket
import struct

from lambda_dispatch.telemetry import log

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from lambda_dispatch.dispatch.exchange cimport OVER, PRESSURE, SENT, WAITING, Exchange, Slot
from lambda_dispatch.dispatch.matcher cimport GIVE_WAY, Lender, Matcher, Pool
from lambda_dispatch_net.wire cimport Hub, Wire
from lambda_dispatch_core.bytes.atomics cimport get16, get64, getu32, getu64
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.layout cimport (
    INSTANCE_DRAINING, INSTANCE_OPEN, MAX_WORKERS, NOT_USABLE, WORKER_DRAINING, WORKER_READY,
)
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport LAST_PSEUDO, T_PATH, UNKNOWN, Field, FieldList
from lambda_dispatch_core.h2.session cimport (
    CANCEL, INTERNAL_ERROR, REFUSED_STREAM, H2Events, H2Limits, H2Stream, default_limits, new_session,
)
from lambda_dispatch_core.http1.head cimport ResponseHead, parse_size, write_field, write_status_line

cdef enum:
    # Streams of one sibling at once: more than the slots one worker can hold would be refused anyway.
    MAX_GUESTS = 4096
    # Bytes of a request's head that are waited for: the largest MaxHeadBytes, and what the front door adds.
    MAX_HEAD = (1 << 20) + 64 * 1024


# Whether the head's end is in the first `length` bytes, of which the last n are new.
cdef bint holds_head(const uint8_t* p, Py_ssize_t length, Py_ssize_t n) noexcept:
    cdef Py_ssize_t at = max(length - n - 3, 0)
    cdef const uint8_t* found
    while length - at >= 4:
        found = <const uint8_t*> memchr(p + at, c"\r", length - at - 3)
        if found == NULL:
            return False
        if memcmp(found, b"\r\n\r\n", 4) == 0:
            return True
        at = found - p + 1
    return False


# The tunnelled head of an answer on its way to a sibling.
cdef OutBuffer scratch = OutBuffer()


# Whether the other end of a Unix socket is a process of this user, as every worker of one router is.
cdef bint same_user(transport) except -1:
    sock = transport.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == os.geteuid():
        return True
    log.limited(log.WARNING, "sibling connection refused", reason="another_user", uid=uid, pid=pid)
    return False


@cython.final
cdef class Peers(Lender):
    def __init__(self, Hub hub not None, Matcher matcher not None, tuple addresses not None, dial):
        self.hub = hub
        self.matcher = matcher
        self.addresses = addresses
        self.wires = {}
        self.dialling = set()
        self._dial = dial

    cdef Slot borrow(self, Pool pool, int64_t since, int64_t now):
        cdef int worker = self.matcher.board.sibling_with_slot(pool.index, now)
        cdef PeerWire wire
        cdef PeerSlot slot
        cdef FieldList head
        if worker >= 0 and (pool.asking > 0 or self._keeps(pool, worker, since)):
            worker = self._choose(pool, worker, since, now)
        if worker < 0 or worker >= len(self.addresses) or self.matcher.give_way(pool, since, now):
            return None
        wire = <PeerWire> self.wires.get(worker)
        if wire is None:
            if worker not in self.dialling:
                self.dialling.add(worker)
                self._dial(worker)
            return None
        if wire.closing:
            return None
        head = FieldList()
        head.append(b":method", b"POST")
        head.append(b":scheme", b"http")
        head.append(b":authority", b"sibling")
        head.append(b":path", b"/%d" % pool.index)
        slot = PeerSlot()
        slot.stream = wire.session.open(head, False)
        if slot.stream is None:
            return None
        slot.wire = wire
        slot.pool = pool
        slot.unsure = True
        slot.stream.owner = slot
        wire.asked[pool.index] += 1
        pool.asking += 1
        if pool.asking == 1:
            pool.heard = now
        if pool.asking > 1 and since < pool.oldest():
            pool.asked.appendleft(slot)
        else:
            pool.asked.append(slot)
        wire.touch()
        return slot

    cdef bint _keeps(self, Pool pool, int worker, int64_t since) noexcept:
        cdef Board board = self.matcher.board
        cdef int64_t oldest = get64(&board.worker_pools[worker * board.pools + pool.index].oldest_queued)
        return oldest != 0 and since >= oldest - GIVE_WAY

    cdef int _choose(self, Pool pool, int first, int64_t since, int64_t now) except -2:
        cdef Board board = self.matcher.board
        cdef int free[MAX_WORKERS]
        cdef int busy[MAX_WORKERS]      # of the least busy instance there; NOT_USABLE: the worker is none to ask
        cdef int slot, worker, state, room, rank, idle, here, best, total = 0
        cdef int asked_first = self._asked(pool, first)
        cdef int expected = pool.expects(now)
        for worker in range(board.workers):
            state = <int> getu32(&board.worker_slots[worker].state)
            free[worker] = 0
            if (worker == board.worker or state not in (WORKER_READY, WORKER_DRAINING)
                    or self._keeps(pool, worker, since)):
                free[worker] = -1
            busy[worker] = NOT_USABLE
        for slot in range(<int> getu32(&board.header.instances_high)):
            if board.slots[slot].pool != <uint32_t> pool.index:
                continue
            state = <int> (getu64(&board.slots[slot].life) & 0xFF)
            rank = get16(&board.in_flight[slot])
            room = board.limits[slot] - rank
            if room <= 0 or not (state == INSTANCE_OPEN
                                 or (state == INSTANCE_DRAINING and now < get64(&board.slots[slot].goaway_at))):
                continue
            if state == INSTANCE_DRAINING:
                rank = NOT_USABLE - 1   # the last resort
            here = 0
            for worker in range(board.workers):
                idle = get16(&board.idle[worker * board.instances + slot])
                if idle <= 0 or free[worker] < 0:
                    continue
                free[worker] += min(idle, room)
                busy[worker] = min(busy[worker], rank)
                here += idle
            total += min(here, room)
            if total > expected and free[first] > asked_first:
                return first
        if total <= expected:
            return -1
        best = -1
        for worker in range(board.workers):
            if free[worker] > 0 and (best < 0 or busy[worker] < busy[best]):
                if free[worker] > self._asked(pool, worker):
                    best = worker
        return best

    cdef int _asked(self, Pool pool, int worker) except -1:
        cdef PeerWire wire = <PeerWire> self.wires.get(worker)
        return wire.asked[pool.index] if wire is not None else 0

    def connected(self, PeerWire wire not None):
        """A sibling is reached: what waits may go there."""
        self.dialling.discard(wire.worker)
        self.wires[wire.worker] = wire
        self.matcher.serve_all(self.hub.tick())

    def failed(self, int worker):
        """A sibling could not be reached; the next request that wants it tries again."""
        self.dialling.discard(worker)

    def close(self):
        """Ends every connection to a sibling."""
        for wire in list(self.wires.values()):
            (<PeerWire> wire).close()


@cython.final
cdef class PeerSlot(Slot):
    cdef int send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.wire is None:
            return 0
        self.wire.session.send_data(self.stream, p, n, end)
        return self.wire.touch()

    cdef Py_ssize_t backlog(self) noexcept:
        if self.unsure:
            return PRESSURE         # no more until it is known whether the request stays there
        return self.stream.pending if self.stream is not None else 0

    cdef int consumed(self, Py_ssize_t n) except -1:
        if self.wire is None:
            return 0
        self.wire.session.consumed(self.stream, n)
        if self.wire.out.length:
            return self.wire.touch()
        return 0

    cdef int cancel(self) except -1:
        if self.wire is not None:
            self.wire.session.reset(self.stream, CANCEL)
            self.wire.touch()
        return self._forget()

    cdef int finished(self) except -1:
        return self._forget()

    cdef int answered(self) except -1:
        self.unsure = False
        self.wire.asked[self.pool.index] -= 1
        self.pool.asking -= 1
        self.pool.heard = self.wire.hub.now
        if self.pool.asking == 0:
            self.pool.asked.clear()
        return 0

    cdef str where(self):
        return "worker %d" % self.wire.worker

    cdef int _forget(self) except -1:
        if self.wire is not None:
            if self.unsure:
                self.answered()
                if self.pool.queue.length:
                    # Who was not sent because of this one.
                    self.wire.peers.matcher.on_sibling(self.wire.worker)
            self.stream.owner = None
            self.wire = None
            self.stream = None
        self.exchange = None
        return 0

    cdef int lost(self, bint refused) except -1:
        cdef Exchange exchange = self.exchange
        cdef Matcher matcher
        cdef int worker
        if self.wire is None:
            return 0
        matcher = self.wire.peers.matcher
        worker = self.wire.worker
        self._forget()
        if exchange is None or exchange.stage == OVER:
            return 0
        exchange.slot = None
        if refused and exchange.stage == SENT and exchange.whole:
            exchange.stage = WAITING
            self.pool.queue.push_front(exchange)
            matcher.publish(self.pool)
            # Who frees a slot there rings us. One that became free while this one was on its way has rung already.
            matcher.on_sibling(worker)
            return 0
        return exchange.fail(502, "sibling_lost", "worker %d" % worker)

    cdef int failed(self, FieldList trailers) except -1:
        cdef Exchange exchange = self.exchange
        cdef int i
        cdef int64_t status = 502
        cdef str word = "sibling_failed"
        cdef str where
        if self.wire is None:
            return 0
        where = self.where()
        self._forget()
        if exchange is None or exchange.stage == OVER:
            return 0
        exchange.slot = None
        for i in range(trailers.count):
            name = trailers.at[i].name[:trailers.at[i].name_len]
            if name == b"x-lambda-dispatch-status":
                status = parse_size(trailers.at[i].value, trailers.at[i].value_len)
            elif name == b"x-lambda-dispatch-error":
                word = trailers.at[i].value[:trailers.at[i].value_len].decode("ascii", "replace")
        return exchange.fail(<int> status if 400 <= status < 600 else 502, word, where)


@cython.final
cdef class PeerEvents(H2Events):
    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef PeerSlot slot
        cdef Exchange exchange
        if stream.owner is None:
            return 0
        slot = <PeerSlot> stream.owner
        if slot.unsure:
            slot.answered()
            exchange = slot.exchange
            if exchange is not None:
                exchange.on_flowing()
            # Nobody need give way to this one any longer.
            if slot.pool.queue.length:
                self.wire.peers.matcher.serve(slot.pool, self.wire.hub.now)
            else:
                self.wire.peers.matcher.publish(slot.pool)
        return 0

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef PeerSlot slot
        cdef Exchange exchange
        if stream.owner is None:
            return self.wire.session.consumed(stream, n)
        slot = <PeerSlot> stream.owner
        exchange = slot.exchange
        if exchange is None:
            return self.wire.session.consumed(stream, n)
        return exchange.received(p, n, end)

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        cdef PeerSlot slot
        if stream.owner is not None:
            slot = <PeerSlot> stream.owner      # held here: its other holders let go of it
            return slot.failed(trailers)
        return 0

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef PeerSlot slot
        if stream.owner is not None:
            slot = <PeerSlot> stream.owner      # held here: its other holders let go of it
            return slot.lost(refused)
        return 0

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef PeerSlot slot
        cdef Exchange exchange
        if stream.owner is not None:
            slot = <PeerSlot> stream.owner
            exchange = slot.exchange
            if exchange is not None:
                return exchange.on_flowing()
        return 0


@cython.final
cdef class PeerWire(Wire):
    def __init__(self, Peers peers not None, int worker):
        Wire.__init__(self, peers.hub)
        self.peers = peers
        self.worker = worker

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef PeerEvents events = PeerEvents()
        default_limits(&limits)
        self.session = new_session(True, &limits)
        events.wire = self
        self.session.events = events
        self.out = self.session.out
        if not same_user(self.transport):
            self.peers.failed(self.worker)
            return self.abort()
        self.touch()
        self.peers.connected(self)
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        if self.session.receive(p, n) < 0:
            self.close()
        if self.out.length:
            return self.touch()
        return 0

    cdef int on_paused(self) except -1:
        self.session.block()
        return 0

    cdef int on_writable(self) except -1:
        # A socket that takes a whole budget at once never pauses, so nobody else would serve the rest.
        while not self.paused and not self.closing and self.session.unblock(64 * 1024):
            self.flush()
        return self.touch()

    cdef int on_lost(self) except -1:
        if self.peers.wires.get(self.worker) is self:
            del self.peers.wires[self.worker]
        self.session.lost()
        return 0


@cython.final
cdef class GuestExchange(Exchange):
    cdef int on_dispatched(self) except -1:
        return self.on_flowing()

    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1:
        return self._head(head, fields)

    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1:
        return self._head(head, fields)

    # As an extension would write it.
    cdef int _head(self, ResponseHead* head, FieldList fields) except -1:
        cdef int i
        cdef Field* f
        if self.wire is None:
            return 0
        scratch.clear()
        write_status_line(scratch, head.status, head.reason, head.reason_len)
        for i in range(fields.count):
            f = &fields.at[i]
            if f.token == UNKNOWN or f.token > LAST_PSEUDO:
                write_field(scratch, f.name, f.name_len, f.value, f.value_len)
        scratch.write(<const uint8_t*> b"\r\n", 2)
        self.wire.session.send_data(self.stream, scratch.data, scratch.length, False)
        return self.wire.touch()

    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.wire is None:
            return 0
        self.wire.session.send_data(self.stream, p, n, end)
        if n and not end:
            if self.stream.pending or self.wire.paused:
                self.owed_instance += n
            else:
                self.slot.consumed(n)
        return self.wire.touch()

    cdef int repay(self) except -1:
        cdef int64_t owed = self.owed_instance
        self.owed_instance = 0
        if owed and self.slot is not None:
            return self.slot.consumed(owed)
        return 0

    cdef int on_refused(self, int status, str reason) except -1:
        cdef FieldList trailers
        if self.wire is None:
            return 0
        self.accept()
        trailers = FieldList()
        trailers.append(b"x-lambda-dispatch-status", b"%d" % status)
        trailers.append(b"x-lambda-dispatch-error", reason.encode("ascii", "replace"))
        self.wire.session.send_head(self.stream, trailers, True)
        return self.wire.touch()

    cdef int on_bad_gateway(self, str reason, str where) except -1:
        return 0

    cdef int accept(self) except -1:
        if not self.accepted:
            self.accepted = True
            self.wire.session.send_status(self.stream, 200, False)
            return self.wire.touch()
        return 0

    cdef int on_broken(self) except -1:
        if self.wire is None:
            return 0
        self.wire.session.reset(self.stream, INTERNAL_ERROR)
        return self.wire.touch()

    cdef int on_flowing(self) except -1:
        cdef int64_t owed = self.owed_sibling
        if owed and self.wire is not None and self.backlog() < PRESSURE:
            self.owed_sibling = 0
            self.wire.session.consumed(self.stream, owed)
            return self.wire.touch()
        return 0

    cdef int on_over(self) except -1:
        if self.wire is not None:
            self.stream.owner = None
            self.stream = None
            self.wire = None
        return 0


@cython.final
cdef class GuestEvents(H2Events):
    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef GuestExchange exchange
        cdef Field* path = head.find(T_PATH)
        pool = None
        if path != NULL and path.value_len >= 2:        # CONNECT has none
            pool = self.wire.matcher.pool_at(parse_size(path.value + 1, path.value_len - 1))
        if pool is None or end:
            self.wire.session.reset(stream, REFUSED_STREAM)
            return self.wire.touch()
        exchange = GuestExchange()
        exchange.wire = self.wire
        exchange.stream = stream
        exchange.pool = pool
        exchange.arrived = self.wire.hub.now
        stream.owner = exchange
        return 0

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef GuestWire wire = self.wire
        cdef GuestExchange exchange
        if stream.owner is None:
            return wire.session.consumed(stream, n)
        exchange = <GuestExchange> stream.owner
        if exchange.slot is None:
            # The head first; it begins with the request line. A long one comes in several frames.
            exchange.body(p, n, end)
            if not end and exchange.stored < MAX_HEAD and not holds_head(exchange.store, exchange.stored, n):
                return wire.session.consumed(stream, n)
            exchange.is_head = exchange.stored >= 5 and memcmp(exchange.store, b"HEAD ", 5) == 0
            exchange.follow()
            if not wire.matcher.submit_guest(exchange, wire.hub.now):
                exchange.stage = OVER
                wire.session.reset(stream, REFUSED_STREAM)
                exchange.on_over()
                return wire.touch()
            if exchange.wire is not None:
                exchange.accept()
        else:
            exchange.body(p, n, end)
        if n and exchange.wire is not None and not end:
            if exchange.backlog() < PRESSURE:
                wire.session.consumed(stream, n)
            else:
                exchange.owed_sibling += n
        return 0

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef GuestExchange exchange
        if stream.owner is not None:
            exchange = <GuestExchange> stream.owner     # held here: its other holders let go of it
            return exchange.gone()
        return 0

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef GuestExchange exchange
        if stream.owner is not None and not self.wire.paused:
            exchange = <GuestExchange> stream.owner
            return exchange.repay()
        return 0


@cython.final
cdef class GuestWire(Wire):
    def __init__(self, Hub hub not None, Matcher matcher not None):
        Wire.__init__(self, hub)
        self.matcher = matcher

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef GuestEvents events = GuestEvents()
        default_limits(&limits)
        limits.max_concurrent_streams = MAX_GUESTS
        self.session = new_session(False, &limits)
        events.wire = self
        self.session.events = events
        self.out = self.session.out
        if not same_user(self.transport):
            return self.abort()
        return self.touch()

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        if self.session.receive(p, n) < 0:
            self.close()
        if self.out.length:
            return self.touch()
        return 0

    cdef int on_paused(self) except -1:
        self.session.block()
        return 0

    cdef int on_writable(self) except -1:
        cdef H2Stream stream
        cdef GuestExchange exchange
        # A socket that takes a whole budget at once never pauses, so nobody else would serve the rest.
        while not self.paused and not self.closing and self.session.unblock(64 * 1024):
            self.flush()
        if not self.paused:
            for item in self.session.streams():
                stream = <H2Stream> item
                if stream.owner is not None and stream.pending == 0:
                    exchange = <GuestExchange> stream.owner
                    exchange.repay()
        return self.touch()

    cdef int on_lost(self) except -1:
        return self.session.lost()

    def finish(self):
        """No more guests: the connection ends when the last has been served."""
        self.session.begin_shutdown()
        self.session.finish_shutdown()
        self.touch()

    def idle(self):
        return self.session.open_streams == 0
