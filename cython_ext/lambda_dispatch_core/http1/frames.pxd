"""Where the frames of a WebSocket begin and end (RFC 6455 5.2), in bytes that only pass. Header-only.

Nothing is checked and nothing kept but the count: whether frames make sense is for the two ends to say.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy


cdef enum:
    OPCODE = 0x0F
    FINAL = 0x80
    MASKED = 0x80
    CLOSE_FRAME = 0x8           # an opcode
    LONGEST_CLOSE = 8           # bytes of a Close frame with a code: two, the mask, the code


cdef struct FrameReader:
    uint64_t left               # bytes of the frame's payload still to come
    uint64_t length             # of the payload, as far as it has been read
    uint8_t have                # bytes of the frame's head so far
    uint8_t extended            # bytes of an extended length in it: 0, 2 or 8, once its second byte is there
    uint8_t need                # bytes of it as a whole, likewise
    bint closing                # a Close frame has begun


# Whether the next byte begins a frame.
cdef inline bint at_boundary(const FrameReader* reader) noexcept nogil:
    return reader.have == 0 and reader.left == 0


# Reads on until the n bytes are used, or up to where a frame begins: any (at_any), or a Close (at_close). How many
# bytes were used.
cdef inline Py_ssize_t read_frames(FrameReader* reader, const uint8_t* p, Py_ssize_t n,
                                   bint at_any, bint at_close) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef uint8_t c, short_length
    while at < n:
        if reader.left:
            if reader.left > <uint64_t> (n - at):
                reader.left -= n - at
                return n
            at += <Py_ssize_t> reader.left
            reader.left = 0
            continue
        c = p[at]
        if reader.have == 0:
            if at_any or at_close and c & OPCODE == CLOSE_FRAME:
                return at
            reader.closing = reader.closing or c & OPCODE == CLOSE_FRAME
            reader.need = 2     # at least
        elif reader.have == 1:
            short_length = c & 0x7F
            reader.extended = 2 if short_length == 126 else 8 if short_length == 127 else 0
            reader.length = 0 if reader.extended else short_length
            reader.need = 2 + reader.extended + <uint8_t> (4 if c & MASKED else 0)
        elif reader.have < 2 + reader.extended:
            reader.length = reader.length << 8 | c
        reader.have += 1
        at += 1
        if reader.have == reader.need:
            reader.have = 0
            reader.left = reader.length & 0x7FFFFFFFFFFFFFFFULL
    return n


# A Close frame with this code, masked with these four bytes when mask is not NULL; its length.
cdef inline Py_ssize_t write_close(uint8_t* to, uint16_t code, const uint8_t* mask) noexcept nogil:
    to[0] = FINAL | CLOSE_FRAME
    to[1] = 2 if mask == NULL else MASKED | 2
    if mask == NULL:
        to[2] = <uint8_t> (code >> 8)
        to[3] = <uint8_t> code
        return 4
    memcpy(to + 2, mask, 4)
    to[6] = <uint8_t> (code >> 8) ^ mask[0]
    to[7] = <uint8_t> code ^ mask[1]
    return 8
