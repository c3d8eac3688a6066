"""Paths of the control port to routes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

from lambda_dispatch_core.bytes.fields cimport T_METHOD, T_PATH, Field, FieldList


cdef inline int hexdigit(uint8_t c) noexcept nogil:
    if 0x30 <= c <= 0x39:
        return c - 0x30
    c |= 0x20
    if 0x61 <= c <= 0x66:
        return c - 0x57
    return -1


# The sixteen bytes of a UUID in its usual text form, any case.
cdef bint parse_uuid(const uint8_t* p, Py_ssize_t n, uint8_t* into) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int at
    cdef int high
    cdef int low
    if n != 36 or p[8] != c"-" or p[13] != c"-" or p[18] != c"-" or p[23] != c"-":
        return False
    for at in range(16):
        if p[i] == c"-":
            i += 1
        high = hexdigit(p[i])
        low = hexdigit(p[i + 1])
        if high < 0 or low < 0:
            return False
        into[at] = <uint8_t> (high << 4 | low)
        i += 2
    return True


cdef inline bint eat(const uint8_t** p, const uint8_t* end, const char* word, Py_ssize_t n) noexcept nogil:
    if end - p[0] < n or memcmp(p[0], word, n) != 0:
        return False
    p[0] += n
    return True


# One path segment, up to '/' or the end; not empty.
cdef inline bint segment(const uint8_t** p, const uint8_t* end, const uint8_t** at, Py_ssize_t* n) noexcept nogil:
    cdef const uint8_t* stop = <const uint8_t*> memchr(p[0], c"/", end - p[0])
    at[0] = p[0]
    n[0] = (stop if stop != NULL else end) - p[0]
    p[0] += n[0]
    return True


cdef int parse_route(FieldList head, Route* route) noexcept:
    cdef Field* method = head.find(T_METHOD)
    cdef Field* path = head.find(T_PATH)
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef int kind
    cdef bint post
    route.id_text = NULL
    route.id_len = 0
    route.pool_text = NULL
    route.pool_len = 0
    route.channel_text = NULL
    route.channel_len = 0
    if method == NULL or path == NULL:
        return NOWHERE
    p = path.value
    end = <const uint8_t*> memchr(p, c"?", path.value_len)
    if end == NULL:
        end = p + path.value_len
    post = method.value_len == 4 and memcmp(method.value, b"POST", 4) == 0
    if not post and not (method.value_len == 3 and memcmp(method.value, b"GET", 3) == 0):
        return NOWHERE
    if not eat(&p, end, "/api/chunked/", 13):
        return NOWHERE
    if post:
        if not eat(&p, end, "request/", 8):
            return NOWHERE
        kind = CHANNEL
    elif eat(&p, end, "ping/", 5):
        kind = PING
    elif eat(&p, end, "close/", 6):
        kind = CLOSE
    else:
        return NOWHERE
    if eat(&p, end, "poolId/", 7):
        segment(&p, end, &route.pool_text, &route.pool_len)
        if not eat(&p, end, "/lambdaId/", 10):
            return NOWHERE
        segment(&p, end, &route.id_text, &route.id_len)
        if kind == CHANNEL:
            if not eat(&p, end, "/channelId/", 11):
                return NOWHERE
            segment(&p, end, &route.channel_text, &route.channel_len)
            if route.channel_len == 0:
                return NOWHERE
    else:
        segment(&p, end, &route.id_text, &route.id_len)
        if kind == CHANNEL:
            if not eat(&p, end, "/", 1):
                return NOWHERE
            segment(&p, end, &route.channel_text, &route.channel_len)
            if route.channel_len == 0:
                return NOWHERE
    if p != end:
        return NOWHERE
    return kind


def route_of(FieldList head not None):
    """(kind, id, pool or None, channel) of a request's head; 0 nowhere, 1 channel, 2 ping, 3 close."""
    cdef Route route
    cdef int kind = parse_route(head, &route)
    if kind == NOWHERE:
        return NOWHERE, b"", None, b""
    pool = None if route.pool_text == NULL else route.pool_text[:route.pool_len]
    channel = b"" if route.channel_text == NULL else route.channel_text[:route.channel_len]
    return kind, route.id_text[:route.id_len], pool, channel


def uuid_bytes(bytes text not None):
    """The sixteen bytes of a UUID in its usual text form, or None."""
    cdef uint8_t[16] into
    if parse_uuid(<const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), into):
        return <bytes> into[:16]
    return None
