"""Making, checking and mapping the board, and reading it. What each field is stands in board/layout.pxd."""

import fcntl
import os
import time

from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strerror
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

from lambda_dispatch_core.bytes.atomics cimport fence, get16, get32, get64, getu32, getu64, putu64
from lambda_dispatch_core.board.layout cimport (
    BOARD_VERSION, BUCKETS, CAUSES, CLOSE_REQUESTED, DECISION_INPUTS, DECISION_TEXT, DECISIONS, EXITS, GRPC_STATUSES,
    INSTANCE_FREE, LIVES, MAX_INSTANCES, MAX_POOLS, MAX_WORKERS, OUTCOMES, OVERRIDE_REASON, OVERRIDE_WHO, OVERRIDES,
    POOL_FREE, WORDS, DecisionSlot, Header, Histogram, InstanceSlot, LifeSlot, OverrideSlot, PoolNumbers, PoolSlot,
    ScalerSlot, WorkerPool, WorkerSlot,
)

from lambda_dispatch_core.board.layout import (
    COUNTERS, GAUGES, NAME, BoardError, Decision, Instance, Life, Numbers, Override, Pool, PoolCounts, PoolTotals,
    Scaler, Times, Worker,
)

cdef uint64_t MAGIC = 0x4452414F42444C00         # "\0LDBOARD" on a little-endian machine
cdef uint32_t ORDER = 0x01020304


cdef inline size_t up(size_t n, size_t to) noexcept:
    return (n + to - 1) // to * to


cdef inline int64_t monotonic() except? -1:
    return time.monotonic_ns()


