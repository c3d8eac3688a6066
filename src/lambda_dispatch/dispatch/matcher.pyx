"""Queue and slots, paired; the theory stands in matcher.pxd."""

cimport cython
from libc.stdint cimport int16_t, int64_t, uint8_t

from lambda_dispatch.dispatch.foreign cimport unfit
from lambda_dispatch.dispatch.model cimport (
    HINTS, OPEN, RESORT, RETIRED, WAITING, Exchange, Instance, Pool, Slot,
)
from lambda_dispatch.dispatch.tunnel cimport Tunnels
from lambda_dispatch_core.bytes.atomics cimport get16, get32, get64, getu32
from lambda_dispatch_core.board.board cimport INSTANCE_OPEN, Board, WorkerPool
from lambda_dispatch_core.board.layout cimport NOT_USABLE, WORKER_DRAINING, WORKER_READY
from lambda_dispatch_core.queue.waitqueue cimport WaitQueue

cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF


cdef class Lender:
    cdef Slot borrow(self, Pool pool, uint8_t needs, int64_t since, int64_t now):
        return None

    cdef Slot borrow_with(self, Pool pool, uint8_t features, int64_t since, int64_t now):
        return None


@cython.final
cdef class Matcher:
    def __init__(self, Board board not None, Py_ssize_t queue_limit, double queue_timeout, on_need, on_sibling):
        self.board = board
        self.pools = {}
        self.instances = {}
        self.tunnels = Tunnels()
        self.set_limits(queue_limit, queue_timeout)
        self.on_need = on_need
        self.on_sibling = on_sibling

    def set_limits(self, Py_ssize_t queue_limit, double queue_timeout):
        """How many may wait per pool, and for how many seconds. Who waits already stays, as long as it was told."""
        cdef Pool pool
        self.queue_limit = queue_limit
        self.queue_timeout = <int64_t> (queue_timeout * 1e9)
        for pool in self.pools.values():
            pool.queue.set_limit(queue_limit)

    def add_pool(self, int index, bytes name not None, unsigned int generation):
        """The pool of this name, made when there was none."""
        pool = self.pools.get(name)
        if pool is None or pool.index != index or pool.generation != generation:
            pool = self.pools[name] = Pool(index, generation, name, self.queue_limit)
        return pool

    def pool_in_use(self, Pool pool not None):
        """Whether the board still has it, or something of it is here."""
        return (self.board.pool_usable(pool.index, pool.generation) or pool.queue.length > 0 or pool.running > 0
                or any(instance is not None for instance in pool.at))

    def drop_pool(self, Pool pool not None):
        """Forgets a pool of which nothing is here."""
        if self.pools.get(pool.name) is pool:
            del self.pools[pool.name]

    def add_instance(self, Instance instance not None):
        cdef Pool pool = instance.pool
        self.instances[instance.key] = instance
        pool.at[instance.slot] = instance

    def drop_instance(self, Instance instance not None):
        """Forgets an instance that has no slots here any more."""
        cdef Pool pool = instance.pool
        assert instance.idle_count == 0 and instance.busy_count == 0
        self.stand(instance, RETIRED)
        if pool.at[instance.slot] is instance:
            pool.at[instance.slot] = None
        if self.instances.get(instance.key) is instance:
            del self.instances[instance.key]

    cdef int submit(self, Exchange exchange, int64_t now) except -1:
        cdef Pool pool = exchange.pool
        cdef Slot slot
        self.board.my_pools[pool.index].arrivals += 1
        self.board.my_pools[pool.index].last_used = now
        # Also for one that is sent at once: it may have to come back to the queue's head, and waits since now then.
        exchange.since = now
        exchange.deadline = now + self.queue_timeout
        if not pool.queue.ready():
            slot = self._acquire(pool, now, now)
            if slot is None and self.lender is not None:
                slot = self.lender.borrow(pool, exchange.needs, now, now)
            if slot is not None:
                self._start(exchange, slot, now)
                return self.publish(pool)
        if not pool.queue.push(exchange, now, now + self.queue_timeout):
            return exchange.fail(503, "queue_full")
        self.publish(pool)
        self.on_need()
        return 0

    cdef int park(self, Instance instance, Slot slot, int64_t now) except -1:
        cdef Pool pool = instance.pool
        slot.instance = instance
        self._enlist(instance, slot)
        self.board.me.channels_parked += 1
        if instance.standing == OPEN:
            pool.parked_top += 1
            pool.parked[pool.parked_top % HINTS] = instance.slot
        if pool.queue.length:
            return self.serve(pool, now)
        if self.lender is not None:
            return self._offer(pool, True)
        return 0

    cdef int _enlist(self, Instance instance, Slot slot) except -1:
        slot.idle = True
        slot.idle_before = None
        slot.next_idle = instance.idle
        if instance.idle is not None:
            instance.idle.idle_before = slot
        instance.idle = slot
        instance.idle_count += 1
        self.board.park(instance.slot, instance.generation)
        self.board.me.idle_channels += 1
        if instance.standing == OPEN:
            instance.pool.mask[instance.slot] = 0
        return 0

    cdef int _put_back(self, Instance instance, Slot slot) except -1:
        self.board.release(instance.slot)
        return self._enlist(instance, slot)

    cdef int unpark(self, Slot slot) except -1:
        cdef Instance instance
        if not slot.idle:
            return 0
        instance = slot.instance
        slot.idle = False
        if slot.idle_before is None:
            instance.idle = slot.next_idle
        else:
            slot.idle_before.next_idle = slot.next_idle
        if slot.next_idle is not None:
            slot.next_idle.idle_before = slot.idle_before
        slot.next_idle = slot.idle_before = None
        instance.idle_count -= 1
        self.board.unpark(instance.slot)
        self.board.me.idle_channels -= 1
        if instance.idle_count == 0:
            instance.pool.mask[instance.slot] = NOT_USABLE
        return 0

    cdef Slot take_idle(self, Instance instance):
        cdef Slot slot = instance.idle
        if slot is not None:
            self.unpark(slot)
        return slot

    # The place that parked last and can be used, or -1; it is taken off.
    cdef int hint(self, Pool pool) noexcept:
        cdef int16_t* top = &pool.parked[pool.parked_top % HINTS]
        cdef int place = top[0]
        while place >= 0:
            top[0] = -1
            pool.parked_top -= 1
            if pool.mask[place] == 0:
                break
            top = &pool.parked[pool.parked_top % HINTS]
            place = top[0]
        return place

    # A free slot of the least busy instance, or of the one to be filled first, reserved, for a request that has waited
    # since `since`; None when this worker has none it may use, or leaves it to a sibling. 0: for a sibling's, which has
    # made sure it is its turn.
    cdef Slot _acquire(self, Pool pool, int64_t since, int64_t now):
        cdef int place
        cdef int16_t packs = <int16_t> get32(&self.board.pool_slots[pool.index].packs)
        cdef Instance instance
        while True:
            place = self.board.pick(pool.mask, <int> self.board.header.instances_high, self.hint(pool), packs)
            if place < 0:
                return None if not pool.resorts else self._acquire_resort(pool, now)
            instance = <Instance> pool.at[place]
            if self.lender is not None and since and self._is_left(instance, since, now):
                return None
            if self.board.reserve(place, instance.generation):
                return self.take_idle(instance)
            if self.board.state_of(place, instance.generation) != INSTANCE_OPEN:
                # It began to close since we looked; the bell that says so is on its way.
                pool.mask[place] = NOT_USABLE

    # Whether a slot of the instance is for somebody else: a request from here that is on its way to it through a
    # sibling, or a sibling's that has waited longer.
    cdef bint _is_left(self, Instance instance, int64_t since, int64_t now) except -1:
        cdef int room = self.board.limits[instance.slot] - get16(&self.board.in_flight[instance.slot])
        if room <= instance.pool.turns.expects(now) and self.board.holder(instance.slot) >= 0:
            return True
        # For one that has just come it is enough to look when there is one slot left: with two there is one for the
        # sibling, too.
        if since == now and room > 1 and instance.idle_count > 1:
            return False
        return self.give_way(instance.pool, since, now)

    cdef Slot _acquire_resort(self, Pool pool, int64_t now):
        cdef Instance instance
        for instance in pool.resorts:
            if instance.idle_count and self.board.reserve_last_resort(instance.slot, instance.generation, now):
                return self.take_idle(instance)
        return None

    cdef int _start(self, Exchange exchange, Slot slot, int64_t now) except -1:
        cdef Instance instance
        cdef int status = 0
        cdef str reason
        if slot.instance is None:
            # A sibling's: it counts there.
            self.board.me.dispatched_sibling += 1
            return exchange.dispatch(slot, now)
        instance = slot.instance
        if exchange.needs & ~instance.features:
            slot = self._fitting(exchange, slot)
            if slot is None:
                return self._set_aside(exchange, now) if exchange.stage == WAITING else 0
            instance = slot.instance
        if not instance.announced:
            reason = unfit(exchange.store, exchange.stored, exchange.head_fields, &status)
            if reason is not None:
                self._put_back(instance, slot)
                return exchange.fail(status, reason)
        slot.held = True
        exchange.served = instance.slot
        exchange.served_generation = instance.generation
        instance.busy_count += 1
        instance.pool.running += 1
        self.running += 1
        self.board.my_pools[instance.pool.index].wait_ns += now - (exchange.since or exchange.arrived)
        self.board.me.dispatched_local += 1
        return exchange.dispatch(slot, now)

    # A mixed fleet is one whose function is being updated: it is rare, and so is a request that needs more than HTTP.
    cdef Slot _with_features(self, Exchange exchange):
        cdef Pool pool = exchange.pool
        cdef Instance best = None
        cdef int16_t busy, least = NOT_USABLE
        cdef int place
        for place in range(<int> self.board.header.instances_high):
            if pool.mask[place] != 0 or exchange.needs & ~(<Instance> pool.at[place]).features:
                continue
            busy = get16(&self.board.in_flight[place])
            if busy < least and busy < self.board.limits[place]:
                least = busy
                best = <Instance> pool.at[place]
        if best is not None and self.board.reserve(best.slot, best.generation):
            return self.take_idle(best)
        return None

    cdef Slot _fitting(self, Exchange exchange, Slot slot):
        cdef Slot other = self._with_features(exchange)
        if other is None and not self._awaits_features(exchange):
            exchange.without(exchange.needs & ~slot.instance.features)
            if exchange.stage == WAITING:
                return slot
        self._put_back(slot.instance, slot)
        return other

    cdef bint _awaits_features(self, Exchange exchange) noexcept:
        cdef Pool pool = exchange.pool
        return self.board.has_features(pool.index, exchange.needs, not exchange.needs & ~pool.newest)

    cdef int _set_aside(self, Exchange exchange, int64_t now) except -1:
        cdef Pool pool = exchange.pool
        # One that came earlier was counted in then.
        if exchange.since == now and pool.queue.length >= pool.queue.limit:
            return exchange.fail(503, "queue_full")
        pool.aside(exchange.needs).put(exchange)
        self.publish(pool)
        self.on_need()
        return 0

    cdef int _serve_aside(self, WaitQueue aside, int64_t now) except -1:
        cdef Exchange exchange
        cdef Slot slot
        while aside.length:
            exchange = <Exchange> aside.first()
            slot = self._with_features(exchange)
            if slot is None and self.lender is not None:
                slot = self.lender.borrow_with(exchange.pool, exchange.needs, exchange.since, now)
            if slot is None and self._awaits_features(exchange):
                break
            exchange.leave_queue()
            if slot is not None:
                self._start(exchange, slot, now)
                continue
            exchange.without(exchange.needs)
            if exchange.stage == WAITING:
                exchange.pool.queue.push_front(exchange)
        return 0

    cdef int refused(self, Exchange exchange) except -1:
        cdef Pool pool = exchange.pool
        if exchange.needs and self.board.lacks_features(pool.index, exchange.needs):
            pool.aside(exchange.needs).put(exchange)
        else:
            pool.queue.push_front(exchange)
        return self.publish(pool)

    cdef int serve(self, Pool pool, int64_t now) except -1:
        cdef Slot slot
        cdef Exchange exchange
        if pool.queue.aside:
            self._serve_aside(pool.for_upgrade, now)
            self._serve_aside(pool.for_grpc, now)
        while pool.queue.ready():
            slot = self._acquire(pool, pool.queue.oldest(), now)
            if slot is None and self.lender is not None:
                slot = self.lender.borrow(pool, (<Exchange> pool.queue.first()).needs, pool.queue.oldest(), now)
            if slot is None:
                break
            exchange = <Exchange> pool.queue.pop()
            self._start(exchange, slot, now)
        self.publish(pool)
        if self.lender is not None and not pool.queue.ready():
            return self._offer(pool, False)
        return 0

    cdef bint give_way(self, Pool pool, int64_t since, int64_t now) except -1:
        cdef int sibling = pool.turns.sibling_first(self.board, pool.index, since, now)
        if sibling < 0:
            return False
        self.on_sibling(sibling)
        return True

    # Slots stay free here, for certain or perhaps: of the siblings that have somebody in their queue, the one whose
    # oldest has waited longest is asked. Whether it comes or not, submit_guest() and serve_all() offer what is left.
    cdef int _offer(self, Pool pool, bint certain) except -1:
        cdef int worker, state, sibling = -1
        cdef int64_t oldest, since = FOREVER
        cdef WorkerPool* theirs
        for worker in range(self.board.workers):
            theirs = &self.board.worker_pools[worker * self.board.pools + pool.index]
            oldest = get64(&theirs.oldest_queued)
            if worker == self.board.worker or oldest == 0 or oldest >= since or get32(&theirs.queued) == 0:
                continue
            state = <int> getu32(&self.board.worker_slots[worker].state)
            if state == WORKER_READY or state == WORKER_DRAINING:
                sibling = worker
                since = oldest
        if sibling >= 0 and (certain or pool.resorts
                             or self.board.pick(pool.mask, <int> self.board.header.instances_high, -1, 0) >= 0):
            self.on_sibling(sibling)
        return 0

    cdef bint submit_guest(self, Exchange exchange, int64_t now) except -1:
        cdef Pool pool = exchange.pool
        cdef Slot slot = self._acquire(pool, 0, now)
        if slot is None:
            return False
        if exchange.needs & ~slot.instance.features:
            slot = self._fitting(exchange, slot)
            if slot is None:
                return exchange.stage != WAITING
        self.board.me.served_siblings += 1
        self._start(exchange, slot, now)
        # It came for the slot that was left to it: whose turn is it now?
        if pool.queue.length:
            self.serve(pool, now)
            return True
        self.publish(pool)
        self._offer(pool, False)
        return True

    cdef Pool pool_at(self, int64_t index):
        cdef Pool pool
        for pool in self.pools.values():
            if pool.index == index:
                return pool
        return None

    # The slot's exchange is over; the slot is held until the instance has ended, too.
    cdef int satisfied(self, Slot slot, int64_t now) except -1:
        self._completed(slot.instance.pool, slot.exchange, now)
        slot.exchange = None
        return 0

    cdef int _completed(self, Pool pool, Exchange exchange, int64_t now) except -1:
        cdef WorkerPool* mine = &self.board.my_pools[pool.index]
        if exchange.status == 101:
            return 0        # how long a tunnel lives says nothing about how long requests take
        mine.completions += 1
        if exchange.fault is not None and not exchange.fault.startswith("client_"):
            mine.failures += 1
        mine.duration_ns += now - exchange.sent
        return 0

    # The reservation of a slot that is no longer served from returns.
    cdef int done(self, Slot slot, int64_t now) except -1:
        cdef Instance instance = slot.instance
        cdef Exchange exchange = slot.exchange
        slot.exchange = None
        if not slot.held:
            return 0
        slot.held = False
        if exchange is not None and exchange.stage != WAITING:
            self._completed(instance.pool, exchange, now)
        instance.busy_count -= 1
        instance.pool.running -= 1
        self.running -= 1
        self.board.release(instance.slot)
        self.board.count_served(instance.slot)
        if instance.pool.queue.length:
            return self.serve(instance.pool, now)
        self.publish(instance.pool)
        # Room at the instance, for any worker that holds an idle channel of it.
        if self.lender is not None:
            return self._offer(instance.pool, True)
        return 0

    cdef int lost(self, Slot slot, bint unseen, str reason, int64_t now) except -1:
        cdef Exchange exchange = slot.exchange
        if slot.idle:
            return self.unpark(slot)
        if exchange is None:
            return self.done(slot, now)
        if exchange.may_resend(unseen):
            exchange.take_back()
            self.board.me.resends += 1
            self.board.my_numbers[exchange.pool.index].resends += 1
            exchange.pool.queue.push_front(exchange)
            self.done(slot, now)
            self.serve(exchange.pool, now)
            if exchange.waiting():
                self.on_need()
            return 0
        exchange.slot = None
        self.board.my_pools[exchange.pool.index].failures += 1
        self.done(slot, now)
        return exchange.fail(502, reason, slot.where())

    cdef int stand(self, Instance instance, uint8_t standing) except -1:
        cdef Pool pool = instance.pool
        if instance.standing == RESORT and standing != RESORT:
            pool.resorts.remove(instance)
        elif standing == RESORT and instance.standing != RESORT:
            pool.resorts.append(instance)
        instance.standing = standing
        pool.mask[instance.slot] = 0 if standing == OPEN and instance.idle_count else NOT_USABLE
        return 0

    # What the board should know of this pool here.
    cdef int publish(self, Pool pool) except -1:
        cdef WorkerPool* mine = &self.board.my_pools[pool.index]
        mine.queued = <int> pool.queue.length
        mine.running = pool.running
        mine.oldest_queued = pool.oldest()
        return 0

    def publish_all(self):
        """Brings the board's view of every pool here up to date."""
        cdef Pool pool
        for pool in self.pools.values():
            self.publish(pool)
        self.board.me.queued = self.queued()
        self.board.me.running = self.running
        self.board.me.oldest_queued = self.oldest()

    def resort(self, Instance instance not None):
        """The instance is to be replaced: used while no other has a slot."""
        if instance.standing == OPEN:
            self.stand(instance, RESORT)

    def retire(self, Instance instance not None):
        """The instance parks no more."""
        if instance.standing != RETIRED:
            self.stand(instance, RETIRED)

    def serve_all(self, long long now):
        """Gives waiting exchanges to slots: capacity may have come back without a word."""
        cdef Pool pool
        for pool in self.pools.values():
            if pool.queue.length:
                self.serve(pool, now)
            elif self.lender is not None:
                self._offer(pool, False)

    def expire(self, long long now):
        """Answers 504 to requests that have waited too long. Returns how many."""
        cdef Pool pool
        cdef WaitQueue queue
        cdef Exchange exchange
        cdef int count = 0
        for pool in self.pools.values():
            for queue in (pool.queue, pool.for_upgrade, pool.for_grpc):
                while True:
                    exchange = <Exchange> queue.expire(now)
                    if exchange is None:
                        break
                    count += 1
                    exchange.fail(504, "queue_timeout")
        return count

    def queued(self):
        """Exchanges that wait now, in all pools."""
        cdef Pool pool
        cdef Py_ssize_t total = 0
        for pool in self.pools.values():
            total += pool.queue.length
        return total

    def oldest(self):
        """When the exchange that has waited longest began to wait (ns); 0 when none waits."""
        cdef Pool pool
        cdef WaitQueue queue
        cdef int64_t since
        cdef int64_t oldest = 0
        for pool in self.pools.values():
            for queue in (pool.queue, pool.for_upgrade, pool.for_grpc):
                since = queue.oldest()
                if since and (oldest == 0 or since < oldest):
                    oldest = since
        return oldest
