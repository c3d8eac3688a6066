"""Pairs waiting exchanges with free slots. The only code that does.

Match-making is one synchronous step in one thread: submit(), park(), done() and lost() each leave things so that no
exchange waits while this worker holds a slot it may use.

An instance offers min(free slots, limit - in flight): its free slots stand in its idle list, the board counts what is
in flight at it in all workers. `mask` tells the board's scan which instances this worker can use: 0 where it can,
NOT_USABLE where it cannot. Invariant: mask[i] == 0 exactly when instance i of the pool has an idle slot here and stands
at OPEN.

A request may need an instance with a feature (features.pxd). Usually all instances of a function have it, or none.
While the function is updated, some have it: the request then waits beside the queue until one of those has a free slot,
and blocks no other request. It waits as long as the board has an open instance with the feature, or one that starts
while the newest one has it. After that it becomes a plain request (Exchange.without). A free slot of a sibling is found
within a tick.

The order over all workers is turns.pxd's. It does not include those that wait beside the queue.
"""

from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch.dispatch.model cimport Exchange, Instance, Pool, Slot
from lambda_dispatch.dispatch.tunnel cimport Tunnels
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.queue.waitqueue cimport WaitQueue


# Who may have a slot when this worker has none (dispatch.siblings).
cdef class Lender:
    # A slot of a sibling's, not bound to an instance here, for a request that has waited since `since` and needs these
    # features; None when none has one, or it is left to another sibling.
    cdef Slot borrow(self, Pool pool, uint8_t needs, int64_t since, int64_t now)
    # The same, from one that has a slot of an instance with these features.
    cdef Slot borrow_with(self, Pool pool, uint8_t features, int64_t since, int64_t now)


cdef class Matcher:
    cdef readonly Board board
    cdef readonly dict pools            # name -> Pool
    cdef readonly dict instances        # id (16 bytes) -> Instance
    cdef int64_t queue_timeout          # ns
    cdef Py_ssize_t queue_limit         # exchanges per pool
    cdef readonly int running           # exchanges that a slot serves now, all pools
    cdef public Lender lender           # None: this worker is alone
    cdef public Tunnels tunnels         # exchanges that have gone on in another protocol
    cdef object on_sibling              # called (worker slot): a sibling's request should be served first; rings it
    cdef public bint tells_instance     # siblings learn which instance has their request
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
    # An idle slot, reserved, of the least busy instance that has what the exchange needs; None when there is none.
    cdef Slot _with_features(self, Exchange exchange)
    # The slot for an exchange that needs more than this slot's instance has: another instance's, or the same one for
    # what is a plain request now. None: it is to wait, or it has failed; this slot is free again.
    cdef Slot _fitting(self, Exchange exchange, Slot slot)
    # Whether an instance that has what the exchange needs may have a slot for it soon.
    cdef bint _awaits_features(self, Exchange exchange) noexcept
    cdef int _set_aside(self, Exchange exchange, int64_t now) except -1
    cdef int _serve_aside(self, WaitQueue aside, int64_t now) except -1
    # A sibling had no slot for it: it waits again.
    cdef int refused(self, Exchange exchange) except -1
