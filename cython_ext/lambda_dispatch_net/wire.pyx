"""Wires and their Hub; the theory stands in wire.pxd."""

import _socket as socket
import struct

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint32_t
from posix.unistd cimport close as close_fd
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.limits cimport WRITE_HIGH

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum: EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_DEL
    enum: EPOLL_CTL_MOD
    enum: EPOLLIN
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int room, int timeout)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    enum: MSG_NOSIGNAL
    ssize_t recv_from_socket "recv"(int fd, void* p, size_t n, int flags)
    ssize_t send_to_socket "send"(int fd, const void* p, size_t n, int flags)

cdef enum:
    # One read takes at most this much; with what a request may have pending it stays within 256 KiB per direction.
    READ_BLOCK = 128 * 1024
    # Sockets read in one pass; the rest are next, before the loop sleeps again.
    PASS = 256
    # Sockets ready in one pass from which on the process is busy: what may wait will soon have company.
    BUSY = 4
    # ns after which what was mentioned leaves by itself.
    PATIENCE = 5000000


# SO_LINGER of no time: the connection ends with a reset, not with a FIN.
cdef bytes NO_LINGER = struct.pack("ii", 1, 0)


@cython.final
cdef class Entrance:
    def __init__(self, str name not None, int limit=0, int reserve=0):
        self.name = name
        self.limit = limit
        self.reserve = reserve

    def refuse(self):
        """One more was refused, before it had a wire."""
        self.refused += 1


cdef class Hub:
    def __init__(self, loop, log=None):
        self.loop = loop
        self._call_soon = loop.call_soon
        self._flush = self.flush
        self._held = set()
        self._touched = []
        self._mentioned = []
        self._block = bytearray(READ_BLOCK)
        self._at = <uint8_t*> PyByteArray_AS_STRING(self._block)
        self._log = log
        self.look_at = UINT64_MAX
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(errno, "epoll_create1")
        loop.add_reader(self._epoll, self.read_ready)
        self.tick()

    def __dealloc__(self):
        if self._epoll >= 0:
            close_fd(self._epoll)

    cdef int64_t tick(self) noexcept:
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        self.now = <int64_t> now.tv_sec * 1000000000 + now.tv_nsec
        return self.now

    cdef int schedule(self, Wire wire) except -1:
        wire.touched = True
        self._touched.append(wire)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._flush)
        return 0

    cdef int watch(self, Wire wire, int operation) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.ptr = <void*> wire
        if operation == EPOLL_CTL_DEL and self._left is not None:
            self._left.append(wire)
        if epoll_ctl(self._epoll, operation, wire._socket, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        return 0

    cdef int schedule_later(self, Wire wire) except -1:
        if not self._busy:
            return self.schedule(wire)
        if not self._mentioned:
            self._waited = self.now
        wire.mentioned = True
        self._mentioned.append(wire)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._flush)
        return 0

    def read_ready(self):
        """Reads every socket of the set that has something."""
        cdef epoll_event[PASS] ready
        cdef Wire wire
        cdef int i
        cdef int n = epoll_wait(self._epoll, ready, PASS, 0)
        self.tick()
        self._busy = n >= BUSY
        self._left = []
        for i in range(n):
            wire = <Wire> ready[i].data.ptr
            if wire._reader == OURS and wire.reading:
                try:
                    wire.read()
                except Exception:
                    self.failed(wire)
                if self.bytes_in >= self.look_at:
                    self._moved()
        self._left = None

    cdef int _moved(self) except -1:
        self.look_at = UINT64_MAX
        if self.on_moved is not None:
            self.on_moved()
        return 0

    def flush(self):
        """Writes what every touched wire has collected. Runs once per loop turn in which anything was touched."""
        cdef Wire wire
        cdef list touched = self._touched
        self._touched = []
        self._scheduled = False
        if self._mentioned:
            if self._busy and self.now - self._waited < PATIENCE:
                self._scheduled = True
                self._call_soon(self._flush)
            else:
                self._hurry(touched)
        self._busy = False
        for item in touched:
            wire = <Wire> item
            wire.touched = False
            try:
                wire.flush()
            except Exception:
                self.failed(wire)

    # What was mentioned has waited long enough.
    cdef int _hurry(self, list touched) except -1:
        cdef Wire wire
        for item in self._mentioned:
            wire = <Wire> item
            wire.mentioned = False
            if wire.out.length and not wire.touched:
                wire.touched = True
                touched.append(wire)
        self._mentioned = []
        return 0

    def failed(self, Wire wire not None):
        """An on_ method raised: a bug of ours. The connection is cut, the process lives."""
        import traceback  # costly, and hardly ever needed

        text = traceback.format_exc()
        if self._log is not None:
            self._log(text)
        transport = wire.transport
        wire.closing = True
        wire.let_go()
        if transport is not None:
            transport.abort()

    def is_full(self, Entrance entrance not None):
        """Whether there is no room for one more connection, even after closing idle ones."""
        return self.full(entrance) and not (self.on_full is not None and self.on_full(entrance))

    def clock(self):
        """Reads the clock and returns it (ns, monotonic)."""
        return self.tick()


