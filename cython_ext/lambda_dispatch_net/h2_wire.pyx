"""A wire with an HTTP/2 session; the theory stands in h2_wire.pxd."""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.h2.session cimport H2Events, H2Limits, new_session
from lambda_dispatch_net.wire cimport Wire


cdef class H2Wire(Wire):
    cdef int begin(self, bint client, H2Limits* limits, H2Events events) except -1:
        self.session = new_session(client, limits)
        self.session.events = events
        self.out = self.session.out
        return self.touch()

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        if self.session.receive(p, n) < 0:
            self.on_violation()
            self.close()
        if self.out.length:
            return self.touch()
        return 0

    cdef int on_violation(self) except -1:
        return 0

    cdef int on_paused(self) except -1:
        self.session.block()
        return 0

    cdef int on_writable(self) except -1:
        # A socket that takes a whole piece at once never pauses, and on_writable() does not come again.
        while not self.paused and not self.closing and self.session.unblock(UNBLOCK):
            self.flush()
        if not self.paused:
            self.on_unblocked()
        return self.touch()

    cdef int on_unblocked(self) except -1:
        return 0

    cdef int on_lost(self) except -1:
        if self.session is not None:
            return self.session.lost()
        return 0
