"""A wire that speaks HTTP/2: a socket and a session, and the pressure between the two.

A full socket blocks the session: DATA then waits in its streams, everything else goes out. When the socket takes bytes
again, what waits is served in pieces of UNBLOCK, so that the socket is not flooded again at once.
"""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.h2.session cimport H2Events, H2Limits, H2Session
from lambda_dispatch_net.wire cimport Wire


cdef enum:
    UNBLOCK = 64 * 1024         # bytes of DATA that go out before the socket is looked at again


cdef class H2Wire(Wire):
    cdef H2Session session      # None before begin()

    # The session of a connection that has just opened; its first bytes are in `out`.
    cdef int begin(self, bint client, H2Limits* limits, H2Events events) except -1
    # The peer violated the protocol: session.error_reason says how. The connection ends when its GOAWAY has left.
    cdef int on_violation(self) except -1
    # The session is not blocked any more, all that waited for the socket has left.
    cdef int on_unblocked(self) except -1
