"""Credit that is held back: bytes that came from one side and wait on their way to the other. Header-only.

The side they came from gets its credit again when they have left; until then it can send no more than one window.
"""

from libc.stdint cimport int64_t


cdef struct Credit:
    int64_t held                # bytes that came and have not left


cdef inline void hold(Credit* credit, int64_t n) noexcept nogil:
    credit.held += n


# What was held back, to be given now.
cdef inline int64_t release(Credit* credit) noexcept nogil:
    cdef int64_t n = credit.held
    credit.held = 0
    return n
