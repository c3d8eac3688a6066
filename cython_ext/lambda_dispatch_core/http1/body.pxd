"""Chunked bodies read and written, and the lines of a head as they are written. Used through http1/head.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


# A chunked body being read (RFC 9112 7.1), any split.
cdef enum ChunkResult:
    CHUNK_MORE = 0              # all of p was used; more must come
    CHUNK_DATA = 1              # *body, *body_len: a piece of the content, inside p; call again with the rest
    CHUNK_END = 2               # the last chunk and the trailers have been read; bytes after `*used` are not ours
    CHUNK_BAD = -2              # a bad size, extension, line end or trailer, or a limit exceeded: 400 and close

cdef struct ChunkReader:
    int64_t left                # bytes of the current chunk still to come
    uint32_t line               # bytes of the current size line or of the trailers so far
    uint8_t state               # 0 at the start
    uint8_t extra               # digits of the size, or whether a name or value of an extension has begun

# Trailers are checked (field syntax, limits) and dropped, well-formed extensions ignored. limits: see limits.pxd
# (chunk line, trailer bytes).
cdef int read_chunked(ChunkReader* reader, const uint8_t* p, Py_ssize_t n,
                      const uint8_t** body, Py_ssize_t* body_len, Py_ssize_t* used) noexcept nogil

# 1*DIGIT below 2**63, or -1.
cdef int64_t parse_size(const uint8_t* p, Py_ssize_t n) noexcept nogil
# The standard reason phrase of a status; "" when there is none.
cdef const char* reason_phrase(int status) noexcept nogil

# Writing. A chunk is size line, bytes, CRLF; never write an empty one: that is the end.
cdef int write_chunk(OutBuffer out, const uint8_t* p, Py_ssize_t n) except -1
cdef int write_last_chunk(OutBuffer out) except -1
cdef int write_decimal(OutBuffer out, int64_t number) except -1
# "HTTP/1.1 status reason\r\n"; the standard phrase when reason is NULL or empty.
cdef int write_status_line(OutBuffer out, int status, const uint8_t* reason, Py_ssize_t reason_len) except -1
# "name: value\r\n"
cdef int write_field(OutBuffer out, const uint8_t* name, Py_ssize_t name_len,
                     const uint8_t* value, Py_ssize_t value_len) except -1
