"""The event loop of the simulator; what it plays stands in world.pxd."""

cimport cython
from cpython cimport array
from libc.math cimport ceil
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from lambda_dispatch.simulator.heap cimport Event, heap_free, heap_pop, heap_push
from lambda_dispatch.simulator.service cimport THROTTLED, Service
from lambda_dispatch_core.board.layout cimport (
    BUCKETS, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, INSTANCE_STARTING, NOT_USABLE, observe,
)

import array as arrays

from lambda_dispatch_core.board.board import Instance, PoolTotals

cdef extern from "board/pick.h" nogil:
    int ld_pick(const int16_t* in_flight, const int16_t* limits, const int16_t* mask, int count, int hint,
                int turn, int16_t packs) noexcept

cdef enum:
    MAX_PLACES = 4096           # instances of one pool, as on the board
    TICK = 100000000            # ns between two looks, as in scaler/loop.py
    AFTER_BELL = 5000000        # ns
    REFUSAL = 20000000          # ns after which Lambda answers that it will not
    LEAVES = 15000000000        # ns from an instance's wish to end to its invoke's deadline
    MARGIN = 14000000000        # ns from the same to the last second of its invoke, when it is cut

    # Kinds of events
    E_OPEN = 1                  # a start is over
    E_DONE = 2                  # a request is
    E_NEXT_DONE = 3             # a request is, where requests slow each other; `generation` is a version
    E_IDLE = 4                  # look whether the instance is idle
    E_DEADLINE = 5
    E_GOAWAY = 6                # a draining instance is released
    E_CUT = 7                   # the invoke's last second
    E_REFUSED = 8               # Lambda's answer to an invoke that it throttled
    E_WARMED = 9                # an init-only invoke returns

    # Places in REASONS
    R_NONE = 0
    R_GOAWAY = 1
    R_IDLE = 2
    R_DEADLINE = 3
    R_THROTTLED = 4
    R_FAILED = 5

cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF
cdef double SECOND = 1e9

# As in scaler/verdict.py.
REASONS = ("", "RouterGoAway", "SelfLastActive", "SelfDeadline", "Throttled", "FunctionError")


