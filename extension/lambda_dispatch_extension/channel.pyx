"""Parking, relaying, parking again; the theory stands in channel.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport Field, FieldList, token_of
from lambda_dispatch_core.h2.session cimport CANCEL, INTERNAL_ERROR, REFUSED_STREAM
from lambda_dispatch_core.http1.head cimport (
    HeadLimits, RequestHead, ResponseHead, head_error_reason, head_error_status, parse_tunnel_request, scan_head,
    write_chunk, write_last_chunk,
)
from lambda_dispatch_extension.app_h2 cimport H2App, H2Call
from lambda_dispatch_extension.app_link cimport APP_BAD_BODY, APP_BAD_HEAD, APP_RESET, APP_UNTOUCHED, AppLink, AppPool
from lambda_dispatch_extension.compression cimport SYNC_FLUSH, accepts_gzip, compressible, new_gzip, varies
from lambda_dispatch_extension.heads cimport (
    CHUNKED, LENGTH, NO_BODY, UNSETTLED, UPGRADE, end_request_head, fill_request_head, idempotent, is_go_away,
    write_answer_head, write_interim_head, write_request_head, write_text_answer,
)
from lambda_dispatch_extension.router_link cimport RouterLink, StreamUser

cdef enum ChannelState:
    OFF = 0
    PARKING = 1             # the POST is out
    PARKED = 2              # the router took it; nothing of a request has come
    HEAD = 3                # a request's head is coming
    BUSY = 4                # a request is being relayed

cdef enum AppSide:
    WANTED = 0              # no connection to the application was asked for yet
    CONNECTING = 1
    CONNECTED = 2           # `link` is it
    LEFT = 3                # what still comes of the request is credited and dropped

cdef enum AnswerSide:
    NONE = 0
    HEAD_HELD = 1           # the head stands in the pool's scratch, to leave with the first bytes; HTTP/1.1 only
    FLOWING = 2
    ENDED = 3               # END_STREAM went to the router

cdef enum:
    # Four headers of 31 KB and one of 64 KB must pass; below the stream's window, so that a head can always come whole.
    REQUEST_HEAD = 160 * 1024
    REQUEST_FIELDS = 512
    # A request larger than this is not kept for a second try.
    KEPT_REQUEST = 64 * 1024
    # An idle channel gives back buffers larger than this.
    KEPT_BUFFER = 16 * 1024
    # The application is not read while this much of its answer waits for credit. With one read (128 KiB) on top it
    # stays within 256 KiB.
    PENDING_HIGH = 64 * 1024
    # An answer's head and first bytes up to this size leave in one piece.
    ONE_PIECE = 16 * 1024
    # Heads in a row that make no sense: the router is speaking something else.
    MISREAD_MAX = 16

cdef HeadLimits request_limits
request_limits.head = REQUEST_HEAD
request_limits.line = REQUEST_HEAD
request_limits.fields = REQUEST_FIELDS

# What we can do for a router that knows it, words with commas; docs/extension.md.
cdef bytes FEATURES_FIELD = b"x-lambda-dispatch-features"
cdef bytes FEATURES = b"upgrade"
cdef bytes HTTP2_FEATURES = b"upgrade,grpc"  # where the application is spoken to in HTTP/2


@cython.final
cdef class Channel(StreamUser):

    def __init__(self, RouterLink router not None, AppPool pool not None, str pool_id not None, str lambda_id not None,
                 str channel_id not None, *, bint compression, bint pass_ids=False):
        cdef FieldList head = FieldList()
        cdef bytes name
        cdef bytes value
        pool_text = pool_id.encode("utf-8")
        lambda_text = lambda_id.encode("utf-8")
        self.id = channel_id.encode("ascii")
        self.lambda_id = lambda_text
        self.router = router
        self.ledger = router.ledger
        self.pool = pool
        self.compression = compression
        self.carry = OutBuffer()
        self.kept = OutBuffer()
        self.path = b"/api/chunked/request/%b/%b" % (lambda_text, self.id)
        ids = ((b"x-pool-id", pool_text), (b"x-lambda-id", lambda_text), (b"x-channel-id", self.id))
        self.app_lines = b"".join(b"%b: %b\r\n" % pair for pair in ids) if pass_ids else b""
        self.answer_lines = b"X-Lambda-Id: %b\r\nX-Channel-Id: %b\r\n" % (lambda_text, self.id)
        self.texts = (
            (b":method", b"POST"),
            (b":scheme", router.scheme),
            (b":authority", router.authority),
            (b":path", self.path),
            (b"date", b""),
            (b"host", router.authority),
            (b"content-type", b"application/octet-stream"),
            *ids,
            *router.announced,
            *(((FEATURES_FIELD, FEATURES if pool.http2 is None else HTTP2_FEATURES),) if router.ours else ()),
        )
        for name, value in self.texts:
            if name == b"date":
                self.date_field = head.count
            head.add(
                <const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                <const uint8_t*> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                token_of(<const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)), 0,
            )
        self.park_head = head

    # A slot at the router ---------------------------------------------------------------------------------------------

    def park(self):
        """Parks the channel for the first time; afterwards it does so by itself."""
        if self.state != OFF:
            return
        self.ledger.channels += 1
        self.router.hub.tick()
        self.open_stream()

    def refuse(self):
        """Ends the channel unless a request is being relayed; one that is just coming can be sent elsewhere."""
        if self.state == OFF or self.state == BUSY:
            return
        self.router.session.reset(self.stream, REFUSED_STREAM)
        self.router.spoken()
        self.off()

    def cut(self):
        """Ends the channel and the request on it."""
        if self.state == BUSY:
            self.ledger.parking = False
            self.fail(CANCEL if self.answer != NONE or self.app == CONNECTED else REFUSED_STREAM)
        else:
            self.refuse()

    @property
    def busy(self):
        return self.state == BUSY

    @property
    def is_off(self):
        return self.state == OFF

    cdef int open_stream(self) except -1:
        cdef RouterLink router = self.router
        cdef Field* date
        self.stream = None
        if not self.ledger.parking or router.down or router.transport is None:
            return self.off()
        router.refresh_date()
        date = &self.park_head.at[self.date_field]
        date.value = <const uint8_t*> router.date_text
        date.value_len = <uint32_t> router.date_len
        self.stream = router.session.open(self.park_head, False)
        if self.stream is None:
            self.off()
            if router.session.peer_going_away:
                self.ledger.owner.on_go_away()
            else:
                self.ledger.owner.on_broken("the router takes no more streams on this connection")
            return 0
        self.stream.owner = self
        self.state = PARKING
        self.carry.length = 0
        return router.spoken()

    cdef int off(self) except -1:
        self.state = OFF
        self.stream = None
        self.carry.clear()
        self.kept.clear()
        self.ledger.channels -= 1
        self.ledger.owner.on_off()
        return 0

    cdef int on_status(self, int status, bint end) except -1:
        if self.state != PARKING:
            return 0
        if status != 200:
            self.router.session.reset(self.stream, CANCEL)
            self.router.spoken()
            self.off()
            self.ledger.owner.on_status(self, status)
            return 0
        self.state = PARKED
        self.ledger.last_active = self.router.hub.now
        if not self.accepted:
            self.accepted = True
            self.ledger.owner.on_parked(self)
        if end:
            return self.on_request_data(NULL, 0, True)
        return 0

    cdef int on_reset(self, bint refused) except -1:
        cdef uint8_t state = self.state
        if state == BUSY:
            # The client went away, or the router's own side of it failed.
            self.part(False)
            return self.over(False)
        if state == OFF:
            return 0
        self.off()
        if not self.router.down:
            if self.router.session.peer_going_away:
                self.ledger.owner.on_go_away()
            else:
                self.ledger.owner.on_broken("the router reset a parked channel")
        return 0

    # The request ------------------------------------------------------------------------------------------------------

    cdef int on_request_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.state == BUSY:
            return self.take_body(p, n, end)
        if self.state == PARKED or self.state == HEAD:
            return self.take_head(p, n, end)
        if self.state == PARKING:
            # Data before the status: the session has seen the head, so this cannot be; be safe.
            return self.router.session.consumed(self.stream, n)
        return 0

    cdef int take_head(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef RequestHead head
        cdef FieldList fields = self.router.request_fields
        cdef Py_ssize_t used
        cdef Py_ssize_t fresh = n
        if end and n == 0 and self.carry.length == 0:
            self.off()
            self.ledger.owner.on_broken("the router ended a parked channel without a request")
            return 0
        if self.carry.length:
            self.carry.write(p, n)
            p = self.carry.data
            n = self.carry.length
        fields.clear()
        used = 0
        if self.state == PARKED or n > REQUEST_HEAD or scan_head(&self.scan, p, n, True):
            used = parse_tunnel_request(p, n, &request_limits, &head, fields)
        if used == 0 and not end:
            if self.state == PARKED:
                self.state = HEAD
                self.scan.at = 0
                self.carry.write(p, n)
            self.router.session.consumed(self.stream, fresh)
            return self.router.spoken()
        if used <= 0:
            self.router.session.consumed(self.stream, fresh)
            return self.misunderstood(<int> used, end)
        self.misread = 0
        self.router.session.consumed(self.stream, fresh - (n - used))
        self.begin(&head, fields, p + used, n - used, end)
        self.carry.length = 0
        return 0

    # A head that cannot be read is answered like any bad request: the application has no part in it, and the next
    # channel goes on. The status is the one that the router's own front door would send.
    cdef int misunderstood(self, int error, bint end) except -1:
        cdef OutBuffer scratch = self.pool.scratch
        cdef bytes why = <bytes> head_error_reason(error) if error else b"incomplete"
        cdef bytes body = b"the request's head could not be read: " + why + b"\n"
        self.ledger.owner.on_trouble("request refused", f"request head {why.decode('ascii')}", None)
        self.misread += 1
        self.begin_counting()
        self.app = LEFT
        self.answer = ENDED
        self.request_ended = end
        self.carry.length = 0
        scratch.length = 0
        write_text_answer(scratch, head_error_status(error) if error else 400, self.answer_lines, body)
        self.router.session.send_data(self.stream, scratch.data, scratch.length, True)
        scratch.length = 0
        self.router.spoken()
        if self.misread >= MISREAD_MAX:
            self.ledger.owner.on_channel_error(f"{MISREAD_MAX} requests in a row could not be read")
        return self.check_done()

    cdef int begin_counting(self) except -1:
        self.state = BUSY
        self.ledger.in_flight += 1
        self.ledger.last_active = self.router.hub.now
        self.link = None
        self.call = None
        self.app = WANTED
        self.answer = NONE
        self.request_ended = False
        self.head_request = False
        self.upgraded = False
        self.repeatable = False
        self.framing = NO_BODY
        self.owed = 0
        self.keeping = False
        self.gzip_wanted = False
        self.gzip = None
        self.kept.length = 0
        return 0

    cdef int begin(self, RequestHead* head, FieldList fields, const uint8_t* rest, Py_ssize_t n, bint end) except -1:
        cdef bint upgrade
        if is_go_away(head, fields, self.lambda_id):
            self.router.session.send_data(self.stream, NULL, 0, True)
            self.router.spoken()
            self.off()
            self.ledger.owner.on_go_away()
            return 0
        # Only our own router knows what an answer of 101 means.
        upgrade = head.upgrade and not end and self.router.ours
        self.begin_counting()
        self.head_request = head.is_head
        self.repeatable = idempotent(head.method, head.method_len)
        self.gzip_wanted = self.compression and not head.is_head and accepts_gzip(fields)
        if self.pool.http2 is not None and not upgrade:
            return self.begin_call(<H2App> self.pool.http2, head, fields, rest, n, end)
        self.keeping = True
        self.framing = write_request_head(self.kept, head, fields, self.app_lines, end and n == 0, upgrade,
                                          &self.body_left)
        if n or end:
            self.take_body(rest, n, end)
        elif self.framing != UNSETTLED:
            self.ask_link(False)
        return 0

    cdef int begin_call(self, H2App app, RequestHead* head, FieldList fields, const uint8_t* rest, Py_ssize_t n,
                        bint end) except -1:
        cdef int64_t length = fill_request_head(app.request, head, fields, self.app_lines)
        self.app = CONNECTED
        self.call = app.begin(self, app.request, length, end and n == 0)
        if n or end:
            return self.take_body(rest, n, end)
        return 0

    cdef int take_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if end:
            self.request_ended = True
        if self.app == LEFT:
            if not end:
                self.router.session.consumed(self.stream, n)
                self.router.spoken()
            return self.check_done()
        if self.call is not None:
            self.owed += n
            if not self.call.send(p, n, end):
                self.ledger.owner.on_trouble("request failed", "request body differs from its content-length", None)
                return self.fail(INTERNAL_ERROR)
            return self.check_done() if end else 0
        if self.framing == UNSETTLED:
            self.framing = end_request_head(self.kept, n > 0)
        self.owed += n
        if self.framing == CHUNKED:
            if n:
                self.put(p, n, True)
            if end:
                self.put(NULL, 0, True)
        elif self.framing == LENGTH:
            if n > self.body_left or (end and n < self.body_left):
                # More or less than was announced: what follows on the application's connection would be misread.
                self.ledger.owner.on_trouble("request failed", "request body differs from its content-length", None)
                return self.fail(INTERNAL_ERROR)
            self.body_left -= n
            self.put(p, n, False)
        elif self.upgraded:
            if n:
                self.link.out.write(p, n)
            if end:
                return self.end_upgraded()
        elif n:
            return self.fail(INTERNAL_ERROR)
        if self.link is not None:
            self.link.touch()
        elif self.app == WANTED:
            return self.ask_link(False)
        return self.check_done() if end else 0

    # The client of an upgraded connection says no more; the application may.
    cdef int end_upgraded(self) except -1:
        return self.link.end_ours() if self.answer != ENDED else self.check_done()

    cdef int on_request_trailers(self, FieldList trailers) except -1:
        if self.state != BUSY or self.call is None:
            return self.on_request_data(NULL, 0, True)
        self.request_ended = True
        if not self.call.send_trailers(trailers):
            return self.fail(INTERNAL_ERROR)
        return self.check_done()

    # Body bytes towards the application; chunk: framed, and none at all is the last chunk.
    cdef int put(self, const uint8_t* p, Py_ssize_t n, bint chunk) except -1:
        cdef int way
        cdef OutBuffer out
        if self.keeping and self.link is not None and self.kept.length + n > KEPT_REQUEST:
            self.keeping = False
            self.kept.length = 0
        for way in range(2):
            if way == 0:
                if not self.keeping:
                    continue
                out = self.kept
            else:
                if self.link is None:
                    continue
                out = self.link.out
            if not chunk:
                out.write(p, n)
            elif n:
                write_chunk(out, p, n)
            else:
                write_last_chunk(out)
        return 0

    cdef int ask_link(self, bint fresh) except -1:
        cdef AppLink link = self.pool.lend(self, fresh)
        if link is not None:
            return self.attach(link)
        self.app = CONNECTING
        return 0

    cdef int attach(self, AppLink link) except -1:
        self.app = CONNECTED
        self.link = link
        link.begin(self, self.head_request)
        link.upgrade = self.framing == UPGRADE
        link.out.write(self.kept.data, self.kept.length)
        # A new connection cannot have gone stale, so nothing is kept for a second try.
        self.keeping = link.served > 0 and self.kept.length <= KEPT_REQUEST
        if not self.keeping:
            self.kept.length = 0
        return link.touch()

    cdef int on_link(self, AppLink link) except -1:
        if self.state == BUSY and self.app == CONNECTING:
            return self.attach(link)
        # The request that asked for it is over: the next one takes it.
        return self.pool.put(link)

    cdef int on_no_link(self, bint refused, str why) except -1:
        if self.state != BUSY or (self.app != CONNECTING and self.call is None):
            return 0
        self.call = None
        if refused:
            self.ledger.owner.on_app_refused(why)
        else:
            self.ledger.owner.on_trouble("request returned", why, None)
        # The application has not seen the request (a second try is made only where that makes no difference), so the
        # router may send it elsewhere.
        return self.fail(REFUSED_STREAM)

    cdef int credit(self) except -1:
        cdef Py_ssize_t owed = self.owed
        if owed:
            self.owed = 0
            if not self.request_ended:
                self.router.session.consumed(self.stream, owed)
                return self.router.spoken()
        return 0

    cdef int on_app_room(self) except -1:
        return self.credit()

    # An application that has answered and does not read on will never take the rest.
    cdef int on_app_stuck(self) except -1:
        return self.abandon_app() if self.answer == ENDED and not self.upgraded else 0

    # The answer ---------------------------------------------------------------------------------------------------

    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        cdef bint squeeze = False
        cdef bint vary = False
        cdef OutBuffer scratch = self.pool.scratch
        self.keeping = False
        self.kept.length = 0
        self.upgraded = head.status == 101
        if self.compression and not self.upgraded and compressible(head, fields, self.head_request):
            vary = not varies(fields)
            squeeze = self.gzip_wanted
        scratch.length = 0
        write_answer_head(scratch, head, fields, self.answer_lines, squeeze, vary)
        if squeeze:
            self.gzip = new_gzip()
            self.gzip_unflushed = False
        self.answer = HEAD_HELD
        # One read of HTTP/2 brings the heads of several calls, and then their bytes: none may stay in the scratch.
        if end or self.call is not None:
            self.emit(NULL, 0, end)
        return 0

    # 103 Early Hints and the like: only our own router can tell an interim head from the final one.
    cdef int on_interim(self, const ResponseHead* head, FieldList fields) except -1:
        cdef OutBuffer scratch = self.pool.scratch
        if not self.router.ours:
            return 0
        scratch.length = 0
        write_interim_head(scratch, head, fields)
        self.router.session.send_data(self.stream, scratch.data, scratch.length, False)
        scratch.length = 0
        if self.stream.pending > PENDING_HIGH:
            self.hold_answer()
        return self.router.spoken()

    cdef int on_answer_trailers(self, FieldList trailers) except -1:
        if self.gzip is not None:
            self.emit_gzip(self.gzip.flush(), False)
        self.router.session.send_head(self.stream, trailers, True)
        self.answer = ENDED
        return self.router.spoken()

    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.gzip is None:
            return self.emit(p, n, end)
        squeezed = self.gzip.compress(PyBytes_FromStringAndSize(<const char*> p, n)) if n else b""
        if end:
            return self.emit_gzip(squeezed + self.gzip.flush(), True)
        self.gzip_unflushed = True
        return self.emit_gzip(squeezed, False)

    cdef int emit_gzip(self, bytes piece, bint end) except -1:
        if end or PyBytes_GET_SIZE(piece):
            return self.emit(<const uint8_t*> PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece), end)
        return 0

    # Everything one read brought has been seen: what it brought leaves now, so that streaming streams.
    cdef int on_answer_pause(self) except -1:
        if self.answer == ENDED:
            if not self.request_ended and not self.upgraded and (
                    self.call.backlog() > 0 if self.call is not None
                    else not self.link.reusable or self.link.paused):
                return self.abandon_app()
            return self.check_done()
        if self.gzip is not None and self.gzip_unflushed:
            self.gzip_unflushed = False
            self.emit_gzip(self.gzip.flush(SYNC_FLUSH), False)
        if self.answer == HEAD_HELD:
            self.emit(NULL, 0, False)
        return 0

    cdef int emit(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef RouterLink router = self.router
        cdef OutBuffer scratch = self.pool.scratch
        if self.answer == HEAD_HELD:
            self.answer = FLOWING
            if n <= ONE_PIECE:
                if n:
                    scratch.write(p, n)
                router.session.send_data(self.stream, scratch.data, scratch.length, end)
                n = 0
            else:
                router.session.send_data(self.stream, scratch.data, scratch.length, False)
                router.session.send_data(self.stream, p, n, end)
            if scratch.capacity > KEPT_BUFFER * 4:
                scratch.clear()
        elif n or end:
            router.session.send_data(self.stream, p, n, end)
        if end:
            self.answer = ENDED
        elif self.stream.pending > PENDING_HIGH:
            self.hold_answer()
        return router.spoken()

    cdef int on_drained(self) except -1:
        if self.state != BUSY:
            return 0
        if self.answer == ENDED:
            return self.check_done()
        if self.app == LEFT:
            return self.fail(CANCEL)
        if self.link is not None:
            return self.link.start_reading()
        return self.call.go_on() if self.call is not None else 0

    cdef int on_call_lost(self, str why, bint unseen) except -1:
        self.call = None
        if self.answer == ENDED:
            return self.abandon_app()
        if unseen and self.answer == NONE:
            self.ledger.owner.on_trouble("request returned", why, None)
            return self.fail(REFUSED_STREAM)
        self.ledger.owner.on_trouble("request failed", why, None)
        return self.fail(CANCEL)

    cdef int on_app_lost(self, AppLink link, int fault) except -1:
        self.link = None
        if self.answer == ENDED:
            # Of an upgraded connection, what the client still says has nowhere to go.
            return self.fail(CANCEL) if self.upgraded and not self.request_ended else self.abandon_app()
        if self.keeping and not link.answered and (
                self.repeatable or fault == APP_RESET or fault == APP_UNTOUCHED):
            # The connection had waited in the pool and went stale before the application saw the request.
            return self.ask_link(True)
        self.ledger.owner.on_trouble("request failed", link.fault_text(fault, self.answer != NONE), link.bad)
        if self.upgraded and self.stream.pending:
            self.app = LEFT
            return self.credit()        # on_drained() goes on: what the application said is delivered first
        return self.fail(INTERNAL_ERROR if fault == APP_BAD_HEAD or fault == APP_BAD_BODY else CANCEL)

    # The answer has left and the application reads no more of the request.
    cdef int abandon_app(self) except -1:
        self.part(False)
        self.app = LEFT
        self.credit()
        return self.check_done()

    # The end ----------------------------------------------------------------------------------------------------------

    cdef int part(self, bint whole) except -1:
        cdef AppLink link = self.link
        cdef H2Call call = self.call
        self.link = None
        self.call = None
        if call is not None:
            return call.drop()
        if link is not None:
            return link.release() if whole else link.drop()
        return 0

    cdef int check_done(self) except -1:
        if self.answer != ENDED or not self.request_ended:
            return 0
        if self.app == CONNECTED:
            self.app = LEFT
            self.part(True)
        if self.stream.pending:
            return 0
        return self.over(self.misread == 0)

    cdef int fail(self, uint32_t code) except -1:
        self.part(False)
        self.router.session.reset(self.stream, code)
        self.router.spoken()
        return self.over(False)

    # The request has left this channel, relayed to its end or not: the slot is free.
    cdef int over(self, bint whole) except -1:
        cdef Ledger ledger = self.ledger
        ledger.in_flight -= 1
        ledger.last_active = self.router.hub.now
        if whole:
            ledger.requests += 1
        else:
            ledger.aborted += 1
        self.app = LEFT
        self.gzip = None
        self.kept.length = 0
        if self.kept.capacity > KEPT_BUFFER:
            self.kept.clear()
        if self.carry.capacity > KEPT_BUFFER:
            self.carry.clear()
        return self.open_stream()
