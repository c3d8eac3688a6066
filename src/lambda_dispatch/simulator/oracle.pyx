"""The lower bound: what it would cost if no request waited, knowing the future.

Every request begins when it arrives and takes what it takes alone. With n(t) requests at work and L slots in an
environment, at least ceil(n(t) / L) environments are open at t; the oracle has exactly so many, as if requests could be
moved between environments at any time. The k-th of them is open while n(t) > (k - 1) L. Through a gap between two such
times it stays open, or returns and is started again, whichever costs less: the gap, or the mean start of a frozen
environment (of a new one, when the gap is longer than frozen environments are kept). It starts in time for its first
request; no more than one start is paid for its whole life, and one more for every further life of its invokes.

No scheduler without waiting costs less. One that lets requests wait may: they can be served one after another by
fewer environments. `least` is below those, too: the requests' time at full use of every slot, and not one start.

Where requests slow each other, L is what an environment runs without doing so: min(slots, cpus / share), at least 1,
and a request takes as long as it does alone there.
"""

from cpython cimport array
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, qsort


cdef int _compare(const void* a, const void* b) noexcept nogil:
    cdef int64_t x = (<const int64_t*> a)[0], y = (<const int64_t*> b)[0]
    return (x > y) - (x < y)


def bound(array.array arrive not None, array.array takes not None, *, int slots=10, double cold=2.0,
          double thaw=0.05, double warm=300.0, double life=885.0, double share=0.0, double cpus=1.0):
    """(billed ns, invokes, cold starts, most environments at once, least ns)."""
    cdef int64_t* at = <int64_t*> arrive.data.as_longlongs
    cdef int64_t* work = <int64_t*> takes.data.as_longlongs
    cdef Py_ssize_t i, j, n = len(arrive)
    cdef double slower = max(1.0, (1.0 - share) + share * max(1.0, share / cpus))
    cdef int per = max(1, min(slots, <int> (cpus / share))) if share > 0 else slots
    cdef int64_t c = <int64_t> (cold * 1e9), f = <int64_t> (thaw * 1e9), w = <int64_t> (warm * 1e9)
    cdef int64_t lasts = <int64_t> (life * 1e9)
    cdef int64_t billed = 0, least = 0, invokes = 0, colds = 0, t, gap
    cdef int64_t running = 0, highest = 0
    cdef int64_t* ends = <int64_t*> malloc((n + 1) * sizeof(int64_t))
    cdef int64_t* since = <int64_t*> calloc(n // per + 2, sizeof(int64_t))    # when each level opened last
    cdef int64_t* until = <int64_t*> calloc(n // per + 2, sizeof(int64_t))    # when it was needed last
    cdef int64_t* began = <int64_t*> calloc(n // per + 2, sizeof(int64_t))    # when its invoke began
    cdef Py_ssize_t level
    try:
        if ends == NULL or since == NULL or until == NULL or began == NULL:
            raise MemoryError
        for i in range(n):
            ends[i] = at[i] + max(<int64_t> 1, <int64_t> (work[i] * slower))
            least += ends[i] - at[i]
        qsort(ends, n, sizeof(int64_t), _compare)
        i = j = 0
        while j < n:
            # What ends at the moment when another begins leaves its slot to it.
            if i < n and at[i] < ends[j]:
                t = at[i]
                i += 1
                running += 1
                if (running - 1) % per:
                    continue
                level = (running - 1) // per
                gap = t - until[level]
                if level >= highest:
                    highest = level + 1
                    billed += c
                    invokes += 1
                    colds += 1
                    began[level] = t
                elif gap <= f:
                    billed += gap
                else:
                    billed += f if gap <= w else c
                    colds += gap > w
                    invokes += 1 + (until[level] - began[level]) // lasts
                    billed += (until[level] - began[level]) // lasts * f
                    began[level] = t
                since[level] = t
            else:
                t = ends[j]
                j += 1
                running -= 1
                if running % per:
                    continue
                level = running // per
                billed += t - since[level]
                until[level] = t
        for level in range(highest):
            invokes += (until[level] - began[level]) // lasts
            billed += (until[level] - began[level]) // lasts * f
    finally:
        free(ends)
        free(since)
        free(until)
        free(began)
    return billed, invokes, colds, highest, least // per
