"""HTTP/2 at the front door; what it is stands in h2.pxd."""

import os
from binascii import b2a_base64

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport strlen

from lambda_dispatch.dispatch.model cimport INLINE, OVER, PRESSURE, Pool
from lambda_dispatch.dispatch.features cimport FEATURE_GRPC, FEATURE_UPGRADE
from lambda_dispatch.dispatch.trailers cimport copied, passing
from lambda_dispatch.dispatch.upgrade cimport protocol_of
from lambda_dispatch.front.door cimport ClientWire, Door, Held, keeps
from lambda_dispatch.front.grpc cimport grpc_head, grpc_status, grpc_trailers, is_grpc, said_status
from lambda_dispatch.front.request cimport Request, admit
from lambda_dispatch.front.response cimport (
    count, count_call, count_upgrade, may_have_length, own_fields, passes, passes_interim, text_of,
)
from lambda_dispatch.front.uploads cimport COLLECTING, FRESH, ClientExchange
from lambda_dispatch_net.h2_wire cimport UNBLOCK
from lambda_dispatch_net.credit cimport hold, release
from lambda_dispatch_core.bytes.fields cimport (
    T_AUTHORITY, T_CONTENT_LENGTH, T_CONTENT_TYPE, T_DATE, T_EXPECT, T_HOST, T_METHOD, T_PATH, T_PROTOCOL, UNKNOWN,
    Field, FieldList,
)
from lambda_dispatch_core.h2.session cimport (
    ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, H2Events, H2Limits, H2Stream, default_limits, new_session,
)
from lambda_dispatch_core.bytes.limits cimport CLIENT_TABLE, STREAM_WINDOW
from lambda_dispatch_core.bytes.cursor cimport is_word
from lambda_dispatch_core.bytes.literal cimport is_lit
from lambda_dispatch_core.http1.head cimport ResponseHead, check_host, check_target

cdef enum:
    # While memory is short: what a stream may send ahead, and all of a connection that begins then.
    NARROW_WINDOW = 16 * 1024
    NARROW_CONNECTION = 1024 * 1024
    MAX_STREAMS = 128           # requests at once on one client connection; what nginx and browsers are used to


cdef const uint8_t* KEY = <const uint8_t*> b"sec-websocket-key"


cdef bint has_key(FieldList head) noexcept:
    cdef int i
    for i in range(head.count):
        if is_word(head.at[i].name, head.at[i].name_len, <const char*> KEY):
            return True
    return False


