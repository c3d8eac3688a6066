"""HTTP/2 clients: by prior knowledge, or by ALPN over TLS. Each stream is an exchange."""

from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch.dispatch.model cimport Pool
from lambda_dispatch.front.door cimport ClientWire, Pace
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch_net.wire cimport Wire
from lambda_dispatch_net.credit cimport Credit
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Session, H2Stream


cdef class H2Exchange(ClientExchange):
    cdef H2ClientWire wire      # None once it is over
    cdef H2Stream stream        # None once it is gone; stays while an answer that is over waits there
    cdef H2Exchange after       # the one before it in the wire's `fresh`
    cdef Credit owed_client     # request bytes that the instance has yet to take
    cdef Credit owed_instance   # answer bytes that the client has yet to take
    cdef bint connects          # an extended CONNECT (RFC 8441): a 2xx says that the client may speak its protocol
    cdef Pace sending           # of the client's body
    cdef Pace reading           # of the client's taking the answer

    cdef int repay(self) except -1
    # Ends it when the client sends or reads less than it must.
    cdef int sweep(self, int64_t now) except -1
    # The session has reset its stream because of its head: counted and logged like an answer of 400.
    cdef int refuse_head(self, H2ClientWire wire) except -1
    # It is over, and its stream has nothing left to send.
    cdef int leave(self) except -1


cdef class H2ClientWire(ClientWire):
    cdef H2Session session
    cdef H2Exchange fresh       # requests of this pass whose body has not come whole
    cdef bint narrowed          # its windows are smaller than usual
    cdef bint ending            # the last GOAWAY went out: closes when the last stream has

    # The connection began as an HTTP/1.1 one: this wire goes on with its transport.
    cdef int take_over(self, ClientWire other) except -1
    cdef int begin(self) except -1
    cdef int settle(self) except -1
    cdef H2Exchange begin_exchange(self, H2Stream stream, bint end)
    cdef int reset_reader(self, H2Stream stream, H2Exchange exchange) except -1
    cdef int request(self, H2Stream stream, FieldList head, bint end) except -1
    cdef int reply(self, H2Stream stream, int status, bytes text, str reason, bint is_head, Pool pool) except -1
    cdef int maybe_end(self) except -1


cdef class H2ClientEvents(H2Events):
    cdef H2ClientWire wire
