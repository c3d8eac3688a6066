"""Whose turn it is; the theory stands in turns.pxd."""

from collections import deque

cimport cython
from libc.stdint cimport int64_t

from lambda_dispatch.dispatch.model cimport Slot
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.bytes.atomics cimport get64

# ns by which requests may overtake each other on their way to instances through different workers.
ORDER_WITHIN = ORDER


@cython.final
cdef class Turns:
    def __cinit__(self):
        self.asked = deque()

    cdef int sibling_first(self, Board board, int pool, int64_t since, int64_t now) except -2:
        cdef int sibling = board.sibling_waiting(pool, since - GIVE_WAY)
        cdef int64_t oldest
        if sibling < 0 or now < self.unheeded_until:
            return -1
        oldest = get64(&board.worker_pools[sibling * board.pools + pool].oldest_queued)
        if sibling != self.left_to or oldest != self.left_for or now - self.left_last > GIVE_WAY:
            self.left_to, self.left_for, self.left_at = sibling, oldest, now
        elif now - self.left_at >= LEFT_FREE:
            self.unheeded_until = now + UNHEEDED
            return -1
        self.left_last = now
        return sibling

    cdef int ask(self, object slot, int64_t since, int64_t now) except -1:
        self.asking += 1
        if self.asking == 1:
            self.heard = now
        if self.asking > 1 and since < self.oldest(0):
            self.asked.appendleft(slot)
        else:
            self.asked.append(slot)
        return 0

    cdef int answered(self, int64_t now) except -1:
        self.asking -= 1
        self.heard = now
        if self.asking == 0:
            self.asked.clear()
        return 0

    cdef int64_t oldest(self, int64_t queued) except -1:
        cdef Slot slot
        if self.asking == 0:
            return queued
        while self.asked:
            slot = <Slot> self.asked[0]
            if slot.unsure and slot.exchange is not None:
                return min(queued, slot.exchange.since) if queued else slot.exchange.since
            self.asked.popleft()    # answered, or its client is gone
        return queued
