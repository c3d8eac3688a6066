"""A slot that is its own instance; what for stands in echo.pxd."""

cimport cython
from libc.stdint cimport uint8_t

from lambda_dispatch.dispatch.model cimport Exchange, Slot

cdef bytes HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n"


@cython.final
cdef class EchoSlot(Slot):
    cdef int send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Exchange exchange = self.exchange
        if not self.begun:
            # What comes first is the request's head; it is not echoed.
            self.begun = True
            return exchange.received(<const uint8_t*> <char*> HEAD, len(HEAD), end)
        return exchange.received(p, n, end)

    cdef int consumed(self, Py_ssize_t n) except -1:
        return 0

    cdef int cancel(self) except -1:
        self.exchange = None
        return 0

    cdef int finished(self) except -1:
        self.exchange = None
        return 0
