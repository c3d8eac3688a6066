"""Lending a slot of this worker's instances to a sibling; the theory stands in borrow.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.features cimport FEATURE_GRPC, FEATURE_UPGRADE
from lambda_dispatch.dispatch.model cimport PRESSURE, Exchange
from lambda_dispatch.dispatch.upgrade cimport protocol_of
from lambda_dispatch.dispatch.trailers cimport copied, passing
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport LAST_PSEUDO, T_PATH, UNKNOWN, Field, FieldList
from lambda_dispatch_core.h2.session cimport (
    INTERNAL_ERROR, REFUSED_STREAM, H2Events, H2Limits, H2Stream, default_limits,
)
from lambda_dispatch_core.http1.head cimport ResponseHead, parse_size, write_field, write_status_line
from lambda_dispatch_net.credit cimport hold, release
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub

from lambda_dispatch.dispatch.siblings.same_user import same_user

cdef enum:
    # Streams of one sibling at once: more than the slots one worker can hold would be refused anyway.
    MAX_GUESTS = 4096
    # Of the head of a request that needs no more than HTTP; x-lambda-dispatch-needs follows.
    FIELDS = 4
    # Bytes of a request's head that are waited for: the largest MaxHeadBytes, and what the front door adds.
    MAX_HEAD = (1 << 20) + 64 * 1024

# The tunnelled head of an answer on its way to a sibling.
cdef OutBuffer scratch = OutBuffer()


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


@cython.final
cdef class GuestExchange(Exchange):
    cdef int on_dispatched(self) except -1:
        return self.on_flowing()

    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1:
        return self._head(head, fields, False)

    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1:
        return self._head(head, fields, self.bare and self.answer_left <= 0)

    cdef int on_upgraded(self, ResponseHead* head, FieldList fields) except -1:
        cdef Py_ssize_t n
        cdef const uint8_t* protocol = protocol_of(self.store, self.stored, &n)
        if self.wire is not None:
            self.wire.matcher.tunnels.begin(self, protocol, n, self.wire.hub.now)
        return self._head(head, fields, False)

    # As an extension would write it.
    cdef int _head(self, ResponseHead* head, FieldList fields, bint end) except -1:
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
        self.wire.session.send_data(self.stream, scratch.data, scratch.length, end)
        return self.wire.touch()

    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.wire is None:
            return 0
        self.wire.session.send_data(self.stream, p, n, end)
        if n and not end:
            if self.stream.pending or self.wire.paused:
                hold(&self.from_instance, n)
            else:
                self.slot.consumed(n)
        return self.wire.touch()

    cdef int on_trailers(self, FieldList trailers) except -1:
        if self.wire is None:
            return 0
        self.wire.session.send_head(self.stream, passing(trailers), True)
        return self.wire.touch()

    cdef int repay(self) except -1:
        cdef int64_t owed = release(&self.from_instance)
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
        cdef FieldList head
        if not self.accepted:
            self.accepted = True
            if self.wire.matcher.tells_instance and self.served >= 0:
                head = FieldList()
                head.append(b":status", b"200")
                head.append(b"x-lambda-dispatch-instance", b"%d" % self.served)
                head.append(b"x-lambda-dispatch-generation", b"%d" % self.served_generation)
                self.wire.session.send_head(self.stream, head, False)
            else:
                self.wire.session.send_status(self.stream, 200, False)
            return self.wire.touch()
        return 0

    cdef int on_broken(self) except -1:
        if self.wire is None:
            return 0
        self.wire.session.reset(self.stream, INTERNAL_ERROR)
        return self.wire.touch()

    cdef int on_flowing(self) except -1:
        if self.from_sibling.held and self.wire is not None and self.backlog() < PRESSURE:
            self.wire.session.consumed(self.stream, release(&self.from_sibling))
            return self.wire.touch()
        return 0

    cdef int on_over(self) except -1:
        if self.passage is not None:
            self.passage.over(self)
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
        cdef int64_t needs
        pool = None
        if path != NULL and path.value_len >= 2:        # CONNECT has none
            pool = self.wire.matcher.pool_at(parse_size(path.value + 1, path.value_len - 1))
        if pool is None or end:
            self.wire.session.reset(stream, REFUSED_STREAM)
            return self.wire.touch()
        exchange = GuestExchange.__new__(GuestExchange)
        exchange.wire = self.wire
        exchange.stream = stream
        exchange.pool = pool
        exchange.arrived = self.wire.hub.now
        if head.count > FIELDS:
            needs = parse_size(head.at[FIELDS].value, head.at[FIELDS].value_len)
            exchange.needs = <uint8_t> (max(needs, 0) & (FEATURE_UPGRADE | FEATURE_GRPC))
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
            if exchange.request_ended:
                exchange.needs &= ~FEATURE_UPGRADE      # its client has gone
            exchange.follow()
            if not wire.matcher.submit_guest(exchange, wire.hub.now):
                wire.session.reset(stream, REFUSED_STREAM)
                exchange.discard()
                return wire.touch()
            if exchange.wire is not None:
                exchange.accept()
        else:
            exchange.body(p, n, end)
        if n and exchange.wire is not None and not end:
            if exchange.backlog() < PRESSURE:
                wire.session.consumed(stream, n)
            else:
                hold(&exchange.from_sibling, n)
        return 0

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        if stream.owner is not None:
            (<GuestExchange> stream.owner).trailers = copied(trailers)
        return self.on_data(stream, NULL, 0, True)

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef GuestExchange exchange
        if stream.owner is not None:
            exchange = <GuestExchange> stream.owner     # held here: its other holders drop it
            return exchange.gone()
        return 0

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef GuestExchange exchange
        if stream.owner is not None and not self.wire.paused:
            exchange = <GuestExchange> stream.owner
            return exchange.repay()
        return 0


@cython.final
cdef class GuestWire(H2Wire):
    def __init__(self, Hub hub not None, Matcher matcher not None):
        H2Wire.__init__(self, hub)
        self.matcher = matcher

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef GuestEvents events = GuestEvents()
        events.wire = self
        default_limits(&limits)
        limits.max_concurrent_streams = MAX_GUESTS
        self.begin(False, &limits, events)
        if not same_user(self.transport):
            return self.abort()
        return 0

    cdef int on_unblocked(self) except -1:
        cdef H2Stream stream
        cdef GuestExchange exchange
        for item in self.session.streams():
            stream = <H2Stream> item
            if stream.owner is not None and stream.pending == 0:
                exchange = <GuestExchange> stream.owner
                exchange.repay()
        return 0

    def finish(self):
        """No more guests: the connection ends when the last has been served."""
        self.session.begin_shutdown()
        self.session.finish_shutdown()
        self.touch()

    def idle(self):
        return self.session.open_streams == 0
