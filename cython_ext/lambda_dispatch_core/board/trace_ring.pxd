"""Requests that are traced, on their way from the workers to the admin process: shared memory beside the board.

Each worker slot has a ring of fixed records. The worker writes, the admin process reads, and neither waits:
a late reader loses the oldest and knows how many. In words and by byte offset: docs/shared-memory.md.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cpdef enum:
    TRACE_VERSION = 1
    TRACE_RECORDS = 2048        # of one worker slot: a fifth of a second of a busy worker's requests; 1 MiB
    SPAN_METHOD = 16            # bytes of a method that are kept; longer ones are no known methods
    SPAN_HOST = 72              # bytes of Host that are kept
    SPAN_TARGET = 276           # bytes of a path that are kept

    SPAN_REMOTE = 1             # record flag: the parent is a span of the client's
    SPAN_RESENT = 2             # record flag: sent to a second instance
    SPAN_TLS = 4                # record flag: the client came over TLS


cdef struct TraceHeader:        # one writer: the supervisor, before anyone else can see it
    uint64_t magic
    uint32_t version
    uint32_t byte_order         # 0x01020304 as this machine writes it
    uint64_t size               # of the whole memory, bytes
    uint32_t workers            # rings
    uint32_t records            # of each ring
    uint32_t record_size        # bytes
    uint8_t pad0[28]


cdef struct TraceCount:         # one per worker slot; one writer: the worker
    uint64_t written            # records ever; the last one is number `written`
    uint8_t pad0[56]


cdef struct SpanRecord:         # one writer: the worker. Record n is number n % records of its ring
    uint64_t number             # 1 for the first record of the ring; 0 while the record is being written
    uint8_t trace[16]           # ids as they go over the wire
    uint8_t parent[8]           # span that the request came from; all zero: none
    uint8_t server[8]           # span of the request at the router
    uint8_t client[8]           # span of the request at the instance; what the application's span has as its parent
    int64_t arrived             # the head was read
    int64_t asked               # it asked for an instance
    int64_t sent                # an instance got it; 0: none did
    int64_t ended               # its last byte
    uint8_t instance[16]        # id; all zero: none had it
    int64_t invoked             # when that instance was invoked
    int64_t opened              # and when its first channel was parked
    uint64_t request_bytes      # of body
    uint64_t answer_bytes
    uint32_t pool               # its place on the board; as many as there are: no function got it
    int32_t status              # answered to the client; 0: it left first
    uint16_t flags              # SPAN_REMOTE, SPAN_RESENT, SPAN_TLS
    uint16_t word               # 1 + number of the error word; 0: none
    uint16_t target_length
    uint8_t method_length       # 0: longer than SPAN_METHOD
    uint8_t host_length
    uint8_t version             # of HTTP, towards the client: 10, 11, 20
    uint8_t trace_flags         # as sent to the instance
    uint8_t pad0[2]
    uint8_t method[SPAN_METHOD]
    uint8_t host[SPAN_HOST]
    uint8_t target[SPAN_TARGET]     # path, the query left out


# A record as it was read. Python sees the fields that it needs; the encoder and the tests read the record.
cdef class Span:
    cdef SpanRecord record


cdef class TraceRing:
    cdef readonly int fd
    cdef readonly int workers
    cdef readonly int records
    cdef size_t size
    cdef uint8_t* base
    cdef TraceHeader* header
    cdef TraceCount* count          # of the worker that this process is; NULL for readers
    cdef SpanRecord* ring           # the same
    cdef bint owned                 # close() closes the descriptor

    cdef int _map(self, int fd, bint readonly) except -1
    cdef TraceCount* _count(self, int worker) noexcept
    cdef SpanRecord* _records(self, int worker) noexcept

    # The record to write into. Everything of it is to be set; until finish() readers leave it alone.
    cdef SpanRecord* begin(self) noexcept
    cdef void finish(self, SpanRecord* record) noexcept
