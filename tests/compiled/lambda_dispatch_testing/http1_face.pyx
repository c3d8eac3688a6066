"""The HTTP/1.1 functions for tests and benchmarks, which cannot see what is C. Nothing of the product uses this."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport (
    CHUNK_BAD,
    CHUNK_DATA,
    CHUNK_END,
    ChunkReader,
    HeadLimits,
    HeadScan,
    RequestHead,
    ResponseHead,
    check_host,
    check_target,
    head_error_reason,
    head_error_status,
    named_by_connection,
    parse_request,
    parse_response,
    parse_size,
    parse_tunnel_request,
    parse_tunnel_response,
    read_chunked,
    reason_phrase,
    scan_head,
    write_chunk,
    write_decimal,
    write_field,
    write_last_chunk,
    write_status_line,
)


class HeadRefused(ValueError):
    """A head that is refused: `reason`, one word, and `status`, the answer it deserves."""

    def __init__(self, str reason, int status):
        super().__init__(f"{reason} ({status})")
        self.reason = reason
        self.status = status


cdef HeadLimits limits_of(head, line, fields):
    cdef HeadLimits limits
    limits.head = head
    limits.line = line
    limits.fields = fields
    return limits


cdef uint8_t* exact_copy(bytes data) except NULL:
    """The bytes in a block of exactly their size, so that a sanitizer sees a single byte read beyond them."""
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    cdef uint8_t* block = <uint8_t*> malloc(n if n else 1)
    if block == NULL:
        raise MemoryError()
    memcpy(block, PyBytes_AS_STRING(data), n)
    return block


cdef object refused(Py_ssize_t error):
    return HeadRefused((<bytes> head_error_reason(<int> error)).decode("ascii"), head_error_status(<int> error))


def read_request(bytes data not None, *, bint tunnel=False, head=65536, line=16384, fields=128):
    """(length, what the head says, fields as pairs), or None when the head is not whole yet; raises HeadRefused."""
    cdef HeadLimits limits = limits_of(head, line, fields)
    cdef RequestHead request
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used
    cdef uint8_t* p = exact_copy(data)
    try:
        if tunnel:
            used = parse_tunnel_request(p, PyBytes_GET_SIZE(data), &limits, &request, found)
        else:
            used = parse_request(p, PyBytes_GET_SIZE(data), &limits, &request, found)
        if used == 0:
            return None
        if used < 0:
            raise refused(used)
        return used, {
            "method": request.method[:request.method_len],
            "target": request.target[:request.target_len],
            "minor": request.minor,
            "content_length": request.content_length,
            "chunked": bool(request.chunked),
            "keep_alive": bool(request.keep_alive),
            "expect_continue": bool(request.expect_continue),
            "upgrade": bool(request.upgrade),
            "is_head": bool(request.is_head),
            "connection_options": bool(request.connection_options),
        }, found.pairs()
    finally:
        free(p)


def read_response(bytes data not None, *, bint tunnel=False, head=65536, line=16384, fields=128):
    """As read_request, for the answer of an application or one that came through the tunnel."""
    cdef HeadLimits limits = limits_of(head, line, fields)
    cdef ResponseHead response
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used
    cdef uint8_t* p = exact_copy(data)
    try:
        if tunnel:
            used = parse_tunnel_response(p, PyBytes_GET_SIZE(data), &limits, &response, found)
        else:
            used = parse_response(p, PyBytes_GET_SIZE(data), &limits, &response, found)
        if used == 0:
            return None
        if used < 0:
            raise refused(used)
        return used, {
            "status": response.status,
            "reason": response.reason[:response.reason_len],
            "minor": response.minor,
            "content_length": response.content_length,
            "chunked": bool(response.chunked),
            "keep_alive": bool(response.keep_alive),
            "connection_options": bool(response.connection_options),
        }, found.pairs()
    finally:
        free(p)


def parse_many(bytes data not None, str dialect not None, Py_ssize_t rounds):
    """Parses the same head so many times without leaving C (benchmarks); the head's length."""
    cdef HeadLimits limits = limits_of(65536, 16384, 128)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    cdef RequestHead request
    cdef ResponseHead response
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used = 0
    cdef int which = ("request", "tunnel-request", "tunnel-response", "response").index(dialect)
    for _ in range(rounds):
        if which == 0:
            used = parse_request(p, n, &limits, &request, found)
        elif which == 1:
            used = parse_tunnel_request(p, n, &limits, &request, found)
        elif which == 2:
            used = parse_tunnel_response(p, n, &limits, &response, found)
        else:
            used = parse_response(p, n, &limits, &response, found)
    return used


@cython.final
cdef class HeadScanner:
    """scan_head over bytes that come in pieces."""
    cdef HeadScan _scan
    cdef bytes _kept
    cdef bint _lf

    def __init__(self, bint lf=False):
        self._kept = b""
        self._lf = lf

    def feed(self, bytes data not None):
        """The length of the head once its end is there, else 0."""
        cdef uint8_t* p
        self._kept += data
        p = exact_copy(self._kept)
        try:
            return scan_head(&self._scan, p, PyBytes_GET_SIZE(self._kept), self._lf)
        finally:
            free(p)


@cython.final
cdef class ChunkedBody:
    """read_chunked over bytes that come in pieces."""
    cdef ChunkReader _reader
    cdef readonly bint done
    cdef readonly bint bad

    def feed(self, bytes data not None):
        """(content in this piece, how many bytes of it were used)."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t used, body_len
        cdef const uint8_t* body
        cdef int result = CHUNK_DATA
        cdef list content = []
        cdef uint8_t* p = exact_copy(data)
        try:
            while result == CHUNK_DATA:
                result = read_chunked(&self._reader, p + at, n - at, &body, &body_len, &used)
                if result == CHUNK_DATA:
                    content.append(body[:body_len])
                at += used
        finally:
            free(p)
        self.done = result == CHUNK_END
        self.bad = result == CHUNK_BAD
        return b"".join(content), at


def size(bytes text not None):
    """parse_size."""
    return parse_size(<const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


def host_is_valid(bytes host not None):
    """check_host."""
    return check_host(<const uint8_t*> PyBytes_AS_STRING(host), PyBytes_GET_SIZE(host)) == 0


def target_is_valid(bytes target not None):
    """check_target."""
    return check_target(<const uint8_t*> PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target)) == 0


def is_named_by_connection(FieldList fields not None, bytes name not None):
    """named_by_connection."""
    return bool(named_by_connection(fields, <const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)))


def phrase(int status):
    """reason_phrase."""
    return (<bytes> reason_phrase(status)).decode("ascii")


def chunk(bytes data not None):
    """write_chunk."""
    cdef OutBuffer out = OutBuffer()
    write_chunk(out, <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return out.take()


def last_chunk():
    """write_last_chunk."""
    cdef OutBuffer out = OutBuffer()
    write_last_chunk(out)
    return out.take()


def decimal_text(int64_t number):
    """write_decimal."""
    cdef OutBuffer out = OutBuffer()
    write_decimal(out, number)
    return out.take()


def status_text(int status, bytes reason not None=b""):
    """write_status_line."""
    cdef OutBuffer out = OutBuffer()
    write_status_line(out, status, <const uint8_t*> PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason))
    return out.take()


def field_text(bytes name not None, bytes value not None):
    """write_field."""
    cdef OutBuffer out = OutBuffer()
    write_field(out, <const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                <const uint8_t*> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return out.take()
