"""Connections to the application: HTTP/1.1 on loopback, kept alive, one request at a time each.

An AppLink belongs to one AppUser from the moment the pool lends it until release() or drop(). It reads the answer and
hands it to its user piece by piece; the user writes the request's bytes into `out` itself and calls touch().
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_net.wire cimport Hub, Wire
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport ChunkReader, HeadScan, ResponseHead


cdef enum AppFault:
    APP_CLOSED = 1          # the connection ended before the answer did, with an orderly FIN
    APP_RESET = 2           # likewise, with a reset: bytes of ours were never read
    APP_BAD_HEAD = 3        # what came is no HTTP/1.1 answer
    APP_BAD_BODY = 4        # its chunked framing is broken
    APP_UNTOUCHED = 5       # the connection had ended before a byte of the request was written


cdef class AppUser:
    # The connection asked for with lend() is there.
    cdef int on_link(self, AppLink link) except -1
    # It could not be made. refused: nothing listens on the application's port.
    cdef int on_no_link(self, bint refused, str why) except -1
    # An interim answer's head (1xx, neither 100 nor 101). Pointers are valid until the method returns.
    cdef int on_interim(self, const ResponseHead* head, FieldList fields) except -1
    # The final answer's head; 101 where an upgrade was asked for. end: no body follows. Pointers are valid until the
    # method returns.
    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1
    # A piece of the body, framing removed; n may be 0 only with end.
    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # Trailers: the answer has ended with them. The default leaves them out. Pointers are valid until this returns.
    cdef int on_answer_trailers(self, FieldList trailers) except -1
    # Everything one read brought has been handed over; only here a user whose answer has ended may release the link.
    cdef int on_answer_pause(self) except -1
    # The answer is cut off; the link is closed and has no user.
    cdef int on_app_lost(self, AppLink link, int fault) except -1
    # Over HTTP/2: the request has failed, and is over. unseen: the application cannot have acted on it.
    cdef int on_call_lost(self, str why, bint unseen) except -1
    # What was written to the link has left this process, or nearly so.
    cdef int on_app_room(self) except -1
    # The application does not take bytes as fast as they come.
    cdef int on_app_stuck(self) except -1


cdef class AppLink(Wire):
    cdef AppPool pool
    cdef AppUser user           # None: idle in the pool, or finished
    cdef readonly int served    # requests answered before the present one
    cdef readonly bint answered     # a byte of the present answer has come
    cdef readonly bint reusable     # after this answer the connection may carry another request
    cdef bint head_request      # the answer has no body, whatever its head says
    cdef bint upgrade           # the request asks for another protocol: an answer of 101 is its first bytes' head
    cdef bint ends              # our side ends when what is in `out` has left; the application's may go on
    cdef uint8_t state          # a LinkState of app_link.pyx
    cdef int64_t left           # bytes of the body still to come
    cdef uint64_t handed_before     # bytes handed to the transport before the present request
    cdef int64_t idle_since     # ns, the Hub's clock
    cdef HeadScan scan
    cdef ChunkReader chunks
    cdef OutBuffer carry        # a head that is not whole yet
    cdef FieldList fields
    cdef readonly bytes bad         # the first bytes of a head that could not be read, for the log; None otherwise
    cdef readonly str bad_why

    # A new request begins.
    cdef int begin(self, AppUser user, bint head_request) except -1
    # The user writes no more; the application may go on. After an upgrade only.
    cdef int end_ours(self) except -1
    # The user is done: request written, answer read. Back to the pool, or closed.
    cdef int release(self) except -1
    # The user gives up: the connection is cut.
    cdef int drop(self) except -1

    cdef int read_head(self, const uint8_t** p, Py_ssize_t* n) except -1
    cdef int read_body(self, const uint8_t** p, Py_ssize_t* n) except -1
    cdef int keep(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int lose(self, int fault) except -1
    # What an AppFault is, for people. begun: of the answer.
    cdef str fault_text(self, int fault, bint begun)


cdef class AppPool:
    cdef readonly Hub hub
    cdef readonly str host
    cdef readonly int port
    cdef readonly double connect_timeout    # seconds
    cdef readonly double idle_timeout       # seconds
    cdef int64_t idle_limit                 # the same in ns
    cdef list idle              # links without a user, the one idle longest first
    cdef set links              # every open link
    cdef set dials              # tasks that are connecting
    cdef object sweeper         # timer handle that closes what was idle too long, or None
    cdef public object http2    # the H2App that requests go by, or None: the application is spoken to in HTTP/1.1
    cdef readonly OutBuffer scratch     # where a user puts a head together, within one pass over one link's bytes

    # An idle connection, or None: then one is being made and on_link or on_no_link follows, never from within this
    # call. fresh: do not take an idle one.
    cdef AppLink lend(self, AppUser user, bint fresh)
    cdef int put(self, AppLink link) except -1
    cdef int forget(self, AppLink link) except -1
