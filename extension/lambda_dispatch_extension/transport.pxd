"""A TCP connection of the loop's, with the words that a Wire expects of an asyncio transport.

Reading goes through the protocol's buffer. What the socket does not take at once is kept and written when it has room;
the protocol is paused while that is more than the high mark.

When a write fails, the other side has gone. What it sent before that is still read: an application may answer, close at
once, and so reset a connection on which a request is still being written. What is written from then on is dropped, and
the connection is lost, by the write's error, where the bytes end.
"""

from lambda_dispatch_extension.loop cimport Loop


cdef class Transport:
    cdef Loop loop
    cdef object sock
    cdef int fd
    cdef object protocol
    cdef bytearray backlog      # what the socket has not taken yet
    cdef Py_ssize_t high        # bytes of backlog above which the protocol is paused ...
    cdef Py_ssize_t low         # ... until no more than this is left
    cdef bint paused            # the protocol is
    cdef bint reading
    cdef bint closing
    cdef bint ends              # nothing more is written: a FIN follows the backlog
    cdef object broken          # the error by which a write failed; None
    cdef bint lost              # connection_lost was called, or is about to be
    cdef int cannot_write(self, object error) except -1
    cdef int fail(self, object error) except -1
