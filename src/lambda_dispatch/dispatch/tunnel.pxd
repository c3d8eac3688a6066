"""Exchanges that have gone on in another protocol: how long they live, and how they are closed.

A tunnel relays bytes both ways, each direction with the credit of any body, and ends by itself when both sides have
ended. The router ends it

    when its instance or its worker drains      after a random part of the time there is, so that clients do not come
                                                back all at once
    UpgradeIdleTimeout after the last byte
    UpgradeMaxLifetime after it began           0: never

A WebSocket is closed between two frames, so that either end can tell:

    RELAYING ── due ──> LEAVING ── the client's frame ends: a Close to the application ──> ASKED
        ASKED ── the application's Close comes, or its end ──> a Close to the client in its place, over
              └─ PATIENCE has passed ──> the same, or the connection is cut where a frame is open

What the application sent before its Close reaches the client; what the client sends after the Close to the application
is dropped, as the application would. The Close to either side has the code below. A tunnel of another protocol, which
has no frames that are known here, is cut.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t

from lambda_dispatch.dispatch.model cimport Exchange, Instance, Passage
from lambda_dispatch_core.http1.frames cimport FrameReader


cdef enum Course:
    RELAYING = 0
    LEAVING = 1                 # the application is to be told
    ASKED = 2                   # it was told
    OVER = 3


cdef class Tunnel(Passage):
    cdef Tunnels all            # None once it is over
    cdef bint frames            # it is a WebSocket
    cdef FrameReader from_app   # of what goes to the client
    cdef FrameReader from_client    # of what goes to the application
    cdef uint8_t course         # a Course
    cdef uint16_t code          # of the Close, once it is to leave
    cdef int64_t began          # ns
    cdef int64_t due            # ns: when it is to leave; 0: not decided
    cdef int64_t patience       # ns: when LEAVING and ASKED end
    cdef int64_t moved          # bytes both ways when it was last looked at
    cdef int64_t moved_at       # ns: when that number last changed
    cdef int64_t half_since     # ns: since when the application's side has ended with a Close; 0: it has not

    cdef int pass_down(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1
    cdef int pass_up(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # word: why, for the access log.
    cdef int leave(self, Exchange exchange, int64_t now, uint16_t code, str word) except -1
    cdef int ask(self, Exchange exchange) except -1
    cdef int finish(self, Exchange exchange, bint end) except -1
    cdef int give_up(self, Exchange exchange) except -1
    cdef int look(self, Exchange exchange, int64_t now) except -1


# Those of one worker.
cdef class Tunnels:
    cdef int64_t idle           # ns without a byte; 0: any
    cdef int64_t longest        # ns; 0: any
    cdef dict open              # Exchange -> Tunnel
    cdef dict leaving           # those that are to leave, likewise

    # The exchange has gone on in this protocol.
    cdef int begin(self, Exchange exchange, const uint8_t* protocol, Py_ssize_t n, int64_t now) except -1
    cdef int _plan(self, Exchange exchange, Tunnel tunnel, int64_t now, int64_t spread) except -1