@cython.final
cdef class H2Exchange(ClientExchange):
    cdef int on_collect(self) except -1:
        cdef H2ClientWire wire = self.wire
        if wire is not None and self.expects:
            self.expects = False
            wire.session.send_status(self.stream, 100, False)
            wire.touch()
        return 0

    cdef int on_dispatched(self) except -1:
        self.on_collect()
        self.sending.since = 0
        return self.on_flowing()

    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1:
        cdef H2ClientWire wire = self.wire
        cdef int i
        cdef Field* f
        if wire is None or head.status == 100:
            return 0
        if not wire.session.begin_head(self.stream):
            return 0
        if wire.door.board.me != NULL:
            wire.door.board.me.status_1xx += 1
        wire.session.encoder.status(wire.out, head.status)
        for i in range(fields.count):
            f = &fields.at[i]
            if passes_interim(f):
                wire.session.encoder.field(
                    wire.out, f.name, f.name_len, f.value, f.value_len, f.token, f.flags, True)
        wire.session.end_head(self.stream, False)
        return wire.touch()

    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1:
        cdef H2ClientWire wire = self.wire
        cdef Door door
        cdef bint dated = False
        cdef int i
        cdef Field* f
        cdef char[24] number
        cdef int digits
        cdef bytes date
        if wire is None:
            return 0
        door = wire.door
        self.expects = False
        if not wire.session.begin_head(self.stream):
            return 0
        wire.session.encoder.status(wire.out, head.status)
        for i in range(fields.count):
            f = &fields.at[i]
            if passes(f, head, fields, door):
                dated = dated or f.token == T_DATE
                wire.session.encoder.field(wire.out, f.name, f.name_len, f.value, f.value_len, f.token, f.flags, True)
        # Not with 304, where it may be left out (RFC 9110 8.6): python-hyper h2 would miss the body it speaks of.
        if head.content_length >= 0 and may_have_length(head.status) and head.status != 304:
            digits = snprintf(number, 24, "%lld", <long long> head.content_length)
            wire.session.encoder.field(
                wire.out, <const uint8_t*> b"content-length", 14, <uint8_t*> number, digits, T_CONTENT_LENGTH, 0, False)
        for i in range(door.common_fields.count):
            f = &door.common_fields.at[i]
            wire.session.encoder.field(wire.out, f.name, f.name_len, f.value, f.value_len, f.token, 0, False)
        if not dated:
            date = door.date_value()
            wire.session.encoder.field(
                wire.out, <const uint8_t*> b"date", 4, <const uint8_t*> PyBytes_AS_STRING(date),
                PyBytes_GET_SIZE(date), T_DATE, 0, False)
        # A head alone says so itself: trailers that came in a head are trailers only then.
        wire.session.end_head(self.stream, self.bare and self.answer_left <= 0)
        if self.grpc and self.bare:
            self.grpc_status = said_status(fields)
        return wire.touch()

    cdef int on_trailers(self, FieldList trailers) except -1:
        cdef H2ClientWire wire = self.wire
        if wire is None:
            return 0
        if self.grpc:
            self.grpc_status = said_status(trailers)
        trailers = passing(trailers)
        if trailers.count == 0:
            wire.session.send_data(self.stream, NULL, 0, True)
        else:
            wire.session.send_head(self.stream, trailers, True)
        return wire.touch()

    cdef int without(self, uint8_t missing) except -1:
        return ClientExchange.without(self, missing) if self.grpc else self.fail(501, "connect_not_supported")

    cdef int not_upgraded(self, int status) except -1:
        if status < 300:
            return self.fail(502, "answer_upgrade")
        return ClientExchange.not_upgraded(self, status)

    # What 101 is in HTTP/1.1 (RFC 8441 5.1).
    cdef int on_upgraded(self, ResponseHead* head, FieldList fields) except -1:
        cdef H2ClientWire wire = self.wire
        cdef Door door = wire.door
        cdef Py_ssize_t n
        cdef const uint8_t* protocol = protocol_of(self.store, self.stored, &n)
        cdef int i
        cdef Field* f
        door.matcher.tunnels.begin(self, protocol, n, wire.hub.now)
        count_upgrade(door)
        if not wire.session.begin_head(self.stream):
            return 0
        wire.session.encoder.status(wire.out, 200)
        for i in range(fields.count):
            f = &fields.at[i]
            if passes(f, head, fields, door) and not is_word(f.name, f.name_len, b"sec-websocket-accept"):
                wire.session.encoder.field(wire.out, f.name, f.name_len, f.value, f.value_len, f.token, f.flags, True)
        for i in range(door.common_fields.count):
            f = &door.common_fields.at[i]
            wire.session.encoder.field(wire.out, f.name, f.name_len, f.value, f.value_len, f.token, 0, False)
        wire.session.end_head(self.stream, False)
        return wire.touch()

    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef H2ClientWire wire = self.wire
        if wire is None:
            return 0
        wire.session.send_data(self.stream, p, n, end)
        if n and not end:
            if self.stream.pending or wire.paused:
                hold(&self.owed_instance, n)
            else:
                self.slot.consumed(n)
        return wire.touch()

    # What waited for the client's credit has left: the instance may send on.
    cdef int repay(self) except -1:
        cdef int64_t owed = release(&self.owed_instance)
        if owed and self.slot is not None:
            return self.slot.consumed(owed)
        return 0

    cdef int sweep(self, int64_t now) except -1:
        cdef Door door = self.wire.door
        cdef int64_t rate = self.least_rate(door.min_body_rate)
        if rate == 0 or self.request_ended or self.expects or self.owed_client.held and self.upload != COLLECTING:
            self.sending.since = 0      # it may not send, or need not
        elif not keeps(&self.sending, now, self.request_bytes, rate, door.grace):
            if door.board.me != NULL:
                door.board.me.slow_senders += 1
            return self.fail(408, "client_sends_too_slowly")
        if self.stream.pending == 0:
            self.reading.since = 0
        elif not keeps(&self.reading, now, self.answer_bytes - self.stream.pending, door.min_read_rate, door.grace):
            if door.board.me != NULL:
                door.board.me.slow_readers += 1
            return self.fail(408, "client_reads_too_slowly")
        return 0

    cdef int refuse_head(self, H2ClientWire wire) except -1:
        self.stage = OVER
        self.status = 400
        self.fault = "bad_head"
        return count(wire.door, self, wire, -1)

    cdef int leave(self) except -1:
        cdef H2Stream stream = self.stream
        self.stream = None
        stream.owner = None
        if not self.request_ended and stream.session is not None:
            # Answered before the request had ended (RFC 9113 8.1): the rest is not wanted.
            stream.session.reset(stream, NO_ERROR)
        return 0

    cdef int on_refused(self, int status, str reason) except -1:
        if self.wire is None:
            return 0
        if self.connects and status < 300:
            # A health check's answer, say: to a CONNECT it would mean that it has come through.
            status = self.status = 501
            reason = self.fault = "connect_not_supported"
            self.text = None
        if self.grpc:
            self.grpc_status = grpc_status(status, reason)
            self.wire.session.send_head(self.stream, grpc_head(self.wire.door, status, text_of(status), reason), True)
            return self.wire.touch()
        return self.wire.reply(self.stream, status, self.text or text_of(status), reason, self.is_head, self.pool)

    cdef int on_broken(self) except -1:
        cdef H2ClientWire wire = self.wire
        if wire is None:
            return 0
        # Trailers wait behind what the client has not taken; who does not take it gets a reset.
        if self.grpc and self.fault != "client_reads_too_slowly":
            self.grpc_status = grpc_status(502, self.fault)
            wire.session.send_head(self.stream, grpc_trailers(502, text_of(502), self.fault), True)
            return wire.touch()
        wire.session.reset(self.stream, INTERNAL_ERROR)
        return wire.touch()

    cdef int on_flowing(self) except -1:
        if self.owed_client.held and self.wire is not None and self.backlog() < PRESSURE:
            self.wire.session.consumed(self.stream, release(&self.owed_client))
            return self.wire.touch()
        return 0

    cdef int on_over(self) except -1:
        cdef H2ClientWire wire = self.wire
        if self.upload:
            self.uploads.forget(self)
        if self.passage is not None:
            self.passage.over(self)
        if wire is not None:
            count(wire.door, self, wire, -1)
            self.wire = None
            if self.stream.pending == 0:
                self.leave()
            elif self.store != self.spot:
                # The client has yet to take the end of the answer: only its pace is still of interest.
                free(self.store)
                self.store = self.spot
                self.room = INLINE
                self.stored = 0
            return wire.maybe_end()
        return 0


