"""The board as one class. The .pxd of each actor says what its steps promise, docs/shared-memory.md the format."""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from posix.unistd cimport write

from lambda_dispatch_core.board.supervisor cimport SupervisorSteps

# The whole of the board under one name.
from lambda_dispatch_core.board.layout import *


cdef bint ring_bell(int fd) noexcept:
    cdef uint64_t one = 1
    while write(fd, &one, 8) != 8:
        if errno == EAGAIN:
            return True     # it rings already, as loud as it can
        if errno != EINTR:
            return False
    return True


def ring(int fd):
    """Rings the doorbell `fd`; False when it is gone."""
    return ring_bell(fd)


def make_bell():
    """A doorbell: an eventfd, non-blocking, closed on exec unless made inheritable. Read 8 bytes to silence it."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def silence(int fd):
    """Takes what rang since the last time; to be called before looking at the board, so that no ring is missed."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass


cdef class Board(SupervisorSteps):
    """See board.pxd."""
