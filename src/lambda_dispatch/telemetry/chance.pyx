"""Ids by chance; what they are stands in chance.pxd."""

import os
import sys

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef bint LITTLE_ENDIAN = sys.byteorder == "little"
cdef uint8_t[512] PAIRS         # the two digits of each byte
cdef uint64_t[2] state


cdef int seed(bytes of) except -1:
    memcpy(state, <const char*> of, 16)
    return 0


seed(os.urandom(15) + b"\1")      # all zero would stay so


cdef uint64_t by_chance() noexcept:
    cdef uint64_t x = state[0]
    cdef uint64_t y = state[1]
    cdef uint64_t found
    state[0] = y
    x ^= x << 23
    state[1] = x ^ y ^ (x >> 17) ^ (y >> 26)
    found = state[1] + y
    return found if found else 1


cdef void fill_pairs() noexcept:
    cdef int n
    for n in range(256):
        PAIRS[2 * n] = <uint8_t> b"0123456789abcdef"[n >> 4]
        PAIRS[2 * n + 1] = <uint8_t> b"0123456789abcdef"[n & 15]


fill_pairs()


# The digits of four bytes at once: each half byte gets a byte of its own, then all become letters together.
cdef inline void put_eight(uint8_t* to, const uint8_t* p) noexcept:
    cdef uint32_t four
    cdef uint64_t x
    memcpy(&four, p, 4)
    x = four
    x = (x | x << 16) & 0x0000FFFF0000FFFFULL
    x = (x | x << 8) & 0x00FF00FF00FF00FFULL
    x = (x >> 4 | x << 8) & 0x0F0F0F0F0F0F0F0FULL
    # 0 to 9 become c"0" to c"9"; what is 10 or more carries into bit 4 when 6 is added, and is 39 further on.
    x += 0x3030303030303030ULL + ((x + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL) * 39
    memcpy(to, &x, 8)


cdef uint8_t* put_hex(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i = 0
    if LITTLE_ENDIAN:
        while i + 4 <= n:
            put_eight(to + 2 * i, p + i)
            i += 4
    while i < n:
        memcpy(to + 2 * i, PAIRS + 2 * p[i], 2)
        i += 1
    return to + 2 * n


cdef inline int digit(uint8_t c) noexcept:
    if c"0" <= c <= c"9":
        return c - c"0"
    if c"a" <= c <= c"f":
        return c - c"a" + 10
    return -1


cdef bint read_hex(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i
    cdef int high
    cdef int low
    for i in range(n):
        high = digit(p[2 * i])
        low = digit(p[2 * i + 1])
        if high < 0 or low < 0:
            return False
        to[i] = <uint8_t> (high << 4 | low)
    return True
