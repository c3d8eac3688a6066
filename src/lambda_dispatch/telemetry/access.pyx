"""Lines of the access log; what they are stands in access.pxd."""

import time

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memchr

from lambda_dispatch.telemetry.sink import Sink
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.http1.head cimport write_decimal

cdef enum:
    SECOND = 1000000000
    FLUSH = 32 * 1024           # bytes that are written without waiting for the next tick
    BOUND = 1024 * 1024         # bytes kept for a reader that does not read

cdef const char* HEX = b"0123456789abcdef"


@cython.final
cdef class AccessLog:
    def __init__(self, int fd, bint as_json):
        self.out = OutBuffer()
        self.fd = fd
        self.as_json = as_json
        self.stamp = b""
        self.sink = Sink(fd)

    cdef int put(self, const char* p, Py_ssize_t n) except -1:
        return self.out.write(<const uint8_t*> p, n)

    cdef int number(self, int64_t value) except -1:
        return write_decimal(self.out, value)

    # Milliseconds with three decimals.
    cdef int millis(self, int64_t ns) except -1:
        cdef char[32] buffer
        cdef int64_t us = ns // 1000 if ns > 0 else 0
        cdef int n = snprintf(buffer, 32, "%lld.%03d", <long long> (us // 1000), <int> (us % 1000))
        return self.out.write(<const uint8_t*> buffer, n)

    # Text from a client: quotes, backslashes and what is not printable ASCII are escaped, so that a line stays a line
    # and JSON stays JSON.
    cdef int text(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef uint8_t* to = self.out.reserve(n * 6)
        cdef uint8_t* start = to
        cdef Py_ssize_t i
        cdef uint8_t c
        for i in range(n):
            c = p[i]
            if c == c'"' or c == c"\\":
                to[0] = c"\\"
                to[1] = c
                to += 2
            elif 0x20 <= c < 0x7F:
                to[0] = c
                to += 1
            else:
                to[0] = c"\\"
                to[1] = c"u"
                to[2] = c"0"
                to[3] = c"0"
                to[4] = HEX[c >> 4]
                to[5] = HEX[c & 15]
                to += 6
        self.out.length += to - start
        return 0

    cdef int line(self, int64_t now, bytes client, const uint8_t* line, Py_ssize_t line_len, int minor, int status,
                  int64_t request_bytes, int64_t answer_bytes, int64_t wait, int64_t total, object fault) except -1:
        cdef const uint8_t* gap
        cdef Py_ssize_t method_len
        cdef bytes why
        if self.out.length > BOUND:
            self.dropped += 1
            return 0
        if now >= self.stamp_until:
            self.stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode("ascii")
            self.stamp_until = now + SECOND // 4
        gap = <const uint8_t*> memchr(line, c" ", line_len) if line_len else NULL
        method_len = gap - line if gap != NULL else line_len
        if self.as_json:
            self.put(b'{"time":"', 9)
            self.out.append(self.stamp)
            self.put(b'","client":"', 12)
            self.out.append(client)
            self.put(b'","method":"', 12)
            self.text(line, method_len)
            self.put(b'","target":"', 12)
            if gap != NULL:
                self.text(gap + 1, line_len - method_len - 1)
            self.put(b'","version":"', 13)
            self.put(b"2" if minor < 0 else b"1.1" if minor else b"1.0", 1 if minor < 0 else 3)
            self.put(b'","status":', 11)
            self.number(status)
            self.put(b',"bytes_in":', 12)
            self.number(request_bytes)
            self.put(b',"bytes_out":', 13)
            self.number(answer_bytes)
            self.put(b',"wait_ms":', 11)
            self.millis(wait)
            self.put(b',"total_ms":', 12)
            self.millis(total)
            if fault is not None:
                why = (<str> fault).encode("ascii")
                self.put(b',"fault":"', 10)
                self.out.append(why)
                self.put(b'"', 1)
            self.put(b"}\n", 2)
        else:
            self.out.append(self.stamp)
            self.put(b" ", 1)
            self.out.append(client)
            self.put(b' "', 2)
            self.text(line, line_len)
            self.put(b' HTTP/', 6)
            self.put(b"2" if minor < 0 else b"1.1" if minor else b"1.0", 1 if minor < 0 else 3)
            self.put(b'" ', 2)
            self.number(status)
            self.put(b" in=", 4)
            self.number(request_bytes)
            self.put(b" out=", 5)
            self.number(answer_bytes)
            self.put(b" wait_ms=", 9)
            self.millis(wait)
            self.put(b" total_ms=", 10)
            self.millis(total)
            if fault is not None:
                self.put(b" fault=", 7)
                self.out.append((<str> fault).encode("ascii"))
            self.put(b"\n", 1)
        if self.out.length >= FLUSH:
            self.flush()
        return 0

    def flush(self):
        """Writes what the descriptor takes without waiting. Called on every tick."""
        if self.out.length:
            data = self.out.take()
            taken = self.sink.write(data)
            if taken < len(data):
                self.out.append(data[taken:])

    def record(self, long long now, bytes client not None, bytes line not None, int minor, int status,
               long long request_bytes, long long answer_bytes, long long wait, long long total, fault):
        """line() for tests and benchmarks."""
        self.line(now, client, <const uint8_t*> PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line), minor, status,
                  request_bytes, answer_bytes, wait, total, fault)

    def __len__(self):
        return self.out.length
