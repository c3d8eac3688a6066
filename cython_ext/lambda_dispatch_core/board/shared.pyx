"""Steps on the board that any process may take: finding instances and pools, claiming a pool, draining."""

from hashlib import blake2b

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from lambda_dispatch_core.bytes.atomics cimport fence, getu32, getu64, putu32, swap64, swapu32, swapu64
from lambda_dispatch_core.board.layout cimport (
    INSTANCE_CLOSED, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, INSTANCE_STARTING, POOL_ACTIVE, POOL_FREE,
    POOL_NAME, POOL_RETIRED, PoolSlot,
)
from lambda_dispatch_core.board.map cimport BoardMap


cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept


cdef int GATE_TRIES = 10_000                     # looks at a closed pools gate before giving up: some 10 ms


cdef class SharedSteps(BoardMap):
    """See board/shared.pxd."""

    cdef int find(self, const uint8_t* id, uint32_t* generation) noexcept:
        cdef uint32_t hash = index_hash(id)
        cdef uint32_t mark = hash & 0xFFFF0000u
        cdef uint32_t last = self.header.index_cells - 1
        cdef uint32_t at, cell
        cdef uint64_t life
        cdef int slot, state, _n
        at = hash & last
        for _n in range(<int> last + 1):
            cell = getu32(&self.index[at])
            if cell == 0:
                return -1
            if (cell & 0xFFFF0000u) == mark and (cell & 0xFFFF) != REMOVED:
                slot = <int> (cell & 0xFFFF) - 1
                life = getu64(&self.slots[slot].life)
                state = <int> (life & 0xFF)
                if (state != INSTANCE_FREE and state != INSTANCE_CLOSED and memcmp(self.slots[slot].id, id, 16) == 0
                        and getu64(&self.slots[slot].life) >> 32 == life >> 32):
                    generation[0] = <uint32_t> (life >> 32)
                    return slot
            at = (at + 1) & last
        return -1

    cpdef bint begin_drain(self, int slot, uint32_t generation, int64_t goaway_at) noexcept:
        cdef uint64_t base = <uint64_t> generation << 32
        cdef uint64_t life = getu64(&self.slots[slot].life)
        while life == base | INSTANCE_STARTING or life == base | INSTANCE_OPEN:
            swap64(&self.slots[slot].goaway_at, 0, goaway_at)
            if swapu64(&self.slots[slot].life, life, base | INSTANCE_DRAINING):
                return True
            life = getu64(&self.slots[slot].life)
        return False

    def find_instance(self, bytes id not None):
        """(slot, generation) of a starting, open or draining instance, or None."""
        cdef uint32_t generation = 0
        if len(id) != 16:
            return None
        slot = self.find(<const uint8_t*> id, &generation)
        return None if slot < 0 else (slot, generation)

    def claim_pool(self, bytes name not None, int64_t now):
        """(pool, generation) of the pool of that name, made when there is none; None when the table is full, or is
        being tidied up this very moment. All who ask for one name at one time, in whatever process, get one pool.

        A name is claimed by writing its keyed hash into the first free slot of the table by compare-and-swap; slots
        only go from free to taken while anyone claims (the gate), so two that claim one name meet in the same slot.
        Everything after the swap is the same bytes from any process, so a claimant that was killed is helped along.
        """
        cdef int pool, _try
        cdef uint64_t key
        if not 1 <= len(name) <= POOL_NAME:
            raise ValueError(f"a function name has 1 to {POOL_NAME} bytes, not {len(name)}")
        key = self._pool_key(name)
        try:
            if self.me != NULL:
                for _try in range(GATE_TRIES):
                    putu32(&self.me.claiming, 1)
                    fence()
                    if not getu32(&self.header.pools_gate) & 1:
                        break
                    putu32(&self.me.claiming, 0)
                    sched_yield()
                else:
                    return None
            pool = self._find_pool(key)
            if pool < 0:
                for pool in range(self.pools):
                    if swapu64(&self.pool_slots[pool].key, 0, key) or getu64(&self.pool_slots[pool].key) == key:
                        break
                else:
                    return None
            self._publish_pool(pool, name, now)
            return pool, getu32(&self.pool_slots[pool].generation)
        finally:
            if self.me != NULL:
                putu32(&self.me.claiming, 0)

    def find_pool(self, bytes name not None):
        """(pool, generation) of the active pool of that name, or None."""
        cdef int pool = self._find_pool(self._pool_key(name))
        if pool < 0 or getu32(&self.pool_slots[pool].state) != POOL_ACTIVE:
            return None
        return pool, getu32(&self.pool_slots[pool].generation)

    def _pool_key(self, bytes name):
        digest = blake2b(name, digest_size=8, key=self.header.pool_key[:16]).digest()
        return int.from_bytes(digest, "little") or 1

    cdef int _find_pool(self, uint64_t key) noexcept:
        cdef int pool
        for pool in range(self.pools):
            if getu64(&self.pool_slots[pool].key) == key:
                return pool
        return -1

    cdef int _publish_pool(self, int pool, bytes name, int64_t now) except -1:
        cdef PoolSlot* it = &self.pool_slots[pool]
        if getu32(&it.state) == POOL_FREE:
            memcpy(it.name, <const uint8_t*> name, len(name))
            putu32(&it.name_length, <uint32_t> len(name))
            swap64(&it.created, 0, now)
            swapu32(&it.state, POOL_FREE, POOL_ACTIVE)
        swapu32(&it.state, POOL_RETIRED, POOL_ACTIVE)
        return 0

    def set_worker_state(self, int worker, int state):
        putu32(&self._worker_slot(worker).state, state)

    def generation(self, int slot):
        return self.generation_of(slot)

    def state(self, int slot, uint32_t generation):
        return self.state_of(slot, generation)
