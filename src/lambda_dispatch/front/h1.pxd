"""HTTP/1.1 clients.

A connection has at most one request in hand. What is pipelined behind it is kept, within a bound, until its answer is
out. While the socket takes no more of what was answered, no next request is begun and nothing is read: one connection
can make the router hold one read, what one turn answers, and what an exchange may have in flight. Bodies go on as they
come; nothing is repaired: what the strict parser refuses is answered and the connection ends.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch.dispatch.model cimport Pool
from lambda_dispatch.front.door cimport ClientWire
from lambda_dispatch.front.h2 cimport H2ClientWire
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch_net.credit cimport Credit
from lambda_dispatch_core.http1.head cimport ChunkReader, HeadScan, RequestHead


cdef class H1Exchange(ClientExchange):
    cdef H1Wire wire
    cdef bint chunked           # the answer goes out in chunks
    cdef bint until_close       # the answer's end is the connection's (HTTP/1.0)
    cdef bint upgraded          # bytes both ways: what comes and goes is not HTTP any more


cdef class H1Wire(ClientWire):
    cdef H1Exchange exchange    # in hand; None between requests
    cdef uint8_t* kept          # bytes read and not used yet: a head that is not whole, or pipelined requests
    cdef Py_ssize_t kept_len
    cdef Py_ssize_t kept_room
    cdef HeadScan scan          # how far a head in `kept` was looked through
    cdef bint spoken            # a request has been read: what comes is HTTP/1.1 for good
    cdef bint body_open         # the request in hand has body still to come
    cdef bint body_chunked
    cdef int64_t body_left      # bytes of content-length still to come
    cdef ChunkReader chunks
    cdef uint64_t body_seen     # bytes of body read on this connection
    cdef bint working           # inside work(): what is next is its business
    cdef bint keep_alive        # by the request in hand
    cdef uint8_t minor          # HTTP/1.minor of the request in hand
    cdef Credit owed            # answer bytes written while paused
    cdef bint half_closed       # our side ends when what is in `out` has left; the client's may go on

    cdef int work(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t begin(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef Py_ssize_t feed(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int keep(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int request(self, RequestHead* head) except -1
    cdef int over(self) except -1
    cdef int proceed(self) except -1
    cdef int reject(self, int status, str reason) except -1
    cdef int reply(self, int status, bytes text, str reason, bint is_head, Pool pool) except -1
    cdef int settle(self) except -1
    # Our side of an upgraded connection has ended.
    cdef int end_ours(self) except -1
    cdef H2ClientWire become_h2(self)
    cdef int pass_on(self, H1Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1
