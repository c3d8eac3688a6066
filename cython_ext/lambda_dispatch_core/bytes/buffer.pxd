"""Bytes on their way out.

An OutBuffer collects what one connection has to say in one turn of the loop. Its memory comes from a small store that
all buffers of the process share, and goes back there as soon as the bytes have left: a connection that is silent holds
none, and the blocks in use are the ones that are warm in the cache. Handing big blocks back to malloc each time would
have the kernel take their pages away and give them again, zeroed: more than all else that sending costs.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy


cdef class OutBuffer:
    cdef uint8_t* data          # what was collected, owned, or NULL; valid until the next reserve(), take() or clear()
    cdef readonly Py_ssize_t length     # bytes collected so far
    cdef Py_ssize_t capacity    # bytes the block can hold; length <= capacity

    # Makes room for n more bytes and returns where they go. The caller writes them and then adds n to `length`.
    cdef uint8_t* reserve_slow(self, Py_ssize_t n) except NULL
    # All that was collected, as one bytes object; the buffer is empty afterwards. b"" when it was empty.
    cdef bytes take(self)
    # Forgets what was collected.
    cdef void clear(self) noexcept

    cdef inline uint8_t* reserve(self, Py_ssize_t n) except NULL:
        if n < self.capacity - self.length:     # not <=: an empty buffer has no place that even 0 bytes could go to
            return self.data + self.length
        return self.reserve_slow(n)

    cdef inline int write(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef uint8_t* to
        if n > 0:
            to = self.reserve(n)
            memcpy(to, p, n)
            self.length += n
        return 0

    cdef inline int write_bytes(self, bytes data) except -1:
        return self.write(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
