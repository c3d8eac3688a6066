"""The waiting line of a pool; its rules stand in waitqueue.pxd.

A waiter's links are references, so waiters in a queue form cycles that only the collector could take apart. Every way
out of the queue therefore cuts all three links of the one that leaves.
"""

cimport cython
from libc.stdint cimport int64_t


cdef class Waiter:
    pass


cdef int check_free(Waiter waiter) except -1:
    if waiter is None or waiter._queue is not None:
        raise ValueError("a waiter must be an object that stands in no queue yet")
    return 0


@cython.final
cdef class WaitQueue:

    def __init__(self, Py_ssize_t limit, WaitQueue beside=None):
        self.set_limit(limit)
        self._beside = beside

    def set_limit(self, Py_ssize_t limit):
        """Who is in it stays, whatever the limit."""
        if limit < 0:
            raise ValueError(f"a queue's limit cannot be negative: {limit}")
        self.limit = limit

    cdef bint push(self, Waiter waiter, int64_t since, int64_t deadline) except -1:
        check_free(waiter)
        if self.length >= self.limit:
            return False
        waiter.since = since
        waiter.deadline = deadline
        waiter._queue = self
        waiter._before = self._tail
        if self._tail is None:
            self._head = waiter
        else:
            self._tail._next = waiter
        self._tail = waiter
        self._count(1)
        return True

    cdef int push_front(self, Waiter waiter) except -1:
        cdef Waiter after = self._head
        cdef Waiter before = None
        check_free(waiter)
        # Several may come back, and not in the order in which they left.
        while after is not None and after.since < waiter.since:
            before = after
            after = after._next
        return self._link(waiter, before, after)

    cdef int put(self, Waiter waiter) except -1:
        cdef Waiter before = self._tail
        cdef Waiter after = None
        check_free(waiter)
        while before is not None and before.since > waiter.since:
            after = before
            before = before._before
        return self._link(waiter, before, after)

    cdef int _link(self, Waiter waiter, Waiter before, Waiter after) except -1:
        waiter._queue = self
        waiter._next = after
        waiter._before = before
        if after is None:
            self._tail = waiter
        else:
            after._before = waiter
        if before is None:
            self._head = waiter
        else:
            before._next = waiter
        self._count(1)
        return 0

    cdef Waiter pop(self):
        cdef Waiter oldest = self._head
        if oldest is not None:
            self._unlink(oldest)
        return oldest

    cdef bint remove(self, Waiter waiter) except -1:
        if waiter is None or waiter._queue is not self:
            return False
        self._unlink(waiter)
        return True

    cdef Waiter expire(self, int64_t now):
        cdef Waiter oldest = self._head
        if oldest is None or oldest.deadline > now:
            return None
        self._unlink(oldest)
        return oldest

    cdef int64_t oldest(self) noexcept:
        return self._head.since if self._head is not None else 0

    cdef void _unlink(self, Waiter waiter) noexcept:
        cdef Waiter before = waiter._before
        cdef Waiter after = waiter._next
        if before is None:
            self._head = after
        else:
            before._next = after
        if after is None:
            self._tail = before
        else:
            after._before = before
        waiter._before = None
        waiter._next = None
        waiter._queue = None
        self._count(-1)

    def __len__(self):
        return self.length
