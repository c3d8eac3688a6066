"""The account's Lambda: which invoke gets a frozen environment, which a new one, and which is throttled.

- At most `concurrency` invokes run at once.
- At most `burst` environments are made at once, and `per_second` more each second (Lambda: 1,000 and 100).
- An environment whose invoke returned is frozen, and is reused, the one frozen last first, until its time is over.
"""

from libc.stdint cimport int64_t

cdef enum:
    THROTTLED = 0
    COLD = 1
    FROZEN = 2


cdef class Service:
    cdef readonly int64_t concurrency       # invokes at once
    cdef readonly double burst              # new environments at once
    cdef readonly double per_second         # and each second
    cdef readonly int64_t running           # invokes
    cdef readonly int64_t cold_starts
    cdef readonly int64_t frozen_starts
    cdef readonly int64_t throttled
    cdef object cold                        # () -> s from the invoke to the open instance: a new environment
    cdef object thaw                        # the same for a frozen one
    cdef object warm                        # () -> s for which a frozen environment is kept
    cdef double _tokens
    cdef int64_t _at
    cdef int64_t* _until                    # of each frozen environment, the one frozen last at the end
    cdef Py_ssize_t _count
    cdef Py_ssize_t _room

    # COLD, FROZEN or THROTTLED; the first two are followed by returned().
    cdef int invoke(self, int64_t now) noexcept
    # An invoke is over; its environment is kept, or has died.
    cdef int returned(self, int64_t now, bint alive) except -1
    # ns that a start of this kind takes.
    cdef int64_t takes(self, int kind) except -1