@cython.final
cdef class World:
    def __cinit__(self):
        self.heap.events = NULL
        self.heap.length = self.heap.room = 0
        self.heap.pushed = 0

    def __init__(self, array.array arrive not None, array.array takes not None, Service service not None, *,
                 int pools=1, int limit=10, double idle_exit=0.25, double life=885.0, double queue_timeout=120.0,
                 long long queue_limit=0, double tail=90.0, double share=0.0, double cpus=1.0, failing=None,
                 bint ends_idle=False, double sample_every=0.0, int clients=0, double until=0.0):
        cdef Py_ssize_t i
        if arrive.typecode != "q" or takes.typecode != "q" or len(arrive) != len(takes):
            raise ValueError("arrivals and service times are two arrays of 64-bit integers, of one length")
        if clients > len(arrive):
            raise ValueError("as many requests as clients, at least")
        self.count = len(arrive)
        self.issued = clients if clients > 0 else self.count
        self.until = <int64_t> (until * SECOND) if clients > 0 else 0
        self.requests = (arrive, takes)
        self.arrive = <int64_t*> arrive.data.as_longlongs
        self.takes = <int64_t*> takes.data.as_longlongs
        self.service = service
        self.pools = pools
        self.limit = limit
        self.idle_exit = <int64_t> (idle_exit * SECOND)
        self.life = <int64_t> (life * SECOND)
        self.patience = <int64_t> (queue_timeout * SECOND)
        self.queue_limit = queue_limit if queue_limit > 0 else FOREVER
        self.tail = <int64_t> (tail * SECOND)
        self.share = share
        self.cpus = cpus
        self.contended = share * limit > cpus
        self.failing = failing
        self.ends_idle = ends_idle
        self.sample_every = <int64_t> (sample_every * SECOND)
        self.next_sample = 0 if sample_every > 0 else FOREVER
        self.over_at = -1
        self.ends = []
        self.samples = []
        self.sent = <int64_t*> malloc((self.count + 1) * sizeof(int64_t))
        self.done = <int64_t*> malloc((self.count + 1) * sizeof(int64_t))
        self.after = <int32_t*> malloc((self.count + 1) * sizeof(int32_t))
        self.pool = <Pool*> calloc(pools, sizeof(Pool))
        self.places = <Place*> calloc(<size_t> pools * MAX_PLACES, sizeof(Place))
        self.in_flight = <int16_t*> calloc(<size_t> pools * MAX_PLACES, sizeof(int16_t))
        self.limits = <int16_t*> calloc(<size_t> pools * MAX_PLACES, sizeof(int16_t))
        self.mask = <int16_t*> calloc(<size_t> pools * MAX_PLACES, sizeof(int16_t))
        if (self.sent == NULL or self.done == NULL or self.after == NULL or self.pool == NULL or self.places == NULL
                or self.in_flight == NULL or self.limits == NULL or self.mask == NULL):
            raise MemoryError
        for i in range(self.count):
            self.sent[i] = self.done[i] = -1
        for i in range(<Py_ssize_t> pools * MAX_PLACES):
            self.mask[i] = NOT_USABLE
            self.limits[i] = <int16_t> limit
        for i in range(pools):
            self.pool[i].first = self.pool[i].last = -1
            for k in range(HINTS):
                self.pool[i].parked[k] = -1
        self.due = 0

    def __dealloc__(self):
        cdef Py_ssize_t i
        heap_free(&self.heap)
        if self.places != NULL:
            for i in range(<Py_ssize_t> self.pools * MAX_PLACES):
                free(self.places[i].running)
                free(self.places[i].done_at)
        free(self.sent)
        free(self.done)
        free(self.after)
        free(self.pool)
        free(self.places)
        free(self.in_flight)
        free(self.limits)
        free(self.mask)

    # The clock --------------------------------------------------------------------------------------------------------

    def advance(self):
        """Lets time pass until a pool's scaler is to look; that pool's number, or -1 when all is over."""
        cdef int64_t arrival, event, at
        cdef int p
        cdef Event it
        while True:
            if self.settled == self.issued and self.over_at < 0:
                self.over_at = self.now + self.tail
            arrival = self.arrive[self.arrived] if self.arrived < self.issued else FOREVER
            event = self.heap.events[0].at if self.heap.length else FOREVER
            at = arrival if arrival <= event else event
            if self.due < at:
                at = self.due
            if self.next_sample <= at:
                self._sample()
            if self.over_at >= 0 and (at > self.over_at or self._living() == 0):
                self._close_books()
                return -1
            self.now = at
            if arrival == at:
                self._arrive(<int32_t> self.arrived)
                self.arrived += 1
            elif event == at:
                it = heap_pop(&self.heap)
                self._happen(it.kind, it.place, it.generation, it.request)
            else:
                for p in range(self.pools):
                    if self.pool[p].next_look == at:
                        self._expire(p)
                        self.pool[p].next_look = at + TICK
                        self._find_due()
                        return p

    def _living(self):
        cdef int p, living = 0
        for p in range(self.pools):
            living += self.pool[p].living
        return living

    def _find_due(self):
        cdef int p
        self.due = FOREVER
        for p in range(self.pools):
            if self.pool[p].next_look < self.due:
                self.due = self.pool[p].next_look

    def _close_books(self):
        """What still lives at the end of the tail is billed until then."""
        cdef Py_ssize_t i
        cdef int64_t end = max(self.now, self.over_at) if self._living() else self.now
        for i in range(<Py_ssize_t> self.pools * MAX_PLACES):
            if self.places[i].state != INSTANCE_FREE:
                self.billed += max(0, end - self.places[i].created)
        self.now = end

    def look_in(self, int pool, double seconds):
        """The pool's scaler looks so much later, at most."""
        cdef int64_t at = self.now + <int64_t> (seconds * SECOND)
        if at < self.pool[pool].next_look:
            self.pool[pool].next_look = at
            self._find_due()

    cdef void _ring(self, int p) noexcept:
        cdef int64_t at = self.now + AFTER_BELL
        if at < self.pool[p].next_look:
            self.pool[p].next_look = at
            if at < self.due:
                self.due = at

    cdef int _sample(self) except -1:
        cdef int p
        cdef int64_t living = 0, queued = 0, running = 0
        for p in range(self.pools):
            living += self.pool[p].living
            queued += self.pool[p].queued
            running += self.pool[p].running
        self.samples.append((self.next_sample, living, queued, running))
        self.next_sample += self.sample_every
        return 0

    # What a scaler sees -----------------------------------------------------------------------------------------------

    def totals(self, int pool):
        """As Board.pool_totals()."""
        cdef Pool* it = &self.pool[pool]
        cdef int64_t oldest = self.arrive[it.first] if it.first >= 0 else 0
        return PoolTotals(it.queued, it.running, oldest, it.arrivals, it.completions, it.duration, it.waited,
                          it.last_used, it.failures)

    def service_counts(self, int pool):
        """As Board.numbers().service.counts."""
        return [self.pool[pool].service.bucket[n] for n in range(BUCKETS)]

    def instances(self, int pool):
        """As Board.list_instances(), of one pool."""
        cdef int i
        found = []
        for i in range(self.pool[pool].high):
            if self.places[pool * MAX_PLACES + i].state != INSTANCE_FREE:
                found.append(self._instance(pool, i))
        return found

    def _instance(self, int pool, int place):
        cdef Place* it = &self.places[pool * MAX_PLACES + place]
        return Instance(
            place, it.generation, b"", it.state, pool, self.limit, self.in_flight[pool * MAX_PLACES + place], 0, 0,
            it.served, it.created, it.opened, it.ends + LEAVES if it.ends else 0, it.goaway_at, it.reason != R_NONE,
        )

    def take_ends(self, int pool):
        """The pool's invokes that have returned since the last call: the instance as it was last, reason, at (ns)."""
        mine = [end[1:] for end in self.ends if end[0] == pool]
        self.ends = [end for end in self.ends if end[0] != pool]
        return mine

    # What a scaler does -----------------------------------------------------------------------------------------------

    def start(self, int pool, bint stays=False):
        """One more invoke: its place and generation, or None when there is no place."""
        cdef int place, kind
        cdef Pool* of = &self.pool[pool]
        cdef Place* it
        cdef int base = pool * MAX_PLACES
        for place in range(MAX_PLACES):
            if self.places[base + place].state == INSTANCE_FREE:
                break
        else:
            return None
        it = &self.places[base + place]
        it.state = INSTANCE_STARTING
        it.generation += 1
        it.created = self.now
        it.opened = it.ends = it.goaway_at = 0
        it.served = 0
        it.reason = R_NONE
        it.stays = stays and not self.ends_idle
        it.watched = False
        self.in_flight[base + place] = 0
        of.living += 1
        of.high = max(of.high, place + 1)
        self.invokes += 1
        kind = self.service.invoke(self.now)
        if kind == THROTTLED:
            heap_push(&self.heap, self.now + REFUSAL, E_REFUSED, base + place, it.generation, 0)
            return place, it.generation
        if self.failing is not None and self.failing():
            it.reason = R_FAILED
        heap_push(&self.heap, self.now + self.service.takes(kind), E_OPEN, base + place, it.generation, 0)
        return place, it.generation

    def warm(self):
        """One init-only invoke: an environment is started, or thawed, and frozen again at once."""
        cdef int kind = self.service.invoke(self.now)
        cdef int64_t takes
        self.invokes += 1
        self.spare_invokes += 1
        if kind == THROTTLED:
            return False
        takes = self.service.takes(kind)
        self.billed += takes
        heap_push(&self.heap, self.now + takes, E_WARMED, 0, 0, 0)
        return True

    def let_go(self, int pool, int place):
        """The instance takes nothing more, and ends when nothing of it is in flight. Whether that is news."""
        cdef int at = pool * MAX_PLACES + place
        cdef Place* it = &self.places[at]
        if it.state == INSTANCE_OPEN:
            it.state = INSTANCE_DRAINING
            self.mask[at] = NOT_USABLE
        elif it.state == INSTANCE_DRAINING and it.goaway_at > self.now:
            self.pool[pool].resorts -= 1
        else:
            return False
        self._retire(pool, at, it.reason if it.reason != R_NONE else R_GOAWAY)
        return True

    def recycle(self, int pool, int place, double seconds):
        """The instance takes nothing more, but as a last resort for so long."""
        cdef int at = pool * MAX_PLACES + place
        if self.places[at].state != INSTANCE_OPEN:
            return False
        self._last_resort(pool, at, R_GOAWAY, self.now + <int64_t> (seconds * SECOND))
        return True

    def pack(self, int pool, int most):
        """From now on the fullest instance with fewer than `most` requests is used first; 0: the least busy one."""
        self.pool[pool].packs = <int16_t> most

    # Requests ---------------------------------------------------------------------------------------------------------

    cdef int _arrive(self, int32_t request) except -1:
        cdef int p = request % self.pools
        cdef Pool* pool = &self.pool[p]
        cdef int place
        pool.arrivals += 1
        pool.last_used = self.now
        if pool.queued == 0:
            place = self._acquire(p)
            if place >= 0:
                return self._send(p, place, request)
        if pool.queued >= self.queue_limit:
            self.refused += 1
            self._settle()
            return 0
        self.after[request] = -1
        if pool.last >= 0:
            self.after[pool.last] = request
        else:
            pool.first = request
        pool.last = request
        pool.queued += 1
        self._ring(p)
        return 0

    # The place of a free slot, or -1.
    cdef int _acquire(self, int p) noexcept:
        cdef Pool* pool = &self.pool[p]
        cdef int base = p * MAX_PLACES
        cdef int place = -1
        cdef int16_t* top = &pool.parked[pool.parked_top % HINTS]
        while top[0] >= 0:
            place = top[0]
            top[0] = -1
            pool.parked_top -= 1
            if self.mask[base + place] == 0:
                break
            place = -1
            top = &pool.parked[pool.parked_top % HINTS]
        place = ld_pick(&self.in_flight[base], &self.limits[base], &self.mask[base], pool.high, place, pool.turn,
                        pool.packs)
        if place >= 0:
            pool.turn = place + 1
            return base + place
        return self._resort(p) if pool.resorts else -1

    cdef int _resort(self, int p) noexcept:
        cdef int i
        for i in range(p * MAX_PLACES, p * MAX_PLACES + self.pool[p].high):
            if (self.places[i].state == INSTANCE_DRAINING and self.places[i].goaway_at > self.now
                    and self.in_flight[i] < self.limits[i]):
                return i
        return -1

    cdef int _send(self, int p, int place, int32_t request) except -1:
        cdef Pool* pool = &self.pool[p]
        cdef Place* it = &self.places[place]
        cdef int n = self.in_flight[place]
        self.sent[request] = self.now
        pool.waited += self.now - self.arrive[request]
        pool.running += 1
        self.in_flight[place] = <int16_t> (n + 1)
        it.running[n] = request
        if not self.contended:
            heap_push(&self.heap, self.now + self.takes[request], E_DONE, place, it.generation, request)
            return 0
        self._progress(place, n)
        it.done_at[n] = it.progress + self.takes[request] / SECOND
        return self._next_completion(place)

    cdef int _serve(self, int p) except -1:
        cdef Pool* pool = &self.pool[p]
        cdef int place
        cdef int32_t request
        while pool.first >= 0:
            place = self._acquire(p)
            if place < 0:
                return 0
            request = pool.first
            pool.first = self.after[request]
            if pool.first < 0:
                pool.last = -1
            pool.queued -= 1
            self._send(p, place, request)
        return 0

    cdef int _complete(self, int p, int place, int32_t request) except -1:
        cdef Pool* pool = &self.pool[p]
        cdef Place* it = &self.places[place]
        cdef int i = 0
        self.done[request] = self.now
        self.completed += 1
        self._settle()
        pool.completions += 1
        pool.duration += self.now - self.sent[request]
        observe(&pool.service, self.now - self.sent[request])
        self.busy += self.now - self.sent[request]
        pool.running -= 1
        while it.running[i] != request:
            i += 1
        self.in_flight[place] -= 1
        it.running[i] = it.running[self.in_flight[place]]
        it.served += 1
        it.last_active = self.now
        if it.state == INSTANCE_OPEN:
            pool.parked_top += 1
            pool.parked[pool.parked_top % HINTS] = <int16_t> (place - p * MAX_PLACES)
        if pool.first >= 0:
            self._serve(p)
        if self.in_flight[place] == 0:
            if it.state == INSTANCE_DRAINING and it.goaway_at <= self.now:
                return self._end(p, place, it.reason, True)
            return self._look_if_idle(place)
        return 0

    # A request is over. Where clients send the next one only then, it arrives now.
    cdef void _settle(self) noexcept:
        self.settled += 1
        if self.now < self.until and self.issued < self.count:
            self.arrive[self.issued] = self.now
            self.issued += 1

    cdef int _expire(self, int p) noexcept:
        cdef Pool* pool = &self.pool[p]
        while pool.first >= 0 and self.arrive[pool.first] + self.patience <= self.now:
            pool.first = self.after[pool.first]
            if pool.first < 0:
                pool.last = -1
            pool.queued -= 1
            pool.failures += 1
            self.expired += 1
            self._settle()
        return 0

    # Requests that slow each other ------------------------------------------------------------------------------------

    # s of service time that each of n requests gets in a second.
    cdef double _rate(self, int n) noexcept:
        cdef double crowd = n * self.share / self.cpus
        return 1.0 / ((1.0 - self.share) + self.share * (crowd if crowd > 1.0 else 1.0))

    cdef int _progress(self, int place, int n) noexcept:
        cdef Place* it = &self.places[place]
        if n:
            it.progress += (self.now - it.progressed) / SECOND * self._rate(n)
        it.progressed = self.now
        return 0

    cdef int _next_completion(self, int place) except -1:
        cdef Place* it = &self.places[place]
        cdef int i, n = self.in_flight[place]
        cdef double first
        it.version += 1
        if n == 0:
            return 0
        first = it.done_at[0]
        for i in range(1, n):
            if it.done_at[i] < first:
                first = it.done_at[i]
        first = max(0.0, (first - it.progress) / self._rate(n))
        heap_push(&self.heap, self.now + <int64_t> ceil(first * SECOND), E_NEXT_DONE, place, it.version, 0)
        return 0

    cdef int _first_done(self, int p, int place) except -1:
        cdef Place* it = &self.places[place]
        cdef int i, first = 0, n = self.in_flight[place]
        cdef int32_t request
        self._progress(place, n)
        for i in range(1, n):
            if it.done_at[i] < it.done_at[first]:
                first = i
        request = it.running[first]
        it.done_at[first] = it.done_at[n - 1]
        self._complete(p, place, request)
        if it.state != INSTANCE_FREE:
            self._next_completion(place)
        return 0

    # Instances --------------------------------------------------------------------------------------------------------

    cdef int _happen(self, int kind, int place, uint32_t generation, int32_t request) except -1:
        cdef int p = place // MAX_PLACES
        cdef Place* it = &self.places[place]
        if kind == E_WARMED:
            return self.service.returned(self.now, True)
        if kind == E_NEXT_DONE:
            return self._first_done(p, place) if it.version == generation else 0
        if it.generation != generation or it.state == INSTANCE_FREE:
            return 0
        if kind == E_DONE:
            return self._complete(p, place, request)
        if kind == E_OPEN:
            return self._open(p, place)
        if kind == E_IDLE:
            it.watched = False
            if self.in_flight[place] or it.state != INSTANCE_OPEN:
                return 0
            if self.now - it.last_active < self.idle_exit:
                return self._look_if_idle(place)
            return self._ask_to_end(p, place, R_IDLE)
        if kind == E_DEADLINE:
            return self._ask_to_end(p, place, R_DEADLINE) if it.state == INSTANCE_OPEN else 0
        if kind == E_GOAWAY:
            if it.state == INSTANCE_DRAINING and it.goaway_at == self.now:
                self.pool[p].resorts -= 1
                return self._retire(p, place, it.reason)
            return 0
        if kind == E_CUT:
            return self._end(p, place, R_DEADLINE, True)
        return self._end(p, place, R_THROTTLED, False)

    cdef int _open(self, int p, int place) except -1:
        cdef Place* it = &self.places[place]
        cdef Pool* pool = &self.pool[p]
        if it.reason == R_FAILED:
            return self._end(p, place, R_FAILED, False)
        if it.running == NULL:
            it.running = <int32_t*> malloc(self.limit * sizeof(int32_t))
            it.done_at = <double*> malloc(self.limit * sizeof(double))
            if it.running == NULL or it.done_at == NULL:
                raise MemoryError
        it.state = INSTANCE_OPEN
        it.opened = it.last_active = it.progressed = self.now
        it.progress = 0
        it.ends = self.now + self.life
        self.mask[place] = 0
        for _ in range(self.limit):
            pool.parked_top += 1
            pool.parked[pool.parked_top % HINTS] = <int16_t> (place - p * MAX_PLACES)
        heap_push(&self.heap, it.ends, E_DEADLINE, place, it.generation, 0)
        heap_push(&self.heap, it.ends + MARGIN, E_CUT, place, it.generation, 0)
        self._ring(p)
        self._serve(p)
        return self._look_if_idle(place)

    cdef int _look_if_idle(self, int place) except -1:
        cdef Place* it = &self.places[place]
        if it.stays or it.watched or it.state != INSTANCE_OPEN:
            return 0
        it.watched = True
        return heap_push(&self.heap, it.last_active + self.idle_exit, E_IDLE, place, it.generation, 0)

    # Its extension asks to end: one that has lived for long is given time to be replaced.
    cdef int _ask_to_end(self, int p, int place, int reason) except -1:
        cdef Place* it = &self.places[place]
        cdef int64_t lived = self.now - it.opened
        self._ring(p)
        if lived <= 10000000000:
            it.state = INSTANCE_DRAINING
            self.mask[place] = NOT_USABLE
            return self._retire(p, place, reason)
        return self._last_resort(p, place, reason, self.now + min(lived // 10, 5000000000))

    cdef int _last_resort(self, int p, int place, int reason, int64_t until) except -1:
        cdef Place* it = &self.places[place]
        it.state = INSTANCE_DRAINING
        it.reason = reason
        it.goaway_at = until
        self.mask[place] = NOT_USABLE
        self.pool[p].resorts += 1
        return heap_push(&self.heap, until, E_GOAWAY, place, it.generation, 0)

    cdef int _retire(self, int p, int place, int reason) except -1:
        cdef Place* it = &self.places[place]
        it.goaway_at = self.now
        it.reason = reason
        return self._end(p, place, reason, True) if self.in_flight[place] == 0 else 0

    # The invoke returns, or has never run; requests that are still in flight are lost.
    cdef int _end(self, int p, int place, int reason, bint alive) except -1:
        cdef Place* it = &self.places[place]
        cdef Pool* pool = &self.pool[p]
        cdef int i, lost = self.in_flight[place]
        self.ends.append((p, self._instance(p, place - p * MAX_PLACES), REASONS[reason], self.now))
        if it.state == INSTANCE_DRAINING and it.goaway_at > self.now:
            pool.resorts -= 1
        pool.running -= lost
        pool.failures += lost
        self.cut += lost
        for i in range(lost):
            observe(&pool.service, self.now - self.sent[it.running[i]])
            self._settle()
        self.in_flight[place] = 0
        it.version += 1
        it.state = INSTANCE_FREE
        self.mask[place] = NOT_USABLE
        pool.living -= 1
        while pool.high and self.places[p * MAX_PLACES + pool.high - 1].state == INSTANCE_FREE:
            pool.high -= 1
        if reason != R_THROTTLED:
            self.billed += self.now - it.created
            self.service.returned(self.now, alive)
        self._ring(p)
        return 0

    # What came of it --------------------------------------------------------------------------------------------------

    def waits(self):
        """ns from arrival to dispatch of every request that was dispatched, in the order of arrival."""
        cdef Py_ssize_t i
        cdef array.array found = arrays.array("q")
        for i in range(self.count):
            if self.sent[i] >= 0:
                found.append(self.sent[i] - self.arrive[i])
        return found

    def times(self):
        """ns from arrival to the last byte of every request that was completed, in the order of arrival."""
        cdef Py_ssize_t i
        cdef array.array found = arrays.array("q")
        for i in range(self.count):
            if self.done[i] >= 0:
                found.append(self.done[i] - self.arrive[i])
        return found
