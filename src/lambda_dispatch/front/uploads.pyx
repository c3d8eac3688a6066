"""Bodies on their way; the rules stand in uploads.pxd."""

cimport cython
from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport ANSWERING, OVER, PRESSURE, WAITING, Exchange, Pool
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.layout cimport INSTANCE_DRAINING, INSTANCE_OPEN
from lambda_dispatch_core.bytes.atomics cimport getu32, getu64
from lambda_dispatch_net.wire cimport Hub

cdef enum:
    SECOND = 1000000000
    COUNT_FOR = SECOND // 10    # how long a count of a pool's slots is good


cdef class ClientExchange(Exchange):
    def __cinit__(self):
        self.grpc_status = -1

    cdef int ask(self, Uploads uploads, bint sized, int64_t now) except -1:
        if self.request_ended:
            return uploads.matcher.submit(self, now)
        self.uploads = uploads
        self.sized = sized
        self.upload = FRESH
        return 0

    cdef int came(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        self.body(p, n, end)
        if self.upload and self.stage != OVER:
            return self.uploads.look(self, end)
        return 0

    cdef int settle(self) except -1:
        cdef Uploads uploads = self.uploads
        cdef int64_t now = self.arrived
        if self.upload != FRESH:
            return 0
        self.seen_at = now
        self.on_collect()
        if self.grpc or not self.sized and (
                2 * uploads.under_way[self.pool.index] < uploads.share_of(self.pool, now)):
            if uploads.start(self, now):
                return 0
        return uploads.hold(self, COLLECTING)

    cdef int64_t least_rate(self, int64_t body_rate) noexcept:
        if self.upload == COLLECTING:
            return body_rate
        if self.needs:
            return 0            # what an upgraded connection or a call says, and when, is not ours to judge
        if self.stage == WAITING or (self.stage == ANSWERING and not self.answer_ended):
            # It waits for a slot, or the application answers and is not done: how long the two may think is their
            # business.
            return 0
        return self.uploads.rate if self.uploads is not None else body_rate

    cdef int on_collect(self) except -1:
        return 0


@cython.final
cdef class Uploads:
    def __init__(self, Hub hub not None, Matcher matcher not None, Board board not None, config):
        self.hub = hub
        self.matcher = matcher
        self.board = board
        self.collecting = {}
        self.eligible = {}
        self.apply(config)

    def apply(self, config):
        """Takes a configuration, for what is looked at from now on."""
        cdef int pool
        self.grace = <int64_t> (config.upload_grace * SECOND)
        self.rate = <int64_t> config.min_upload_rate
        self.share = config.upload_share / max(1, config.workers)
        self.most = config.max_queue
        for pool in range(MAX_POOLS):
            self.counted[pool] = 0

    cdef int look(self, ClientExchange exchange, bint end) except -1:
        cdef uint8_t stage = exchange.upload
        if end:
            self.forget(exchange)
            return 0 if stage == UNDER_WAY else self.matcher.submit(exchange, self.hub.now)
        if (stage == FRESH or stage == COLLECTING) and exchange.backlog() >= PRESSURE:
            if not self.start(exchange, self.hub.now):
                return self.hold(exchange, ELIGIBLE)
        return 0

    cdef int forget(self, ClientExchange exchange) except -1:
        cdef uint8_t stage = exchange.upload
        exchange.upload = NO_UPLOAD
        if stage == UNDER_WAY:
            self.under_way[exchange.pool.index] -= 1
            if self.eligible:
                return self.start_waiting(self.hub.now)
        elif stage == COLLECTING:
            del self.collecting[exchange]
            return self.publish()
        elif stage == ELIGIBLE:
            del self.eligible[exchange]
            return self.publish()
        return 0

    cdef int hold(self, ClientExchange exchange, uint8_t stage) except -1:
        if exchange.upload == COLLECTING:
            del self.collecting[exchange]
        elif len(self.collecting) + len(self.eligible) >= self.most:
            return exchange.fail(503, "queue_full")
        exchange.upload = stage
        if stage == COLLECTING:
            self.collecting[exchange] = None
        else:
            self.eligible[exchange] = None
        return self.publish()

    cdef bint start(self, ClientExchange exchange, int64_t now) except -1:
        cdef Pool pool = exchange.pool
        if exchange.grpc:
            self.forget(exchange)
            self.matcher.submit(exchange, now)
            return True
        if self.under_way[pool.index] >= self.share_of(pool, now):
            return False
        self.forget(exchange)
        exchange.upload = UNDER_WAY
        self.under_way[pool.index] += 1
        self.matcher.submit(exchange, now)
        return True

    cdef int start_waiting(self, int64_t now) except -1:
        cdef ClientExchange exchange
        if self.turning:
            return 0        # what has just become free is seen by the loop below
        self.turning = True
        try:
            for exchange in list(self.eligible):
                if exchange.upload == ELIGIBLE:
                    self.start(exchange, now)
        finally:
            self.turning = False
        return 0

    # Instances of all workers are counted: an upload may be lent a sibling's slot. Draining ones still serve as a last
    # resort, while a worker is replaced all of its own.
    cdef int share_of(self, Pool pool, int64_t now) noexcept:
        cdef Board board = self.board
        cdef int index = pool.index
        cdef int slots = 0
        cdef int state
        cdef int i
        if self.counted[index] == 0 or now - self.counted[index] >= COUNT_FOR:
            for i in range(<int> getu32(&board.header.instances_high)):
                state = <int> (getu64(&board.slots[i].life) & 0xFF)
                if board.slots[i].pool == <unsigned int> index and (
                        state == INSTANCE_OPEN or state == INSTANCE_DRAINING):
                    slots += board.limits[i]
            self.counted[index] = now
            self.places[index] = max(1, <int> (slots * self.share))
        return self.places[index]

    cdef int publish(self) except -1:
        if self.board.me != NULL:
            self.board.me.uploads_held = len(self.collecting) + len(self.eligible)
        return 0

    # The pool is not forgotten while a request for it is held.
    cdef int touch(self, ClientExchange exchange, int64_t now) noexcept:
        if self.board.my_pools != NULL:
            self.board.my_pools[(<Pool> exchange.pool).index].last_used = now
        return 0

    cdef int tick(self, int64_t now) except -1:
        cdef ClientExchange exchange
        cdef int64_t waited
        if self.collecting:
            for exchange in list(self.collecting):
                self.touch(exchange, now)
                if exchange.request_bytes != exchange.seen:
                    exchange.seen = exchange.request_bytes
                    exchange.seen_at = now
                waited = now - exchange.arrived
                if exchange.upload == COLLECTING and waited >= self.grace and (
                        not exchange.sized or now - exchange.seen_at >= self.grace
                        or exchange.seen >= <double> self.rate * waited / SECOND):
                    if not self.start(exchange, now):
                        self.hold(exchange, ELIGIBLE)
        if self.eligible:
            self.start_waiting(now)
            for exchange in list(self.eligible):
                self.touch(exchange, now)
                if exchange.upload == ELIGIBLE and now - exchange.arrived >= self.matcher.queue_timeout:
                    exchange.fail(504, "upload_timeout")
        return 0
