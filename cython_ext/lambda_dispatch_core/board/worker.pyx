"""A worker's steps on the board: choosing and reserving instances, free channels, siblings."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.bytes.atomics cimport (
    add16, fence, get16, get64, getu32, getu64, oru32, put16, put64, putu64, swap16, swap64, swapu64,
)
from lambda_dispatch_core.board.layout cimport (
    CLOSE_REQUESTED, FEATURES_AT, INSTANCE_CLOSED, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN,
    INSTANCE_STARTING, MAX_WORKERS, NOT_USABLE, SECRET_SHOWN, WORKER_DRAINING, WORKER_READY, WorkerSlot, observe,
)
from lambda_dispatch_core.board.shared cimport SharedSteps


cdef extern from "board/pick.h" nogil:
    int ld_pick(const int16_t* in_flight, const int16_t* limits, const int16_t* mask, int count, int hint,
                int turn, int16_t packs) noexcept


cdef class WorkerSteps(SharedSteps):
    """See board/worker.pxd."""

    cdef int pick(self, const int16_t* mask, int count, int hint, int16_t packs) noexcept:
        cdef int slot, _try
        for _try in range(3):
            slot = ld_pick(self.in_flight, self.limits, mask, count, hint, self.turn, packs)
            if slot != -2:
                break
        if slot >= 0:
            self.turn = slot + 1
        elif slot == -2:
            # Siblings are busy with the same slots; any usable one will do.
            for slot in range(count):
                if mask[slot] == 0 and get16(&self.in_flight[slot]) < self.limits[slot]:
                    return slot
            slot = -1
        return slot

    cpdef bint reserve(self, int slot, uint32_t generation) noexcept:
        cdef uint64_t open = <uint64_t> generation << 32 | INSTANCE_OPEN
        if getu64(&self.slots[slot].life) != open or not self._take(slot):
            return False
        if getu64(&self.slots[slot].life) == open:
            return True
        # It changed under our hands. Who looks in between sees one request too many for an instant.
        self.release(slot)
        return False

    cpdef bint reserve_last_resort(self, int slot, uint32_t generation, int64_t now) noexcept:
        if not self.is_last_resort(slot, generation, now) or not self._take(slot):
            return False
        if self.is_last_resort(slot, generation, now):
            return True
        self.release(slot)
        return False

    cdef bint _take(self, int slot) noexcept:
        # `intent` tells the supervisor which slot's two counters may differ by one if we are killed between them.
        cdef WorkerSlot* me = self.me
        cdef uint64_t turn = ((me.intent >> 16) + 1) << 16
        cdef int16_t limit = self.limits[slot]
        cdef int16_t now = get16(&self.in_flight[slot])
        if now >= limit:
            return False
        putu64(&me.intent, turn | <uint64_t> (slot + 1))
        while not swap16(&self.in_flight[slot], now, now + 1):
            now = get16(&self.in_flight[slot])
            if now >= limit:
                putu64(&me.intent, turn)
                return False
        put16(&self.my_reserved[slot], self.my_reserved[slot] + 1)
        putu64(&me.intent, turn)
        return True

    cpdef void release(self, int slot) noexcept:
        cdef WorkerSlot* me = self.me
        cdef uint64_t turn
        if self.my_reserved[slot] <= 0:
            return
        turn = ((me.intent >> 16) + 1) << 16
        putu64(&me.intent, turn | <uint64_t> (slot + 1))
        add16(&self.in_flight[slot], -1)
        put16(&self.my_reserved[slot], self.my_reserved[slot] - 1)
        putu64(&me.intent, turn)

    cpdef bint park(self, int slot, uint32_t generation) noexcept:
        # Counted first, looked at afterwards; the scaler closes first and looks at the counts afterwards: one of the
        # two sees the other.
        cdef int state
        put16(&self.my_idle[slot], self.my_idle[slot] + 1)
        fence()
        state = self.state_of(slot, generation)
        if state == INSTANCE_FREE or state == INSTANCE_CLOSED:
            put16(&self.my_idle[slot], self.my_idle[slot] - 1)
            return False
        return True

    cpdef void unpark(self, int slot) noexcept:
        if self.my_idle[slot] > 0:
            put16(&self.my_idle[slot], self.my_idle[slot] - 1)

    cpdef int holder(self, int slot) noexcept:
        cdef int worker, best = -1
        cdef int16_t free, most = 0
        cdef uint32_t state
        for worker in range(self.workers):
            free = get16(&self.idle[worker * self.instances + slot])
            if free > most and worker != self.worker:
                state = getu32(&self.worker_slots[worker].state)
                if state == WORKER_READY or state == WORKER_DRAINING:
                    best = worker
                    most = free
        return best

    cpdef int sibling_with_slot(self, int pool, int64_t now) noexcept:
        cdef int slot, worker, state, best = -1, resort = -1
        cdef int16_t busy, least = NOT_USABLE
        cdef int high = <int> getu32(&self.header.instances_high)
        for slot in range(high):
            if self.slots[slot].pool != <uint32_t> pool:
                continue
            state = <int> (getu64(&self.slots[slot].life) & 0xFF)
            busy = get16(&self.in_flight[slot])
            if (state == INSTANCE_DRAINING and resort < 0 and now < get64(&self.slots[slot].goaway_at)
                    and busy < self.limits[slot]):
                resort = self.holder(slot)
            if state != INSTANCE_OPEN:
                continue
            if busy < least and busy < self.limits[slot]:
                worker = self.holder(slot)
                if worker >= 0:
                    best = worker
                    least = busy
                    if busy == 0:
                        break
        return best if best >= 0 else resort

    cdef bint keeps_for_itself(self, int pool, int worker, int64_t since) noexcept:
        cdef int64_t oldest = get64(&self.worker_pools[worker * self.pools + pool].oldest_queued)
        return oldest != 0 and oldest <= since

    cdef int sibling_with_spare_slot(
            self, int pool, int first, const int* asked, int expected, int64_t since, int64_t now) noexcept:
        cdef int free[MAX_WORKERS]      # -1: the worker is none to ask
        cdef int busy[MAX_WORKERS]      # requests at the least busy instance there
        cdef int slot, worker, state, room, rank, idle, here, best, total = 0
        for worker in range(self.workers):
            state = <int> getu32(&self.worker_slots[worker].state)
            free[worker] = 0
            if (worker == self.worker or state not in (WORKER_READY, WORKER_DRAINING)
                    or self.keeps_for_itself(pool, worker, since)):
                free[worker] = -1
            busy[worker] = NOT_USABLE
        for slot in range(<int> getu32(&self.header.instances_high)):
            if self.slots[slot].pool != <uint32_t> pool:
                continue
            state = <int> (getu64(&self.slots[slot].life) & 0xFF)
            rank = get16(&self.in_flight[slot])
            room = self.limits[slot] - rank
            if room <= 0 or not (state == INSTANCE_OPEN
                                 or (state == INSTANCE_DRAINING and now < get64(&self.slots[slot].goaway_at))):
                continue
            if state == INSTANCE_DRAINING:
                rank = NOT_USABLE - 1   # the last resort
            here = 0
            for worker in range(self.workers):
                idle = get16(&self.idle[worker * self.instances + slot])
                if idle <= 0 or free[worker] < 0:
                    continue
                free[worker] += min(idle, room)
                busy[worker] = min(busy[worker], rank)
                here += idle
            total += min(here, room)
            if total > expected and free[first] > asked[first]:
                return first
        if total <= expected:
            return -1
        best = -1
        for worker in range(self.workers):
            if free[worker] > asked[worker] and (best < 0 or busy[worker] < busy[best]):
                best = worker
        return best

    cpdef int sibling_waiting(self, int pool, int64_t since) noexcept:
        cdef int worker, best = -1
        cdef int64_t oldest
        cdef uint32_t state
        for worker in range(self.workers):
            if worker == self.worker:
                continue
            oldest = get64(&self.worker_pools[worker * self.pools + pool].oldest_queued)
            if oldest and oldest < since:
                state = getu32(&self.worker_slots[worker].state)
                if state == WORKER_READY or state == WORKER_DRAINING:
                    best = worker
                    since = oldest
        return best

    cpdef bint open_instance(self, int slot, uint32_t generation, int64_t now) noexcept:
        cdef uint64_t base = <uint64_t> generation << 32
        if getu64(&self.slots[slot].life) != base | INSTANCE_STARTING:
            return False
        swap64(&self.slots[slot].opened, 0, now)
        if not swapu64(&self.slots[slot].life, base | INSTANCE_STARTING, base | INSTANCE_OPEN):
            return False
        if self.my_numbers != NULL and self.slots[slot].pool < <uint32_t> self.pools:
            observe(&self.my_numbers[self.slots[slot].pool].cold_start, now - self.slots[slot].created)
        return True

    cpdef bint request_close(self, int slot, uint32_t generation) noexcept:
        if self.state_of(slot, generation) in (INSTANCE_FREE, INSTANCE_CLOSED):
            return False
        return (oru32(&self.slots[slot].flags, CLOSE_REQUESTED) & CLOSE_REQUESTED) == 0

    cdef void show_secret(self, int slot, uint32_t generation) noexcept:
        if self.state_of(slot, generation) != INSTANCE_FREE:
            oru32(&self.slots[slot].flags, SECRET_SHOWN)

    cpdef void show_features(self, int slot, uint32_t generation, uint8_t features) noexcept:
        if features and self.state_of(slot, generation) != INSTANCE_FREE:
            oru32(&self.slots[slot].flags, <uint32_t> features << FEATURES_AT)

    cpdef bint has_features(self, int pool, uint8_t features, bint starting) noexcept:
        cdef int slot, state
        for slot in range(<int> getu32(&self.header.instances_high)):
            if self.slots[slot].pool != <uint32_t> pool:
                continue
            state = <int> (getu64(&self.slots[slot].life) & 0xFF)
            if state == INSTANCE_STARTING and starting:
                return True
            if state == INSTANCE_OPEN and not features & ~self._features(slot):
                return True
        return False

    cpdef bint lacks_features(self, int pool, uint8_t features) noexcept:
        cdef int slot
        for slot in range(<int> getu32(&self.header.instances_high)):
            if (self.slots[slot].pool == <uint32_t> pool and getu64(&self.slots[slot].life) & 0xFF == INSTANCE_OPEN
                    and features & ~self._features(slot)):
                return True
        return False

    cdef int sibling_with_features(self, int pool, uint8_t features, int* free) noexcept:
        cdef int slot, worker, best = -1
        cdef int16_t busy, least = NOT_USABLE
        for slot in range(<int> getu32(&self.header.instances_high)):
            if (self.slots[slot].pool != <uint32_t> pool or features & ~self._features(slot)
                    or getu64(&self.slots[slot].life) & 0xFF != INSTANCE_OPEN):
                continue
            busy = get16(&self.in_flight[slot])
            if busy < least and busy < self.limits[slot]:
                worker = self.holder(slot)
                if worker >= 0:
                    best = worker
                    least = busy
                    free[0] = min(self.limits[slot] - busy, get16(&self.idle[worker * self.instances + slot]))
        return best

    cpdef bint bind_opener(self, int slot, uint32_t generation, uint64_t opener) noexcept:
        cdef uint64_t bound
        if self.state_of(slot, generation) in (INSTANCE_FREE, INSTANCE_CLOSED):
            return False
        bound = getu64(&self.slots[slot].opener)
        return bound == opener or (bound == 0 and (swapu64(&self.slots[slot].opener, 0, opener)
                                                   or getu64(&self.slots[slot].opener) == opener))

    def beat(self, int64_t now, int64_t due=0):
        """This worker's loop came round; when it should have, where that was planned."""
        put64(&self.me.heartbeat, now)
        if due:
            observe(&self.me.lag, max(now - due, 0))

    def count_room(self, int reclaimed, int refused):
        """Connections that this worker closed to make room, and that it refused."""
        self.me.connections_reclaimed += reclaimed
        self.me.connections_refused += refused

    def show_memory(self, int handshakes, int64_t held, int narrowed, int paused, int refused):
        """This worker's gauges, and how many more MemoryBudget's steps met."""
        self.me.handshakes = handshakes
        self.me.memory_held = held
        self.me.memory_narrowed += narrowed
        self.me.memory_paused += paused
        self.me.memory_refused += refused

    def pick_from(self, bytes mask not None, int hint=-1, int packs=0):
        """pick() with a mask of native int16, one per slot."""
        cdef int count = <int> (len(mask) // 2)
        if not 1 <= count <= self.instances:
            raise ValueError(f"a mask has 1 to {self.instances} entries, not {count}")
        return self.pick(<const int16_t*> <const uint8_t*> mask, count, hint, <int16_t> packs)
