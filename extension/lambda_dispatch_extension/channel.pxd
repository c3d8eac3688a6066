"""A channel: a slot that parks one stream at the router, relays the request that arrives on it, and parks again.

A channel is in exactly one state. Two pumps run in it at once, and neither waits for the other: request bytes are owed
to the session until the application's socket has taken them; the application's socket is not read while the stream has
more than PENDING_HIGH bytes waiting for credit.

    OFF ── park() ──> PARKING ── 200 ──> PARKED ── bytes ──> HEAD ── whole head ──> BUSY ── both ends ──> OFF, park()
                         └─ other status, reset, end of stream: the owner's event, OFF ─┘        └─ reset: OFF, park()

A BUSY channel has two states more, one for each direction; the request is over when the answer is ENDED and END_STREAM
has come for the request.

    request   WANTED ── lend() ──> CONNECTING ── link ──> CONNECTED ── released, lost, unwanted ──> LEFT
                 (a connection that was stale: CONNECTED ──> CONNECTING, once: a new one is never stale)
    answer    NONE ── head ──> HEAD_HELD ── first bytes ──> FLOWING ── last bytes ──> ENDED
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Stream
from lambda_dispatch_core.http1.head cimport HeadScan, RequestHead
from lambda_dispatch_extension.app_h2 cimport H2App, H2Call
from lambda_dispatch_extension.app_link cimport AppLink, AppPool
from lambda_dispatch_extension.router_link cimport Ledger, RouterLink, StreamUser


cdef class Channel(StreamUser):
    cdef readonly RouterLink router
    cdef readonly Ledger ledger
    cdef AppPool pool
    cdef readonly bytes id
    cdef FieldList park_head        # the POST that parks; its pointers are to the bytes below and to router.date_text
    cdef int date_field             # which of its fields is the date
    cdef bytes path
    cdef tuple texts                # owns the other bytes park_head points to
    cdef bytes lambda_id
    cdef bytes app_lines            # x-pool-id ... as HTTP/1.1 lines, for an application that asked for them; or empty
    cdef bytes answer_lines         # X-Lambda-Id ... likewise, for the router
    cdef bint compression           # gzip where the client and the answer allow it

    cdef uint8_t state              # a ChannelState of channel.pyx
    cdef H2Stream stream
    cdef bint accepted              # the router has taken it once
    cdef OutBuffer carry            # an incomplete request head
    cdef HeadScan scan              # how far it has been looked through
    cdef int misread                # requests in a row whose head could not be read

    # One request; set by begin()
    cdef uint8_t app                # an AppSide of channel.pyx: where the request goes
    cdef uint8_t answer             # an AnswerSide of channel.pyx: how far the answer is
    cdef H2Call call                # likewise, where the application speaks HTTP/2; None otherwise
    cdef AppLink link               # while the application has the request; None otherwise
    cdef bint request_ended         # END_STREAM came from the router
    cdef bint head_request
    cdef bint upgraded              # the application has answered 101: bytes both ways, each direction ends by itself
    cdef bint repeatable            # the method is idempotent
    cdef uint8_t framing            # of the request's body towards the application: a BodyFraming of heads.pxd
    cdef int64_t body_left          # bytes still to come by content-length
    cdef Py_ssize_t owed            # request bytes written to the link, not yet credited to the router
    cdef OutBuffer kept             # the request as written so far: waits for the connection, or for its one retry
    cdef bint keeping               # `kept` is complete
    cdef bint gzip_wanted           # the client prefers gzip
    cdef object gzip                # zlib's compressor, or None
    cdef bint gzip_unflushed

    cdef int open_stream(self) except -1
    # No longer a slot.
    cdef int off(self) except -1
    cdef int take_head(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    cdef int begin_counting(self) except -1
    cdef int begin(self, RequestHead* head, FieldList fields, const uint8_t* rest, Py_ssize_t n, bint end) except -1
    cdef int begin_call(self, H2App app, RequestHead* head, FieldList fields, const uint8_t* rest, Py_ssize_t n,
                        bint end) except -1
    cdef int take_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    cdef int end_upgraded(self) except -1
    cdef int put(self, const uint8_t* p, Py_ssize_t n, bint chunk) except -1
    cdef int ask_link(self, bint fresh) except -1
    cdef int attach(self, AppLink link) except -1
    cdef int credit(self) except -1
    cdef int emit(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    cdef int emit_gzip(self, bytes piece, bint end) except -1
    # Lets the application's side go: in order, or at once.
    cdef int part(self, bint whole) except -1
    # The application's answer is not read on for now.
    cdef inline int hold_answer(self) except -1:
        return self.call.hold_back() if self.call is not None else self.link.stop_reading()

    cdef int abandon_app(self) except -1
    cdef int check_done(self) except -1
    cdef int over(self, bint whole) except -1
    cdef int fail(self, uint32_t code) except -1
    cdef int misunderstood(self, int error, bint end) except -1
