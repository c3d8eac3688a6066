"""GET /echo-local: the router answers with the request's own body (only for requests that may ask for debugging)."""

from libc.stdint cimport uint8_t

from lambda_dispatch.dispatch.model cimport Slot


cdef class EchoSlot(Slot):
    cdef bint begun
