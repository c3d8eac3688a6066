"""The loop; what it is and is not stands in loop.pxd."""

import signal
from _collections import deque
from _heapq import heappop, heappush

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, ENOENT, errno
from libc.stdint cimport uint32_t
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, read, write

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum: EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_DEL
    enum: EPOLL_CTL_MOD
    enum: EPOLLIN
    enum: EPOLLOUT
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int room, int timeout)

cdef extern from "<unistd.h>" nogil:
    int pipe2(int* ends, int flags)

cdef enum:
    # Descriptors handled per turn; the rest are next.
    PASS = 64
    # Generations of callbacks that run per turn before descriptors and timers have theirs.
    ROUNDS = 4
    # ms; no sleep is longer, so that the arithmetic cannot overflow.
    LONGEST = 3600000

cdef Loop the_loop = None


class CancelledError(BaseException):
    """The task that awaits is to end."""


cdef double monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec / 1e9


def get_running_loop():
    """The process's loop."""
    if the_loop is None:
        raise RuntimeError("there is no loop yet")
    return the_loop


@cython.final
cdef class Handle:
    def cancel(self):
        """What was to be called is not called."""
        self.callback = None
        self.args = ()


cdef class Future:
    def __cinit__(self):
        self.loop = get_running_loop()
        self.callbacks = []

    def __del__(self):
        if self.unseen and self.loop.on_error is not None:
            self.loop.on_error(self.error)

    def done(self):
        return self.finished

    def result(self):
        if not self.finished:
            raise RuntimeError("the result is not there yet")
        self.unseen = False
        if self.error is not None:
            raise self.error
        return self.value

    def set_result(self, value):
        if self.finished:
            raise RuntimeError("the result is there already")
        self.value = value
        self.finish()

    def set_exception(self, error not None):
        if self.finished:
            raise RuntimeError("the result is there already")
        self.error = error
        self.unseen = not isinstance(error, CancelledError)
        self.finish()

    def add_done_callback(self, callback):
        if self.finished:
            self.loop.call_soon(callback, self)
        else:
            self.callbacks.append(callback)

    cdef int finish(self) except -1:
        cdef list callbacks = self.callbacks
        self.finished = True
        self.callbacks = []
        for callback in callbacks:
            self.loop.call_soon(callback, self)
        return 0

    def __await__(self):
        if not self.finished:
            yield self
        return self.result()

    __iter__ = __await__


@cython.final
cdef class Task(Future):
    def __init__(self, coroutine not None):
        self.coroutine = coroutine
        self.loop.call_soon(self.step, None)

    def cancel(self):
        """CancelledError is raised where the coroutine awaits; False when it has ended already."""
        if self.finished:
            return False
        self.cancels += 1
        if self.waiting is not None and not self.waiting.finished:
            self.waiting.callbacks.remove(self.wake)
            self.waiting = None
            self.loop.call_soon(self.step, CancelledError())
        else:
            self.must_cancel = True
        return True

    def uncancel(self):
        """Takes back one request to cancel; how many are left."""
        self.cancels -= 1
        if self.cancels == 0:
            self.must_cancel = False
        return self.cancels

    def wake(self, future):
        self.waiting = None
        self.step(None)

    def step(self, error):
        cdef Task before = self.loop.current
        if self.finished:
            return
        if self.must_cancel:
            self.must_cancel = False
            error = error or CancelledError()
        self.loop.current = self
        try:
            if error is None:
                awaited = self.coroutine.send(None)
            else:
                awaited = self.coroutine.throw(error)
        except StopIteration as stop:
            self.set_result(stop.value)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self.set_exception(failure)
        else:
            if awaited is None or self.must_cancel or (<Future?> awaited).finished:
                self.loop.call_soon(self.step, None)
            else:
                self.waiting = <Future> awaited
                self.waiting.callbacks.append(self.wake)
        finally:
            self.loop.current = before


class Event:
    """Many may wait for it; once set, it stays set until it is cleared."""

    def __init__(self):
        self._set = False
        self._waiters = []

    def is_set(self):
        return self._set

    def set(self):
        waiters, self._waiters, self._set = self._waiters, [], True
        for waiter in waiters:
            waiter.set_result(None)

    def clear(self):
        self._set = False

    async def wait(self):
        if not self._set:
            waiter = Future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)