def memory_file(size):
    """A descriptor of `size` zero bytes of memory that can be neither shrunk nor grown, where the system has memfd."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        import tempfile
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, size)
        if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except BaseException:
        os.close(fd)
        raise
    return fd


cdef object times_of(const Histogram* it):
    return Times(tuple([it.bucket[n] for n in range(BUCKETS)]), it.sum_ns)


cdef inline str text_of(bytes field):
    return field.rstrip(b"\0").decode("utf-8", "replace")


cdef class BoardMap:
    """See board/map.pxd."""

    def __cinit__(self):
        self.fd = -1
        self.worker = -1

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    @classmethod
    def create(cls, int workers, int instances=MAX_INSTANCES, int pools=MAX_POOLS):
        """A new, empty board; `workers` counts worker slots."""
        if not 1 <= workers <= MAX_WORKERS:
            raise BoardError(f"a board has 1 to {MAX_WORKERS} worker slots, not {workers}")
        if not (64 <= instances <= MAX_INSTANCES and instances & (instances - 1) == 0):
            raise BoardError(f"a board has 64 to {MAX_INSTANCES} instance slots, a power of two, not {instances}")
        if not 1 <= pools <= MAX_POOLS:
            raise BoardError(f"a board has 1 to {MAX_POOLS} pool slots, not {pools}")
        cdef BoardMap self = cls.__new__(cls)
        cdef Header header
        self.header = &header
        memset(&header, 0, sizeof(Header))
        self._lay_out(workers, instances, pools)
        self.header = NULL
        self.fd = memory_file(header.size)
        self.size = header.size
        self._map(self.fd, False)
        header.created = monotonic()
        header.created_wall = header.reloaded_wall = time.time_ns()
        header.supervisor_pid = os.getpid()
        key = os.urandom(16)
        memcpy(header.pool_key, <const uint8_t*> key, 16)
        memcpy(self.base, &header, sizeof(Header))
        self._bind()
        putu64(&self.header.magic, MAGIC)
        return self

    @classmethod
    def attach(cls, int fd, int worker=-1, bint readonly=False):
        """The board behind `fd`, which stays the caller's until close(); `worker` is this process's own worker slot."""
        cdef BoardMap self = cls.__new__(cls)
        size = os.fstat(fd).st_size
        if size < 4096:
            raise BoardError(f"descriptor {fd} is no board: {size} bytes")
        self.size = size
        self._map(fd, readonly)
        cdef Header* header = <Header*> self.base
        if header.magic != MAGIC:
            raise BoardError(f"descriptor {fd} is no board, or one of a machine with another byte order")
        if header.version != BOARD_VERSION or header.byte_order != ORDER:
            raise BoardError(
                f"the board has version {header.version}, this program knows {BOARD_VERSION}: "
                "router and tool must be of one release"
            )
        if not (1 <= header.workers <= MAX_WORKERS and 64 <= header.instances <= MAX_INSTANCES
                and 1 <= header.pools <= MAX_POOLS):
            raise BoardError("the board's header is damaged: slot counts out of range")
        cdef Header expected
        memset(&expected, 0, sizeof(Header))
        self.header = &expected
        self._lay_out(header.workers, header.instances, header.pools)
        self.header = NULL
        # From `size` to `index_at` the header says the layout.
        if header.size != <uint64_t> size or memcmp(&header.size, &expected.size, 112) != 0\
                or header.decisions_at != expected.decisions_at or header.decisions != expected.decisions\
                or header.pool_numbers_at != expected.pool_numbers_at\
                or header.overrides_at != expected.overrides_at\
                or header.lives_at != expected.lives_at or header.lives != expected.lives:
            raise BoardError("the board's layout is not this program's: router and tool must be of one release")
        if not -1 <= worker < <int> header.workers:
            raise BoardError(f"no worker slot {worker}: the board has {header.workers}")
        self.fd = fd
        self.worker = worker
        self._bind()
        return self

    def close(self):
        """Unmaps the board and closes its descriptor. Nothing may use it afterwards."""
        if self.base != NULL:
            munmap(self.base, self.size)
            self.base = NULL
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    cdef int _lay_out(self, int workers, int instances, int pools) except -1:
        cdef Header* h = self.header
        cdef size_t at
        h.version = BOARD_VERSION
        h.byte_order = ORDER
        h.workers = workers
        h.instances = instances
        h.pools = pools
        h.worker_size = sizeof(WorkerSlot)
        h.pool_size = sizeof(PoolSlot)
        h.instance_size = sizeof(InstanceSlot)
        h.buckets = BUCKETS
        h.index_cells = 2 * instances
        at = 4096
        h.pools_at = at
        at = up(at + pools * sizeof(PoolSlot), 4096)
        h.workers_at = at
        at = up(at + workers * sizeof(WorkerSlot), 4096)
        h.worker_pools_at = at
        at = up(at + workers * pools * sizeof(WorkerPool), 4096)
        h.instances_at = at
        at = up(at + instances * sizeof(InstanceSlot), 4096)
        h.in_flight_at = at
        at = up(at + instances * sizeof(int16_t), 64)
        h.limits_at = at
        at = up(at + instances * sizeof(int16_t), 64)
        h.reserved_at = at
        at = up(at + workers * instances * sizeof(int16_t), 64)
        h.idle_at = at
        at = up(at + workers * instances * sizeof(int16_t), 64)
        h.index_at = at
        at = up(at + h.index_cells * sizeof(uint32_t), 64)
        h.decisions_at = at
        h.decisions = DECISIONS
        at = up(at + DECISIONS * sizeof(DecisionSlot), 4096)
        h.overrides_at = at
        at = up(at + (pools + 1) * OVERRIDES * sizeof(OverrideSlot), 4096)
        h.lives_at = at
        h.lives = LIVES
        at = up(at + LIVES * sizeof(LifeSlot), 4096)
        h.pool_numbers_at = at
        h.size = up(at + workers * (pools + 1) * sizeof(PoolNumbers), 4096)
        return 0

    cdef int _map(self, int fd, bint readonly) except -1:
        cdef void* at = mmap(NULL, self.size, PROT_READ if readonly else PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if at == MAP_FAILED:
            raise BoardError(f"descriptor {fd} cannot be mapped: {strerror(errno).decode()}")
        self.base = <uint8_t*> at
        self.readonly = readonly
        return 0

    cdef int _bind(self) except -1:
        cdef Header* h = <Header*> self.base
        self.header = h
        self.workers = h.workers
        self.instances = h.instances
        self.pools = h.pools
        self.scaler = <ScalerSlot*> (self.base + 256)
        self.pool_slots = <PoolSlot*> (self.base + h.pools_at)
        self.worker_slots = <WorkerSlot*> (self.base + h.workers_at)
        self.worker_pools = <WorkerPool*> (self.base + h.worker_pools_at)
        self.pool_numbers = <PoolNumbers*> (self.base + h.pool_numbers_at)
        self.slots = <InstanceSlot*> (self.base + h.instances_at)
        self.in_flight = <int16_t*> (self.base + h.in_flight_at)
        self.limits = <int16_t*> (self.base + h.limits_at)
        self.reserved = <int16_t*> (self.base + h.reserved_at)
        self.idle = <int16_t*> (self.base + h.idle_at)
        self.index = <uint32_t*> (self.base + h.index_at)
        self.ring = <DecisionSlot*> (self.base + h.decisions_at)
        self.life_ring = <LifeSlot*> (self.base + h.lives_at)
        self.overrides = <OverrideSlot*> (self.base + h.overrides_at)
        if self.worker >= 0:
            self.me = &self.worker_slots[self.worker]
            self.my_pools = &self.worker_pools[self.worker * self.pools]
            self.my_numbers = &self.pool_numbers[self.worker * (self.pools + 1)]
            self.my_reserved = &self.reserved[self.worker * self.instances]
            self.my_idle = &self.idle[self.worker * self.instances]
        return 0

    cdef WorkerSlot* _worker_slot(self, int worker) except NULL:
        if not 0 <= worker < self.workers:
            raise IndexError(f"no worker slot {worker}")
        return &self.worker_slots[worker]

    cdef InstanceSlot* _instance_slot(self, int slot) except NULL:
        if not 0 <= slot < self.instances:
            raise IndexError(f"no instance slot {slot}: the board has {self.instances}")
        return &self.slots[slot]

    cdef OverrideSlot* _override_slot(self, int pool, int kind) except NULL:
        if not (0 <= pool <= self.pools and 0 <= kind < OVERRIDES):
            raise IndexError(f"no override {kind} of pool slot {pool}")
        return &self.overrides[pool * OVERRIDES + kind]

    # -- reading -------------------------------------------------------------------------------------------------------

    def list_workers(self):
        """Every worker slot."""
        cdef WorkerSlot* it
        cdef int worker
        found = []
        for worker in range(self.workers):
            it = &self.worker_slots[worker]
            found.append(Worker(
                worker, it.pid, it.generation, getu32(&it.state), it.listening, get64(&it.heartbeat), it.started,
                get32(&it.queued), get32(&it.running), get64(&it.oldest_queued),
            ))
        return found

    def worker_numbers(self, int worker):
        """Counters and gauges of one worker slot by name."""
        cdef uint64_t* counter = &self._worker_slot(worker).requests
        cdef int64_t* gauge = &self._worker_slot(worker).connections
        numbers = {name: counter[at] for at, name in enumerate(COUNTERS)}
        numbers.update((name, gauge[at]) for at, name in enumerate(GAUGES))
        return numbers

    def lag(self, int worker):
        """How late the loop of this worker slot came round, over all of its processes."""
        return times_of(&self._worker_slot(worker).lag)

    def numbers(self, int pool):
        """What all workers counted of one pool for telemetry; of the pool after the last: requests no function got."""
        cdef PoolNumbers sum
        cdef uint64_t* to = <uint64_t*> &sum
        cdef const uint64_t* at
        cdef int worker
        cdef size_t n
        if not 0 <= pool <= self.pools:
            raise IndexError(f"no pool slot {pool}")
        memset(&sum, 0, sizeof(PoolNumbers))
        for worker in range(self.workers):
            # Reading what was never written would give it memory.
            if self.worker_slots[worker].generation == 0:
                continue
            at = <const uint64_t*> &self.pool_numbers[worker * (self.pools + 1) + pool]
            for n in range(sizeof(PoolNumbers) // 8):
                to[n] += at[n]
        return Numbers(
            times_of(&sum.wait), times_of(&sum.service), times_of(&sum.total), times_of(&sum.cold_start),
            tuple([sum.outcomes[n] for n in range(OUTCOMES)]), sum.request_bytes, sum.response_bytes, sum.resends,
            tuple([sum.words[n] for n in range(WORDS)]), tuple([sum.grpc[n] for n in range(GRPC_STATUSES)]),
        )

    def scaler_view(self):
        cdef ScalerSlot* it = self.scaler
        return Scaler(
            it.pid, it.generation, getu32(&it.state), it.breaker, get64(&it.heartbeat), it.started, it.ticks,
            it.invokes, it.invokes_ended, it.invokes_failed, it.throttled, it.open_invokes, it.tokens_milli,
        )

    def pool(self, int pool):
        name = self.pool_name(pool)
        cdef PoolSlot* it = &self.pool_slots[pool]
        return Pool(
            pool, it.generation, name, getu32(&it.state), it.created, it.retired, it.breaker, it.desired, it.starting,
            it.open, it.draining, it.min_instances, it.max_instances, it.limit, it.channels, it.starts,
            it.starts_failed, it.ended, it.backoff_until, it.rate_milli, it.average_us, it.last_decision, it.last_exit,
            getu64(&it.commands_taken), get64(&it.predicted_wait_us), it.open_ms, it.busy_ms, it.invokes, it.cost_nusd,
            it.direct_ms, it.direct_invokes, it.direct_nusd, it.budget,
            it.desired_raw, it.tokens_milli, it.billed_mb_ms, it.max_cost_nusd, it.frozen, it.target, it.packs,
            tuple([it.exits[n] for n in range(EXITS)]), tuple([it.decisions[n] for n in range(CAUSES)]),
        )

    def list_pools(self):
        """Every pool slot that is active or retired."""
        cdef int pool
        return [self.pool(pool) for pool in range(self.pools) if getu32(&self.pool_slots[pool].state) != POOL_FREE]

    @property
    def supervisor_pid(self):
        return self.header.supervisor_pid

    @property
    def created(self):
        return self.header.created

    @property
    def created_wall(self):
        return self.header.created_wall

    @property
    def reloaded_wall(self):
        """When a configuration was last taken, ns since 1970."""
        return get64(&self.header.reloaded_wall)

    @property
    def reload_failed(self):
        """Whether the last reload was refused."""
        return getu32(&self.header.reload_failed) != 0

    @property
    def decided(self):
        """The number of the last decision; 0 when there is none."""
        return getu64(&self.header.decisions_written)

    @property
    def lived(self):
        """The number of the last life; 0 when no instance has ended."""
        return getu64(&self.header.lives_written)

    def worker_state(self, int worker):
        return getu32(&self._worker_slot(worker).state)

    def instance(self, int slot):
        """What the board says of one slot now."""
        cdef InstanceSlot* it = self._instance_slot(slot)
        cdef uint64_t life = getu64(&it.life)
        cdef int worker, idle = 0, busy = get16(&self.in_flight[slot])
        for worker in range(self.workers):
            idle += get16(&self.idle[worker * self.instances + slot])
        return Instance(
            slot, life >> 32, it.id[:16], life & 0xFF, it.pool, it.limit, busy, idle, idle + busy,
            getu64(&it.requests), it.created, get64(&it.opened), it.deadline, get64(&it.goaway_at),
            (getu32(&it.flags) & CLOSE_REQUESTED) != 0, getu64(&it.busy_ns),
        )

    def secret(self, int slot):
        """The secret of the instance's invoke; all zero when it has none. Never to be logged or published."""
        return self._instance_slot(slot).secret[:16]

    def list_instances(self, int pool=-1):
        """Every slot that is not free, or those of one pool."""
        cdef int slot
        found = []
        for slot in range(<int> getu32(&self.header.instances_high)):
            if getu64(&self.slots[slot].life) & 0xFF and (pool < 0 or self.slots[slot].pool == <uint32_t> pool):
                found.append(self.instance(slot))
        return found

    def pool_counts(self, int pool):
        cdef int slot, worker, idle = 0, busy = 0
        cdef int state
        cdef int[5] by_state
        memset(by_state, 0, sizeof(by_state))
        for slot in range(<int> getu32(&self.header.instances_high)):
            state = <int> (getu64(&self.slots[slot].life) & 0xFF)
            if state == INSTANCE_FREE or self.slots[slot].pool != <uint32_t> pool:
                continue
            by_state[state] += 1
            busy += get16(&self.in_flight[slot])
            for worker in range(self.workers):
                idle += get16(&self.idle[worker * self.instances + slot])
        return PoolCounts(by_state[1], by_state[2], by_state[3], by_state[4], busy, idle)

    def pool_name(self, int pool):
        """The name a pool was claimed by, as bytes; b"" when the slot is free."""
        if not 0 <= pool < self.pools:
            raise IndexError(f"no pool slot {pool}")
        cdef PoolSlot* it = &self.pool_slots[pool]
        if getu32(&it.state) == POOL_FREE:
            return b""
        return it.name[:it.name_length]

    def pool_totals(self, int pool):
        cdef WorkerPool* it
        cdef int worker
        cdef int64_t queued = 0, running = 0, oldest = 0, used = 0, since
        cdef uint64_t arrivals = 0, completions = 0, duration = 0, wait = 0, failures = 0
        for worker in range(self.workers):
            it = &self.worker_pools[worker * self.pools + pool]
            queued += get32(&it.queued)
            running += get32(&it.running)
            since = get64(&it.oldest_queued)
            if since and (oldest == 0 or since < oldest):
                oldest = since
            arrivals += it.arrivals
            completions += it.completions
            duration += it.duration_ns
            wait += it.wait_ns
            failures += it.failures
            used = max(used, it.last_used)
        return PoolTotals(queued, running, oldest, arrivals, completions, duration, wait, used, failures)

    def in_flight_at(self, int slot):
        return get16(&self.in_flight[slot])

    def reserved_at(self, int worker, int slot):
        return get16(&self.reserved[worker * self.instances + slot])

    def idle_at(self, int worker, int slot):
        return get16(&self.idle[worker * self.instances + slot])

    # -- overrides -----------------------------------------------------------------------------------------------------

    @property
    def commands(self):
        """The number of the last command of an operator. As long as it stays, no override has been changed."""
        return getu64(&self.header.commands)

    def override(self, int pool, int kind):
        """What was set last, in force or not; None when nothing ever was. The number of pools asks for the router's."""
        cdef OverrideSlot* it = self._override_slot(pool, kind)
        cdef OverrideSlot copy
        cdef uint64_t sequence
        cdef int _try
        # The writer needs nanoseconds; only if it was killed just then does this end without an answer.
        for _try in range(1 << 20):
            sequence = getu64(&it.sequence)
            if sequence & 1:
                continue
            memcpy(&copy, it, sizeof(OverrideSlot))
            fence()
            if getu64(&it.sequence) == sequence:
                break
        else:
            return None
        if copy.number == 0:
            return None
        return Override(
            kind, copy.number, copy.at, copy.until, copy.ended, copy.pool, copy.generation, copy.first, copy.second,
            text_of(copy.who[:OVERRIDE_WHO]), text_of(copy.reason[:OVERRIDE_REASON]),
        )

    def list_overrides(self, int pool):
        """Those of a pool's present generation, or the router's, in force or not."""
        cdef uint32_t generation = 0 if pool == self.pools else self.pool_slots[pool].generation
        found = [self.override(pool, kind) for kind in range(OVERRIDES)]
        return [it for it in found if it is not None and it.generation == generation]

    # -- the ring of decisions -----------------------------------------------------------------------------------------

    def record_decision(self, int64_t at, uint32_t pool, *, int32_t before, int32_t desired, int32_t proposed,
                        int32_t wanted, int32_t started, int32_t closed, int32_t released, int32_t pending,
                        int32_t running, int32_t starting, int32_t open, int32_t draining, uint32_t breaker,
                        int32_t min_instances, int32_t max_instances, int64_t rate_milli, int64_t mean_us,
                        str held not None, uint32_t policy=0, int32_t stay=0, tuple inputs=(),
                        uint32_t overrides=0, uint32_t command=0, int32_t recycled=0, str who="", str why=""):
        """Adds one to the ring; the oldest is overwritten. The scaler's."""
        cdef int i
        cdef uint64_t number = self.header.decisions_written + 1
        cdef DecisionSlot* it = &self.ring[(number - 1) % DECISIONS]
        cdef bytes text = held.encode("ascii", "replace")[:DECISION_TEXT]
        putu64(&it.number, 0)
        fence()
        it.at = at
        it.pool = pool
        it.before, it.desired, it.proposed = before, desired, proposed
        it.wanted, it.started, it.closed, it.released = wanted, started, closed, released
        it.pending, it.running = pending, running
        it.starting, it.open, it.draining = starting, open, draining
        it.breaker = breaker
        it.min_instances, it.max_instances = min_instances, max_instances
        it.rate_milli, it.mean_us = rate_milli, mean_us
        memset(it.held, 0, DECISION_TEXT)
        memcpy(it.held, <const uint8_t*> text, len(text))
        it.policy, it.stay = policy, stay
        it.overrides, it.command, it.recycled = overrides, command, recycled
        put_text(it.who, OVERRIDE_WHO, who)
        put_text(it.why, OVERRIDE_REASON, why)
        it.inputs_used = min(len(inputs), DECISION_INPUTS)
        for i in range(<int> it.inputs_used):
            it.inputs[i] = inputs[i]
        putu64(&it.number, number)
        putu64(&self.header.decisions_written, number)
        return number

    def list_decisions(self, uint64_t since=0):
        """Those with a number above `since` that are kept, oldest first."""
        cdef uint64_t last = getu64(&self.header.decisions_written)
        cdef uint64_t number
        cdef DecisionSlot copy
        cdef DecisionSlot* it
        found = []
        for number in range(max(since, last - DECISIONS if last > DECISIONS else 0) + 1, last + 1):
            it = &self.ring[(number - 1) % DECISIONS]
            if getu64(&it.number) != number:
                continue
            memcpy(&copy, it, sizeof(DecisionSlot))
            fence()
            if getu64(&it.number) != number:
                continue        # overwritten meanwhile
            found.append(Decision(
                number, copy.at, copy.pool, copy.before, copy.desired, copy.proposed, copy.wanted, copy.started,
                copy.closed, copy.released, copy.pending, copy.running, copy.starting, copy.open, copy.draining,
                copy.breaker, copy.min_instances, copy.max_instances, copy.rate_milli, copy.mean_us,
                copy.held[:DECISION_TEXT].rstrip(b"\0").decode("ascii", "replace"), copy.policy, copy.stay,
                copy.overrides, tuple([copy.inputs[i] for i in range(<int> min(copy.inputs_used, DECISION_INPUTS))]),
                copy.command, copy.recycled, text_of(copy.who[:OVERRIDE_WHO]), text_of(copy.why[:OVERRIDE_REASON]),
            ))
        return found

    # -- the ring of lives ---------------------------------------------------------------------------------------------

    def list_lives(self, uint64_t since=0):
        """Those with a number above `since` that are kept, oldest first."""
        cdef uint64_t last = getu64(&self.header.lives_written)
        cdef uint64_t number
        cdef LifeSlot copy
        cdef LifeSlot* it
        found = []
        for number in range(max(since, last - LIVES if last > LIVES else 0) + 1, last + 1):
            it = &self.life_ring[(number - 1) % LIVES]
            if getu64(&it.number) != number:
                continue
            memcpy(&copy, it, sizeof(LifeSlot))
            fence()
            if getu64(&it.number) != number:
                continue        # overwritten meanwhile
            found.append(Life(number, copy.id[:4], copy.pool, copy.asked, copy.opened, copy.ended, copy.requests,
                              copy.busy_ns, copy.reason, copy.let_go != 0))
        return found
