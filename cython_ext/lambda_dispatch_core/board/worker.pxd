"""A worker's steps on the board: choosing and reserving instances, free channels, siblings."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.bytes.atomics cimport addu64, getu32
from lambda_dispatch_core.board.layout cimport FEATURES_AT, NOT_USABLE
from lambda_dispatch_core.board.shared cimport SharedSteps


cdef class WorkerSteps(SharedSteps):
    cdef int turn                   # where pick() begins to look among equals

    # Of the slots in [0, count) with mask[slot] == 0 and below their limit the one with the most in flight below
    # `packs`, else the one with the least; -1 none. Among equals `hint` if it is one of them (-1: no wish), else the
    # next one in turn. mask holds 0 or NOT_USABLE.
    cdef int pick(self, const int16_t* mask, int count, int hint, int16_t packs) noexcept
    # One more request at the instance; False when it is full, not open, or not of that generation any more.
    cpdef bint reserve(self, int slot, uint32_t generation) noexcept
    # The same at an instance that drains, while now < goaway_at.
    cpdef bint reserve_last_resort(self, int slot, uint32_t generation, int64_t now) noexcept
    # One request less. Without effect when this worker holds none there: its reservations keep the slot from being
    # given to another instance, so a release that has something to release is never late.
    cpdef void release(self, int slot) noexcept
    cdef bint _take(self, int slot) noexcept
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
    # or who else has more slots free than it is being `asked` (by worker) for; -1: none, because those that are
    # `expected` take all there is. Leaves out workers that keep what they have (keeps_for_itself).
    cdef int sibling_with_spare_slot(
        self, int pool, int first, const int* asked, int expected, int64_t since, int64_t now) noexcept
    # Whether the worker has a request of the pool that waits since `since` or before: it gets that worker's free slots.
    cdef bint keeps_for_itself(self, int pool, int worker, int64_t since) noexcept
    # The worker other than this one whose request of the pool has waited longest, since before `since`; -1 none.
    cpdef int sibling_waiting(self, int pool, int64_t since) noexcept
    cpdef bint open_instance(self, int slot, uint32_t generation, int64_t now) noexcept     # True: this call opened it
    cpdef bint request_close(self, int slot, uint32_t generation) noexcept  # True: this call was the first
    # A call presented the secret: from now on every call must.
    cdef void show_secret(self, int slot, uint32_t generation) noexcept
    # What the instance's extension has said that it can do.
    cpdef void show_features(self, int slot, uint32_t generation, uint8_t features) noexcept
    # Whether an instance of the pool has all of these features: an open one, or one that starts, when these are
    # `starting` to have them. One scan.
    cpdef bint has_features(self, int pool, uint8_t features, bint starting) noexcept
    # Whether an open instance of the pool lacks one of them. One scan.
    cpdef bint lacks_features(self, int pool, uint8_t features) noexcept
    # sibling_with_slot(), of open instances that have these features; *free: how many slots it has of the one found.
    cdef int sibling_with_features(self, int pool, uint8_t features, int* free) noexcept
    # Whether calls from the address of this hash (not 0) may speak for the instance: the first one binds it.
    cpdef bint bind_opener(self, int slot, uint32_t generation, uint64_t opener) noexcept

    cdef inline void count_served(self, int slot) noexcept:
        addu64(&self.slots[slot].requests, 1)

    cdef inline uint32_t _features(self, int slot) noexcept:
        return getu32(&self.slots[slot].flags) >> FEATURES_AT
