"""HTTP/1.1 at the front door; what it is stands in h1.pxd."""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from lambda_dispatch.dispatch.model cimport PRESSURE, WAITING, Pool
from lambda_dispatch.dispatch.upgrade cimport UPGRADE_LINES, protocol_of
from lambda_dispatch.front.door cimport ClientWire, Door, Held, keeps
from lambda_dispatch.front.h2 cimport H2ClientWire
from lambda_dispatch.front.request cimport Request, admit, sole_upgrade
from lambda_dispatch.front.response cimport (
    count, count_upgrade, may_have_length, own_fields, passes_interim, text_of, write_passing,
)
from lambda_dispatch.front.uploads cimport FRESH, ClientExchange
from lambda_dispatch_net.credit cimport hold, release
from lambda_dispatch_core.bytes.fields cimport Field, FieldList
from lambda_dispatch_core.bytes.literal cimport is_lit, write_lit
from lambda_dispatch_core.bytes.spares cimport keep_spares
from lambda_dispatch_core.http1.head cimport (
    CHUNK_BAD, CHUNK_DATA, CHUNK_END, ChunkReader, RequestHead, ResponseHead, head_error_reason, head_error_status,
    parse_request, read_chunked, scan_head, write_chunk, write_decimal, write_field, write_last_chunk,
    write_status_line,
)

cdef enum:
    # Pipelined bytes kept while a request is in hand; a reader that is further ahead is not read until it is its turn.
    PIPELINE = 16 * 1024
    # Answers collected in one turn above which they are written before the next pipelined request is begun.
    ANSWERS = 64 * 1024
    SECOND = 1000000000
    # What a connection that has just been made gets to send its first request while everything idle is closed.
    FIRST_REQUEST = SECOND

cdef const char* PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@cython.final
cdef class H1Exchange(ClientExchange):
    cdef int on_collect(self) except -1:
        cdef H1Wire wire = self.wire
        if self.expects and wire is not None and wire.body_open:
            self.expects = False
            write_lit(wire.out, b"HTTP/1.1 100 Continue\r\n\r\n")
            wire.touch()
        return 0

    cdef int on_dispatched(self) except -1:
        cdef H1Wire wire = self.wire
        self.on_collect()
        if wire is None:
            return 0
        wire.pace.since = 0
        if not wire.reading and self.backlog() < PRESSURE:
            wire.start_reading()
        return 0

    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1:
        cdef H1Wire wire = self.wire
        cdef int i
        cdef Field* f
        # RFC 9110 15.2: never to an HTTP/1.0 client; 100 is ours to send.
        if wire is None or wire.minor == 0 or head.status == 100:
            return 0
        if wire.door.board.me != NULL:
            wire.door.board.me.status_1xx += 1
        write_status_line(wire.out, head.status, head.reason, head.reason_len)
        for i in range(fields.count):
            f = &fields.at[i]
            if passes_interim(f):
                write_field(wire.out, f.name, f.name_len, f.value, f.value_len)
        write_lit(wire.out, b"\r\n")
        return wire.touch()

    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1:
        cdef H1Wire wire = self.wire
        cdef Door door = wire.door
        cdef bint dated
        cdef bytes date
        self.expects = False
        write_status_line(wire.out, head.status, head.reason, head.reason_len)
        dated = write_passing(wire.out, head, fields, door)
        if head.content_length >= 0 and may_have_length(head.status):
            write_lit(wire.out, b"content-length: ")
            write_decimal(wire.out, head.content_length)
            write_lit(wire.out, b"\r\n")
        elif not bodyless:
            if wire.minor == 0:
                self.until_close = True
                wire.keep_alive = False
            else:
                self.chunked = True
                write_lit(wire.out, b"transfer-encoding: chunked\r\n")
        if not dated:
            date = door.date_value()
            write_lit(wire.out, b"date: ")
            wire.out.write_bytes(date)
            write_lit(wire.out, b"\r\n")
        wire.settle()
        return wire.touch()

    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef H1Wire wire = self.wire
        if wire is None:
            return 0
        if n:
            if self.chunked:
                write_chunk(wire.out, p, n)
            else:
                wire.out.write(p, n)
            if wire.paused:
                hold(&wire.owed, n)
            elif not end:
                self.slot.consumed(n)
        if end:
            if self.chunked:
                write_last_chunk(wire.out)
            elif self.upgraded:
                return wire.end_ours()
        return wire.touch()

    # Connection and Upgrade are ours to say; the application has agreed to the protocol that was asked for.
    cdef int on_upgraded(self, ResponseHead* head, FieldList fields) except -1:
        cdef H1Wire wire = self.wire
        cdef Py_ssize_t n
        cdef const uint8_t* protocol = protocol_of(self.store, self.stored, &n)
        self.upgraded = True
        wire.keep_alive = False
        wire.body_open = True
        wire.body_chunked = False
        wire.body_left = INT64_MAX
        wire.door.matcher.tunnels.begin(self, protocol, n, wire.hub.now)
        count_upgrade(wire.door)
        write_status_line(wire.out, head.status, head.reason, head.reason_len)
        write_lit(wire.out, UPGRADE_LINES)
        wire.out.write(protocol, n)
        write_lit(wire.out, b"\r\n")
        write_passing(wire.out, head, fields, wire.door)
        wire.out.write_bytes(wire.door.common)
        write_lit(wire.out, b"\r\n")
        return wire.touch()

    cdef int on_refused(self, int status, str reason) except -1:
        cdef H1Wire wire = self.wire
        if wire is None:
            return 0
        # A health check's answer refuses nothing.
        if reason is not None and wire.body_open:
            wire.keep_alive = False
        return wire.reply(status, self.text or text_of(status), reason, self.is_head, self.pool)

    cdef int on_broken(self) except -1:
        cdef H1Wire wire = self.wire
        if wire is None:
            return 0
        if self.until_close:
            return wire.abort()     # a plain close would look like the end of the body
        return wire.close()

    cdef int on_flowing(self) except -1:
        if self.wire is not None and self.backlog() < PRESSURE:
            return self.wire.start_reading()
        return 0

    cdef int on_over(self) except -1:
        cdef H1Wire wire = self.wire
        if self.upload:
            self.uploads.forget(self)
        if self.upgraded:
            self.passage.over(self)
        if wire is not None:
            count(wire.door, self, wire, wire.minor)
            self.wire = None
            return wire.over()
        return 0


