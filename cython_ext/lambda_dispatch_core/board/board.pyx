"""The board's steps. What each one promises stands in board.pxd, the format in docs/shared-memory.md."""

import os
import time
from hashlib import blake2b

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport write

from lambda_dispatch_core.bytes.atomics cimport (
    add16, fence, get16, get64, getu32, getu64, oru32, put16, put32, put64, putu32, putu64, swap16, swap64, swapu32,
    swapu64,
)
from lambda_dispatch_core.board.layout cimport (
    CLOSE_REQUESTED, INSTANCE_CLOSED, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, INSTANCE_STARTING, MAX_WORKERS,
    NOT_USABLE, POOL_ACTIVE, POOL_FREE, POOL_NAME, POOL_RETIRED, SECRET_SHOWN, SECRET_SIZE, WORKER_BOOTING,
    WORKER_DRAINING, WORKER_FREE, WORKER_GONE, WORKER_READY, InstanceSlot, PoolSlot, WorkerSlot,
)

# The whole of the board under one name.
from lambda_dispatch_core.board.layout import *


cdef extern from "board/pick.h" nogil:
    int ld_pick(const int16_t* in_flight, const int16_t* limits, const int16_t* mask, int count, int hint,
                int turn) noexcept


cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept


cdef uint32_t REMOVED = 0xFFFF                   # an index cell that was used: a search goes on past it
cdef int GATE_TRIES = 10_000                     # looks at a closed pools gate before giving up: some 10 ms

cdef inline uint32_t index_hash(const uint8_t* id) noexcept:
    cdef uint64_t a, b
    memcpy(&a, id, 8)
    memcpy(&b, id + 8, 8)
    return <uint32_t> (((a ^ b) * 0x9E3779B97F4A7C15u) >> 32)


cdef bint ring_bell(int fd) noexcept:
    cdef uint64_t one = 1
    while write(fd, &one, 8) != 8:
        if errno == EAGAIN:
            return True     # it rings already, as loud as it can
        if errno != EINTR:
            return False
    return True


def ring(int fd):
    """Rings the doorbell `fd`; False when it is gone."""
    return ring_bell(fd)


def make_bell():
    """A doorbell: an eventfd, non-blocking, closed on exec unless made inheritable. Read 8 bytes to silence it."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def silence(int fd):
    """Takes what rang since the last time; to be called before looking at the board, so that no ring is missed."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass


cdef class Board(BoardMap):
    """See board.pxd."""

    # -- worker: choosing and reserving --------------------------------------------------------------------------------

    cdef int pick(self, const int16_t* mask, int count, int hint) noexcept:
        cdef int slot, _try
        for _try in range(3):
            slot = ld_pick(self.in_flight, self.limits, mask, count, hint, self.turn)
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
        # It changed under our hands. Whoever looked between sees one request too many for an instant.
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

    # -- worker: free channels -----------------------------------------------------------------------------------------

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

    # -- the life of an instance ---------------------------------------------------------------------------------------

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

    cpdef bint open_instance(self, int slot, uint32_t generation, int64_t now) noexcept:
        cdef uint64_t base = <uint64_t> generation << 32
        if getu64(&self.slots[slot].life) != base | INSTANCE_STARTING:
            return False
        swap64(&self.slots[slot].opened, 0, now)
        return swapu64(&self.slots[slot].life, base | INSTANCE_STARTING, base | INSTANCE_OPEN)

    cpdef bint begin_drain(self, int slot, uint32_t generation, int64_t goaway_at) noexcept:
        cdef uint64_t base = <uint64_t> generation << 32
        cdef uint64_t life = getu64(&self.slots[slot].life)
        while life == base | INSTANCE_STARTING or life == base | INSTANCE_OPEN:
            swap64(&self.slots[slot].goaway_at, 0, goaway_at)
            if swapu64(&self.slots[slot].life, life, base | INSTANCE_DRAINING):
                return True
            life = getu64(&self.slots[slot].life)
        return False

    cpdef bint hasten(self, int slot, uint32_t generation, int64_t goaway_at) noexcept:
        cdef int64_t set_for = get64(&self.slots[slot].goaway_at)
        while self.state_of(slot, generation) == INSTANCE_DRAINING and goaway_at < set_for:
            if swap64(&self.slots[slot].goaway_at, set_for, goaway_at):
                return True
            set_for = get64(&self.slots[slot].goaway_at)
        return False

    cpdef bint request_close(self, int slot, uint32_t generation) noexcept:
        if self.state_of(slot, generation) in (INSTANCE_FREE, INSTANCE_CLOSED):
            return False
        return (oru32(&self.slots[slot].flags, CLOSE_REQUESTED) & CLOSE_REQUESTED) == 0

    def allocate_instance(self, int pool, bytes id not None, int limit, int64_t now, int64_t deadline):
        """Takes the lowest free slot for a new instance, in state starting: (slot, generation), or None when all are
        taken. For the scaler alone: it is the only one that makes a free slot anything else."""
        cdef int slot, high = <int> self.header.instances_high
        cdef InstanceSlot* it
        cdef uint32_t generation
        if len(id) != 16:
            raise ValueError(f"an instance id has 16 bytes, not {len(id)}")
        if not 1 <= limit < NOT_USABLE:
            raise ValueError(f"an instance takes 1 to {NOT_USABLE - 1} requests at once, not {limit}")
        for slot in range(self.instances):
            if getu64(&self.slots[slot].life) & 0xFF == INSTANCE_FREE:
                break
        else:
            return None
        it = &self.slots[slot]
        generation = self.generation_of(slot) + 1
        memcpy(it.id, <const uint8_t*> id, 16)
        it.pool = pool
        it.limit = limit
        it.created = now
        it.created_wall = time.time_ns()
        it.opened = it.goaway_at = it.closed = 0
        it.deadline = deadline
        it.requests = 0
        it.flags = 0
        it.opener = 0
        memset(it.secret, 0, SECRET_SIZE)
        put16(&self.limits[slot], limit)
        if slot >= high:
            putu32(&self.header.instances_high, slot + 1)
        self._index_add(slot)
        putu64(&it.life, <uint64_t> generation << 32 | INSTANCE_STARTING)
        return slot, generation

    cdef void show_secret(self, int slot, uint32_t generation) noexcept:
        if self.state_of(slot, generation) != INSTANCE_FREE:
            oru32(&self.slots[slot].flags, SECRET_SHOWN)

    cpdef bint bind_opener(self, int slot, uint32_t generation, uint64_t opener) noexcept:
        cdef uint64_t bound
        if self.state_of(slot, generation) in (INSTANCE_FREE, INSTANCE_CLOSED):
            return False
        bound = getu64(&self.slots[slot].opener)
        return bound == opener or (bound == 0 and (swapu64(&self.slots[slot].opener, 0, opener)
                                                   or getu64(&self.slots[slot].opener) == opener))

    def set_secret(self, int slot, bytes secret not None):
        """What the invoke's payload will carry and the control calls of the instance must present: SECRET_SIZE bytes,
        all zero for none. For the scaler, after allocate_instance() and before it sends the invoke."""
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"an invoke's secret has {SECRET_SIZE} bytes, not {len(secret)}")
        memcpy(self._instance_slot(slot).secret, <const uint8_t*> secret, SECRET_SIZE)

    cpdef bint close_instance(self, int slot, uint32_t generation, int64_t now) noexcept:
        cdef uint64_t base = <uint64_t> generation << 32
        cdef uint64_t life = getu64(&self.slots[slot].life)
        while life == base | INSTANCE_STARTING or life == base | INSTANCE_OPEN or life == base | INSTANCE_DRAINING:
            if swapu64(&self.slots[slot].life, life, base | INSTANCE_CLOSED):
                put64(&self.slots[slot].closed, now)
                self._index_remove(slot)
                return True
            life = getu64(&self.slots[slot].life)
        return False

    cpdef bint free_instance(self, int slot, uint32_t generation) noexcept:
        cdef int worker
        cdef uint64_t base = <uint64_t> generation << 32
        if getu64(&self.slots[slot].life) != base | INSTANCE_CLOSED:
            return False
        fence()
        if get16(&self.in_flight[slot]) != 0:
            return False
        for worker in range(self.workers):
            if (get16(&self.reserved[worker * self.instances + slot]) != 0
                    or get16(&self.idle[worker * self.instances + slot]) != 0):
                return False
        return swapu64(&self.slots[slot].life, base | INSTANCE_CLOSED, base | INSTANCE_FREE)

    def _index_add(self, int slot):
        cdef uint32_t hash = index_hash(self.slots[slot].id)
        cdef uint32_t last = self.header.index_cells - 1
        cdef uint32_t at = hash & last
        # There are two cells per slot and never more than one in use for each, so this ends.
        while self.index[at] != 0 and (self.index[at] & 0xFFFF) != REMOVED:
            at = (at + 1) & last
        putu32(&self.index[at], (hash & 0xFFFF0000u) | <uint32_t> (slot + 1))

    cdef void _index_remove(self, int slot) noexcept:
        cdef uint32_t last = self.header.index_cells - 1
        cdef uint32_t at = index_hash(self.slots[slot].id) & last
        cdef int _n
        for _n in range(<int> last + 1):
            if self.index[at] == 0:
                return
            if (self.index[at] & 0xFFFF) == <uint32_t> (slot + 1):
                break
            at = (at + 1) & last
        else:
            return
        putu32(&self.index[at], REMOVED)
        # Removed cells before an empty one serve nobody: a search would end there anyhow.
        while self.index[(at + 1) & last] == 0 and (self.index[at] & 0xFFFF) == REMOVED:
            putu32(&self.index[at], 0)
            at = (at - 1) & last

    def adopt(self):
        """For a scaler that starts: undoes what its predecessor was killed in the middle of."""
        cdef uint32_t at, cell
        cdef int slot
        cdef uint64_t state
        for at in range(self.header.index_cells):
            cell = self.index[at]
            if cell == 0 or (cell & 0xFFFF) == REMOVED:
                continue
            slot = <int> (cell & 0xFFFF) - 1
            state = getu64(&self.slots[slot].life) & 0xFF
            if state == INSTANCE_FREE or state == INSTANCE_CLOSED:
                putu32(&self.index[at], REMOVED)
        if self.header.pools_gate & 1:
            putu32(&self.header.pools_gate, self.header.pools_gate + 1)

    def find_instance(self, bytes id not None):
        """(slot, generation) of a starting, open or draining instance, or None."""
        cdef uint32_t generation = 0
        if len(id) != 16:
            return None
        slot = self.find(<const uint8_t*> id, &generation)
        return None if slot < 0 else (slot, generation)

    # -- pools ---------------------------------------------------------------------------------------------------------

    def claim_pool(self, bytes name not None, int64_t now):
        """(pool, generation) of the pool of that name, made when there is none; None when the table is full, or is
        being tidied up this very moment. All who ask for one name at one time, in whatever process, get one pool.

        A name is claimed by writing its keyed hash into the first free slot of the table by compare-and-swap; slots
        only go from free to taken while anyone claims (the gate), so two that claim one name meet in the same slot.
        Everything after the swap is the same bytes whoever writes them, so a claimant that was killed is helped along.
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

    def retire_pool(self, int pool, int64_t now):
        """An active pool becomes retired; its name, asked for again, revives it. The scaler's."""
        put64(&self.pool_slots[pool].retired, now)
        return swapu32(&self.pool_slots[pool].state, POOL_ACTIVE, POOL_RETIRED)

    def revive_pool(self, int pool):
        return swapu32(&self.pool_slots[pool].state, POOL_RETIRED, POOL_ACTIVE)

    def free_pools(self, pools):
        """Frees those of `pools` that are retired, and slots that were claimed and never named; the number freed.
        None when a worker claims at this moment: try again later. The scaler's; leave a pool retired for a minute
        first, so that no worker can still be about to use it."""
        cdef int worker, pool, freed = 0
        cdef PoolSlot* it
        putu32(&self.header.pools_gate, self.header.pools_gate | 1)
        fence()
        try:
            for worker in range(self.workers):
                if getu32(&self.worker_slots[worker].claiming):
                    return None
            for pool in range(self.pools):
                it = &self.pool_slots[pool]
                if (pool in pools and it.state == POOL_RETIRED) or (it.key != 0 and it.state == POOL_FREE):
                    putu32(&it.state, POOL_FREE)
                    putu32(&it.generation, it.generation + 1)
                    memset(&it.name_length, 0, sizeof(PoolSlot) - 16)
                    putu64(&it.key, 0)
                    freed += 1
        finally:
            putu32(&self.header.pools_gate, self.header.pools_gate + 1)
        return freed

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

    # -- supervisor: worker slots --------------------------------------------------------------------------------------

    def start_worker(self, int worker, int listening, int64_t now):
        """Gives a free worker slot to a process about to be started; its generation. The supervisor's."""
        cdef WorkerSlot* it = self._worker_slot(worker)
        if it.state != WORKER_FREE:
            raise BoardError(f"worker slot {worker} is {WORKER_STATES[it.state]}, not free")
        it.pid = 0
        it.listening = listening
        it.started = now
        it.heartbeat = now
        putu32(&it.generation, it.generation + 1)
        putu32(&it.state, WORKER_BOOTING)
        return it.generation

    def reclaim(self, int worker):
        """Returns what a dead worker held: its reservations, free channels and gauges; the slot is free afterwards.

        False when one instance's counters cannot be told apart yet, because another worker is changing them at this
        moment or died doing so: reclaim that one, or call again a little later. Repeating it is harmless, and the slot
        stays with the dead process until it is done.
        """
        cdef WorkerSlot* it = self._worker_slot(worker)
        cdef int16_t* reserved = &self.reserved[worker * self.instances]
        cdef int16_t* idle = &self.idle[worker * self.instances]
        cdef int slot, suspect = <int> (it.intent & 0xFFFF) - 1
        if it.state == WORKER_FREE:
            return True
        putu32(&it.state, WORKER_GONE)
        putu32(&it.claiming, 0)
        for slot in range(self.instances):
            put16(&idle[slot], 0)
            if reserved[slot] and slot != suspect:
                add16(&self.in_flight[slot], -reserved[slot])
                put16(&reserved[slot], 0)
        it.queued = it.running = 0
        it.oldest_queued = 0
        it.connections = it.instance_connections = it.idle_channels = it.uploads_held = 0
        it.handshakes = it.memory_held = 0
        for slot in range(self.pools):
            put32(&self.worker_pools[worker * self.pools + slot].queued, 0)
            put32(&self.worker_pools[worker * self.pools + slot].running, 0)
            put64(&self.worker_pools[worker * self.pools + slot].oldest_queued, 0)
        if suspect >= 0 and not self._settle(worker, suspect):
            return False
        putu64(&it.intent, it.intent & ~<uint64_t> 0xFFFF)
        it.pid = 0
        putu32(&it.state, WORKER_FREE)
        return True

    cdef bint _settle(self, int worker, int slot) noexcept:
        # The worker died while it changed this slot: in_flight may be one more or less than what all workers hold. No
        # one else changes it when every worker's count of changes (intent) is the same before and after the numbers
        # were read; then the difference is the dead one's. Others that are gone may add to it: it is all taken back
        # here, and nothing is left when their turn comes.
        cdef uint64_t[MAX_WORKERS] before
        cdef uint64_t intent
        cdef int other, _try
        cdef int held, busy
        cdef bint calm
        for _try in range(1000):
            calm = True
            held = 0
            for other in range(self.workers):
                before[other] = getu64(&self.worker_slots[other].intent)
            for other in range(self.workers):
                held += get16(&self.reserved[other * self.instances + slot])
            busy = get16(&self.in_flight[slot])
            for other in range(self.workers):
                intent = getu64(&self.worker_slots[other].intent)
                if intent != before[other] or (
                    other != worker and <int> (intent & 0xFFFF) - 1 == slot
                    and getu32(&self.worker_slots[other].state) != WORKER_GONE
                ):
                    calm = False
                    break
            if calm:
                add16(&self.in_flight[slot],
                      -<int16_t> (self.reserved[worker * self.instances + slot] + busy - held))
                put16(&self.reserved[worker * self.instances + slot], 0)
                return True
            sched_yield()
        return False

    def start_scaler(self, int64_t now):
        """A scaler is about to be started; its generation. The supervisor's."""
        self.scaler.pid = 0
        self.scaler.started = self.scaler.heartbeat = now
        self.scaler.open_invokes = 0
        putu32(&self.scaler.generation, self.scaler.generation + 1)
        putu32(&self.scaler.state, WORKER_BOOTING)
        return self.scaler.generation

    # -- a process about itself ----------------------------------------------------------------------------------------

    def set_worker_pid(self, int worker, int pid):
        putu32(&self._worker_slot(worker).pid, pid)

    def set_worker_state(self, int worker, int state):
        putu32(&self._worker_slot(worker).state, state)

    def beat(self, int64_t now):
        """This worker's loop came round."""
        put64(&self.me.heartbeat, now)

    def count_room(self, int reclaimed, int refused):
        """Connections that this worker closed to make room, and that it refused."""
        self.me.connections_reclaimed += reclaimed
        self.me.connections_refused += refused

    def show_memory(self, int handshakes, int64_t held, int refused):
        """This worker's gauges, and how many more were refused for memory."""
        self.me.handshakes = handshakes
        self.me.memory_held = held
        self.me.memory_refused += refused

    def scaler_beat(self, int64_t now):
        put64(&self.scaler.heartbeat, now)

    def set_scaler_pid(self, int pid):
        self.scaler.pid = pid

    def set_scaler_state(self, int state):
        putu32(&self.scaler.state, state)

    def publish_scaler(self, *, uint64_t ticks, uint64_t invokes, uint64_t invokes_ended, uint64_t invokes_failed,
                       uint64_t throttled, int64_t open_invokes, int64_t tokens_milli, uint32_t breaker):
        self.scaler.ticks = ticks
        self.scaler.invokes = invokes
        self.scaler.invokes_ended = invokes_ended
        self.scaler.invokes_failed = invokes_failed
        self.scaler.throttled = throttled
        self.scaler.open_invokes = open_invokes
        self.scaler.tokens_milli = tokens_milli
        self.scaler.breaker = breaker

    def publish_pool(self, int pool, *, int32_t desired, int32_t starting, int32_t open, int32_t draining,
                     uint64_t starts, uint64_t starts_failed, uint64_t ended, int64_t backoff_until, int64_t rate_milli,
                     int64_t average_us, uint32_t breaker, int64_t last_decision, uint32_t last_exit):
        """What the scaler makes of a pool, for the others to read."""
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        it.desired = desired
        it.starting = starting
        it.open = open
        it.draining = draining
        it.starts = starts
        it.starts_failed = starts_failed
        it.ended = ended
        it.backoff_until = backoff_until
        it.rate_milli = rate_milli
        it.average_us = average_us
        it.breaker = breaker
        it.last_decision = last_decision
        it.last_exit = last_exit

    def set_pool_limits(self, int pool, *, int32_t limit, int32_t channels, int32_t min_instances,
                        int32_t max_instances):
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        it.limit = limit
        it.channels = channels
        it.min_instances = min_instances
        it.max_instances = max_instances

    # -- for tests and Python callers: what the C methods say ----------------------------------------------------------

    def pick_from(self, bytes mask not None, int hint=-1):
        """pick() with a mask of native int16, one per slot."""
        cdef int count = <int> (len(mask) // 2)
        if not 1 <= count <= self.instances:
            raise ValueError(f"a mask has 1 to {self.instances} entries, not {count}")
        return self.pick(<const int16_t*> <const uint8_t*> mask, count, hint)

    def generation(self, int slot):
        return self.generation_of(slot)

    def state(self, int slot, uint32_t generation):
        return self.state_of(slot, generation)
