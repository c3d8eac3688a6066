"""Literals without counted lengths: the compiler knows the length of a constant array, so strlen() of one is a number.

write_lit(out, b"connection: close\\r\\n") instead of out.write(b"...", 19). The text must hold no NUL.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, strlen

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


cdef inline int write_lit(OutBuffer out, const char* text) except -1:
    return out.write(<const uint8_t*> text, strlen(text))


# Copies the text to `to`, which has room; returns what follows it.
cdef inline uint8_t* put_lit(uint8_t* to, const char* text) noexcept nogil:
    memcpy(to, text, strlen(text))
    return to + strlen(text)


# Whether the n bytes at p are the text, and nothing else.
cdef inline bint is_lit(const uint8_t* p, Py_ssize_t n, const char* text) noexcept nogil:
    return n == <Py_ssize_t> strlen(text) and memcmp(p, text, strlen(text)) == 0


# Whether the n bytes at p begin with the text.
cdef inline bint begins_lit(const uint8_t* p, Py_ssize_t n, const char* text) noexcept nogil:
    return n >= <Py_ssize_t> strlen(text) and memcmp(p, text, strlen(text)) == 0
