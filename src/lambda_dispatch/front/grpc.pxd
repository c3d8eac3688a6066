"""gRPC at the front door: which requests are gRPC, and what answers of our own look like to their clients.

A gRPC client reads `grpc-status` where others read `:status`. An answer of our own is therefore `200` with the status
and a message in the head, and nothing behind it ("Trailers-Only"); where the application's answer has begun already, it
ends with trailers that say the same. The numbers are those that gRPC gives to the HTTP status, made more exact by the
error word where that says more.
"""

from libc.stdint cimport uint8_t

from lambda_dispatch.front.door cimport Door
from lambda_dispatch_core.bytes.fields cimport FieldList


cdef enum:
    NO_STATUS = -1              # grpc_status of an exchange: none was said, or it is no gRPC
    STATUSES = 17               # OK to UNAUTHENTICATED


# Whether a content-type is that of gRPC over HTTP/2: application/grpc, with or without "+format" and parameters.
# gRPC-Web has others; it is plain HTTP to us.
cdef bint is_grpc(const uint8_t* p, Py_ssize_t n) noexcept nogil

# The gRPC status of an answer of our own, by its HTTP status and error word (or None).
cdef int grpc_status(int status, str word) except -1

# The value of the grpc-status among these fields, or NO_STATUS.
cdef int said_status(FieldList fields) noexcept

# The head of an answer of our own, :status included. Valid until the next call.
cdef FieldList grpc_head(Door door, int status, bytes text, str word)

# Trailers for an answer that breaks off. Valid until the next call.
cdef FieldList grpc_trailers(int status, bytes text, str word)
