"""The paths that mean something on a channel: no client's request may have one.

On a parked channel `GET /_lambda_dispatch/goaway` is the router's own message: the extension stops parking. Extensions
compare the path in their own way: the original's parses the target as a URI, which takes off a query and a fragment;
another may decode or normalise it. So everything whose first segment is `_lambda_dispatch` in any such reading is
reserved: letters in any case, percent-encoded (also more than once), behind empty or dot segments, with a backslash for
a slash, with path parameters (`;`).
"""

from libc.stdint cimport uint8_t

cdef enum:
    RESERVED_LEN = 16           # bytes of "_lambda_dispatch"


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if c"0" <= c <= c"9":
        return c - c"0"
    c |= 0x20
    return c - c"a" + 10 if c"a" <= c <= c"f" else -1


# One byte of the path, percent-encoding undone as often as it was done; *at moves past it.
cdef inline uint8_t path_byte(const uint8_t* p, Py_ssize_t n, Py_ssize_t* at) noexcept nogil:
    cdef uint8_t c = p[at[0]]
    cdef int high
    cdef int low
    at[0] += 1
    while c == c"%" and at[0] + 2 <= n:
        high = hex_digit(p[at[0]])
        low = hex_digit(p[at[0] + 1])
        if high < 0 or low < 0:
            break
        c = <uint8_t> (high * 16 + low)
        at[0] += 2
    return c


# Reads the path segment by segment, as a file system would.
cdef inline bint reserved_segment(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* name = <const uint8_t*> b"_lambda_dispatch"
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t depth = 0       # segments below the root
    cdef Py_ssize_t length = 0      # bytes of this segment, parameters left out
    cdef Py_ssize_t same = 0        # how many of them are those of the name
    cdef Py_ssize_t dots = 0
    cdef bint parameters = False
    cdef uint8_t c
    while at <= n:
        c = c"/" if at == n else path_byte(p, n, &at)
        if c == c"/" or c == c"\\":
            if length == 2 and dots == 2:
                depth = depth - 1 if depth else 0
            elif length and not (length == 1 and dots == 1):
                if depth == 0 and length == RESERVED_LEN and same == RESERVED_LEN:
                    return True
                depth += 1
            if at == n:
                return False
            length = same = dots = 0
            parameters = False
        elif c == c";":
            parameters = True
        elif not parameters:
            if same == length and length < RESERVED_LEN and (
                    c == name[length] or c"A" <= c <= c"Z" and (c | 0x20) == name[length]):
                same += 1
            if c == c".":
                dots += 1
            length += 1
    return False


# Whether the target (origin-form) is reserved. Most targets have neither '_' nor '%' and cost one look per byte.
cdef inline bint is_reserved(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef bint suspect = False
    while i < n and p[i] != c"?" and p[i] != c"#":
        suspect |= p[i] == c"_" or p[i] == c"%"
        i += 1
    return suspect and reserved_segment(p, i)
