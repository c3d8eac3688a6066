"""The rings of traced requests; what they are stands in trace_ring.pxd."""

import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strerror
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

cimport cython

from lambda_dispatch_core.bytes.atomics cimport fence, getu64, putu64

from lambda_dispatch_core.board.layout import BoardError
from lambda_dispatch_core.board.map import memory_file

cdef uint64_t MAGIC = 0x4543415254444C00         # "\0LDTRACE" on a little-endian machine
cdef uint32_t ORDER = 0x01020304


@cython.final
@cython.freelist(256)
cdef class Span:
    @property
    def trace(self):
        return self.record.trace[:16]

    @property
    def server(self):
        return self.record.server[:8]

    @property
    def arrived(self):
        return self.record.arrived

    @property
    def asked(self):
        return self.record.asked

    @property
    def sent(self):
        return self.record.sent

    @property
    def ended(self):
        return self.record.ended

    @property
    def instance(self):
        return self.record.instance[:16]

    @property
    def invoked(self):
        return self.record.invoked

    @property
    def opened(self):
        return self.record.opened

    @property
    def pool(self):
        return self.record.pool


@cython.final
cdef class TraceRing:
    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    @classmethod
    def create(cls, int workers, int records=TRACE_RECORDS):
        """New, empty rings, one per worker slot."""
        cdef TraceRing self = cls.__new__(cls)
        if workers < 1 or records < 1:
            raise BoardError(f"trace rings are for at least one worker and one record, not {workers} and {records}")
        self.size = sizeof(TraceHeader) + workers * (sizeof(TraceCount) + records * sizeof(SpanRecord))
        self.fd = memory_file(self.size)
        self.owned = True
        self._map(self.fd, False)
        self.header.version = TRACE_VERSION
        self.header.byte_order = ORDER
        self.header.size = self.size
        self.header.workers = self.workers = workers
        self.header.records = self.records = records
        self.header.record_size = sizeof(SpanRecord)
        putu64(&self.header.magic, MAGIC)
        return self

    @classmethod
    def attach(cls, int fd, int worker=-1):
        """The rings behind `fd`, which stays the caller's; to write, as this worker slot, or to read."""
        cdef TraceRing self = cls.__new__(cls)
        self.size = os.fstat(fd).st_size
        if self.size < sizeof(TraceHeader):
            raise BoardError(f"descriptor {fd} holds no trace rings: {self.size} bytes")
        self._map(fd, worker < 0)
        self.fd = fd
        self.workers = self.header.workers
        self.records = self.header.records
        if (self.header.magic != MAGIC or self.header.version != TRACE_VERSION or self.header.byte_order != ORDER
                or self.header.record_size != sizeof(SpanRecord) or self.workers < 1 or self.records < 1
                or self.size != sizeof(TraceHeader) + self.workers * (
                    sizeof(TraceCount) + self.records * sizeof(SpanRecord))):
            raise BoardError(f"descriptor {fd} holds no trace rings of this release")
        if worker >= self.workers:
            raise BoardError(f"there are trace rings for {self.workers} worker slots, not for slot {worker}")
        if worker >= 0:
            self.count = self._count(worker)
            self.ring = self._records(worker)
        return self

    cdef int _map(self, int fd, bint readonly) except -1:
        cdef void* base = mmap(NULL, self.size, PROT_READ if readonly else PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if base == MAP_FAILED:
            raise BoardError(f"cannot map {self.size} bytes of trace rings: {strerror(errno).decode()}")
        self.base = <uint8_t*> base
        self.header = <TraceHeader*> base
        return 0

    cdef TraceCount* _count(self, int worker) noexcept:
        return <TraceCount*> (self.base + sizeof(TraceHeader)) + worker

    cdef SpanRecord* _records(self, int worker) noexcept:
        return <SpanRecord*> (<TraceCount*> (self.base + sizeof(TraceHeader)) + self.workers) + worker * self.records

    cdef SpanRecord* begin(self) noexcept:
        cdef SpanRecord* record = &self.ring[(self.count.written + 1) % <uint64_t> self.records]
        putu64(&record.number, 0)
        fence()
        return record

    cdef void finish(self, SpanRecord* record) noexcept:
        cdef uint64_t number = self.count.written + 1
        putu64(&record.number, number)
        putu64(&self.count.written, number)

    def written(self, int worker):
        """How many records this worker slot's ring ever got."""
        if not 0 <= worker < self.workers:
            raise IndexError(worker)
        return getu64(&self._count(worker).written)

    def read(self, int worker, uint64_t since, int most):
        """(records after number `since`, at most so many; the number of the last one; how many were lost before)."""
        cdef uint64_t last = self.written(worker)
        cdef uint64_t first = since + 1
        cdef uint64_t number
        cdef uint64_t lost = 0
        cdef SpanRecord* record
        cdef Span span
        cdef list found = []
        if last >= first + <uint64_t> self.records:
            lost = last - <uint64_t> self.records + 1 - first
            first += lost
        last = min(last, first + <uint64_t> most - 1)
        for number in range(first, last + 1):
            record = &self._records(worker)[number % <uint64_t> self.records]
            if getu64(&record.number) == number:
                span = Span.__new__(Span)
                memcpy(&span.record, record, sizeof(SpanRecord))
                fence()
                if getu64(&record.number) == number:
                    found.append(span)
                    continue
            lost += 1               # overwritten meanwhile
        return found, last, lost

    def close(self):
        """Unmaps the memory, and closes the descriptor where create() opened it."""
        if self.base != NULL:
            munmap(self.base, self.size)
            self.base = NULL
            self.header = NULL
            self.count = NULL
            self.ring = NULL
        if self.owned:
            os.close(self.fd)
            self.owned = False
        self.fd = -1