keep_spares(H1Exchange)


@cython.final
cdef class H1Wire(ClientWire):
    def __dealloc__(self):
        free(self.kept)

    cdef int on_open(self) except -1:
        cdef H2ClientWire other
        tls = self.transport.get_extra_info("ssl_object")
        ClientWire.on_open(self)
        self.deadline = self.hub.now + self.door.head_timeout
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            other = self.become_h2()
            other.touch()
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef uint8_t* kept
        cdef Py_ssize_t length
        if self.lingering:
            return self.discard(n)
        if self.kept_len == 0:
            return self.work(p, n)
        self.keep(p, n)
        if self.exchange is None:
            if self.paused:
                return self.stop_reading()
            # A head in pieces: looked at once per byte, parsed when its end is there.
            if (self.scan.at and self.kept_len <= <Py_ssize_t> self.door.limits.head
                    and scan_head(&self.scan, self.kept, self.kept_len, False) == 0):
                return 0
        elif not self.body_open:
            return 0                # pipelined: waits for its turn
        kept = self.kept
        length = self.kept_len
        self.kept = NULL
        self.kept_len = self.kept_room = 0
        try:
            return self.work(kept, length)
        finally:
            free(kept)

    # Uses what can be used of n bytes and keeps the rest.
    cdef int work(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t r
        self.working = True
        try:
            while at < n and not self.closing and not self.lingering:
                if self.body_open:
                    at += self.feed(p + at, n - at)
                elif self.exchange is not None:
                    if self.exchange.needs:
                        # Bytes of a protocol that was not agreed, or a request that hides behind an upgrade.
                        self.keep_alive = False
                        self.body_open = True
                        self.exchange.fail(400, "bytes_before_upgrade")
                        return 0
                    break
                else:
                    if self.out.length >= ANSWERS:
                        self.flush()
                    if self.paused:
                        break
                    r = self.begin(p + at, n - at)
                    if r == 0:
                        break
                    at += r
        finally:
            self.working = False
        if self.exchange is not None and self.exchange.upload == FRESH:
            self.exchange.settle()
        if at < n and not self.closing and not self.lingering:
            self.keep(p + at, n - at)
            if self.paused and self.exchange is None:
                return self.stop_reading()
        return 0

    cdef int keep(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t want = self.kept_len + n
        cdef uint8_t* kept
        if want > self.kept_room:
            kept = <uint8_t*> realloc(self.kept, want + want // 2)
            if kept == NULL:
                raise MemoryError()
            self.kept = kept
            self.kept_room = want + want // 2
        memcpy(self.kept + self.kept_len, p, n)
        self.kept_len = want
        if want > PIPELINE and self.exchange is not None and not self.body_open:
            self.stop_reading()
        return 0

    # A request's head, if n bytes hold one: the bytes it took, or 0.
    cdef Py_ssize_t begin(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Door door = self.door
        cdef RequestHead head
        cdef Py_ssize_t r
        if not self.spoken and n >= 3 and memcmp(p, PREFACE, n if n < 24 else 24) == 0:
            if n < 24:
                return 0
            self.become_h2().on_bytes(p, n)
            return n
        door.fields.clear()
        r = parse_request(p, n, &door.limits, &head, door.fields)
        if r > 0:
            self.scan.at = 0
            self.deadline = 0
            self.spoken = True
            self.request(&head)
            return r
        if r == 0:
            if self.scan.at == 0 and self.spoken:
                self.deadline = self.hub.now + door.head_timeout
            scan_head(&self.scan, p, n, False)
            return 0
        self.reject(head_error_status(<int> r), (<bytes> head_error_reason(<int> r)).decode("ascii"))
        return n

    # A head that cannot be read, or has not come in time: the connection ends with this answer.
    cdef int reject(self, int status, str reason) except -1:
        cdef H1Exchange exchange = H1Exchange()
        exchange.wire = self
        exchange.arrived = self.hub.now
        exchange.request_ended = True
        self.exchange = exchange
        self.deadline = 0
        self.minor = 1
        self.keep_alive = False
        self.body_open = True       # what follows the fault is no request
        return exchange.fail(status, reason)

    # The client speaks HTTP/2 (by ALPN, or with prior knowledge): the connection goes on as one.
    cdef H2ClientWire become_h2(self):
        cdef H2ClientWire other = H2ClientWire(self.door, self.proto)
        self.door.wires.discard(self)
        self.closing = True
        self.transport.set_protocol(other)
        other.take_over(self)
        return other

    cdef int request(self, RequestHead* head) except -1:
        cdef Door door = self.door
        cdef H1Exchange exchange
        cdef Request request
        cdef const uint8_t* target = head.target
        cdef Py_ssize_t target_len = head.target_len
        cdef Py_ssize_t i
        cdef Field* upgrade
        request.host = NULL
        request.protocol = NULL
        request.host_len = 0
        request.protocol_len = 0
        self.minor = head.minor
        self.keep_alive = head.keep_alive and not door.draining
        self.body_chunked = head.chunked
        self.body_left = head.content_length
        self.body_open = head.chunked or head.content_length > 0
        if self.body_open:
            memset_reader(&self.chunks)
            self.pace.since = 0
        if target[0] != c"/":
            # absolute-form: the authority in it is the host (RFC 9112 3.2.2); "*" and authority-form have no scheme
            i = 0
            while i < target_len and target[i] != c":":
                i += 1
            if i + 3 <= target_len and memcmp(target + i, b"://", 3) == 0:
                request.host = target + i + 3
                i += 3
                while i < target_len and target[i] != c"/" and target[i] != c"?":
                    i += 1
                request.host_len = target + i - request.host
                target += i
                target_len -= i
        exchange = H1Exchange.__new__(H1Exchange)   # there is no __init__: a plain call costs twice as much
        exchange.wire = self
        exchange.is_head = head.is_head
        exchange.arrived = self.hub.now
        exchange.request_ended = not self.body_open
        exchange.expects = head.expect_continue
        self.exchange = exchange
        request.method = head.method
        request.method_len = head.method_len
        request.target = target
        request.target_len = target_len
        request.connection_options = head.connection_options
        request.has_length = head.content_length >= 0
        if head.upgrade and not (self.body_open or request.has_length or head.connection_options
                                 or head.expect_continue) and is_lit(head.method, head.method_len, b"GET"):
            upgrade = sole_upgrade(door.fields)
            if upgrade != NULL:
                request.protocol = upgrade.value
                request.protocol_len = upgrade.value_len
        return admit(door, self, exchange, &request, door.fields)

    # Body bytes of the request in hand: the bytes used. 0 only when the connection ends.
    cdef Py_ssize_t feed(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef const uint8_t* body = NULL
        cdef Py_ssize_t length = 0
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t total = 0
        cdef int r
        cdef H1Exchange exchange = self.exchange
        if not self.body_chunked:
            length = n if n < self.body_left else <Py_ssize_t> self.body_left
            self.body_left -= length
            self.body_seen += length
            if self.body_left == 0:
                self.body_open = False
            self.pass_on(exchange, p, length, not self.body_open)
            return length
        while total < n and self.body_open and not self.closing and not self.lingering:
            r = read_chunked(&self.chunks, p + total, n - total, &body, &length, &used)
            total += used
            if r == CHUNK_DATA:
                self.body_seen += length
                self.pass_on(exchange, body, length, False)
            elif r == CHUNK_END:
                self.body_open = False
                self.pass_on(exchange, NULL, 0, True)
            elif r == CHUNK_BAD:
                self.body_open = False
                self.keep_alive = False
                if exchange is not None:
                    exchange.fail(400, "bad_chunk")
                else:
                    self.linger()
                return n
        return total

    cdef int pass_on(self, H1Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if exchange is None or exchange is not self.exchange:
            if end:
                self.over()
            return 0
        exchange.came(p, n, end)
        if not end and exchange is self.exchange and exchange.backlog() >= (
                PRESSURE if exchange.slot is not None else self.door.pressure):
            self.stop_reading()
        return 0

    # The request in hand is over: what was pipelined behind it is next.
    cdef int over(self) except -1:
        self.exchange = None
        release(&self.owed)
        if self.closing or self.lingering:
            return 0
        # What the answer's head said holds: a drain that began since closes the connection when it is idle at its end.
        if not self.keep_alive:
            if self.body_open or self.kept_len:
                return self.linger()
            return self.close()
        if self.paused:
            # The client owes us the reading of this answer: no next request until the socket takes bytes again.
            self.deadline = 0
            return self.stop_reading()
        self.pace.since = 0
        return self.proceed()

    # The connection is ready for its next request.
    cdef int proceed(self) except -1:
        cdef uint8_t* kept
        cdef Py_ssize_t length
        self.deadline = self.hub.now + self.door.idle_timeout
        if not self.reading:
            self.start_reading()
        if self.kept_len and not self.working:
            kept = self.kept
            length = self.kept_len
            self.kept = NULL
            self.kept_len = self.kept_room = 0
            try:
                return self.work(kept, length)
            finally:
                free(kept)
        return 0

    # The fields every answer has, and the end of its head.
    cdef int settle(self) except -1:
        cdef bytes common = self.door.common
        if self.door.draining:
            self.keep_alive = False
        self.out.write_bytes(common)
        if not self.keep_alive:
            write_lit(self.out, b"connection: close\r\n")
        elif self.minor == 0:
            write_lit(self.out, b"connection: keep-alive\r\n")
        write_lit(self.out, b"\r\n")
        return 0

    cdef int reply(self, int status, bytes text, str reason, bint is_head, Pool pool) except -1:
        cdef FieldList fields = own_fields(self.door, status, text, reason, pool)
        cdef int i
        cdef Field* f
        write_status_line(self.out, status, NULL, 0)
        for i in range(fields.count):
            f = &fields.at[i]
            write_field(self.out, f.name, f.name_len, f.value, f.value_len)
        self.settle()
        if not is_head:
            self.out.write_bytes(text)
        return self.touch()

    cdef int linger(self) except -1:
        if not self.lingering and not self.closing:
            self.body_open = False
            free(self.kept)
            self.kept = NULL
            self.kept_len = self.kept_room = 0
        return ClientWire.linger(self)

    cdef int on_eof(self) except -1:
        cdef H1Exchange exchange = self.exchange
        if exchange is not None:
            if exchange.upgraded and not self.tls:
                self.body_open = False
                return self.pass_on(exchange, NULL, 0, True)
            exchange.gone()
        return self.close()

    # Over TLS there are no half-closed connections here: both sides have ended.
    cdef int end_ours(self) except -1:
        if self.tls and self.body_open:
            self.body_open = False
            return self.pass_on(self.exchange, NULL, 0, True)
        self.half_closed = True
        return self.touch()

    cdef int flush(self) except -1:
        ClientWire.flush(self)
        if self.half_closed and not self.closing and not self.lingering and self.transport is not None:
            self.half_closed = False
            if self.transport.can_write_eof():
                self.transport.write_eof()
        return 0

    cdef int on_lost(self) except -1:
        cdef H1Exchange exchange = self.exchange
        self.closing = True
        if exchange is not None:
            exchange.gone()
        return ClientWire.on_lost(self)

    cdef int on_writable(self) except -1:
        cdef int64_t owed = release(&self.owed)
        self.pace.since = 0
        if self.exchange is None:
            return 0 if self.closing or self.lingering else self.proceed()
        if owed and self.exchange.slot is not None:
            return self.exchange.slot.consumed(owed)
        return 0

    cdef int sweep(self, int64_t now) except -1:
        cdef H1Exchange exchange = self.exchange    # held here: what ends it drops it
        cdef int64_t rate
        if self.deadline and now >= self.deadline:
            self.deadline = 0
            if self.lingering:
                return self.abort()
            if exchange is None and self.kept_len and not self.closing:
                return self.reject(408, "head_timeout")
            return self.close()
        if self.transport is None:
            return 0
        if self.stuck(now):
            if exchange is not None:
                exchange.fault = "client_reads_too_slowly"
            return self.cut_reader()
        if exchange is None:
            return 0
        if not self.reading and self.hung_up(exchange.upgraded):
            exchange.gone()
            return self.close()
        if self.paused:
            return 0
        rate = exchange.least_rate(self.door.min_body_rate)
        if rate and self.body_open and self.reading and not exchange.expects:
            if not keeps(&self.pace, now, self.body_seen, rate, self.door.grace):
                if self.door.board.me != NULL:
                    self.door.board.me.slow_senders += 1
                if exchange.answer_ended:
                    exchange.fault = "client_sends_too_slowly"
                    return self.abort()
                return exchange.fail(408, "client_sends_too_slowly")
        else:
            self.pace.since = 0
        return 0

    cdef Py_ssize_t measure(self, Held* held) except -1:
        cdef Py_ssize_t body = self.exchange.held() if self.exchange is not None else 0
        held.heads += self.kept_room
        held.bodies += body
        return ClientWire.measure(self, held) + self.kept_room + body

    cdef bint halt(self, Py_ssize_t least, Py_ssize_t least_h2) except -1:
        cdef H1Exchange exchange = self.exchange
        if not self.reading or self.closing or self.lingering:
            return False
        if self.kept_room < least and (exchange is None or exchange.slot is not None or exchange.held() < least):
            return False
        self.halted = True
        self.stop_reading()
        return True

    cdef int resume(self) except -1:
        cdef H1Exchange exchange = self.exchange
        self.halted = False
        if exchange is None:
            return 0 if self.paused else self.start_reading()
        if self.body_open and exchange.backlog() < self.door.pressure:
            return self.start_reading()
        return 0

    cdef int shed(self) except -1:
        if self.exchange is not None and self.exchange.stage == WAITING:
            return self.exchange.fail(503, "over_memory_budget")
        if self.exchange is None and not self.paused:
            return self.reject(503, "over_memory_budget")
        return self.abort()

    cdef int64_t idle_since(self) noexcept:
        # A head that is not whole yet is no request in hand.
        if self.exchange is not None or self.closing or self.lingering or self.deadline == 0:
            return 0
        if self.spoken and self.kept_len == 0:
            return self.deadline - self.door.idle_timeout
        return self.deadline - self.door.head_timeout

    cdef int drain(self, bint idle) except -1:
        if idle and self.exchange is None and not self.kept_len:
            if not self.spoken and self.deadline > self.hub.now + self.door.head_timeout - FIRST_REQUEST:
                return 0        # it has only just come: its first request is on the way
            if not self.lingering and self.has_come():
                return 0        # a request
            return self.dismiss()
        return 0


cdef inline void memset_reader(ChunkReader* reader) noexcept:
    reader.left = 0
    reader.line = 0
    reader.state = 0
    reader.extra = 0
