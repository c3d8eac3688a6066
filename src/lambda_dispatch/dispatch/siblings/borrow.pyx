"""Borrowing a sibling's slot; the theory stands in borrow.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch.dispatch.matcher cimport Lender, Matcher
from lambda_dispatch.dispatch.model cimport OVER, PRESSURE, SENT, Exchange, Pool, Slot
from lambda_dispatch.dispatch.turns cimport GIVE_WAY
from lambda_dispatch_core.board.layout cimport MAX_WORKERS
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.bytes.literal cimport begins_lit
from lambda_dispatch_core.h2.session cimport CANCEL, H2Events, H2Limits, H2Stream, default_limits
from lambda_dispatch_core.http1.head cimport parse_size
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub

from lambda_dispatch.dispatch.siblings.same_user import same_user

cdef bytes NEEDS = b"x-lambda-dispatch-needs"


@cython.final
cdef class Peers(Lender):
    def __init__(self, Hub hub not None, Matcher matcher not None, tuple addresses not None, dial):
        self.hub = hub
        self.matcher = matcher
        self.addresses = addresses
        self.wires = {}
        self.dialling = set()
        self._dial = dial

    cdef Slot borrow(self, Pool pool, uint8_t needs, int64_t since, int64_t now):
        cdef int worker = self.matcher.board.sibling_with_slot(pool.index, now)
        if worker >= 0 and (pool.turns.asking > 0 or self._keeps(pool, worker, since)):
            worker = self._choose(pool, worker, since, now)
        if worker < 0 or worker >= len(self.addresses) or self.matcher.give_way(pool, since, now):
            return None
        return self._ask(pool, worker, needs, since, now)

    cdef Slot borrow_with(self, Pool pool, uint8_t features, int64_t since, int64_t now):
        cdef int free = 0
        cdef int worker = self.matcher.board.sibling_with_features(pool.index, features, &free)
        if not 0 <= worker < len(self.addresses) or self._asked(pool, worker) >= free:
            return None
        return self._ask(pool, worker, features, since, now)

    cdef Slot _ask(self, Pool pool, int worker, uint8_t needs, int64_t since, int64_t now):
        cdef PeerWire wire = <PeerWire> self.wires.get(worker)
        cdef PeerSlot slot
        cdef FieldList head
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
        if needs:
            head.append(NEEDS, b"%d" % needs)
        slot = PeerSlot.__new__(PeerSlot)
        slot.stream = wire.session.open(head, False)
        if slot.stream is None:
            return None
        slot.wire = wire
        slot.pool = pool
        slot.unsure = True
        slot.stream.owner = slot
        wire.asked[pool.index] += 1
        pool.turns.ask(slot, since, now)
        wire.touch()
        return slot

    cdef bint _keeps(self, Pool pool, int worker, int64_t since) noexcept:
        return self.matcher.board.keeps_for_itself(pool.index, worker, since + GIVE_WAY)

    cdef int _choose(self, Pool pool, int first, int64_t since, int64_t now) except -2:
        cdef int asked[MAX_WORKERS]
        cdef int worker
        for worker in range(self.matcher.board.workers):
            asked[worker] = self._asked(pool, worker)
        return self.matcher.board.sibling_with_spare_slot(
            pool.index, first, asked, pool.turns.expects(now), since + GIVE_WAY, now)

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

    cdef int send_trailers(self, FieldList trailers) except -1:
        if self.wire is None:
            return 0
        self.wire.session.send_head(self.stream, trailers, True)
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
        self.pool.turns.answered(self.wire.hub.now)
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
        if refused and exchange.stage == SENT and exchange.whole:
            exchange.not_taken()
            matcher.refused(exchange)
            # Who frees a slot there rings us. One that became free while this one was on its way has rung already.
            matcher.on_sibling(worker)
            return 0
        exchange.slot = None
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


# The sibling's own words, or the application's trailers (in which no such name passes).
cdef bint names_failure(FieldList trailers) noexcept:
    cdef int i
    for i in range(trailers.count):
        if begins_lit(trailers.at[i].name, trailers.at[i].name_len, b"x-lambda-dispatch-"):
            return True
    return False


@cython.final
cdef class PeerEvents(H2Events):
    # Which instance has it, for the access log and for traces.
    cdef int note(self, Exchange exchange, FieldList head) except -1:
        cdef int i
        for i in range(head.count):
            name = head.at[i].name[:head.at[i].name_len]
            if name == b"x-lambda-dispatch-instance":
                exchange.served = <int> parse_size(head.at[i].value, head.at[i].value_len)
            elif name == b"x-lambda-dispatch-generation":
                exchange.served_generation = <uint32_t> parse_size(head.at[i].value, head.at[i].value_len)
        return 0

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
                if self.wire.peers.matcher.tells_instance:
                    self.note(exchange, head)
                exchange.on_flowing()
            # No sibling need give way to this one any longer.
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
        cdef Exchange exchange
        if stream.owner is None:
            return 0
        slot = <PeerSlot> stream.owner      # held here: its other holders drop it
        if names_failure(trailers):
            return slot.failed(trailers)
        exchange = slot.exchange
        return exchange.received_trailers(trailers) if exchange is not None else 0

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef PeerSlot slot
        if stream.owner is not None:
            slot = <PeerSlot> stream.owner      # held here: its other holders drop it
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
cdef class PeerWire(H2Wire):
    def __init__(self, Peers peers not None, int worker):
        H2Wire.__init__(self, peers.hub)
        self.peers = peers
        self.worker = worker

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef PeerEvents events = PeerEvents()
        events.wire = self
        default_limits(&limits)
        self.begin(True, &limits, events)
        if not same_user(self.transport):
            self.peers.failed(self.worker)
            return self.abort()
        self.peers.connected(self)
        return 0

    cdef int on_lost(self) except -1:
        if self.peers.wires.get(self.worker) is self:
            del self.peers.wires[self.worker]
        return H2Wire.on_lost(self)
