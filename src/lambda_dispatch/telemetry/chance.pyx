"""Ids by chance; what they are stands in chance.pxd."""

import os

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

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


cdef inline void put_four(uint8_t* to, const uint8_t* p) noexcept:
    memcpy(to, PAIRS + 2 * p[0], 2)
    memcpy(to + 2, PAIRS + 2 * p[1], 2)
    memcpy(to + 4, PAIRS + 2 * p[2], 2)
    memcpy(to + 6, PAIRS + 2 * p[3], 2)


cdef uint8_t* put_hex(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept:
    cdef const uint8_t* end = p + n
    while end - p >= 4:
        put_four(to, p)
        to += 8
        p += 4
    while p < end:
        memcpy(to, PAIRS + 2 * p[0], 2)
        to += 2
        p += 1
    return to


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
