"""Lambda's own dispatch of the same requests: one environment for each request, as Function URLs and API Gateway do.

A request takes the environment that was frozen last, at once; else it waits for a cold start; else it is throttled
and answered with an error. What is billed is the request's time, and the start of a new environment (Lambda bills both
since August 2025). Its network is not counted against it.
"""

from cpython cimport array
from libc.stdint cimport int64_t

from lambda_dispatch.simulator.heap cimport Event, Heap, heap_free, heap_pop, heap_push
from lambda_dispatch.simulator.service cimport COLD, THROTTLED, Service

import array as arrays


def dispatch(array.array arrive not None, array.array takes not None, Service service not None, *,
             double share=0.0, double cpus=1.0, double sample_every=0.0):
    """(waits, times, billed ns, throttled, samples): the first two of each request that was served, in ns."""
    cdef int64_t* at = <int64_t*> arrive.data.as_longlongs
    cdef int64_t* work = <int64_t*> takes.data.as_longlongs
    cdef Py_ssize_t i, n = len(arrive)
    cdef int64_t billed = 0, throttled = 0, wait, taken, next_sample = 0, every = <int64_t> (sample_every * 1e9)
    cdef double slower = max(1.0, (1.0 - share) + share * max(1.0, share / cpus))
    cdef int kind
    cdef Heap ends
    cdef Event over
    cdef array.array waits = arrays.array("q"), times = arrays.array("q")
    samples = []
    ends.events = NULL
    ends.length = ends.room = 0
    ends.pushed = 0
    try:
        for i in range(n):
            while ends.length and ends.events[0].at <= at[i]:
                if every and next_sample <= ends.events[0].at:
                    samples.append((next_sample, service.running))
                    next_sample += every
                    continue
                over = heap_pop(&ends)
                service.returned(over.at, True)
            while every and next_sample <= at[i]:
                samples.append((next_sample, service.running))
                next_sample += every
            kind = service.invoke(at[i])
            if kind == THROTTLED:
                throttled += 1
                continue
            wait = service.takes(kind) if kind == COLD else 0
            taken = <int64_t> (work[i] * slower)
            billed += wait + taken
            waits.append(wait)
            times.append(wait + taken)
            heap_push(&ends, at[i] + wait + taken, 0, 0, 0, 0)
        while ends.length:
            over = heap_pop(&ends)
            service.returned(over.at, True)
    finally:
        heap_free(&ends)
    return waits, times, billed, throttled, samples
