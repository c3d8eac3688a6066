"""Which answers leave gzipped (RFC 9110 section 12.5.3): pure functions over header fields.

Compression of an answer is decided twice: what the client can read, when the request comes; whether the answer is worth
it and allows it, when its head comes. `compressible` alone decides about Vary: a cache must know that the answer could
have looked different to another client.
"""

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport ResponseHead


# The request's accept-encoding fields, taken together, prefer gzip to sending as is.
cdef bint accepts_gzip(FieldList request) noexcept
# Status, type, length and directives of the answer allow compression and make it worth while.
cdef bint compressible(const ResponseHead* head, FieldList answer, bint head_request) noexcept
# A Vary field of the answer names accept-encoding (or everything) already.
cdef bint varies(FieldList answer) noexcept
# A compressor of gzip; zlib is imported by the first.
cdef object new_gzip()

cdef enum:
    SYNC_FLUSH = 2              # zlib's Z_SYNC_FLUSH: all that was put in comes out
