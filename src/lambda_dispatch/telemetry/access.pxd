"""The access log: a line per request, text, JSON or Combined Log Format, formatted in C where the request ends and
written in batches.

Which fields a line holds, and in which order, is chosen by AccessLogFields (access_fields.py). What a request does not
have is left out: no trace id without trace fields, no service time without an instance. Client, request id, trace id,
host, referer and user agent are read from the request's head when the line is written, so nothing is kept for them.

Nothing here ever waits: what the reader of standard output does not take stays in a bounded buffer; beyond the bound
lines are dropped and counted.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


# A request that is over. All times in ns; everything is borrowed for the length of the call.
cdef struct Entry:
    const uint8_t* head         # as it was tunnelled, from its request line on; body may follow
    Py_ssize_t head_len         # 0: it was refused before there was one
    const uint8_t* instance     # the id of the instance that had it, 16 bytes; NULL: none had
    int minor                   # HTTP/1.minor, -1 for HTTP/2
    int status
    int grpc_status             # -1: no gRPC call, or none was said
    int64_t request_bytes
    int64_t answer_bytes
    int64_t wait                # from asking for an instance until it got one, or was over
    int64_t service             # from then until it was over; -1: it got none
    int64_t total


# Where the values are that a line takes from a head.
cdef struct Named:
    const uint8_t* at
    Py_ssize_t length


cdef class AccessLog:
    cdef OutBuffer out
    cdef readonly int fd
    cdef readonly str form              # text, json or combined
    cdef bint as_json
    cdef bint as_combined
    cdef uint8_t[32] order              # the numbers of the fields of a line
    cdef int fields                     # how many
    cdef bint looks                     # some of them stand in the head's fields
    cdef readonly bint wants_id         # each request gets an id where it brought none
    cdef readonly uint64_t dropped      # lines lost because no process read
    cdef object sink                    # telemetry.sink.Sink: writes without waiting
    cdef bytes stamp                    # the time of this second as text
    cdef int64_t stamp_until            # hub time from which it is stale

    # client: its address. function: the pool's name, or None. fault: its word, or None.
    cdef int line(self, int64_t now, bytes client, bytes function, object fault, const Entry* entry) except -1
    cdef int put(self, const char* p, Py_ssize_t n) except -1
    cdef int text(self, const uint8_t* p, Py_ssize_t n, bint word=*) except -1
    cdef int number(self, int64_t value) except -1
    cdef int millis(self, int64_t ns) except -1
    cdef int _key(self, int field, bint first) except -1    # what stands before a value
    cdef int _quoted(self, const Named* it) except -1
    cdef int _word(self, const Named* it) except -1
    cdef int _request(self, const uint8_t* line, Py_ssize_t line_len, int minor) except -1
    cdef int _combined(self, bytes client, const uint8_t* line, Py_ssize_t line_len, const Named* named,
                       const Entry* entry) except -1
    cdef int _field(self, int field, bytes client, bytes function, object fault, const uint8_t* line,
                    Py_ssize_t line_len, const Named* named, const Entry* entry, bint first) except -1
