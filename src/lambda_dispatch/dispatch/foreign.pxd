"""Requests for extensions that have not announced themselves as ours (header x-lambda-dispatch-extension).

The original extension parses a request's head with httparse, which takes 64 fields, and makes a `http::Uri` of the
target; where that fails, its invoke ends with a panic. So such an extension is sent only what it can parse: bytes that
a http::Uri refuses are percent-encoded, and what cannot be expressed at all is answered by the router.
"""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


cdef enum:
    MAX_FIELDS = 64             # fields of a request's head
    MAX_TARGET = 65000          # bytes of a target, encoded; a http::Uri holds 65,534 with scheme and authority


# Why the head (whole, as tunnelled) cannot be sent: an error word and its status; None: it can. `fields` is at least
# the number of its fields; they are counted only when that is more than an extension takes.
cdef str unfit(const uint8_t* head, Py_ssize_t n, int fields, int* status)
# Whether the target of the request line contains bytes that have to be encoded.
cdef bint needs_encoding(const uint8_t* head, Py_ssize_t n) noexcept
# Writes method and encoded target. Returns how many bytes of the head that was: the rest follows as it is.
cdef Py_ssize_t encode_target(OutBuffer out, const uint8_t* head, Py_ssize_t n) except -1
