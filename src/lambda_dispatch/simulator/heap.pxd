"""What is going to happen, soonest first: a binary heap of plain structs. Header-only.

Events of one instant come out in the order in which they went in, so that a run is the same every time.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc


cdef struct Event:
    int64_t at              # ns
    uint64_t order          # how many went in before it
    int32_t kind            # the owner's
    int32_t place           # the owner's: which instance
    uint32_t generation     # the owner's: the event is void when the place has another one by then
    int32_t request         # the owner's


cdef struct Heap:
    Event* events
    Py_ssize_t length
    Py_ssize_t room
    uint64_t pushed


cdef inline bint heap_before(const Event* a, const Event* b) noexcept nogil:
    return a.at < b.at or (a.at == b.at and a.order < b.order)


cdef inline int heap_push(Heap* heap, int64_t at, int kind, int place, uint32_t generation, int request) except -1:
    cdef Event* more
    cdef Event event
    cdef Py_ssize_t i, up
    if heap.length == heap.room:
        more = <Event*> realloc(heap.events, (heap.room * 2 + 64) * sizeof(Event))
        if more == NULL:
            raise MemoryError
        heap.events = more
        heap.room = heap.room * 2 + 64
    event.at = at
    event.order = heap.pushed
    event.kind = kind
    event.place = place
    event.generation = generation
    event.request = request
    heap.pushed += 1
    i = heap.length
    heap.length += 1
    while i > 0:
        up = (i - 1) >> 1
        if not heap_before(&event, &heap.events[up]):
            break
        heap.events[i] = heap.events[up]
        i = up
    heap.events[i] = event
    return 0


# The soonest event, taken off. There must be one.
cdef inline Event heap_pop(Heap* heap) noexcept nogil:
    cdef Event first = heap.events[0]
    cdef Event last
    cdef Py_ssize_t i = 0, down
    heap.length -= 1
    last = heap.events[heap.length]
    while True:
        down = 2 * i + 1
        if down >= heap.length:
            break
        if down + 1 < heap.length and heap_before(&heap.events[down + 1], &heap.events[down]):
            down += 1
        if not heap_before(&heap.events[down], &last):
            break
        heap.events[i] = heap.events[down]
        i = down
    heap.events[i] = last
    return first


cdef inline void heap_free(Heap* heap) noexcept:
    free(heap.events)
    heap.events = NULL
    heap.length = heap.room = 0
