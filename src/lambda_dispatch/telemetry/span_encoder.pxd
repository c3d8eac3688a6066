"""Records of traced requests to spans, as OTLP has them in protobuf: in C, but for what is new.

What is the same for many requests, names and attributes, is written once by Python (span_parts.py), and found again by
the bytes of the record that it depends on.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_core.board.trace_ring cimport Span, SpanRecord
from lambda_dispatch_core.bytes.buffer cimport OutBuffer


cdef enum:
    KEY_ROOM = 128              # bytes of a key at most, but for paths
    TIMES = 3                   # histograms that have exemplars


# Found by bytes: what stands in a cell is taken out by what needs its place, so the memory is bounded.
cdef class Parts:
    cdef list keys
    cdef list values
    cdef uint64_t mask
    cdef uint64_t at            # the cell of the last find()

    # None when it is not there; keep() then puts it where find() has looked.
    cdef bytes find(self, const uint8_t* key, Py_ssize_t n)
    cdef int keep(self, const uint8_t* key, Py_ssize_t n, bytes value) except -1


cdef class Encoder:
    cdef readonly int count     # requests whose spans were added since the last take()
    cdef readonly str region
    cdef OutBuffer out
    cdef Parts commons
    cdef Parts paths
    cdef Parts servers
    cdef Parts clients
    cdef dict functions         # number of each function's name: in the keys of parts
    cdef str function           # the last one, and its number
    cdef int number
    cdef dict told              # instances whose invoke was sent, the longest known first

    cdef int _add(self, Span span, str function, int64_t offset) except -1
    cdef int _tell(self, Span span, str function, int64_t offset) except -1
    cdef int _name(self, str function) except -1
    # wait: -1 for none; parent: NULL for none.
    cdef int _span(self, const SpanRecord* it, bytes common, bytes path, bytes own, int64_t start, int64_t end,
                   const uint8_t* id, const uint8_t* parent, int64_t wait) except -1
