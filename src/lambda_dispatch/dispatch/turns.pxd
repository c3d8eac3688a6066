"""The order of requests over all workers, as one pool of one worker keeps to it.

Over all workers, requests reach instances in the order in which they came, except those that came less than
ORDER_WITHIN apart. A request is given a slot, one here or one of a sibling's, only when no sibling says on the board
that one of its own has waited longer by more than GIVE_WAY: then the slot is left to that one, and the sibling is rung.
A sibling that does not come within LEFT_FREE is stuck: for a while nothing is left to it.

A request that a sibling is asked to take has left the queue but has not been served: it waits on, and the board says
so, until the sibling has answered.
"""

from libc.stdint cimport int64_t

from lambda_dispatch_core.board.board cimport Board


cdef enum:
    ORDER = 50000000            # ns: ORDER_WITHIN of Python, the promise
    # ns by which a sibling's request must have waited longer than ours for a slot to be left to it. Waking it costs
    # some 30 us, so less would do, and cost more; what is left of the promise is the time the sibling has to come.
    GIVE_WAY = 10000000
    LEFT_FREE = ORDER - GIVE_WAY
    # ns for which nothing is left to siblings once one has not come: what a stuck one may cost is 4 % of the slots.
    UNHEEDED = 1000000000


cdef class Turns:
    # A slot is left to a sibling: to which, for its request that has waited since when, and when that began (ns).
    cdef int left_to
    cdef int64_t left_for
    cdef int64_t left_at
    cdef int64_t left_last              # ns: when it was last seen to be left; it is looked at every few milliseconds
    cdef int64_t unheeded_until         # ns: before then nothing is left to siblings
    cdef int asking                     # requests sent to siblings that have not said whether they have a slot
    cdef int64_t heard                  # ns: when a sibling last answered, or was asked while no other was
    cdef object asked                   # deque of the model.Slots asked for, the oldest request's first

    # The sibling that a free slot is to be left to by a request that has waited since `since`; -1: none.
    cdef int sibling_first(self, Board board, int pool, int64_t since, int64_t now) except -2
    # A request that has waited since `since` asks a sibling for this slot.
    cdef int ask(self, object slot, int64_t since, int64_t now) except -1
    # A sibling has said whether it has the slot, or need not any more.
    cdef int answered(self, int64_t now) except -1
    # Since when the request has waited that has waited longest, of `queued` (the queue's oldest; 0: none) and of those
    # that a sibling was asked to take; 0 when none does.
    cdef int64_t oldest(self, int64_t queued) except -1

    # How many requests siblings are being asked to take, and will answer: one that is stuck is not waited for.
    cdef inline int expects(self, int64_t now) noexcept:
        return self.asking if now - self.heard < LEFT_FREE else 0
