"""Pairs waiting exchanges with free slots. The only code that does.

Match-making is one synchronous step in one thread: submit(), park(), done() and lost() each leave things so that no
exchange waits while this worker holds a slot it may use.

An instance offers min(free slots, limit - in flight): its free slots stand in its idle list, the board counts what is
in flight at it in all workers. `mask` tells the board's scan which instances this worker can use: 0 where it can, and
MASKED where it cannot. Invariant: mask[i] == 0 exactly when instance i of the pool has an idle slot here and stands at
OPEN.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from lambda_dispatch.dispatch.exchange cimport Exchange, Slot
from lambda_dispatch_core.board cimport Board
from lambda_dispatch_core.queue cimport WaitQueue


cdef enum:
    INSTANCES = 4096            # instance slots of the board
    HINTS = 64                  # of them remembered; a power of two
    MASKED = 0x7FFF             # the board's NOT_USABLE
    # ns by which a sibling's head must have waited longer than ours for a slot of ours to be left to it: waking it
    # costs some 30 us, and order across workers is promised within 50 ms.
    GIVE_WAY = 10000000
    # ns a sibling gets to come for the slots that are left to it; some thirty times what waking it takes.
    LEFT_FREE = 2000000


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
    cdef int64_t gave_way               # ns: when a slot was last left to a sibling's request
    cdef readonly int running           # exchanges of this pool that a slot serves now


# Who may have a slot when this worker has none (dispatch.peers).
cdef class Lender:
    # A slot of a sibling's, not bound to an instance here; None when none has one.
    cdef Slot borrow(self, Pool pool)


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

    cdef int hint(self, Pool pool) noexcept
    cdef Slot _acquire(self, Pool pool, int64_t now)
    cdef Slot _acquire_resort(self, Pool pool, int64_t now)
    cdef bint _give_way(self, Pool pool, int64_t now) except -1
    cdef int _offer(self, Pool pool) except -1
    cdef int _start(self, Exchange exchange, Slot slot, int64_t now) except -1
