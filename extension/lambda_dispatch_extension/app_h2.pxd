"""The application over HTTP/2 with prior knowledge: few connections on loopback, many requests on each.

    H2App       the connections there are; requests that wait for one, or for a stream on one
    H2Link      one connection: our engine in its client role
    H2Call      one request, from its head to the last byte of either direction; its user is an AppUser

    WAITING ── a link has room ──> OPEN ── both directions ended, release() ──> OVER
       └─ no connection could be made ─> OVER      └─ drop(): RST_STREAM; reset by the application; link lost ─> OVER

What is said before there is a stream waits in the call: at most one window, because its credit waits likewise. A
request that the application cannot have acted on (GOAWAY, REFUSED_STREAM) is given back as such: the router sends it
again. The same request is never sent twice from here.

Credit is end to end: bytes of the answer are the application's to send again unless the user has said hold_back(),
bytes of the request count as taken when the application's windows have let them out.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Stream
from lambda_dispatch_extension.app_link cimport AppUser
from lambda_dispatch_net.credit cimport Credit
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub


cdef class H2Call:
    cdef H2App app
    cdef AppUser user           # None once it is over
    cdef H2Link link            # None before it is sent, and once the stream is gone
    cdef H2Stream stream        # likewise
    cdef int64_t left           # bytes of the request's content-length still to come; -1 when it gave none
    cdef Credit owed            # bytes of the answer that the application may not send again yet
    cdef bint held              # the user takes no more for now
    cdef bint touched           # on its link's list: its user gets the event at the end of the pass
    cdef bint grpc              # by its request's content-type
    cdef bint answered          # the head of the answer has come
    cdef bint whole             # all of the answer has come
    # while it waits
    cdef FieldList head         # a copy
    cdef OutBuffer early        # request bytes
    cdef bint ended             # the request is whole, trailers included
    cdef FieldList trailers     # a copy, or None

    # A piece of the request, or its end. False: it is not as long as content-length says, and nothing was sent.
    cdef bint send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The request's end, with trailers. Borrowed.
    cdef bint send_trailers(self, FieldList trailers) except -1
    # Request bytes that the application has yet to take.
    cdef Py_ssize_t backlog(self) noexcept
    # The answer's bytes may wait, or flow again.
    cdef int hold_back(self) except -1
    cdef int go_on(self) except -1
    # The user is done with it. The stream is reset unless both directions have ended.
    cdef int drop(self) except -1

    cdef int start(self, H2Link link, FieldList head) except -1
    cdef int forget(self) except -1
    cdef int lose(self, str why, bint unseen) except -1
    # The application has reset it: the client of a gRPC call gets the status that the code stands for.
    cdef int end_grpc(self, str why, uint32_t code) except -1


cdef class H2Link(H2Wire):
    cdef H2App app
    cdef bint away              # no new requests: GOAWAY came, the protocol was violated, or it is closed
    cdef bint spoken            # the application's SETTINGS have come: it speaks HTTP/2
    cdef object greeting        # a future: whether it does
    cdef list touched           # calls that heard something in this pass

    cdef bint has_room(self) noexcept
    cdef int tell(self) except -1
    cdef int greeted(self, bint spoken) except -1


cdef class H2App:
    cdef readonly Hub hub
    cdef readonly str host
    cdef readonly int port
    cdef readonly double connect_timeout    # seconds
    cdef readonly list links    # open, those that take no more requests too
    cdef object waiting         # calls without a stream, a deque
    cdef object dial            # the task that is connecting, or None
    cdef FieldList request      # a head being put together, within one call only

    # A request begins; end: it is its head alone. length: its content-length, or -1. The head is borrowed. Events
    # follow later, never from within this call.
    cdef H2Call begin(self, AppUser user, FieldList head, int64_t length, bint end)
    cdef H2Link with_room(self)
    cdef int serve(self) except -1
    cdef int gone(self, H2Link link) except -1


cdef class AppEvents(H2Events):
    cdef H2Link link

    # The call that gets the events; None when it is over.
    cdef H2Call called(self, H2Stream stream)


cdef class Probe(AppUser):
    cdef object done            # a future: the status