@cython.final
cdef class H2ClientEvents(H2Events):
    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        return self.wire.request(stream, head, end)

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef H2ClientWire wire = self.wire
        cdef H2Exchange exchange = <H2Exchange> stream.owner
        if exchange is None or exchange.wire is None:
            wire.session.consumed(stream, n)
            return wire.maybe_end()
        if exchange.needs & FEATURE_UPGRADE and exchange.passage is None:
            return exchange.fail(400, "bytes_before_upgrade")
        exchange.came(p, n, end)
        if n and exchange.wire is not None and not end:
            if exchange.backlog() < PRESSURE and exchange.slot is not None:
                wire.session.consumed(stream, n + release(&exchange.owed_client))
            else:
                hold(&exchange.owed_client, n)
        return 0

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        cdef H2Exchange exchange = <H2Exchange> stream.owner
        if exchange is not None and exchange.wire is not None:
            exchange.trailers = copied(trailers)
        return self.on_data(stream, NULL, 0, True)

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef H2Exchange exchange
        if stream.owner is not None:
            exchange = <H2Exchange> stream.owner
            if exchange.wire is None:
                return exchange.leave()
            exchange.gone()
        return 0

    cdef int on_head_too_large(self, H2Stream stream, bint end) except -1:
        cdef H2ClientWire wire = self.wire
        cdef H2Exchange exchange
        exchange = wire.begin_exchange(stream, end)
        return exchange.fail(431, "head_too_large")

    cdef int on_head_refused(self) except -1:
        cdef H2ClientWire wire = self.wire
        cdef H2Exchange exchange = H2Exchange()
        exchange.arrived = wire.hub.now
        return exchange.refuse_head(wire)

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef H2Exchange exchange = <H2Exchange> stream.owner
        if exchange is None:
            return 0
        if exchange.wire is None:
            return exchange.leave()
        return 0 if self.wire.paused else exchange.repay()


