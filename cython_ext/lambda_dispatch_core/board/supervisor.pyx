"""The supervisor's steps on the board: giving worker slots to processes, and returning what a dead one held."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint64_t

from lambda_dispatch_core.bytes.atomics cimport add16, fence, get16, getu32, getu64, put16, put32, put64, putu32, putu64
from lambda_dispatch_core.board.layout cimport (
    MAX_WORKERS, OVERRIDE_REASON, OVERRIDE_WHO, WORKER_BOOTING, WORKER_FREE, WORKER_GONE, OverrideSlot, PoolSlot,
    WorkerSlot,
)
from lambda_dispatch_core.board.map cimport put_text
from lambda_dispatch_core.board.scaler cimport ScalerSteps

from lambda_dispatch_core.board.layout import WORKER_STATES, BoardError


cdef extern from "<sched.h>" nogil:
    int sched_yield() noexcept


cdef class SupervisorSteps(ScalerSteps):
    """See board/supervisor.pxd."""

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
        it.handshakes = it.memory_held = it.upgrades_open = it.connections_http2 = it.grpc_open = 0
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

    def set_worker_pid(self, int worker, int pid):
        putu32(&self._worker_slot(worker).pid, pid)

    def set_scaler_pid(self, int pid):
        self.scaler.pid = pid

    def note_reload(self, bint taken, int64_t wall):
        """A configuration was asked for, and taken or refused."""
        if taken:
            put64(&self.header.reloaded_wall, wall)
        putu32(&self.header.reload_failed, not taken)

    def set_pool_limits(self, int pool, *, int32_t limit, int32_t channels, int32_t min_instances,
                        int32_t max_instances):
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        it.limit = limit
        it.channels = channels
        it.min_instances = min_instances
        it.max_instances = max_instances

    def set_override(self, int pool, int kind, *, int64_t at, int64_t until, int32_t first=-1, int32_t second=-1,
                     str who not None, str reason not None):
        """An operator's command takes effect; its number. `pool`: the number of pools for the router's own."""
        cdef OverrideSlot* it = self._override_slot(pool, kind)
        cdef uint64_t number = self.header.commands + 1
        putu64(&it.sequence, it.sequence + 1)
        fence()
        it.number = number
        it.at = at
        it.until = until
        it.ended = 0
        it.pool = pool
        it.generation = 0 if pool == self.pools else self.pool_slots[pool].generation
        it.first = first
        it.second = second
        put_text(it.who, OVERRIDE_WHO, who)
        put_text(it.reason, OVERRIDE_REASON, reason)
        putu64(&it.sequence, it.sequence + 1)
        putu64(&self.header.commands, number)
        return number

    def end_override(self, int pool, int kind, int64_t now, *, str who not None, str reason not None):
        """What was set is over, by a command, its expiry, or because it is done; the number of this change."""
        cdef OverrideSlot* it = self._override_slot(pool, kind)
        cdef uint64_t number = self.header.commands + 1
        putu64(&it.sequence, it.sequence + 1)
        fence()
        it.number = number
        it.ended = now
        put_text(it.who, OVERRIDE_WHO, who)
        put_text(it.reason, OVERRIDE_REASON, reason)
        putu64(&it.sequence, it.sequence + 1)
        putu64(&self.header.commands, number)
        return number
