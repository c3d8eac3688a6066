"""HTTP/1.1 heads and chunked framing, without I/O.

Two dialects. `strict` is the front door: RFC 9112 to the letter, whatever is ambiguous is refused and nothing is
repaired. `tunnel` is what travels on a channel (protocol.md section 2): a bare LF ends a line too, the reason may be
missing, framing headers say nothing because the HTTP/2 stream frames the body. `response` is what an application
answers its extension with: a real HTTP/1.1 response, CRLF or bare LF.

A parse function reads a head that starts at p. It returns the bytes of the head (> 0), 0 when n bytes are not yet a
whole head, or a negative HeadError. It keeps nothing between calls: when it returns 0, keep the bytes and call again
with more (HeadScan says cheaply whether the end has come, so that a head arriving byte by byte costs O(n)).
The fields and pointers it yields point into p. Fields have tokens set.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from lambda_dispatch_core.bytes.fields cimport FieldList
# Part of this interface: chunked bodies and writing, which need no head.
from lambda_dispatch_core.http1.body cimport (
    CHUNK_BAD,
    CHUNK_DATA,
    CHUNK_END,
    CHUNK_MORE,
    ChunkReader,
    parse_size,
    read_chunked,
    reason_phrase,
    write_chunk,
    write_decimal,
    write_field,
    write_last_chunk,
    write_status_line,
)


cdef enum HeadError:
    # what was wrong; head_error_status() gives the status to answer, head_error_reason() one ASCII word for people
    BAD_REQUEST_LINE = -2
    BAD_METHOD = -3
    BAD_TARGET = -4
    BAD_VERSION = -5            # not HTTP/x.y at all: 400
    UNSUPPORTED_VERSION = -6    # HTTP/2.0 or higher in a text head: 505
    BAD_FIELD_NAME = -7         # not a token, empty, or white space before the colon
    BAD_FIELD_VALUE = -8        # CTL, NUL or bare CR
    BAD_LINE_END = -9           # bare CR; bare LF where strict
    OBS_FOLD = -10
    BAD_CONTENT_LENGTH = -11    # not 1*DIGIT, too big for 63 bits, or several that are not one
    BAD_TRANSFER_ENCODING = -12  # anything but exactly one "chunked"; or on HTTP/1.0
    LENGTH_AND_ENCODING = -13   # both Content-Length and Transfer-Encoding
    BAD_HOST = -14              # missing, repeated, or not a host on HTTP/1.1
    BAD_STATUS_LINE = -15
    BAD_CONNECTION = -16
    HEAD_TOO_LARGE = -17        # 431
    LINE_TOO_LONG = -18         # request line over its limit: 414
    TOO_MANY_FIELDS = -19       # 431
    EXPECTATION_FAILED = -20    # Expect that is not 100-continue: 417


cdef struct HeadLimits:
    uint32_t head               # bytes of the whole head, line ends included
    uint32_t line               # bytes of the request line
    uint32_t fields             # header fields


cdef struct RequestHead:
    const uint8_t* method
    const uint8_t* target       # exactly as written
    uint32_t method_len
    uint32_t target_len
    int64_t content_length      # bytes; -1 when there is no Content-Length
    uint8_t minor               # HTTP/1.minor
    bint chunked
    bint keep_alive             # the connection may be used again, by version and Connection options
    bint expect_continue        # Expect: 100-continue on HTTP/1.1
    bint upgrade                # Connection: upgrade with an Upgrade header
    bint is_head                # the method is HEAD
    bint connection_options     # Connection names fields beyond keep-alive/close/upgrade: use named_by_connection()


cdef struct ResponseHead:
    const uint8_t* reason
    uint32_t reason_len
    int status                  # 100 .. 999
    int64_t content_length      # bytes; -1 when there is none (tunnel: or when it is not one plain number)
    uint8_t minor
    bint chunked
    bint keep_alive
    bint connection_options


# How far a head that is not whole yet has been looked through.
cdef struct HeadScan:
    Py_ssize_t at               # bytes already looked at; set to 0 for a new head

# The length of the head at p (its empty line included), or 0 when its end is not there yet. Looks at each byte once
# over all calls with the same scan. lf: a bare LF ends a line too.
cdef Py_ssize_t scan_head(HeadScan* scan, const uint8_t* p, Py_ssize_t n, bint lf) noexcept nogil

# strict; leading empty lines (RFC 9112 2.2: at least one CRLF) are skipped and counted in the return value.
cdef Py_ssize_t parse_request(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                              RequestHead* head, FieldList fields) except -1
# tunnel
cdef Py_ssize_t parse_tunnel_request(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                                     RequestHead* head, FieldList fields) except -1
cdef Py_ssize_t parse_tunnel_response(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                                      ResponseHead* head, FieldList fields) except -1
# response
cdef Py_ssize_t parse_response(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                               ResponseHead* head, FieldList fields) except -1

# The checks a header that came over HTTP/2 needs before it may stand in an HTTP/1.1 head; same HeadErrors, 0 when fine.
cdef int check_target(const uint8_t* p, Py_ssize_t n) noexcept nogil
cdef int check_host(const uint8_t* p, Py_ssize_t n) noexcept nogil

# Whether a Connection field of this list names the field `name` as an option (any case).
cdef bint named_by_connection(FieldList fields, const uint8_t* name, Py_ssize_t n) noexcept nogil

cdef int head_error_status(int error) noexcept nogil
cdef const char* head_error_reason(int error) noexcept nogil
