"""Bytes on their way out.

An OutBuffer collects what one connection has to say in one turn of the loop. It grows inside a Python bytes object, so
that what is collected is handed to the transport without being copied once more.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy


cdef class OutBuffer:
    cdef PyObject* _block       # the bytes object being filled, owned, or NULL; nobody else holds a reference to it
    cdef uint8_t* data          # its first byte; valid until the next reserve() or take()
    cdef readonly Py_ssize_t length     # bytes collected so far
    cdef Py_ssize_t capacity    # bytes the block can hold; length <= capacity

    # Makes room for n more bytes and returns where they go. The caller writes them and then adds n to `length`.
    cdef uint8_t* reserve_slow(self, Py_ssize_t n) except NULL
    cdef int _resize(self, Py_ssize_t size) except -1
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
