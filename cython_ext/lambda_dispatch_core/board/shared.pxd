"""Steps on the board that any process may take: finding instances and pools, claiming a pool, draining."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from lambda_dispatch_core.bytes.atomics cimport get64, getu32, getu64
from lambda_dispatch_core.board.layout cimport INSTANCE_DRAINING, INSTANCE_FREE, POOL_ACTIVE
from lambda_dispatch_core.board.map cimport BoardMap


cdef enum:
    REMOVED = 0xFFFF            # an index cell that was used: a search goes on past it


cdef inline uint32_t index_hash(const uint8_t* id) noexcept:
    cdef uint64_t a, b
    memcpy(&a, id, 8)
    memcpy(&b, id + 8, 8)
    return <uint32_t> (((a ^ b) * 0x9E3779B97F4A7C15u) >> 32)


cdef class SharedSteps(BoardMap):
    # The slot of an instance that is starting, open or draining, and its generation; -1 when there is none.
    cdef int find(self, const uint8_t* id, uint32_t* generation) noexcept
    cpdef bint begin_drain(self, int slot, uint32_t generation, int64_t goaway_at) noexcept  # True: this call did it

    cdef inline uint32_t generation_of(self, int slot) noexcept:
        return <uint32_t> (getu64(&self.slots[slot].life) >> 32)

    # State of that generation's instance; INSTANCE_FREE when the slot is somebody else's by now.
    cdef inline int state_of(self, int slot, uint32_t generation) noexcept:
        cdef uint64_t life = getu64(&self.slots[slot].life)
        return <int> (life & 0xFF) if <uint32_t> (life >> 32) == generation else INSTANCE_FREE

    # May requests be sent to it as a last resort?
    cdef inline bint is_last_resort(self, int slot, uint32_t generation, int64_t now) noexcept:
        return self.state_of(slot, generation) == INSTANCE_DRAINING and now < get64(&self.slots[slot].goaway_at)

    # Is this still the pool of that generation, and in use? Asked per request by those that keep (pool, generation).
    cdef inline bint pool_usable(self, int pool, uint32_t generation) noexcept:
        return (getu32(&self.pool_slots[pool].state) == POOL_ACTIVE
                and getu32(&self.pool_slots[pool].generation) == generation)
    cdef int _find_pool(self, uint64_t key) noexcept
    cdef int _publish_pool(self, int pool, bytes name, int64_t now) except -1
