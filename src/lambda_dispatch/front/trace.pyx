"""Traces at the front door; what they are stands in trace.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset
from libc.time cimport time as wall_seconds

from lambda_dispatch.dispatch.model cimport Exchange, Mark, Pool
from lambda_dispatch.telemetry.chance cimport by_chance, put_hex, read_hex
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.trace_ring cimport (
    SPAN_HOST, SPAN_METHOD, SPAN_REMOTE, SPAN_RESENT, SPAN_TARGET, SPAN_TLS, SpanRecord, TraceRing,
)
from lambda_dispatch_core.bytes.atomics cimport getu64
from lambda_dispatch_core.bytes.fields cimport (
    T_B3, T_HOST, T_TRACEPARENT, T_TRACESTATE, T_X_AMZN_TRACE_ID, T_X_B3_SAMPLED, T_X_B3_SPANID, T_X_B3_TRACEID, Field,
    FieldList, token_of,
)
from lambda_dispatch_core.bytes.literal cimport begins_lit, is_lit, put_lit

cdef dict PROPAGATORS = {"tracecontext": W3C, "b3": B3, "b3multi": B3_MULTI, "xray": XRAY}
# Bytes that write() adds for each: few enough that most heads stay within the exchange's own memory.
cdef dict ROOMS = {"tracecontext": 72, "b3": 64, "b3multi": 112, "xray": 104}
assert sum(ROOMS.values()) <= MARK_ROOM


cdef inline bint is_zero(const uint8_t* p, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i
    for i in range(n):
        if p[i]:
            return False
    return True


cdef inline bint read_trace(Context* to, const uint8_t* p, Py_ssize_t digits) noexcept:
    memset(to.trace, 0, 16)
    return read_hex(to.trace + 16 - digits // 2, p, digits // 2) and not is_zero(to.trace, 16)


cdef inline bint read_parent(Context* to, const uint8_t* p) noexcept:
    to.has_parent = read_hex(to.parent, p, 8) and not is_zero(to.parent, 8)
    return to.has_parent


# traceparent (W3C Trace Context 3.2): version-trace-parent-flags, all in lower-case hex.
cdef bint read_traceparent(const Field* f, Context* to) noexcept:
    cdef const uint8_t* p = f.value
    cdef uint8_t[1] version
    cdef uint8_t[1] flags
    if f.value_len < 55 or p[2] != c"-" or p[35] != c"-" or p[52] != c"-":
        return False
    if not read_hex(version, p, 1) or version[0] == 0xFF or not read_hex(flags, p + 53, 1):
        return False
    if f.value_len > 55 and (version[0] == 0 or p[55] != c"-"):
        return False
    to.sampled = flags[0] & 1
    return read_trace(to, p + 3, 32) and read_parent(to, p + 36)


cdef inline int b3_sampling(const uint8_t* p, Py_ssize_t n) noexcept:
    if n == 1 and (p[0] == c"1" or p[0] == c"d"):
        return 1
    if is_lit(p, n, b"true"):
        return 1
    return 0 if (n == 1 and p[0] == c"0") or is_lit(p, n, b"false") else -1


# b3: trace-parent-sampling-grandparent, the last two may be missing; the trace has 16 or 32 digits.
cdef bint read_b3(const Field* f, Context* to) noexcept:
    cdef const uint8_t* p = f.value
    cdef Py_ssize_t n = f.value_len
    cdef Py_ssize_t digits = 32 if n > 32 and p[32] == c"-" else 16
    if n < digits + 17 or p[digits] != c"-":
        return False
    if not read_trace(to, p, digits) or not read_parent(to, p + digits + 1):
        return False
    if n >= digits + 19 and p[digits + 17] == c"-":
        to.sampled = b3_sampling(p + digits + 18, 1)
    return True


# X-Amzn-Trace-Id: Root=1-8 digits-24 digits;Parent=16 digits;Sampled=1, in any order. A load balancer sends Root alone.
cdef bint read_xray(const Field* f, Context* to) noexcept:
    cdef const uint8_t* p = f.value
    cdef const uint8_t* last = p + f.value_len
    cdef const uint8_t* end
    cdef Py_ssize_t n
    cdef bint found = False
    memset(to.trace, 0, 16)
    while p < last:
        while p < last and (p[0] == c" " or p[0] == c";"):
            p += 1
        end = <const uint8_t*> memchr(p, c";", last - p) if p < last else NULL
        if end == NULL:
            end = last
        n = end - p
        if begins_lit(p, n, b"Root=1-") and n == 40 and p[15] == c"-":
            found = read_hex(to.trace, p + 7, 4) and read_hex(to.trace + 4, p + 16, 12) and not is_zero(to.trace, 16)
        elif begins_lit(p, n, b"Parent=") and n == 23:
            read_parent(to, p + 7)
        elif begins_lit(p, n, b"Sampled=") and n == 9:
            to.sampled = 1 if p[8] == c"1" else 0 if p[8] == c"0" else -1
        p = end + 1
    return found


# trace-span-: what traceparent and b3 share.
cdef inline uint8_t* put_ids(uint8_t* to, const Mark* mark) noexcept:
    to = put_lit(put_hex(to, mark.trace, 16), b"-")
    return put_lit(put_hex(to, mark.client, 8), b"-")


@cython.final
cdef class Tracer:
    def __init__(self, TraceRing ring not None, Board board not None, double ratio, bint follows, tuple propagators):
        """`ratio`: how many roots are sampled; `follows`: contexts that say so decide for themselves."""
        self.ring = ring
        self.board = board
        self.follows = follows
        self.always = ratio >= 1
        self.bound = <uint64_t> (ratio * 18446744073709551616.0) if 0 < ratio < 1 else 0
        for name in propagators:
            if name in PROPAGATORS:
                self.order[self.propagators] = PROPAGATORS[name]
                self.writes |= self.order[self.propagators]
                self.room += ROOMS[name]
                self.propagators += 1

    cdef void _read(self, uint8_t propagator, Field** by_token, Context* context) noexcept:
        cdef Context it
        cdef Field* f = NULL
        cdef Field* parent
        cdef bint found = False
        memset(&it, 0, sizeof(it))
        it.sampled = -1
        if propagator == W3C:
            f = by_token[0]
            found = f != NULL and read_traceparent(f, &it)
        elif propagator == B3:
            f = by_token[T_B3 - T_TRACEPARENT]
            found = f != NULL and read_b3(f, &it)
        elif propagator == B3_MULTI:
            f = by_token[T_X_B3_TRACEID - T_TRACEPARENT]
            parent = by_token[T_X_B3_SPANID - T_TRACEPARENT]
            found = (f != NULL and (f.value_len == 32 or f.value_len == 16) and read_trace(&it, f.value, f.value_len)
                     and parent != NULL and parent.value_len == 16 and read_parent(&it, parent.value))
            f = by_token[T_X_B3_SAMPLED - T_TRACEPARENT]
            if found and f != NULL:
                it.sampled = b3_sampling(f.value, f.value_len)
        else:
            f = by_token[T_X_AMZN_TRACE_ID - T_TRACEPARENT]
            found = f != NULL and read_xray(f, &it)
        if found:
            it.found = True
            it.by = propagator
            context[0] = it

    cdef bint _is_sampled(self, const uint8_t* trace) noexcept:
        cdef uint64_t low = 0
        cdef int i
        if self.always:
            return True
        # The rule of every OpenTelemetry SDK, so that all of them decide alike for one trace.
        for i in range(8, 16):
            low = low << 8 | trace[i]
        return low < self.bound

    cdef int begin(self, FieldList fields, Mark* mark) noexcept:
        cdef Field* by_token[CARRIERS]
        cdef Context context
        cdef Field* f
        cdef bint carried = False
        cdef bint twice = False
        cdef bint sampled
        cdef uint64_t id
        cdef uint32_t epoch
        cdef int i
        context.found = context.has_parent = False
        context.sampled = -1
        context.by = 0
        for i in range(fields.count):
            f = &fields.at[i]
            if T_TRACEPARENT <= f.token <= T_X_AMZN_TRACE_ID:
                if not carried:
                    memset(by_token, 0, sizeof(by_token))
                    carried = True
                twice = twice or (f.token == T_TRACEPARENT and by_token[0] != NULL)
                by_token[f.token - T_TRACEPARENT] = f
        if carried:
            if twice:
                by_token[0] = NULL      # W3C Trace Context 3.2.2.5: which of the two would be the parent?
            for i in range(self.propagators):
                self._read(self.order[i], by_token, &context)
        if self.follows and context.found and context.sampled == 0:
            return LEFT
        if context.found:
            memcpy(mark.trace, context.trace, 16)
        else:
            id = by_chance()
            memcpy(mark.trace, &id, 8)
            id = by_chance()
            memcpy(mark.trace + 8, &id, 8)
            if self.writes & XRAY:      # X-Ray wants the time first
                epoch = <uint32_t> wall_seconds(NULL)
                for i in range(4):
                    mark.trace[i] = <uint8_t> (epoch >> (24 - 8 * i))
        memset(mark.parent, 0, 8)
        if context.has_parent:
            memcpy(mark.parent, context.parent, 8)
        mark.remote = context.has_parent
        mark.keeps_state = context.by == W3C
        sampled = True if self.follows and context.sampled == 1 else self._is_sampled(mark.trace)
        mark.flags = 1 if sampled else 0
        id = by_chance()
        memcpy(mark.client, &id, 8)
        if not sampled:
            if context.has_parent:
                memcpy(mark.client, context.parent, 8)      # no span of ours will be there to be a parent
            return UNRECORDED
        id = by_chance()
        memcpy(mark.server, &id, 8)
        return RECORDED

    cdef bint replaces(self, uint16_t token, const Mark* mark) noexcept:
        if token == T_TRACEPARENT:
            return (self.writes & W3C) != 0
        if token == T_TRACESTATE:
            return (self.writes & W3C) != 0 and not mark.keeps_state
        if token == T_B3:
            return (self.writes & B3) != 0
        if token == T_X_AMZN_TRACE_ID:
            return (self.writes & XRAY) != 0
        return (self.writes & B3_MULTI) != 0

    cdef uint8_t* write(self, uint8_t* to, const Mark* mark) noexcept:
        cdef const char* sampled = b"1" if mark.flags & 1 else b"0"
        if self.writes & W3C:
            to = put_ids(put_lit(to, b"traceparent: 00-"), mark)
            to = put_hex(to, &mark.flags, 1)
            to = put_lit(to, b"\r\n")
        if self.writes & B3:
            to = put_lit(put_ids(put_lit(to, b"b3: "), mark), sampled)
            to = put_lit(to, b"\r\n")
        if self.writes & B3_MULTI:
            to = put_lit(to, b"x-b3-traceid: ")
            to = put_hex(to, mark.trace, 16)
            to = put_lit(to, b"\r\nx-b3-spanid: ")
            to = put_hex(to, mark.client, 8)
            to = put_lit(to, b"\r\nx-b3-sampled: ")
            to = put_lit(to, sampled)
            to = put_lit(to, b"\r\n")
        if self.writes & XRAY:
            to = put_lit(to, b"x-amzn-trace-id: Root=1-")
            to = put_hex(to, mark.trace, 4)
            to = put_lit(to, b"-")
            to = put_hex(to, mark.trace + 4, 12)
            to = put_lit(to, b";Parent=")
            to = put_hex(to, mark.client, 8)
            to = put_lit(to, b";Sampled=")
            to = put_lit(to, sampled)
            to = put_lit(to, b"\r\n")
        return to

    cdef void finish(self, Exchange exchange, bint tls, int minor, int word, int64_t asked, int64_t now) noexcept:
        cdef const Mark* mark = exchange.mark
        cdef SpanRecord* it = self.ring.begin()
        cdef Board board = self.board
        cdef int place = exchange.served
        memcpy(it.trace, mark.trace, 16)
        memcpy(it.parent, mark.parent, 8)
        memcpy(it.server, mark.server, 8)
        memcpy(it.client, mark.client, 8)
        it.arrived = exchange.arrived
        it.asked = asked
        it.sent = exchange.sent
        it.ended = now
        if 0 <= place < board.instances and getu64(&board.slots[place].life) >> 32 == exchange.served_generation:
            memcpy(it.instance, board.slots[place].id, 16)
            it.invoked = board.slots[place].created
            it.opened = board.slots[place].opened
        else:
            memset(it.instance, 0, 16)
            it.invoked = it.opened = 0
        it.request_bytes = <uint64_t> exchange.request_bytes
        it.answer_bytes = <uint64_t> exchange.answer_bytes
        it.pool = <uint32_t> ((<Pool> exchange.pool).index if exchange.pool is not None else board.pools)
        it.status = exchange.status
        it.flags = <uint16_t> ((SPAN_REMOTE if mark.remote else 0) | (SPAN_RESENT if exchange.resent else 0)
                               | (SPAN_TLS if tls else 0))
        it.word = <uint16_t> word
        it.version = <uint8_t> (20 if minor < 0 else 10 + minor)
        it.trace_flags = mark.flags
        describe(it, exchange.store, exchange.stored)
        self.ring.finish(it)


# Method, path and host, from the head as it was tunnelled.
cdef void describe(SpanRecord* it, const uint8_t* p, Py_ssize_t n) noexcept:
    cdef const uint8_t* last = p + n
    cdef const uint8_t* end
    cdef const uint8_t* at
    cdef Py_ssize_t length
    it.method_length = 0
    it.target_length = 0
    it.host_length = 0
    end = <const uint8_t*> memchr(p, c"\r", n)
    at = <const uint8_t*> memchr(p, c" ", n)
    if end == NULL or at == NULL or end - at < 10:
        return
    if at - p <= SPAN_METHOD:
        it.method_length = <uint8_t> (at - p)
        memcpy(it.method, p, it.method_length)
    at += 1
    length = end - 9 - at               # " HTTP/1.1"
    if length > SPAN_TARGET:
        length = SPAN_TARGET
    end = <const uint8_t*> memchr(at, c"?", length)
    if end != NULL:
        length = end - at
    it.target_length = <uint16_t> length
    memcpy(it.target, at, length)
    p = <const uint8_t*> memchr(at, c"\n", last - at)
    while p != NULL and p + 1 < last:
        p += 1
        end = <const uint8_t*> memchr(p, c"\r", last - p)
        if end == NULL or end == p:
            return
        if end - p > 6 and token_of(p, 4) == T_HOST and p[4] == c":":
            p += 6
            it.host_length = <uint8_t> min(end - p, <Py_ssize_t> SPAN_HOST)
            memcpy(it.host, p, it.host_length)
            return
        p = end + 1
