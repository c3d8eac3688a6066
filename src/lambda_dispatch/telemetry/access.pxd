"""The access log: a line per request, text or JSON, formatted in C where the request ends and written in batches.

Nothing here ever waits: what the reader of standard output does not take stays in a bounded buffer; beyond the bound
lines are dropped and counted.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


cdef class AccessLog:
    cdef OutBuffer out
    cdef readonly int fd
    cdef readonly bint as_json
    cdef readonly uint64_t dropped      # lines lost because nobody read
    cdef object sink                    # telemetry.sink.Sink: writes without waiting
    cdef bytes stamp                    # the time of this second as text
    cdef int64_t stamp_until            # hub time from which it is stale

    # client: its address. line: "METHOD target" of the request, no line end. All times in ns.
    cdef int line(self, int64_t now, bytes client, const uint8_t* line, Py_ssize_t line_len, int minor, int status,
                  int64_t request_bytes, int64_t answer_bytes, int64_t wait, int64_t total, object fault) except -1
    cdef int put(self, const char* p, Py_ssize_t n) except -1
    cdef int text(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int number(self, int64_t value) except -1
    cdef int millis(self, int64_t ns) except -1
