"""The board: one memfd that the supervisor, every worker and the scaler map, and through which alone they speak.

docs/shared-memory.md is the format by byte offset and says who writes what; board/layout.pxd is the same in C, and
board/map.pyx what only reads. Every word has one writer wherever that is possible; the others are changed by atomic
steps. No process ever waits for another, so a process killed at any instruction leaves a board that the others can go
on with.

Times are monotonic nanoseconds (CLOCK_MONOTONIC is one clock for all processes of a machine) unless the name says wall.
An instance is named by (slot, generation): the generation rises each time the slot is taken, and every step that could
come late carries it, so what was meant for a slot's last tenant never touches the next.
"""

cimport cython
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.bytes.atomics cimport addu64, get64, getu32, getu64
from lambda_dispatch_core.board.layout cimport (
    INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, POOL_ACTIVE, WorkerPool, WorkerSlot, latency_bucket,
)
from lambda_dispatch_core.board.map cimport BoardMap


@cython.final
cdef class Board(BoardMap):
    cdef int turn                   # where pick() begins to look among equals

    # -- worker: choosing and reserving --------------------------------------------------------------------------------
    # The slot in [0, count) with the least in flight, of those with mask[slot] == 0 and below their limit; -1 none.
    # Among equals `hint` if it is one of them (-1: no wish), else the next one in turn. mask holds 0 or NOT_USABLE.
    cdef int pick(self, const int16_t* mask, int count, int hint) noexcept
    # One more request at the instance; False when it is full, not open, or not of that generation any more.
    cpdef bint reserve(self, int slot, uint32_t generation) noexcept
    # The same at an instance that drains, while now < goaway_at.
    cpdef bint reserve_last_resort(self, int slot, uint32_t generation, int64_t now) noexcept
    # One request less. Without effect when this worker holds none there: its reservations keep the slot from being
    # given to another instance, so a release that has something to release is never late.
    cpdef void release(self, int slot) noexcept
    cdef bint _take(self, int slot) noexcept

    # -- worker: free channels -----------------------------------------------------------------------------------------
    # A channel of the instance became free here. False, and nothing counted, when the slot is closed or someone else's.
    cpdef bint park(self, int slot, uint32_t generation) noexcept
    # One free channel less: it was taken for a request, or is gone.
    cpdef void unpark(self, int slot) noexcept
    # The worker other than this one, ready or draining, that holds most free channels of the instance; -1 none.
    cpdef int holder(self, int slot) noexcept
    # A worker other than this one that holds a free channel of any open, not full instance of the pool; -1 none.
    # Prefers the instance with the least in flight; a draining one before its goaway_at is the last resort. For the
    # sibling hop; one scan of the pool's instances.
    cpdef int sibling_with_slot(self, int pool, int64_t now) noexcept
    # Whom to ask for one more slot, when siblings have been asked for some that the board does not count yet: `first`,
    # or who else has more slots free than it is being `asked` (by worker) for; -1: nobody, because those that are
    # `expected` take all there is. Leaves out workers that keep what they have (keeps_for_itself).
    cdef int sibling_with_spare_slot(
        self, int pool, int first, const int* asked, int expected, int64_t since, int64_t now) noexcept
    # Whether the worker has a request of the pool that waits since `since` or before: it gets that worker's free slots.
    cdef bint keeps_for_itself(self, int pool, int worker, int64_t since) noexcept
    # The worker other than this one whose request of the pool has waited longest, since before `since`; -1 none.
    cpdef int sibling_waiting(self, int pool, int64_t since) noexcept

    # -- anyone: the life of an instance -------------------------------------------------------------------------------
    # The slot of an instance that is starting, open or draining, and its generation; -1 when there is none.
    cdef int find(self, const uint8_t* id, uint32_t* generation) noexcept
    cpdef bint open_instance(self, int slot, uint32_t generation, int64_t now) noexcept     # True: this call opened it
    cpdef bint begin_drain(self, int slot, uint32_t generation, int64_t goaway_at) noexcept  # True: this call did it
    # A draining instance is let go earlier than begin_drain() said; True when it was later before. The scaler's.
    cpdef bint hasten(self, int slot, uint32_t generation, int64_t goaway_at) noexcept
    cpdef bint request_close(self, int slot, uint32_t generation) noexcept  # True: this call was the first
    # A call presented the secret: from now on every call must.
    cdef void show_secret(self, int slot, uint32_t generation) noexcept
    # Whether calls from the address of this hash (not 0) may speak for the instance: the first one binds it.
    cpdef bint bind_opener(self, int slot, uint32_t generation, uint64_t opener) noexcept
    cpdef bint close_instance(self, int slot, uint32_t generation, int64_t now) noexcept    # scaler
    cpdef bint free_instance(self, int slot, uint32_t generation) noexcept  # scaler; False while anything is held of it

    cdef inline uint32_t generation_of(self, int slot) noexcept:
        return <uint32_t> (getu64(&self.slots[slot].life) >> 32)

    # State of that generation's instance; INSTANCE_FREE when the slot is somebody else's by now.
    cdef inline int state_of(self, int slot, uint32_t generation) noexcept:
        cdef uint64_t life = getu64(&self.slots[slot].life)
        return <int> (life & 0xFF) if <uint32_t> (life >> 32) == generation else INSTANCE_FREE

    # May requests be sent to it as a last resort?
    cdef inline bint is_last_resort(self, int slot, uint32_t generation, int64_t now) noexcept:
        return self.state_of(slot, generation) == INSTANCE_DRAINING and now < get64(&self.slots[slot].goaway_at)

    cdef inline void count_served(self, int slot) noexcept:
        addu64(&self.slots[slot].requests, 1)

    # -- worker: pools -------------------------------------------------------------------------------------------------
    # Is this still the pool of that generation, and in use? Asked per request by whoever keeps (pool, generation).
    cdef inline bint pool_usable(self, int pool, uint32_t generation) noexcept:
        return (getu32(&self.pool_slots[pool].state) == POOL_ACTIVE
                and getu32(&self.pool_slots[pool].generation) == generation)

    cdef int _find_pool(self, uint64_t key) noexcept
    cdef int _publish_pool(self, int pool, bytes name, int64_t now) except -1

    # -- supervisor ----------------------------------------------------------------------------------------------------
    cdef bint _settle(self, int worker, int slot) noexcept

    cdef void _index_remove(self, int slot) noexcept


# Writes 1 to the eventfd: "look at the board". False when that failed because nobody listens any more.
cdef bint ring_bell(int fd) noexcept