cdef class Wire:
    def __cinit__(self):
        self.out = OutBuffer()
        self.reading = True
        self._socket = -1
        self._reader = THEIRS

    def __init__(self, Hub hub not None):
        self.hub = hub

    # asyncio's side ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport
        self.hub.wires += 1
        self.hub._held.add(self)
        if self.entrance is not None:
            self.entrance.open += 1
            if self.hub.full(self.entrance) and self.hub.is_full(self.entrance):
                self.entrance.refused += 1
                self._refused = True
                self.drop()
                return
        if transport.get_extra_info("ssl_object") is None:
            # Any backlog pauses: while there is none, send() cannot overtake what the transport holds.
            transport.set_write_buffer_limits(high=0, low=0)
            self._socket = transport.get_extra_info("socket").fileno()
            self._reader = NEW
        else:
            self.tls = True
            transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_HIGH // 4)
        try:
            self.hub.tick()
            self.on_open()
        except Exception:
            self.hub.failed(self)

    def get_buffer(self, hint):
        return self.hub._block

    def buffer_updated(self, Py_ssize_t n):
        cdef Hub hub = self.hub
        hub.bytes_in += n
        if self.closing:
            return
        hub.tick()
        try:
            if self._reader == NEW:
                self._reader = HEARD
            elif self._reader == HEARD:
                self.transport.pause_reading()
                hub.watch(self, EPOLL_CTL_ADD)
                self._reader = OURS
            self.on_bytes(hub._at, n)
        except Exception:
            hub.failed(self)
        if hub.bytes_in >= hub.look_at:
            hub._moved()

    def data_received(self, bytes data not None):
        """For loops that know no duck-typed BufferedProtocol (asyncio's own)."""
        self.hub.bytes_in += PyBytes_GET_SIZE(data)
        if self.closing:
            return
        self.hub.tick()
        try:
            self.on_bytes(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        except Exception:
            self.hub.failed(self)

    def eof_received(self):
        if not self.closing:
            self.hub.tick()
            try:
                self.on_eof()
            except Exception:
                self.hub.failed(self)
        # TLS has no half-closed state here: uvloop logs a warning for each True.
        return not self.tls

    def pause_writing(self):
        self.paused = True
        try:
            self.on_paused()
        except Exception:
            self.hub.failed(self)

    def resume_writing(self):
        self.paused = False
        self.hub.tick()
        try:
            self.on_writable()
        except Exception:
            self.hub.failed(self)

    def connection_lost(self, exc):
        self.was_reset = self.was_reset or exc is not None
        self.closing = True
        self._leave_count()
        self.hub._held.discard(self)
        self.hub.tick()
        try:
            if not self._refused:
                self.on_lost()
        except Exception:
            self.hub.failed(self)
        self.let_go()
        self.transport = None
        self.out.clear()

    # ours -------------------------------------------------------------------------------------------------------------

    cdef int flush(self) except -1:
        cdef Py_ssize_t n = self.out.length
        cdef Py_ssize_t sent = 0
        if self.transport is None:
            self.out.clear()
            return 0
        if n:
            self.handed += n
            self.hub.bytes_out += n
            if self._socket >= 0 and not self.paused:
                sent = send_to_socket(self._socket, self.out.data, n, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == n:
                self.out.clear()
            elif sent <= 0:
                # Full, or broken: the transport finds out which, and deals with either.
                self.transport.write(self.out.take())
            else:
                rest = PyBytes_FromStringAndSize(<const char*> self.out.data + sent, n - sent)
                self.out.clear()
                self.transport.write(rest)
        if self.closing:
            self.let_go()
            self.transport.close()
        return 0

    cdef int read(self) except -1:
        cdef Py_ssize_t n = recv_from_socket(self._socket, self.hub._at, READ_BLOCK, MSG_DONTWAIT)
        if n > 0:
            self.hub.bytes_in += n
            if not self.closing:
                self.on_bytes(self.hub._at, n)
        elif n == 0:
            self.hub.watch(self, EPOLL_CTL_DEL)
            self._reader = THEIRS
            self.transport.resume_reading()
        elif errno != EAGAIN and errno != EINTR:
            self.was_reset = True       # this read has taken the error off the socket: the transport cannot find it
            self.let_go()
            self.transport.abort()
        return 0

    cdef int let_go(self) except -1:
        if self._reader == OURS and self.reading:
            self.hub.watch(self, EPOLL_CTL_DEL)
        self._reader = THEIRS
        self._socket = -1
        return 0

    cdef int inherit(self, Wire other) except -1:
        self.hub._held.discard(other)
        self.hub._held.add(self)
        self.transport = other.transport
        self.entrance = other.entrance
        self._socket = other._socket
        self._reader = other._reader
        if self._reader == OURS and other.reading:
            self.hub.watch(self, EPOLL_CTL_MOD)
        self.reading = other.reading
        self.tls = other.tls
        other.transport = None
        other._reader = THEIRS
        other._socket = -1
        return 0

    cdef int stop_reading(self) except -1:
        if self.reading and self.transport is not None:
            self.reading = False
            if self._reader == OURS:
                return self.hub.watch(self, EPOLL_CTL_DEL)
            self.transport.pause_reading()
        return 0

    cdef int start_reading(self) except -1:
        if not self.reading and self.transport is not None and not self.closing:
            self.reading = True
            if self._reader == OURS:
                return self.hub.watch(self, EPOLL_CTL_ADD)
            self.transport.resume_reading()
        return 0

    cdef int close(self) except -1:
        if not self.closing:
            self.closing = True
            self.touch()
        return 0

    cdef int abort(self) except -1:
        self.closing = True
        self.let_go()
        self.out.clear()
        if self.transport is not None:
            # Aborting a transport alone sends a FIN, which ends a body of unknown length as if it were whole.
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        return 0

    cdef int drop(self) except -1:
        self.closing = True
        self.let_go()
        self.out.clear()
        self._leave_count()
        if self.transport is not None:
            self.transport.abort()
        return 0

    cdef int _leave_count(self) except -1:
        if not self._uncounted:
            self._uncounted = True
            self.hub.wires -= 1
            if self.entrance is not None:
                self.entrance.open -= 1
        return 0

    cdef int on_open(self) except -1:
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        return 0

    cdef int on_eof(self) except -1:
        return self.close()

    cdef int on_lost(self) except -1:
        return 0

    cdef int on_writable(self) except -1:
        return 0

    cdef int on_paused(self) except -1:
        return 0
