"""Ids by chance: for requests, traces and spans. xorshift128+ seeded from the kernel when a process begins: they do
not collide, but they are no secrets."""

from libc.stdint cimport uint8_t, uint64_t


# 64 bits, never 0.
cdef uint64_t by_chance() noexcept
# The n bytes at p as 2n lower-case hex digits; returns what follows them.
cdef uint8_t* put_hex(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept
# The 2n lower-case hex digits at p as n bytes; False when one is none.
cdef bint read_hex(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept
