"""Requests that wait, per pool: an intrusive first-in first-out list.

A Waiter is its own link. Push, pop and removal from anywhere are O(1) and allocate nothing. The queue holds one
reference to each waiter in it; a waiter is in at most one queue.

A queue may stand beside another: its waiters count in the other's length, but only it gives them out. A length
of 0 means that no waiter is in either.
"""

from libc.stdint cimport int64_t


cdef class Waiter:
    cdef Waiter _next           # towards the tail
    cdef Waiter _before         # towards the head
    cdef WaitQueue _queue       # the queue it stands in, or None
    cdef readonly int64_t since     # when it began to wait, in the caller's clock (ns); kept when put back in front
    cdef readonly int64_t deadline  # when it has waited too long, same clock

    cdef inline bint waiting(self) noexcept:
        return self._queue is not None

    # Does nothing when it does not wait.
    cdef inline int leave_queue(self) except -1:
        if self._queue is not None:
            self._queue.remove(self)
        return 0


cdef class WaitQueue:
    cdef Waiter _head
    cdef Waiter _tail
    cdef readonly Py_ssize_t length         # waiters in it now, and in the queues beside it
    cdef readonly Py_ssize_t aside          # of these: in the queues beside it
    cdef WaitQueue _beside                  # the queue that it stands beside, or None
    cdef readonly Py_ssize_t limit          # waiters it may hold; push() beyond it returns False

    # False when full. Deadlines must not decrease towards the tail: since + the queue's one timeout.
    cdef bint push(self, Waiter waiter, int64_t since, int64_t deadline) except -1
    # Back before all that came after it: one that was popped and could not be sent. Ignores the limit: it was counted
    # in once already.
    cdef int push_front(self, Waiter waiter) except -1
    # In the order of `since`, which it keeps, towards the tail; ignores the limit.
    cdef int put(self, Waiter waiter) except -1
    cdef Waiter pop(self)                   # the oldest, or None
    cdef bint remove(self, Waiter waiter) except -1     # False when it is not in this queue
    # The oldest waiter if its deadline <= now, removed; else None. Call until None.
    cdef Waiter expire(self, int64_t now)
    cdef int64_t oldest(self) noexcept      # `since` of the oldest; 0 when empty

    cdef void _unlink(self, Waiter waiter) noexcept
    cdef int _link(self, Waiter waiter, Waiter before, Waiter after) except -1

    # Whether pop() would give one.
    cdef inline bint ready(self) noexcept:
        return self.length > self.aside

    # The oldest, which stays; None.
    cdef inline Waiter first(self):
        return self._head

    cdef inline void _count(self, int by) noexcept:
        self.length += by
        if self._beside is not None:
            self._beside.length += by
            self._beside.aside += by
