"""Pairs waiting exchanges with free slots. The only code that does.

Match-making is one synchronous step in one thread: submit(), park(), done() and lost() each leave things so that no
exchange waits while this worker holds a slot it may use.

An instance offers min(free slots, limit - in flight): its free slots stand in its idle list, the board counts what is
in flight at it in all workers. `mask` tells the board's scan which instances this worker can use: 0 where it can, and
MASKED where it cannot. Invariant: mask[i] == 0 exactly when instance i of the pool has an idle slot here and stands at
OPEN.

Over all workers, requests reach instances in the order in which they came, except those that came less than
ORDER_WITHIN apart. A request is given a slot, one here or one of a sibling's, only when no sibling says on the board
that one of its own has waited longer by more than GIVE_WAY: then the slot is left to that one, and the sibling is rung.
A sibling that does not come within LEFT_FREE is stuck: for a while nothing is left to it.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from lambda_dispatch.dispatch.exchange cimport Exchange, Slot
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.queue.waitqueue cimport WaitQueue


cdef enum:
    INSTANCES = 4096            # instance slots of the board
    HINTS = 64                  # of them remembered; a power of two
    MASKED = 0x7FFF             # the board's NOT_USABLE
    ORDER = 50000000            # ns: ORDER_WITHIN of Python, the promise
    # ns by which a sibling's request must have waited longer than ours for a slot to be left to it. Waking it costs
    # some 30 us, so less would do, and cost more; what is left of the promise is the time the sibling has to come.
    GIVE_WAY = 10000000
    LEFT_FREE = ORDER - GIVE_WAY
    # ns for which nothing is left to siblings once one has not come: what a stuck one may cost is 4 % of the slots.
    UNHEEDED = 1000000000


cdef enum Standing:
    OPEN = 0                    # may be given requests
    RESORT = 1                  # is to be replaced: given requests only while no other has a slot
    RETIRED = 2                 # parks no more; what it has in flight is finished


# An instance as this worker sees it: there is one of these while the worker holds a slot of it.
cdef class Instance:
    cdef readonly int slot              # its place in the board
    cdef readonly uint32_t generation   # of that place: a stale view is told by it
    cdef readonly Pool pool
    cdef uint8_t[16] id
    cdef Slot _idle                     # parked slots, the last parked first: it is the likeliest to be warm
    cdef readonly int idle_count
    cdef readonly int busy_count        # slots here that serve an exchange
    cdef readonly uint8_t standing      # a Standing
    cdef set wires                      # the control connections it has here
    cdef readonly bint announced        # its extension is ours: takes every request, lives with resets
    cdef int most_channels              # held here at once so far; control compares more than that with what was asked


cdef class Pool:
    cdef readonly int index             # its place in the board
    cdef readonly uint32_t generation   # of that place
    cdef readonly bytes name            # what x-pool-id says; b"default" for the configured function
    cdef readonly WaitQueue queue
    cdef int16_t* mask                  # INSTANCES entries
    cdef list at                        # the Instance of each board place, or None
    cdef list resorts                   # instances standing at RESORT; nearly always empty
    # Places that parked a slot and got no request since, the last on top; a ring, so the oldest are forgotten.
    # They break ties between equally busy instances: such a connection has an answer to the parking to send anyway.
    cdef int16_t[HINTS] parked
    cdef uint32_t parked_top
    # A slot is left to a sibling: to which, for its request that has waited since when, and when that began (ns).
    cdef int left_to
    cdef int64_t left_for
    cdef int64_t left_at
    cdef int64_t left_last              # ns: when it was last seen to be left; it is looked at every few milliseconds
    cdef int64_t unheeded_until         # ns: before then nothing is left to siblings
    cdef int asking                     # requests sent to siblings that have not said whether they have a slot
    cdef int64_t heard                  # ns: when a sibling last answered, or was asked while no other was
    cdef object asked                   # deque of the siblings' slots asked for, the oldest request's first
    cdef readonly int running           # exchanges of this pool that a slot serves now

    # Since when the request has waited that has waited longest, in the queue or for a sibling's word; 0 when none does.
    cdef int64_t oldest(self) except -1
    # How many requests siblings are being asked to take, and will answer: one that is stuck is not waited for.
    cdef inline int expects(self, int64_t now) noexcept:
        return self.asking if now - self.heard < LEFT_FREE else 0


# Who may have a slot when this worker has none (dispatch.siblings).
cdef class Lender:
    # A slot of a sibling's, not bound to an instance here, for a request that has waited since `since`; None when none
    # has one, or it is left to another sibling.
    cdef Slot borrow(self, Pool pool, int64_t since, int64_t now)


cdef class Matcher:
    cdef readonly Board board
    cdef readonly dict pools            # name -> Pool
    cdef readonly dict instances        # id (16 bytes) -> Instance
    cdef int64_t queue_timeout          # ns
    cdef Py_ssize_t queue_limit         # exchanges per pool
    cdef readonly int running           # exchanges that a slot serves now, all pools
    cdef public Lender lender           # None: this worker is alone
    cdef object on_sibling              # called (worker slot): a sibling's request should be served first; rings it
    cdef object on_need                 # called (no arguments) when an exchange had to wait: rings the scaler

    # Dispatches, queues or refuses it.
    cdef int submit(self, Exchange exchange, int64_t now) except -1
    # A slot of this instance is free now.
    cdef int park(self, Instance instance, Slot slot, int64_t now) except -1
    # An idle slot is no more.
    cdef int unpark(self, Slot slot) except -1
    # The slot has served its exchange, well or badly; it is gone and its reservation returns.
    cdef int done(self, Slot slot, int64_t now) except -1
    # The slot's exchange is over before the instance has ended: the slot stays held until done() or lost().
    cdef int satisfied(self, Slot slot, int64_t now) except -1
    cdef int _completed(self, Pool pool, Exchange exchange, int64_t now) except -1
    # The slot died under its exchange. unseen: the instance cannot have acted on it: another one may.
    cdef int lost(self, Slot slot, bint unseen, str reason, int64_t now) except -1
    # Gives waiting exchanges of the pool to slots while there are any.
    cdef int serve(self, Pool pool, int64_t now) except -1
    cdef int stand(self, Instance instance, uint8_t standing) except -1
    cdef int publish(self, Pool pool) except -1
    # A sibling's request, at a slot of this worker, now or not at all: False.
    cdef bint submit_guest(self, Exchange exchange, int64_t now) except -1
    cdef Pool pool_at(self, int64_t index)
    cdef Slot take_idle(self, Instance instance)
    cdef int _enlist(self, Instance instance, Slot slot) except -1
    # The slot is free again, its exchange was refused before anything was sent.
    cdef int _put_back(self, Instance instance, Slot slot) except -1

    cdef int hint(self, Pool pool) noexcept
    cdef Slot _acquire(self, Pool pool, int64_t since, int64_t now)
    cdef Slot _acquire_resort(self, Pool pool, int64_t now)
    cdef bint _is_left(self, Instance instance, int64_t since, int64_t now) except -1
    # Whether a sibling's request has waited so much longer than since `since` that a free slot is to be left to it.
    cdef bint give_way(self, Pool pool, int64_t since, int64_t now) except -1
    cdef int _offer(self, Pool pool, bint certain) except -1
    cdef int _start(self, Exchange exchange, Slot slot, int64_t now) except -1
