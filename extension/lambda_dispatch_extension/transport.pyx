"""Connections of the loop's; what they promise stands in transport.pxd."""

import _socket

cimport cython
from libc.errno cimport EINPROGRESS
from libc.string cimport strerror

from lambda_dispatch_extension.loop cimport Loop

from lambda_dispatch_extension.loop import Future

cdef object INET, INET6, STREAM, SO_ERROR, SOL_SOCKET
INET, INET6, SOL_SOCKET, SO_ERROR = _socket.AF_INET, _socket.AF_INET6, _socket.SOL_SOCKET, _socket.SO_ERROR
STREAM = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC


@cython.final
cdef class Transport:
    def __init__(self, Loop loop not None, sock, protocol):
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.protocol = protocol
        self.backlog = bytearray()
        self.high = 64 * 1024
        self.low = 16 * 1024

    def begin(self):
        """connection_made(), then reading begins."""
        self.protocol.connection_made(self)
        self.resume_reading()

    def get_extra_info(self, name, default=None):
        return self.sock if name == "socket" else default

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = high or 0
        self.low = low or 0

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        if self.reading:
            self.reading = False
            self.loop.remove_reader(self.fd)

    def resume_reading(self):
        if not self.reading and not self.closing:
            self.reading = True
            self.loop.add_reader(self.fd, self.read_ready)

    def read_ready(self):
        if self.closing:
            return
        try:
            n = self.sock.recv_into(self.protocol.get_buffer(-1))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.fail(error)
            return
        if n:
            self.protocol.buffer_updated(n)
        elif self.broken is not None:
            self.fail(self.broken)
        else:
            self.pause_reading()
            if not self.protocol.eof_received():
                self.close()

    def write(self, data):
        cdef Py_ssize_t sent = 0
        if self.lost or self.broken is not None or not data:
            return
        if not self.backlog:
            try:
                sent = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self.cannot_write(error)
                return
            if sent == len(data):
                return
            self.loop.add_writer(self.fd, self.write_ready)
        self.backlog += memoryview(data)[sent:]
        if not self.paused and len(self.backlog) > self.high:
            self.paused = True
            self.protocol.pause_writing()

    def write_ready(self):
        cdef Py_ssize_t sent
        try:
            sent = self.sock.send(self.backlog)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.cannot_write(error)
            return
        del self.backlog[:sent]
        if not self.backlog:
            self.loop.remove_writer(self.fd)
            if self.closing:
                self.fail(None)
                return
            if self.ends:
                self.shut()
        if self.paused and len(self.backlog) <= self.low:
            self.paused = False
            self.protocol.resume_writing()

    @property
    def waiting(self):
        """Bytes that the socket has not taken yet."""
        return len(self.backlog)

    def write_eof(self):
        """Ends our side when all is written; the other side may go on."""
        if self.ends or self.closing or self.broken is not None:
            return
        self.ends = True
        if not self.backlog:
            self.shut()

    def shut(self):
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError as error:
            self.cannot_write(error)

    def close(self):
        """Ends the connection when all is written."""
        if self.closing:
            return
        self.pause_reading()
        self.closing = True
        if not self.backlog:
            self.fail(None)

    def abort(self):
        """Ends the connection now."""
        self.fail(None)

    cdef int cannot_write(self, object error) except -1:
        if self.closing:
            return self.fail(error)
        self.broken = error
        self.backlog = bytearray()
        self.loop.remove_writer(self.fd)
        if self.paused:
            self.paused = False
            self.protocol.resume_writing()
        return 0

    cdef int fail(self, object error) except -1:
        if self.lost:
            return 0
        self.pause_reading()
        self.closing = True
        self.lost = True
        self.backlog = bytearray()
        self.loop.remove_writer(self.fd)
        self.loop.call_soon(self.end, error)
        return 0

    def end(self, error):
        try:
            self.protocol.connection_lost(error)
        finally:
            self.sock.close()
            self.protocol = None


async def connect(Loop loop not None, factory, host, int port, tls, server_hostname):
    """(transport, protocol) of a new connection; over TLS with a context for it."""
    failure = None
    for family, address in await resolve(loop, host, port):
        sock = _socket.socket(family, STREAM)
        made = False
        try:
            await reach(loop, sock, address)
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            protocol = factory()
            if tls is None:
                transport = Transport(loop, sock, protocol)
                transport.begin()
            else:
                from lambda_dispatch_extension.tls import TlsTransport

                transport = TlsTransport(loop, protocol, tls, server_hostname)
                await transport.begin(sock)
            made = True
            return transport, protocol
        except OSError as error:
            failure = failure or error
        finally:
            if not made:
                sock.close()
    raise failure


async def reach(Loop loop, sock, address):
    cdef int fault = sock.connect_ex(address)
    if fault == EINPROGRESS:
        future = Future()

        def writable():
            if not future.done():
                future.set_result(None)

        loop.add_writer(sock.fileno(), writable)
        try:
            await future
        finally:
            loop.remove_writer(sock.fileno())
        fault = sock.getsockopt(SOL_SOCKET, SO_ERROR)
    if fault:
        raise OSError(fault, strerror(fault).decode())


async def resolve(Loop loop, host, port):
    """(family, address) pairs of a host, which may be an address already."""
    for family in (INET, INET6):
        try:
            _socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    # The only call here that blocks, so that it gets a thread of its own.
    import _thread

    future = Future()

    def deliver(found, error):
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def look():
        found, error = None, None
        try:
            found = [(entry[0], entry[4]) for entry in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)]
        except OSError as failure:
            error = OSError(failure.errno, f"{host!r} cannot be resolved: {failure.strerror}")
        loop.call_soon_threadsafe(deliver, found, error)

    _thread.start_new_thread(look, ())
    return await future
