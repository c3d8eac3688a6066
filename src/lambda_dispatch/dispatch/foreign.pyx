"""What other extensions can parse; the theory stands in foreign.pxd."""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

from lambda_dispatch_core.bytes.buffer cimport OutBuffer

cdef enum:
    IN_PATH = 1                 # a http::Uri refuses this byte in a path, or ends there ('#')
    IN_QUERY = 2                # likewise in a query

cdef const uint8_t* HEX = b"0123456789ABCDEF"
cdef uint8_t[256] refused


cdef void fill() noexcept:
    cdef int c
    for c in range(256):
        refused[c] = IN_PATH | IN_QUERY if c <= 0x20 or c >= 0x7F else 0
    for c in b'"#<>':
        refused[c] = IN_PATH | IN_QUERY
    refused[c"`"] = IN_PATH


fill()


cdef str unfit(const uint8_t* head, Py_ssize_t n, int fields, int* status):
    if n >= 10 and memcmp(head, b"OPTIONS * ", 10) == 0:
        # Asterisk-form has no path that could be appended to the application's address.
        status[0] = 501
        return "asterisk_not_supported"
    if fields > MAX_FIELDS and _count_fields(head, n) > MAX_FIELDS:
        status[0] = 431
        return "too_many_fields"
    if n > MAX_TARGET // 3 and _encoded_length(head, n) > MAX_TARGET:
        status[0] = 414
        return "target_too_long"
    return None


cdef int _count_fields(const uint8_t* head, Py_ssize_t n) noexcept:
    cdef const uint8_t* end = head + n
    cdef const uint8_t* p = <const uint8_t*> memchr(head, c"\n", n)
    cdef int count = 0
    while p != NULL:
        p += 1
        if end - p >= 2 and p[0] == c"\r" and p[1] == c"\n":
            break               # the empty line; the body follows
        p = <const uint8_t*> memchr(p, c"\n", end - p)
        if p != NULL:
            count += 1
    return count


# Where the target begins and ends.
cdef inline const uint8_t* _target(const uint8_t* head, Py_ssize_t n, const uint8_t** end) noexcept:
    cdef const uint8_t* at = <const uint8_t*> memchr(head, c" ", n)
    cdef const uint8_t* stop
    if at == NULL:
        end[0] = head
        return head
    at += 1
    stop = <const uint8_t*> memchr(at, c" ", head + n - at)
    end[0] = stop if stop != NULL else at
    return at


cdef Py_ssize_t _encoded_length(const uint8_t* head, Py_ssize_t n) noexcept:
    cdef const uint8_t* end
    cdef const uint8_t* p = _target(head, n, &end)
    cdef Py_ssize_t length = end - p
    cdef uint8_t where = IN_PATH
    while p < end:
        if p[0] == c"?":
            where = IN_QUERY
        elif refused[p[0]] & where:
            length += 2
        p += 1
    return length


cdef bint needs_encoding(const uint8_t* head, Py_ssize_t n) noexcept:
    cdef const uint8_t* end
    cdef const uint8_t* p = _target(head, n, &end)
    cdef uint8_t where = IN_PATH
    while p < end:
        if refused[p[0]] & where:
            return True
        if p[0] == c"?":
            where = IN_QUERY
        p += 1
    return False


cdef Py_ssize_t encode_target(OutBuffer out, const uint8_t* head, Py_ssize_t n) except -1:
    cdef const uint8_t* end
    cdef const uint8_t* p = _target(head, n, &end)
    cdef uint8_t* start = out.reserve((p - head) + 3 * (end - p))
    cdef uint8_t* to = start
    cdef uint8_t where = IN_PATH
    cdef const uint8_t* at = head
    while at < end:
        if at >= p:
            if at[0] == c"?":
                where = IN_QUERY
            elif refused[at[0]] & where:
                to[0] = c"%"
                to[1] = HEX[at[0] >> 4]
                to[2] = HEX[at[0] & 15]
                to += 3
                at += 1
                continue
        to[0] = at[0]
        to += 1
        at += 1
    out.length += to - start
    return end - head


def encoded(bytes head not None):
    """The head as an extension that has not announced itself is sent it; for tests."""
    cdef OutBuffer out = OutBuffer()
    cdef const uint8_t* p = head
    cdef Py_ssize_t used
    if not needs_encoding(p, len(head)):
        return head
    used = encode_target(out, p, len(head))
    return out.take() + head[used:]


def refusal(bytes head not None, int fields=65535):
    """(status, error word) of a head that such an extension cannot be sent, or None; for tests."""
    cdef int status = 0
    word = unfit(<const uint8_t*> head, len(head), fields, &status)
    return None if word is None else (status, word)
