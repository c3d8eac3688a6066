"""Lines of the access log; what they are stands in access.pxd."""

import time

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memset, strlen

from lambda_dispatch.telemetry import access_fields
from lambda_dispatch.telemetry.chance cimport put_hex
from lambda_dispatch.telemetry.sink import Sink
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport (
    T_B3, T_HOST, T_REFERER, T_TRACEPARENT, T_USER_AGENT, T_X_AMZN_TRACE_ID, T_X_REQUEST_ID, token_of,
)
from lambda_dispatch_core.bytes.literal cimport begins_lit
from lambda_dispatch_core.http1.head cimport write_decimal

cdef enum:
    SECOND = 1000000000
    FLUSH = 32 * 1024           # bytes that are written without waiting for the next tick
    BOUND = 1024 * 1024         # bytes kept for a reader that does not read
    LONGEST = 1024              # bytes of a value out of a head that a line shows
    TRACE_ID = 32               # hex digits
    SHORT_ID = 4                # bytes of an instance's id that are shown: whole, it is a key to the control port

# The place of each name in access_fields.ALL_FIELDS.
cdef enum:
    TIME = 0
    CLIENT = 1
    REQUEST = 2
    STATUS = 3
    BYTES_IN = 4
    BYTES_OUT = 5
    WAIT = 6
    SERVICE = 7
    TOTAL = 8
    REQUEST_ID = 9
    TRACE = 10
    INSTANCE = 11
    FAULT = 12
    GRPC_STATUS = 13
    FUNCTION = 14
    HOST = 15
    REFERER = 16
    USER_AGENT = 17
    FIELDS = 18

cdef const char* HEX = b"0123456789abcdef"

# What stands before the value of each field, in JSON and in text.
cdef const char* JSON_KEYS[FIELDS]
cdef const char* TEXT_KEYS[FIELDS]
JSON_KEYS[:] = [
    b"time", b"client", b"method", b"status", b"bytes_in", b"bytes_out", b"wait_ms", b"service_ms", b"total_ms",
    b"request_id", b"trace_id", b"instance", b"fault", b"grpc_status", b"function", b"host", b"referer", b"user_agent",
]
TEXT_KEYS[:] = [
    b"", b"", b"", b"", b"in=", b"out=", b"wait_ms=", b"service_ms=", b"total_ms=", b"request_id=", b"trace_id=",
    b"instance=", b"fault=", b"grpc_status=", b"function=", b"host=", b"referer=", b"user_agent=",
]


# Whether a field's value stands in a field of the head.
cdef inline bint is_named(int field) noexcept:
    return field in (REQUEST_ID, TRACE, HOST, REFERER, USER_AGENT)


# The values of a head that lines show, by field; the first of each name counts.
cdef void look_up(const uint8_t* p, Py_ssize_t n, Named* named) noexcept:
    cdef const uint8_t* last = p + n
    cdef const uint8_t* end
    cdef const uint8_t* colon
    cdef int field
    cdef int token
    while p < last:
        end = <const uint8_t*> memchr(p, c"\r", last - p)
        if end == NULL or end == p:
            return
        colon = <const uint8_t*> memchr(p, c":", end - p)
        if colon != NULL:
            token = token_of(p, colon - p)
            field = FIELDS
            if token == T_X_REQUEST_ID:
                field = REQUEST_ID
            elif token == T_HOST:
                field = HOST
            elif token == T_REFERER:
                field = REFERER
            elif token == T_USER_AGENT:
                field = USER_AGENT
            elif token == T_TRACEPARENT or token == T_B3 or token == T_X_AMZN_TRACE_ID:
                field = TRACE
            colon += 1
            while colon < end and colon[0] == c" ":
                colon += 1
            if field == TRACE:
                trace_id(token, colon, end - colon, &named[TRACE])
            elif field < FIELDS and named[field].at == NULL:
                named[field].at = colon
                named[field].length = min(end - colon, LONGEST)
        p = end + 2


# The trace id in one of the fields that carry one: 32 hex digits, or what follows Root= for X-Ray.
cdef void trace_id(int token, const uint8_t* p, Py_ssize_t n, Named* to) noexcept:
    cdef const uint8_t* end
    if token == T_TRACEPARENT and n >= 55 and p[2] == c"-":
        to.at = p + 3
        to.length = TRACE_ID
    elif to.at != NULL:
        return
    elif token == T_B3 and n >= TRACE_ID + 1 and p[TRACE_ID] == c"-":
        to.at = p
        to.length = TRACE_ID
    elif token == T_X_AMZN_TRACE_ID:
        while n > 5 and not begins_lit(p, n, b"Root="):
            p += 1
            n -= 1
        if n > 5:
            end = <const uint8_t*> memchr(p, c";", n)
            to.at = p + 5
            to.length = min((end if end != NULL else p + n) - to.at, LONGEST)


