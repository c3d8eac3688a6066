"""The scaler's steps on the board: the life of an instance slot, the index, pools, what it publishes."""

import time

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from lambda_dispatch_core.bytes.atomics cimport (
    fence, get16, get64, getu32, getu64, put16, put32, put64, putu32, putu64, swap64, swapu32, swapu64,
)
from lambda_dispatch_core.board.layout cimport (
    CAUSES, EXITS, INSTANCE_CLOSED, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, INSTANCE_STARTING, LIVES,
    NOT_USABLE, POOL_ACTIVE, POOL_FREE, POOL_RETIRED, SECRET_SIZE, InstanceSlot, LifeSlot, PoolNumbers, PoolSlot,
)
from lambda_dispatch_core.board.shared cimport REMOVED, index_hash
from lambda_dispatch_core.board.worker cimport WorkerSteps


cdef class ScalerSteps(WorkerSteps):
    """See board/scaler.pxd."""

    cpdef bint hasten(self, int slot, uint32_t generation, int64_t goaway_at) noexcept:
        cdef int64_t set_for = get64(&self.slots[slot].goaway_at)
        while self.state_of(slot, generation) == INSTANCE_DRAINING and goaway_at < set_for:
            if swap64(&self.slots[slot].goaway_at, set_for, goaway_at):
                return True
            set_for = get64(&self.slots[slot].goaway_at)
        return False

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
        it.busy_ns = 0
        it.flags = 0
        it.opener = 0
        memset(it.secret, 0, SECRET_SIZE)
        put16(&self.limits[slot], limit)
        if slot >= high:
            putu32(&self.header.instances_high, slot + 1)
        self._index_add(slot)
        putu64(&it.life, <uint64_t> generation << 32 | INSTANCE_STARTING)
        return slot, generation

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

    def record_life(self, int slot, int64_t ended, uint32_t reason, bint let_go):
        """What the slot says of its instance goes into the ring of lives. For the scaler, when it has ended."""
        cdef InstanceSlot* seen = self._instance_slot(slot)
        cdef uint64_t number = self.header.lives_written + 1
        cdef LifeSlot* it = &self.life_ring[(number - 1) % LIVES]
        putu64(&it.number, 0)
        fence()
        memcpy(it.id, seen.id, 4)
        it.pool = seen.pool
        it.asked = seen.created
        it.opened = get64(&seen.opened)
        it.ended = ended
        it.requests = getu64(&seen.requests)
        it.busy_ns = seen.busy_ns
        it.reason = reason
        it.let_go = let_go
        putu64(&it.number, number)
        putu64(&self.header.lives_written, number)
        return number

    def count_busy(self, int64_t ns):
        """The scaler has looked again after so long: who has a request now is counted as busy meanwhile."""
        cdef int slot
        cdef InstanceSlot* it
        for slot in range(<int> self.header.instances_high):
            if get16(&self.in_flight[slot]) > 0:
                it = &self.slots[slot]
                putu64(&it.busy_ns, it.busy_ns + <uint64_t> ns)

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
        # Removed cells before an empty one serve no search: one would end there anyhow.
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
                    for worker in range(self.workers):
                        if self.worker_slots[worker].generation:
                            memset(&self.pool_numbers[worker * (self.pools + 1) + pool], 0, sizeof(PoolNumbers))
                    putu64(&it.key, 0)
                    freed += 1
        finally:
            putu32(&self.header.pools_gate, self.header.pools_gate + 1)
        return freed

    def scaler_beat(self, int64_t now):
        put64(&self.scaler.heartbeat, now)

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

    def take_command(self, int pool, uint64_t number):
        """The scaler has seen the commands up to this number."""
        putu64(&self.pool_slots[pool].commands_taken, number)

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

    def publish_demand(self, int pool, *, int32_t desired_raw, int64_t tokens_milli, decisions, exits,
                       int32_t frozen=0, int32_t target=0, int32_t packs=0):
        """What the demand alone asks for, what may be started, how many decisions there were, how invokes ended, and
        what has been learnt."""
        cdef int n
        cdef uint64_t count
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        it.desired_raw = desired_raw
        it.tokens_milli = tokens_milli
        it.frozen = frozen
        it.target = target
        put32(&it.packs, packs)
        for n, count in enumerate(decisions[:CAUSES]):
            it.decisions[n] = count
        for n, count in enumerate(exits[:EXITS]):
            it.exits[n] = count

    def publish_ledger(self, int pool, *, int64_t predicted_wait_us, uint64_t open_ms, uint64_t busy_ms,
                       uint64_t invokes, uint64_t cost_nusd, uint64_t direct_ms, uint64_t direct_invokes,
                       uint64_t direct_nusd, uint32_t budget, uint64_t billed_mb_ms=0, uint64_t max_cost_nusd=0):
        """What a pool has cost, and what the next request will wait."""
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        put64(&it.predicted_wait_us, predicted_wait_us)
        it.open_ms = open_ms
        it.busy_ms = busy_ms
        it.invokes = invokes
        it.cost_nusd = cost_nusd
        it.direct_ms = direct_ms
        it.direct_invokes = direct_invokes
        it.direct_nusd = direct_nusd
        it.budget = budget
        it.billed_mb_ms = billed_mb_ms
        it.max_cost_nusd = max_cost_nusd
