"""Growing, handing over and forgetting: the slow side of buffer.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t

cdef extern from "Python.h":
    PyObject* PyBytes_FromStringAndSize(const char* p, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject** block, Py_ssize_t size) except -1

cdef enum:
    FIRST_BLOCK = 2048      # bytes; holds the small answers of one turn


@cython.final
@cython.freelist(64)
@cython.no_gc
cdef class OutBuffer:

    def __cinit__(self):
        self._block = NULL
        self.data = NULL
        self.length = 0
        self.capacity = 0

    def __dealloc__(self):
        Py_XDECREF(self._block)

    cdef uint8_t* reserve_slow(self, Py_ssize_t n) except NULL:
        cdef Py_ssize_t want = self.length + n
        cdef Py_ssize_t room = self.capacity * 2 if self.capacity else FIRST_BLOCK
        if n < 0 or want < 0:
            raise OverflowError("OutBuffer: a negative or overflowing size was asked for")
        while room < want:
            room *= 2
        self._resize(room)
        return self.data + self.length

    cdef int _resize(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t kept = self.length
        self.length = 0         # should there be no memory, what was collected is lost, not made up
        if self._block == NULL:
            self._block = PyBytes_FromStringAndSize(NULL, size)
        else:
            self.data = NULL
            self.capacity = 0
            _PyBytes_Resize(&self._block, size)     # on failure: frees the block, sets it to NULL, raises
        self.data = <uint8_t*> PyBytes_AS_STRING(<object> self._block)
        self.capacity = size
        self.length = kept
        return 0

    cdef bytes take(self):
        cdef bytes taken
        if self.length == 0:
            return b""
        if self.capacity != self.length:
            self._resize(self.length)
        taken = <bytes> self._block
        self.clear()
        return taken

    cdef void clear(self) noexcept:
        Py_XDECREF(self._block)
        self._block = NULL
        self.data = NULL
        self.length = 0
        self.capacity = 0

    def __len__(self):
        return self.length

    def append(self, bytes data not None):
        """Adds bytes (tests and slow paths)."""
        self.write(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    def drain(self):
        """All that was collected, as bytes (tests and slow paths)."""
        return self.take()