class timeout:
    """`async with timeout(seconds)`: TimeoutError when the body takes longer; None: no limit."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.expired = False
        self.task = None
        self.timer = None

    async def __aenter__(self):
        loop = get_running_loop()
        self.task = loop.current
        if self.seconds is not None:
            self.timer = loop.call_later(self.seconds, self._expire)
        return self

    def _expire(self):
        self.expired = True
        self.task.cancel()

    async def __aexit__(self, kind, error, trace):
        if self.timer is not None:
            self.timer.cancel()
        if self.expired and self.task.uncancel() == 0 and isinstance(error, CancelledError):
            raise TimeoutError from error
        return False


@cython.final
cdef class Tick:
    def __await__(self):
        yield None


async def sleep(double seconds):
    """Waits so long; 0 lets everything else that is ready run first."""
    if seconds <= 0:
        await Tick()
        return
    future = Future()
    timer = get_running_loop().call_later(seconds, future.set_result, None)
    try:
        await future
    finally:
        timer.cancel()


async def gather(*works, bint return_exceptions=False):
    """Waits for all; their results in order. The first failure is raised, or stands in its place."""
    tasks = [work if isinstance(work, Future) else Task(work) for work in works]
    results = []
    try:
        for task in tasks:
            try:
                results.append(await task)
            except BaseException as error:
                if not (return_exceptions and (<Future> task).finished):
                    raise
                results.append(error)
    except CancelledError:
        for task in tasks:
            if isinstance(task, Task):
                task.cancel()
        raise
    return results


def ensure_future(coroutine):
    """Runs a coroutine beside the others."""
    return Task(coroutine)


@cython.final
cdef class Loop:
    def __cinit__(self):
        global the_loop
        cdef int[2] ends
        self.ready = deque()
        self.timers = []
        self.readers = {}
        self.writers = {}
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0 or pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0:
            raise OSError(errno, "the event loop cannot be made")
        self.wakened, self.waker = ends[0], ends[1]
        the_loop = self
        self.add_reader(self.wakened, self.awake)

    def close(self):
        global the_loop
        if the_loop is self:
            the_loop = None
        signal.set_wakeup_fd(-1)
        for fd in (self.epoll, self.wakened, self.waker):
            close(fd)

    def run_until_complete(self, coroutine):
        cdef Task task = Task(coroutine)
        while not task.finished:
            self.turn()
        return task.result()

    def time(self):
        return monotonic()

    def create_future(self):
        return Future()

    def create_task(self, coroutine):
        return Task(coroutine)

    def create_connection(self, factory, host, port, *, ssl=None, server_hostname=None):
        from lambda_dispatch_extension.transport import connect

        return connect(self, factory, host, port, ssl, server_hostname)

    # Callbacks --------------------------------------------------------------------------------------------------------

    def call_soon(self, callback, *args):
        cdef Handle handle = Handle.__new__(Handle)
        handle.callback = callback
        handle.args = args
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback, *args):
        self.call_soon(callback, *args)
        write(self.waker, b"\0", 1)

    def call_later(self, double seconds, callback, *args):
        cdef Handle handle = Handle.__new__(Handle)
        handle.callback = callback
        handle.args = args
        self.number += 1
        heappush(self.timers, (monotonic() + seconds, self.number, handle))
        return handle

    def add_reader(self, int fd, callback, *args):
        cdef Handle handle = Handle.__new__(Handle)
        handle.callback = callback
        handle.args = args
        self.readers[fd] = handle
        self.change(fd)

    def remove_reader(self, int fd):
        handle = self.readers.pop(fd, None)
        if handle is not None:
            handle.cancel()     # it may be enqueued already
            self.change(fd)

    def add_writer(self, int fd, callback, *args):
        cdef Handle handle = Handle.__new__(Handle)
        handle.callback = callback
        handle.args = args
        self.writers[fd] = handle
        self.change(fd)

    def remove_writer(self, int fd):
        handle = self.writers.pop(fd, None)
        if handle is not None:
            handle.cancel()
            self.change(fd)

    def add_signal_handler(self, number, callback, *args):
        def arrived(number, frame):
            self.call_soon(callback, *args)

        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(number, arrived)
        signal.siginterrupt(number, False)

    def awake(self):
        cdef char[64] thrown
        while read(self.wakened, thrown, sizeof(thrown)) == sizeof(thrown):
            pass

    # A turn -----------------------------------------------------------------------------------------------------------

    # Brings the epoll entry of the descriptor in line with its callbacks.
    cdef int change(self, int fd) except -1:
        cdef epoll_event event
        event.events = 0
        event.data.fd = fd
        if fd in self.readers:
            event.events |= EPOLLIN
        if fd in self.writers:
            event.events |= EPOLLOUT
        if event.events == 0:
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)
        elif epoll_ctl(self.epoll, EPOLL_CTL_MOD, fd, &event) < 0:
            if errno != ENOENT or epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
                raise OSError(errno, f"epoll_ctl of descriptor {fd}")
        return 0

    cdef int turn(self) except -1:
        cdef Py_ssize_t left
        cdef double now
        cdef int _
        self.sleep()
        if self.timers:
            now = monotonic()
            while self.timers and self.timers[0][0] <= now:
                self.ready.append(heappop(self.timers)[2])
        # What they schedule runs at once, without another look at the descriptors: mostly that is the Hub's flush.
        for _ in range(ROUNDS):
            left = len(self.ready)
            if not left:
                break
            while left:
                left -= 1
                self.run(<Handle> self.ready.popleft())
        return 0

    # Waits until something is ready or due; callbacks of ready descriptors are enqueued.
    cdef int sleep(self) except -1:
        cdef epoll_event[PASS] events
        cdef int wait = LONGEST
        cdef int n
        cdef int i
        cdef double due
        while self.timers and (<Handle> self.timers[0][2]).callback is None:
            heappop(self.timers)
        if self.ready:
            wait = 0
        elif self.timers:
            due = (<double> self.timers[0][0] - monotonic()) * 1000
            # Rounded up: a sleep that ends before the timer is due costs an empty turn.
            wait = 0 if due <= 0 else min(<int> due + 1, LONGEST) if due < LONGEST else LONGEST
        with nogil:
            n = epoll_wait(self.epoll, events, PASS, wait)
        if n < 0 and errno != EINTR:
            raise OSError(errno, "epoll_wait")
        PyErr_CheckSignals()
        for i in range(n):
            # EPOLLERR and EPOLLHUP go to both callbacks.
            if events[i].events & ~<uint32_t> EPOLLOUT:
                handle = self.readers.get(events[i].data.fd)
                if handle is not None:
                    self.ready.append(handle)
            if events[i].events & ~<uint32_t> EPOLLIN:
                handle = self.writers.get(events[i].data.fd)
                if handle is not None:
                    self.ready.append(handle)
        return 0

    cdef int run(self, Handle handle) except -1:
        if handle.callback is None:
            return 0
        try:
            handle.callback(*handle.args)
        except Exception as error:
            if self.on_error is None:
                raise
            self.on_error(error)
        return 0