@cython.final
cdef class AccessLog:
    def __init__(self, int fd, str form not None, tuple fields=None):
        self.out = OutBuffer()
        self.fd = fd
        self.form = form
        self.as_json = form == "json"
        self.as_combined = form == "combined"
        self.stamp = b""
        self.sink = Sink(fd)
        for name in fields or access_fields.DEFAULT_FIELDS:
            self.order[self.fields] = access_fields.ALL_FIELDS.index(name)
            self.looks = self.looks or is_named(self.order[self.fields])
            self.fields += 1
        self.wants_id = form != "combined" and REQUEST_ID in self.order[:self.fields]
        self.looks = self.looks or form == "combined"

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
    # and JSON stays JSON. word: spaces too, and no quote is left, because none stand around it.
    cdef int text(self, const uint8_t* p, Py_ssize_t n, bint word=False) except -1:
        cdef uint8_t* to = self.out.reserve(n * 6)
        cdef uint8_t* start = to
        cdef Py_ssize_t i
        cdef uint8_t c
        for i in range(n):
            c = p[i]
            if (c == c'"' or c == c"\\") and not word:
                to[0] = c"\\"
                to[1] = c
                to += 2
            elif 0x20 <= c < 0x7F and not (word and (c == 0x20 or c == c'"' or c == c"\\")):
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

    cdef int line(self, int64_t now, bytes client, bytes function, object fault, const Entry* entry) except -1:
        cdef Named[FIELDS] named
        cdef const uint8_t* line = entry.head
        cdef const uint8_t* end = NULL
        cdef Py_ssize_t line_len = 0
        cdef Py_ssize_t begins = self.out.length
        cdef int i
        if self.out.length > BOUND:
            self.dropped += 1
            return 0
        if now >= self.stamp_until:
            form = "%d/%b/%Y:%H:%M:%S +0000" if self.as_combined else "%Y-%m-%dT%H:%M:%SZ"
            self.stamp = time.strftime(form, time.gmtime()).encode("ascii")
            self.stamp_until = now + SECOND // 4
        memset(named, 0, sizeof(named))
        if entry.head_len:
            end = <const uint8_t*> memchr(line, c"\r", entry.head_len)
        if end != NULL:
            line_len = end - line - 9       # " HTTP/1.1", which is what every request is tunnelled as
            if self.looks:
                look_up(end + 2, entry.head + entry.head_len - end - 2, named)
        if self.as_combined:
            self._combined(client, line, line_len, named, entry)
        else:
            for i in range(self.fields):
                self._field(self.order[i], client, function, fault, line, line_len, named, entry,
                            self.out.length == begins)
            if self.as_json:
                self.put(b"}\n" if self.out.length > begins else b"{}\n", 2 if self.out.length > begins else 3)
            else:
                self.put(b"\n", 1)
        if self.out.length >= FLUSH:
            self.flush()
        return 0

    cdef int _key(self, int field, bint first) except -1:
        cdef const char* text = TEXT_KEYS[field]
        if self.as_json:
            text = JSON_KEYS[field]
            self.put(b'{"' if first else b',"', 2)
            self.put(text, strlen(text))
            return self.put(b'":', 2)
        if not first:
            self.put(b" ", 1)
        return self.put(text, strlen(text))

    cdef int _quoted(self, const Named* it) except -1:
        self.put(b'"', 1)
        self.text(it.at, it.length)
        return self.put(b'"', 1)

    cdef int _word(self, const Named* it) except -1:
        return self._quoted(it) if self.as_json else self.text(it.at, it.length, True)

    cdef int _request(self, const uint8_t* line, Py_ssize_t line_len, int minor) except -1:
        self.put(b'"', 1)
        self.text(line, line_len)
        self.put(b" HTTP/", 6)
        self.put(b"2" if minor < 0 else b"1.1" if minor else b"1.0", 1 if minor < 0 else 3)
        return self.put(b'"', 1)

    cdef int _combined(self, bytes client, const uint8_t* line, Py_ssize_t line_len, const Named* named,
                       const Entry* entry) except -1:
        self.out.write_bytes(client)
        self.put(b" - - [", 6)
        self.out.write_bytes(self.stamp)
        self.put(b"] ", 2)
        self._request(line, line_len, entry.minor)
        self.put(b" ", 1)
        self.number(entry.status)
        self.put(b" ", 1)
        self.number(entry.answer_bytes)
        for field in (REFERER, USER_AGENT):
            self.put(b" ", 1)
            if named[<int> field].at != NULL:
                self._quoted(&named[<int> field])
            else:
                self.put(b'"-"', 3)
        return self.put(b"\n", 1)

    cdef int _field(self, int field, bytes client, bytes function, object fault, const uint8_t* line,
                    Py_ssize_t line_len, const Named* named, const Entry* entry, bint first) except -1:
        cdef bint as_json = self.as_json
        cdef const uint8_t* gap
        cdef Py_ssize_t method_len
        cdef Named value
        # Left out where there is no value.
        if field == SERVICE and entry.service < 0 or field == GRPC_STATUS and entry.grpc_status < 0:
            return 0
        if field == INSTANCE and entry.instance == NULL:
            return 0
        if field == FUNCTION and function is None or field == FAULT and fault is None:
            return 0
        if is_named(field) and named[field].at == NULL:
            return 0
        self._key(field, first)
        if field == TIME or field == CLIENT:
            if as_json:
                self.put(b'"', 1)
            self.out.write_bytes(self.stamp if field == TIME else client)
            return self.put(b'"', 1) if as_json else 0
        if field == REQUEST:
            if not as_json:
                return self._request(line, line_len, entry.minor)
            gap = <const uint8_t*> memchr(line, c" ", line_len) if line_len else NULL
            method_len = gap - line if gap != NULL else line_len
            value.at = line
            value.length = method_len
            self._quoted(&value)
            self.put(b',"target":', 10)
            value.at = gap + 1
            value.length = line_len - method_len - 1 if gap != NULL else 0
            self._quoted(&value)
            self.put(b',"version":"', 12)
            self.put(b"2" if entry.minor < 0 else b"1.1" if entry.minor else b"1.0", 1 if entry.minor < 0 else 3)
            return self.put(b'"', 1)
        if field == STATUS:
            return self.number(entry.status)
        if field == BYTES_IN:
            return self.number(entry.request_bytes)
        if field == BYTES_OUT:
            return self.number(entry.answer_bytes)
        if field == WAIT:
            return self.millis(entry.wait)
        if field == TOTAL:
            return self.millis(entry.total)
        if field == SERVICE:
            return self.millis(entry.service)
        if field == GRPC_STATUS:
            return self.number(entry.grpc_status)
        if field == REFERER or field == USER_AGENT:
            return self._quoted(&named[field])
        if is_named(field):
            return self._word(&named[field])
        if field == INSTANCE:
            if as_json:
                self.put(b'"', 1)
            put_hex(self.out.reserve(2 * SHORT_ID), entry.instance, SHORT_ID)
            self.out.length += 2 * SHORT_ID
            return self.put(b'"', 1) if as_json else 0
        shown = function if field == FUNCTION else (<str> fault).encode("ascii")
        value.at = <const uint8_t*> PyBytes_AS_STRING(shown)
        value.length = PyBytes_GET_SIZE(shown)
        return self._word(&value)

    def flush(self):
        """Writes what the descriptor takes without waiting. Called on every tick."""
        if self.out.length:
            data = self.out.take()
            taken = self.sink.write(data)
            if taken < len(data):
                self.out.write_bytes(data[taken:])

    def record(self, long long now, bytes client not None, bytes head not None, int minor, int status,
               long long request_bytes, long long answer_bytes, long long wait, long long total, fault,
               bytes function=None, bytes instance=None, long long service=-1, int grpc_status=-1):
        """line() for tests and benchmarks."""
        cdef Entry entry
        entry.head = <const uint8_t*> PyBytes_AS_STRING(head)
        entry.head_len = PyBytes_GET_SIZE(head)
        entry.instance = <const uint8_t*> PyBytes_AS_STRING(instance) if instance is not None else NULL
        entry.minor = minor
        entry.status = status
        entry.grpc_status = grpc_status
        entry.request_bytes = request_bytes
        entry.answer_bytes = answer_bytes
        entry.wait = wait
        entry.service = service
        entry.total = total
        self.line(now, client, function, fault, &entry)

    def __len__(self):
        return self.out.length
