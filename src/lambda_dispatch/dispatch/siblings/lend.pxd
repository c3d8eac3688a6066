"""The lender's side of the sibling hop; the theory stands in borrow.pxd."""

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport Exchange
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Stream
from lambda_dispatch_core.http1.head cimport ResponseHead
from lambda_dispatch_net.credit cimport Credit
from lambda_dispatch_net.h2_wire cimport H2Wire


cdef class GuestExchange(Exchange):
    cdef GuestWire wire                 # None once the stream is gone
    cdef H2Stream stream
    cdef Credit from_sibling            # of request bytes
    cdef Credit from_instance           # of answer bytes
    cdef bint accepted                  # the 200 has gone out

    cdef int on_bad_gateway(self, str reason, str where) except -1
    # The request has a slot here, or an answer of our own.
    cdef int accept(self) except -1
    cdef int repay(self) except -1
    cdef int _head(self, ResponseHead* head, FieldList fields, bint end) except -1


cdef class GuestWire(H2Wire):
    cdef Matcher matcher


cdef class GuestEvents(H2Events):
    cdef GuestWire wire
