"""What a request may ask for, and of whom. RFC 9112 3.2, RFC 9110 7.2"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

from lambda_dispatch_core.bytes.cursor cimport ADDRESS, CLASS, HEX, HOST, same_text, skip_visible


# uri-host [ ":" port ] of RFC 9110 7.2, not empty (4.2.1); a name, an IPv4 address or [IPv6].
cdef inline bint is_host(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c = p
    cdef int port = 0
    if n == 0:
        return False
    if c[0] == c"[":
        c += 1
        while c < end and CLASS[c[0]] & ADDRESS:
            c += 1
        if c == end or c[0] != c"]" or c - p < 3:
            return False
        c += 1
    else:
        while c < end:
            if CLASS[c[0]] & HOST:
                c += 1
            elif c[0] == c"%" and end - c >= 3 and HEX[c[1]] and HEX[c[2]]:
                c += 3
            else:
                break
        if c == p:
            return False
    if c == end:
        return True
    if c[0] != c":" or end - c > 6:
        return False
    c += 1
    while c < end:
        if not c"0" <= c[0] <= c"9":
            return False
        port = port * 10 + (c[0] - c"0")
        c += 1
    return port <= 65535


# authority-form: a host whose port is not left out (RFC 9110 9.3.6).
cdef inline bint is_authority(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    if not is_host(p, n) or p[n - 1] == c":" or p[n - 1] == c"]":
        return False
    return p[0] == c"[" or memchr(p, c":", n) != NULL


# origin-form: its bytes are passed on as they are.
cdef inline bint is_path(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    return n > 0 and p[0] == c"/" and skip_visible(p, p + n) == p + n


# absolute-form: where its authority begins, *length its bytes; NULL when it is no http or https URI with a valid host.
cdef inline const uint8_t* authority_of(const uint8_t* p, Py_ssize_t n, Py_ssize_t* length) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c
    cdef Py_ssize_t scheme = 4
    if n > 4 and (p[4] == c"s" or p[4] == c"S"):
        scheme = 5
    if n < scheme + 3 or not same_text(p, <const uint8_t*> b"https", scheme) or memcmp(p + scheme, b"://", 3) != 0:
        return NULL
    p += scheme + 3
    c = p
    while c < end and c[0] != c"/" and c[0] != c"?":
        c += 1
    length[0] = c - p
    return p if is_host(p, c - p) else NULL
