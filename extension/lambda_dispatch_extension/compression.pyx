"""The gzip rules; see compression.pxd."""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.fields cimport (
    T_ACCEPT_ENCODING, T_CACHE_CONTROL, T_CONTENT_ENCODING, T_CONTENT_RANGE, T_CONTENT_TYPE, T_VARY, Field, FieldList,
)
from lambda_dispatch_core.http1.head cimport ResponseHead

cdef enum:
    # A shorter answer fits one packet either way; the original's bound.
    WORTH_LENGTH = 1024
    # Quality values are kept in thousandths (RFC 9110 section 12.4.2 allows three decimals).
    FULL_QUALITY = 1000
    # No such item was seen.
    UNSAID = -1


cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c | 0x20 if 0x41 <= c <= 0x5A else c


cdef inline bint blank(uint8_t c) noexcept nogil:
    return c == 0x20 or c == 0x09


# ASCII case ignored; the literal is lower case.
cdef bint same(const uint8_t* p, Py_ssize_t n, const char* literal, Py_ssize_t literal_len) noexcept nogil:
    cdef Py_ssize_t i
    if n != literal_len:
        return False
    for i in range(n):
        if lower(p[i]) != <uint8_t> literal[i]:
            return False
    return True


cdef bint starts(const uint8_t* p, Py_ssize_t n, const char* literal, Py_ssize_t literal_len) noexcept nogil:
    return n >= literal_len and same(p, literal_len, literal, literal_len)


# One item of a comma-separated list.
cdef struct Item:
    const uint8_t* name         # without parameters and white space
    Py_ssize_t name_len
    const uint8_t* parameters   # what follows the first ';'
    Py_ssize_t parameters_len


# Takes the next item off the front of the bytes; False at their end. Commas inside quotes do not occur in the lists
# read here.
cdef bint next_item(const uint8_t** p, Py_ssize_t* n, Item* item) noexcept nogil:
    cdef const uint8_t* at = p[0]
    cdef Py_ssize_t left = n[0]
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t name
    while left and (blank(at[0]) or at[0] == 0x2C):
        at += 1
        left -= 1
    if left == 0:
        return False
    while length < left and at[length] != 0x2C:
        length += 1
    p[0] = at + length
    n[0] = left - length
    name = 0
    while name < length and at[name] != 0x3B:
        name += 1
    item.parameters = at + name + 1
    item.parameters_len = length - name - 1 if name < length else 0
    while name and blank(at[name - 1]):
        name -= 1
    item.name = at
    item.name_len = name
    return True


# The weight of an item in thousandths: 1000 without one, 0 when it is not one (RFC 9110 section 12.4.2).
cdef int quality(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef int value
    cdef int unit = 100
    while i < n and (blank(p[i]) or p[i] == 0x3B):
        i += 1
    if i == n:
        return FULL_QUALITY
    if lower(p[i]) != 0x71 or i + 2 >= n or p[i + 1] != 0x3D:
        return 0
    i += 2
    if p[i] != 0x30 and p[i] != 0x31:
        return 0
    value = (p[i] - 0x30) * FULL_QUALITY
    i += 1
    if i < n and p[i] == 0x2E:
        i += 1
        while i < n and 0x30 <= p[i] <= 0x39:
            value += (p[i] - 0x30) * unit
            unit //= 10
            i += 1
    while i < n and blank(p[i]):
        i += 1
    return value if i == n and value <= FULL_QUALITY else 0


cdef bint accepts_gzip(FieldList request) noexcept:
    cdef int gzip = UNSAID
    cdef int identity = UNSAID
    cdef int anything = UNSAID
    cdef int i
    cdef int q
    cdef Field* f
    cdef const uint8_t* p
    cdef Py_ssize_t n
    cdef Item item
    for i in range(request.count):
        f = &request.at[i]
        if f.token != T_ACCEPT_ENCODING:
            continue
        p = f.value
        n = f.value_len
        while next_item(&p, &n, &item):
            q = quality(item.parameters, item.parameters_len)
            if same(item.name, item.name_len, "gzip", 4) or same(item.name, item.name_len, "x-gzip", 6):
                gzip = max(gzip, q)
            elif same(item.name, item.name_len, "identity", 8):
                identity = q
            elif same(item.name, item.name_len, "*", 1):
                anything = q
    if gzip == UNSAID:
        gzip = anything
    return gzip > 0 and gzip >= identity


cdef bint text_type(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Item item
    if not next_item(&p, &n, &item):
        return False
    p = item.name
    n = item.name_len
    if starts(p, n, "text/", 5):
        return True
    if starts(p, n, "application/", 12):
        p += 12
        n -= 12
        return (same(p, n, "json", 4) or same(p, n, "javascript", 10) or same(p, n, "x-javascript", 12)
                or same(p, n, "xml", 3) or same(p, n, "xhtml+xml", 9))
    return same(p, n, "image/svg+xml", 13)


cdef bint compressible(const ResponseHead* head, FieldList answer, bint head_request) noexcept:
    cdef bint typed = False
    cdef int i
    cdef Field* f
    cdef const uint8_t* p
    cdef Py_ssize_t n
    cdef Item item
    if head_request or head.status < 200 or head.status == 204 or head.status == 206 or head.status == 304:
        return False
    if not head.chunked and 0 <= head.content_length <= WORTH_LENGTH:
        return False
    for i in range(answer.count):
        f = &answer.at[i]
        if f.token == T_CONTENT_ENCODING or f.token == T_CONTENT_RANGE:
            return False
        if f.token == T_CONTENT_TYPE:
            typed = text_type(f.value, f.value_len)
        elif f.token == T_CACHE_CONTROL:
            p = f.value
            n = f.value_len
            while next_item(&p, &n, &item):
                if same(item.name, item.name_len, "no-transform", 12):
                    return False
    return typed


cdef bint varies(FieldList answer) noexcept:
    cdef int i
    cdef Field* f
    cdef const uint8_t* p
    cdef Py_ssize_t n
    cdef Item item
    for i in range(answer.count):
        f = &answer.at[i]
        if f.token != T_VARY:
            continue
        p = f.value
        n = f.value_len
        while next_item(&p, &n, &item):
            if same(item.name, item.name_len, "accept-encoding", 15) or same(item.name, item.name_len, "*", 1):
                return True
    return False


# For tests ------------------------------------------------------------------------------------------------------------

cdef FieldList listed(pairs):
    cdef FieldList fields = FieldList()
    for name, value in pairs:
        fields.append(name, value)
    return fields


def would_accept(pairs):
    """Whether a request with these (name, value) fields is answered with gzip (tests)."""
    return accepts_gzip(listed(pairs))


def would_compress(int status, pairs, *, bint chunked=False, long long length=-1, bint head_request=False):
    """Whether an answer with this status and these fields may leave gzipped (tests)."""
    cdef ResponseHead head
    head.status = status
    head.chunked = chunked
    head.content_length = length
    return compressible(&head, listed(pairs), head_request)


def would_vary(pairs):
    """Whether an answer with these fields says already that it depends on accept-encoding (tests)."""
    return varies(listed(pairs))


cdef object zlib = None
cdef enum:
    GZIP_LEVEL = 6


cdef object new_gzip():
    global zlib
    if zlib is None:
        import zlib as module
        zlib = module
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