@cython.final
cdef class H2ClientWire(ClientWire):
    cdef int on_open(self) except -1:
        ClientWire.on_open(self)
        self.begin()
        return self.touch()

    cdef int begin(self) except -1:
        cdef H2Limits limits
        cdef H2ClientEvents events = H2ClientEvents()
        default_limits(&limits)
        limits.max_concurrent_streams = MAX_STREAMS
        limits.max_header_list = self.door.limits.head
        limits.max_header_block = self.door.limits.head
        limits.max_fields = self.door.limits.fields
        limits.connect_protocol = bool(self.door.upgrades)
        if self.door.narrow:
            limits.initial_window = NARROW_WINDOW
            limits.connection_window = NARROW_CONNECTION
            self.narrowed = True
        self.session = new_session(False, &limits)
        self.session.share_connection_credit = not self.narrowed
        self.session.encoder.keep_within(CLIENT_TABLE)
        events.wire = self
        self.session.events = events
        self.out = self.session.out
        self.deadline = self.hub.now + self.door.head_timeout
        return 0

    cdef int take_over(self, ClientWire other) except -1:
        self.inherit(other)
        self.peer = other.peer
        self.port = other.port
        self.door.wires.add(self)
        if self.door.board.me != NULL:
            self.door.board.me.connections_http2 += 1
        self.begin()
        return self.touch()

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        if self.lingering:
            return self.discard(n)
        if self.session.receive(p, n) < 0:
            self.linger()
        if self.fresh is not None:
            self.settle()
        if self.out.length:
            self.touch()
        # Until the first stream the time for a head runs, after the last one that for idleness. Bytes alone, a head
        # that drips or PINGs, prolong neither.
        if self.session.open_streams:
            self.deadline = 0
        elif self.deadline == 0:
            self.deadline = self.hub.now + self.door.idle_timeout
        return 0

    cdef H2Exchange begin_exchange(self, H2Stream stream, bint end):
        cdef H2Exchange exchange = H2Exchange.__new__(H2Exchange)
        self.deadline = 0
        exchange.wire = self
        exchange.stream = stream
        exchange.arrived = self.hub.now
        exchange.request_ended = end
        stream.owner = exchange
        return exchange

    cdef int request(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef Door door = self.door
        cdef H2Exchange exchange
        cdef Request request
        cdef Field* method = head.find(T_METHOD)
        cdef Field* path = head.find(T_PATH)
        cdef Field* authority = head.find(T_AUTHORITY)
        cdef Field* host = head.find(T_HOST)
        cdef Field* length = head.find(T_CONTENT_LENGTH)
        cdef Field* expect = head.find(T_EXPECT)
        cdef Field* protocol = head.find(T_PROTOCOL)
        cdef Field* kind
        cdef bytes key
        exchange = self.begin_exchange(stream, end)
        if method != NULL and is_lit(method.value, method.value_len, b"POST"):
            kind = head.find(T_CONTENT_TYPE)
            if kind != NULL and is_grpc(kind.value, kind.value_len):
                exchange.grpc = True
                exchange.needs = FEATURE_GRPC
                count_call(door)
        if self.halted:
            return exchange.fail(503, "over_memory_budget")
        if method == NULL or path == NULL:
            return exchange.fail(501, "connect_not_supported")
        exchange.is_head = is_lit(method.value, method.value_len, b"HEAD")
        if check_target(path.value, path.value_len) != 0:
            return exchange.fail(400, "bad_target")
        if authority == NULL and host == NULL:
            return exchange.fail(400, "bad_host")
        if authority == NULL:
            authority = host
        if check_host(authority.value, authority.value_len) != 0:
            return exchange.fail(400, "bad_host")
        if path.value_len + method.value_len + 12 > door.limits.line:
            return exchange.fail(414, "line_too_long")
        exchange.expects = expect != NULL and not end
        request.method = method.value
        request.method_len = method.value_len
        request.target = path.value
        request.target_len = path.value_len
        request.host = authority.value
        request.host_len = authority.value_len
        request.connection_options = False
        request.protocol = NULL
        request.protocol_len = 0
        request.has_length = length != NULL
        if protocol != NULL:
            exchange.connects = True
            if end or length != NULL or expect != NULL or (
                    protocol.value[:protocol.value_len].lower() not in door.upgrades):
                return exchange.fail(501, "connect_not_supported")
            # As the application knows it: a GET with Upgrade, and the key that HTTP/2 has no need of.
            request.protocol = protocol.value
            request.protocol_len = protocol.value_len
            request.method = <const uint8_t*> b"GET"
            request.method_len = 3
            key = b2a_base64(os.urandom(16), newline=False)
            if not has_key(head):
                head.add(KEY, strlen(<const char*> KEY), <const uint8_t*> PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
                         UNKNOWN, 0)
        admit(door, self, exchange, &request, head)
        if exchange.upload == FRESH:
            exchange.after = self.fresh
            self.fresh = exchange
        return 0

    cdef int settle(self) except -1:
        cdef H2Exchange exchange
        while self.fresh is not None:
            exchange = self.fresh
            self.fresh = exchange.after
            exchange.after = None
            if not self.closing and not self.lingering:
                exchange.settle()
        return 0

    # An answer of our own.
    cdef int reply(self, H2Stream stream, int status, bytes text, str reason, bint is_head, Pool pool) except -1:
        cdef FieldList head = FieldList()
        head.append(b":status", b"%d" % status)
        for name, value in own_fields(self.door, status, text, reason, pool).pairs():
            head.append(name, value)
        for name, value in self.door.common_fields.pairs():
            head.append(name, value)
        self.session.send_head(stream, head, is_head)
        if not is_head:
            self.session.send_data(stream, <const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), True)
        return self.touch()

    cdef int maybe_end(self) except -1:
        if self.session.open_streams == 0:
            if self.ending:
                return self.dismiss()
            self.deadline = self.hub.now + self.door.idle_timeout
        return 0

    cdef int on_eof(self) except -1:
        return self.close()

    cdef int on_lost(self) except -1:
        self.closing = True
        self.session.lost()
        if self.door.board.me != NULL:
            self.door.board.me.connections_http2 -= 1
        return ClientWire.on_lost(self)

    cdef int on_paused(self) except -1:
        self.session.block()
        return 0

    cdef int on_writable(self) except -1:
        cdef H2Stream stream
        cdef H2Exchange exchange
        self.pace.since = 0
        # A socket that takes a whole budget at once never pauses: the rest has to be served here.
        while not self.paused and not self.closing and self.session.unblock(UNBLOCK):
            self.flush()
        if not self.paused:
            for item in self.session.streams():
                stream = <H2Stream> item
                if stream.owner is not None and stream.pending == 0:
                    exchange = <H2Exchange> stream.owner
                    if exchange.owed_instance.held:
                        exchange.repay()
        return self.touch()

    cdef int sweep(self, int64_t now) except -1:
        cdef H2Stream stream
        cdef H2Exchange exchange
        if self.deadline and now >= self.deadline:
            self.deadline = 0
            if self.session.open_streams == 0:
                self.session.finish_shutdown()
                return self.close()
        if self.transport is None:
            return 0
        if self.stuck(now):
            return self.cut_reader()
        if self.narrowed and not self.door.narrow:
            self.narrow(False, 0)       # the client had yet to acknowledge SETTINGS when memory was free again
        if not self.paused:
            self.pace.since = 0
            for item in self.session.streams():
                stream = <H2Stream> item
                if stream.owner is not None:
                    exchange = <H2Exchange> stream.owner    # held here: what ends it drops it
                    if exchange.wire is not None:
                        exchange.sweep(now)
                    elif not keeps(&exchange.reading, now, exchange.answer_bytes - stream.pending,
                                   self.door.min_read_rate, self.door.grace):
                        self.reset_reader(stream, exchange)
        if self.door.draining and not self.session.going_away:
            return self.drain(False)
        return 0

    # The end of an answer that is over waits, and the client does not take it.
    cdef int reset_reader(self, H2Stream stream, H2Exchange exchange) except -1:
        self.session.reset(stream, ENHANCE_YOUR_CALM)
        exchange.leave()
        if self.door.board.me != NULL:
            self.door.board.me.slow_readers += 1
        self.touch()
        return self.maybe_end()

    cdef Py_ssize_t measure(self, Held* held) except -1:
        cdef H2Stream stream
        cdef Py_ssize_t bodies = 0
        cdef Py_ssize_t answers = 0
        for item in self.session.streams():
            stream = <H2Stream> item
            answers += stream.held()
            if stream.owner is not None:
                bodies += (<H2Exchange> stream.owner).held()
        held.heads += self.session._block_room
        held.bodies += bodies
        held.answers += answers
        return ClientWire.measure(self, held) + self.session._block_room + bodies + answers

    cdef bint narrow(self, bint on, Py_ssize_t least) except -1:
        cdef H2Stream stream
        cdef Py_ssize_t bodies = 0
        if on == self.narrowed or self.closing or self.lingering:
            return False
        if on:
            for item in self.session.streams():
                stream = <H2Stream> item
                if stream.owner is not None:
                    bodies += (<H2Exchange> stream.owner).held()
            if bodies < least:
                return False
        if not self.session.offer_window(NARROW_WINDOW if on else STREAM_WINDOW):
            return False
        self.narrowed = on
        if not on:
            self.session.share_credit()
        self.touch()
        return True

    # Reading goes on: WINDOW_UPDATEs must come, or what is held here could not leave.
    cdef bint halt(self, Py_ssize_t least, Py_ssize_t least_h2) except -1:
        cdef Held held
        if self.halted or self.closing or self.lingering:
            return False
        held.heads = held.bodies = held.answers = 0
        self.halted = self.measure(&held) >= least_h2
        return self.halted

    cdef int shed(self) except -1:
        self.session.fail(ENHANCE_YOUR_CALM, "over_memory_budget")
        # Where the socket is full, GOAWAY would wait behind what the client does not take.
        return self.abort() if self.paused else self.close()

    cdef int64_t idle_since(self) noexcept:
        # The first deadline is for a head, the others run while no stream is open.
        if self.closing or self.deadline == 0:
            return 0
        if self.deadline - self.hub.now > self.door.head_timeout:
            return self.deadline - self.door.idle_timeout
        return self.deadline - self.door.head_timeout

    cdef int drain(self, bint idle) except -1:
        # Two steps (RFC 9113 6.8): a GOAWAY that only warns, and later the one that names the last stream served.
        if not self.session.going_away:
            self.session.begin_shutdown()
            self.touch()
        if idle and not self.ending:
            self.ending = True
            self.session.finish_shutdown()
            self.touch()
        return self.maybe_end()
