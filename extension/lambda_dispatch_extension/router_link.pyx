"""The connection to the router; the theory stands in router_link.pxd."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp
from libc.time cimport gmtime_r, strftime, time, time_t, tm

from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub
from lambda_dispatch_core.bytes.fields cimport T_STATUS, Field, FieldList
from lambda_dispatch_core.h2.session cimport (
    NO_ERROR, H2Events, H2Limits, H2Stream, default_limits,
)
from lambda_dispatch_core.http1.head cimport parse_size
from lambda_dispatch_extension.app_link cimport AppUser

cdef enum:
    # ns; the date header is good for a second (RFC 9110 section 5.6.7 has no finer unit)
    DATE_VALID = 500 * 1000 * 1000


@cython.final
cdef class Ledger:
    def __init__(self, owner):
        self.owner = owner
        self.parking = True


cdef class StreamUser(AppUser):
    cdef int on_status(self, int status, bint end) except -1:
        return 0

    cdef int on_request_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        return 0

    cdef int on_request_trailers(self, FieldList trailers) except -1:
        return self.on_request_data(NULL, 0, True)

    cdef int on_reset(self, bint refused) except -1:
        return 0

    cdef int on_drained(self) except -1:
        return 0


# Which of the router's workers answered; empty when the router does not say (the original never does).
cdef bytes worker_of(FieldList head):
    cdef int i
    cdef Field* f
    for i in range(head.count):
        f = &head.at[i]
        if f.name_len == 24 and memcmp(f.name, b"x-lambda-dispatch-worker", 24) == 0:
            return f.value[:f.value_len]
    return b""


@cython.final
cdef class LinkEvents(H2Events):
    cdef RouterLink link

    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef Field* f = head.find(T_STATUS)
        cdef StreamUser user
        if stream.owner is None or f == NULL:
            return 0
        if self.link.worker is None:
            self.link.worker = worker_of(head)
        user = <StreamUser> stream.owner    # held here: the call may drop the last other reference
        return user.on_status(<int> parse_size(f.value, f.value_len), end)

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef StreamUser user
        if stream.owner is None:
            return self.link.session.consumed(stream, n)
        user = <StreamUser> stream.owner
        return user.on_request_data(p, n, end)

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        cdef StreamUser user
        if stream.owner is None:
            return 0
        user = <StreamUser> stream.owner
        return user.on_request_trailers(trailers)

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef StreamUser user
        if stream.owner is None:
            return 0
        user = <StreamUser> stream.owner
        return user.on_reset(refused)

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef StreamUser user
        if stream.owner is None:
            return 0
        user = <StreamUser> stream.owner
        return user.on_drained()

    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1:
        if code == NO_ERROR:
            self.link.ledger.owner.on_go_away()
        return 0


@cython.final
cdef class RouterLink(H2Wire):

    def __init__(self, Hub hub not None, Ledger ledger not None, str scheme not None, str authority not None,
                 str secret not None=""):
        H2Wire.__init__(self, hub)
        self.ledger = ledger
        self.scheme = scheme.encode("ascii")
        self.authority = authority.encode("ascii")
        self.announced = ((b"x-lambda-dispatch-extension", b"1"),)
        if secret:
            self.announced += ((b"x-lambda-dispatch-secret", secret.encode("ascii")),)
            self.ours = True
        self.request_fields = FieldList()

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef LinkEvents events = LinkEvents()
        events.link = self
        default_limits(&limits)
        limits.max_concurrent_streams = 0
        return self.begin(True, &limits, events)

    cdef int on_violation(self) except -1:
        self.down = True
        return 0

    cdef int spoken(self) except -1:
        if self.out.length and self.transport is not None:
            return self.touch()
        return 0

    cdef int on_lost(self) except -1:
        cdef str why
        self.down = True
        if self.session is not None and self.session.failed and self.session.error_reason:
            why = self.session.error_reason
        else:
            why = "the router closed the connection"
        H2Wire.on_lost(self)
        self.ledger.owner.on_link_lost(self, why)
        # The session's events point back here.
        if self.session is not None:
            self.session.events = H2Events()
        return 0

    cdef int refresh_date(self) except -1:
        cdef time_t now
        cdef tm parts
        if self.date_at and self.hub.now - self.date_at < DATE_VALID:
            return 0
        self.date_at = self.hub.now
        time(&now)
        gmtime_r(&now, &parts)
        self.date_len = strftime(self.date_text, sizeof(self.date_text), "%a, %d %b %Y %H:%M:%S GMT", &parts)
        return 0

    def call(self, str path not None, str pool_id not None, str lambda_id not None, done, tuple fields=()):
        """Sends GET path; done(status) follows, with 0 when there was no answer. False when it cannot be sent."""
        cdef FieldList head = FieldList()
        cdef Call call = Call()
        if self.down or self.transport is None:
            return False
        self.hub.tick()
        self.refresh_date()
        for name, value in (
            (b":method", b"GET"),
            (b":scheme", self.scheme),
            (b":authority", self.authority),
            (b":path", path.encode("ascii")),
            (b"date", self.date_text[:self.date_len]),
            (b"host", self.authority),
            (b"x-pool-id", pool_id.encode("utf-8")),
            (b"x-lambda-id", lambda_id.encode("utf-8")),
            *self.announced,
            *fields,
        ):
            head.append(name, value)
        call.link = self
        call.stream = self.session.open(head, True)
        if call.stream is None:
            return False
        call.done = done
        call.stream.owner = call
        self.spoken()
        return True

    def shut(self):
        """Ends the connection in order: GOAWAY, then close."""
        if self.transport is None or self.closing:
            return
        self.down = True
        self.session.fail(NO_ERROR, "the invoke is over")
        self.touch()
        self.close()

    def cut(self):
        """Ends the connection at once."""
        self.down = True
        self.abort()


@cython.final
cdef class Call(StreamUser):
    cdef int on_status(self, int status, bint end) except -1:
        self.status = status
        if end:
            return self.finish(status)
        return 0

    cdef int on_request_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        self.link.session.consumed(self.stream, n)
        if end:
            return self.finish(self.status)
        return 0

    cdef int on_reset(self, bint refused) except -1:
        return self.finish(0)

    cdef int finish(self, int status) except -1:
        done = self.done
        self.done = None
        self.stream = None
        self.link = None
        if done is not None:
            done(status)
        return 0
