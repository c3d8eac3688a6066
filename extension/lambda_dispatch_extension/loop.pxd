"""An event loop with what the extension needs: asyncio costs 35 ms of CPU and 8 MiB at every cold start.

Its names are asyncio's: Future, Task, Event, timeout, gather, sleep. Two things differ: to cancel a task leaves what it
awaits alone (a future may have other waiters), and there is one loop, the process's. Connections are in transport.pyx,
TLS in tls.py.
"""

cdef class Handle:
    cdef object callback        # None once cancelled
    cdef tuple args


cdef class Future:
    cdef Loop loop
    cdef object value
    cdef object error           # an exception, or None
    cdef bint finished
    cdef bint unseen            # it has failed and result() was not called
    cdef list callbacks         # each called once with the future, in a later turn
    cdef int finish(self) except -1


cdef class Task(Future):
    cdef object coroutine
    cdef Future waiting         # what the coroutine awaits; None while it runs or is about to
    cdef bint must_cancel       # CancelledError goes into the coroutine at its next step
    cdef readonly int cancels   # calls of cancel() without an uncancel()


cdef class Loop:
    cdef object ready           # a deque of Handles that run in this turn or the next
    cdef list timers            # a heap of (when, number, Handle)
    cdef long number            # of timers ever made: equal times run in their order
    cdef dict readers           # descriptor -> Handle
    cdef dict writers
    cdef int epoll
    cdef int waker              # the writing end of a pipe that ends a sleep: signals, threads
    cdef int wakened            # its reading end
    cdef readonly Task current
    cdef public object on_error     # called with an exception that was not caught

    cdef int turn(self) except -1
    cdef int run(self, Handle handle) except -1
    cdef int change(self, int fd) except -1
    cdef int sleep(self) except -1
