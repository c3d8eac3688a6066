"""Growing, handing over and forgetting: the slow side of buffer.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    # Sizes of blocks, in bytes. What is longer than the last doubles, and is not kept.
    SMALL = 2 * 1024        # the small answers of one turn
    MIDDLE = 20 * 1024      # a frame of the greatest size and some heads
    LARGE = 256 * 1024      # what one read of a socket can bring, with frames around it
    # Blocks of each size that are kept for the next who needs one: 4 MiB in all.
    SPARE_SMALL = 256
    SPARE_MIDDLE = 128
    SPARE_LARGE = 4


cdef struct Spare:
    void* first             # a block that is not in use begins with a pointer to the next
    int count
    int limit

cdef Spare small, middle, large
small.limit = SPARE_SMALL
middle.limit = SPARE_MIDDLE
large.limit = SPARE_LARGE


cdef inline Spare* spare_of(Py_ssize_t size) noexcept:
    if size == SMALL:
        return &small
    if size == MIDDLE:
        return &middle
    return &large if size == LARGE else NULL


cdef uint8_t* get_block(Py_ssize_t size) except NULL:
    cdef Spare* spare = spare_of(size)
    cdef void* block
    if spare != NULL and spare.first != NULL:
        block = spare.first
        spare.first = (<void**> block)[0]
        spare.count -= 1
        return <uint8_t*> block
    block = malloc(size)
    if block == NULL:
        raise MemoryError()
    return <uint8_t*> block


cdef inline void put_block(uint8_t* block, Py_ssize_t size) noexcept:
    cdef Spare* spare
    if block == NULL:
        return
    spare = spare_of(size)
    if spare != NULL and spare.count < spare.limit:
        (<void**> block)[0] = spare.first
        spare.first = block
        spare.count += 1
    else:
        free(block)


@cython.final
@cython.freelist(64)
@cython.no_gc
cdef class OutBuffer:

    def __cinit__(self):
        self.data = NULL
        self.length = 0
        self.capacity = 0

    def __dealloc__(self):
        put_block(self.data, self.capacity)

    cdef uint8_t* reserve_slow(self, Py_ssize_t n) except NULL:
        cdef Py_ssize_t want = self.length + n
        cdef Py_ssize_t room = SMALL
        cdef uint8_t* block
        if n < 0 or want < 0:
            raise OverflowError("OutBuffer: a negative or overflowing size was asked for")
        if want >= SMALL:
            room = MIDDLE if want < MIDDLE else LARGE
            while room <= want:
                room *= 2
        block = get_block(room)
        if self.length:
            memcpy(block, self.data, self.length)
        put_block(self.data, self.capacity)
        self.data = block
        self.capacity = room
        return block + self.length

    cdef bytes take(self):
        cdef bytes taken
        if self.length == 0:
            return b""
        taken = PyBytes_FromStringAndSize(<const char*> self.data, self.length)
        self.clear()
        return taken

    cdef void clear(self) noexcept:
        put_block(self.data, self.capacity)
        self.data = NULL
        self.length = 0
        self.capacity = 0

    def __len__(self):
        return self.length

    def append(self, bytes data not None):
        """write_bytes() for Python callers."""
        self.write_bytes(data)

    def drain(self):
        """All that was collected, as bytes (tests and slow paths)."""
        return self.take()
