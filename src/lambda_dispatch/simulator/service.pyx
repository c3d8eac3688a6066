"""The account's Lambda; what it is stands in service.pxd."""

cimport cython
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

cdef double SECOND = 1e9


@cython.final
cdef class Service:
    def __cinit__(self):
        self._until = NULL

    def __dealloc__(self):
        free(self._until)

    def __init__(self, cold, thaw, warm, long long concurrency=1000, double burst=1000.0, double per_second=100.0):
        self.cold = cold
        self.thaw = thaw
        self.warm = warm
        self.concurrency = concurrency
        self.burst = self._tokens = burst
        self.per_second = per_second

    cdef int invoke(self, int64_t now) noexcept:
        if self.running >= self.concurrency:
            self.throttled += 1
            return THROTTLED
        while self._count:
            self._count -= 1
            if self._until[self._count] > now:
                self.running += 1
                self.frozen_starts += 1
                return FROZEN
        self._tokens = min(self.burst, self._tokens + (now - self._at) / SECOND * self.per_second)
        self._at = now
        if self._tokens < 1:
            self.throttled += 1
            return THROTTLED
        self._tokens -= 1
        self.running += 1
        self.cold_starts += 1
        return COLD

    cdef int returned(self, int64_t now, bint alive) except -1:
        cdef int64_t* more
        self.running -= 1
        if not alive:
            return 0
        if self._count == self._room:
            more = <int64_t*> realloc(self._until, (self._room * 2 + 64) * sizeof(int64_t))
            if more == NULL:
                raise MemoryError
            self._until = more
            self._room = self._room * 2 + 64
        self._until[self._count] = now + <int64_t> (<double> self.warm() * SECOND)
        self._count += 1
        return 0

    cdef int64_t takes(self, int kind) except -1:
        cdef double s = self.cold() if kind == COLD else self.thaw()
        return <int64_t> (max(0.0, s) * SECOND)

    def keep_frozen(self, int count, long long now=0):
        """So many environments are frozen already."""
        for _ in range(count):
            self.running += 1
            self.returned(now, True)

    def frozen(self, long long now):
        """How many frozen environments there are."""
        cdef Py_ssize_t i
        cdef int count = 0
        for i in range(self._count):
            count += self._until[i] > now
        return count
