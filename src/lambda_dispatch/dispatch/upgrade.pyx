"""The lines that ask for another protocol; the theory stands in upgrade.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memmove, strlen

from lambda_dispatch_core.bytes.cursor cimport same_text
from lambda_dispatch_core.bytes.fields cimport T_UPGRADE, Field, FieldList
from lambda_dispatch_core.bytes.literal cimport begins_lit


cdef const uint8_t* protocol_of(const uint8_t* head, Py_ssize_t length, Py_ssize_t* n) noexcept nogil:
    cdef const uint8_t* end = head + length
    cdef const uint8_t* at = <const uint8_t*> memchr(head, c"\n", length)
    cdef const uint8_t* stop
    n[0] = 0
    if at == NULL or not begins_lit(at + 1, end - at - 1, UPGRADE_LINES):
        return NULL
    at += 1 + strlen(UPGRADE_LINES)
    stop = <const uint8_t*> memchr(at, c"\r", end - at)
    if stop == NULL:
        return NULL
    n[0] = stop - at
    return at


cdef Py_ssize_t strip_upgrade(uint8_t* head, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t n
    cdef const uint8_t* protocol = protocol_of(head, length, &n)
    cdef uint8_t* lines
    cdef const uint8_t* rest
    if protocol == NULL:
        return length
    lines = head + ((protocol - head) - <Py_ssize_t> strlen(UPGRADE_LINES))
    rest = protocol + n + 2
    memmove(lines, rest, head + length - rest)
    return length - (rest - lines)


cdef bint agrees(const uint8_t* head, Py_ssize_t length, FieldList fields) noexcept:
    cdef Py_ssize_t n
    cdef const uint8_t* protocol = protocol_of(head, length, &n)
    cdef Field* f = fields.find(T_UPGRADE)
    return protocol != NULL and f != NULL and f.value_len == <uint32_t> n and same_text(f.value, protocol, n)
