"""Checks of header blocks: one pass over the fields, one over each field's bytes."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from lambda_dispatch_core.bytes.fields cimport (
    LAST_PSEUDO, T_AUTHORITY, T_CONNECTION, T_CONTENT_LENGTH, T_HOST, T_METHOD, T_PATH, T_PROTOCOL, T_SCHEME, T_STATUS,
    T_TE, T_UPGRADE, UNKNOWN, Field, FieldList
)

cdef enum ByteClass:
    NAME = 1            # may stand in a field name: a token of RFC 9110 5.6.2 without upper case
    TOKEN = 2           # may stand in a method
    VALUE = 4           # may stand in a field value: no control but HTAB
    TARGET = 8          # may stand in a path: no control, no space
    HOST = 16           # may stand in an authority: no control, no space, no userinfo, no path
    SCHEME = 32         # RFC 3986 3.1
    DIGIT = 64

cdef uint8_t[256] CLASSES

cdef extern from *:
    """
    /* One in each byte of a word, and its top bit. Constants, not variables: the compiler computes with them. */
    #define LD_EVERY 0x0101010101010101ULL
    #define LD_TOPS 0x8080808080808080ULL
    """
    const uint64_t EVERY "LD_EVERY"
    const uint64_t TOPS "LD_TOPS"


cdef void fill_classes() noexcept:
    cdef int c
    cdef uint8_t bits
    for c in range(256):
        bits = 0
        if c in b"!#$%&'*+-.^_`|~" or 0x30 <= c <= 0x39 or 0x61 <= c <= 0x7A:
            bits |= NAME | TOKEN
        if 0x41 <= c <= 0x5A:
            bits |= TOKEN
        if (c >= 0x20 and c != 0x7F) or c == 0x09:
            bits |= VALUE
        if c > 0x20 and c != 0x7F:
            bits |= TARGET
            if c not in b"@/?#\\" and c < 0x80:
                bits |= HOST
        if c in b"+-." or 0x30 <= c <= 0x39 or 0x41 <= c <= 0x5A or 0x61 <= c <= 0x7A:
            bits |= SCHEME
        if 0x30 <= c <= 0x39:
            bits |= DIGIT
        CLASSES[c] = bits


fill_classes()


cdef inline bint all_of(const uint8_t* p, Py_ssize_t n, uint8_t bits) noexcept nogil:
    cdef Py_ssize_t i
    while n >= 4:
        if not CLASSES[p[0]] & CLASSES[p[1]] & CLASSES[p[2]] & CLASSES[p[3]] & bits:
            return False
        p += 4
        n -= 4
    for i in range(n):
        if not CLASSES[p[i]] & bits:
            return False
    return True


# Whether each of the eight bytes is printable ASCII or space: no byte below 0x20, none above 0x7E.
cdef inline bint plain(uint64_t word) noexcept nogil:
    return not ((word | (word - EVERY * 0x20) | (word + EVERY)) & TOPS)


# Values are nearly always plain ASCII: eight bytes at a time, and byte by byte from the first that is not.
cdef inline bint value_bytes(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, p, 8)
        if not plain(word):
            break
        p += 8
        n -= 8
    return all_of(p, n, VALUE)


# The same for a path, which has no space.
cdef inline bint target_bytes(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, p, 8)
        if (word | (word - EVERY * 0x21) | (word + EVERY)) & TOPS:
            break
        p += 8
        n -= 8
    return all_of(p, n, TARGET)


cdef inline bint is_text(const uint8_t* p, Py_ssize_t n, const char* text, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    if n != length:
        return False
    for i in range(n):
        if p[i] != <uint8_t> text[i]:
            return False
    return True


cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c | 0x20 if 0x41 <= c <= 0x5A else c


cdef bint same_host(const Field* a, const Field* b) noexcept nogil:
    cdef uint32_t i
    if a.value_len != b.value_len:
        return False
    for i in range(a.value_len):
        if lower(a.value[i]) != lower(b.value[i]):
            return False
    return True


# 1*DIGIT below 2**63, or -1.
cdef int64_t number(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t total = 0
    cdef Py_ssize_t i
    if n < 1 or n > 19 or not all_of(p, n, DIGIT):
        return -1
    for i in range(n):
        total = total * 10 + (p[i] - 0x30)
    return -1 if total > <uint64_t> 0x7FFFFFFFFFFFFFFF else <int64_t> total


# Whether a name that has a token is in lower case: it has letters, digits and '-', of which only letters have bit 6.
cdef inline bint is_lower(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t word
    cdef Py_ssize_t i
    for i in range(0, n - 7, 8):
        memcpy(&word, p + i, 8)
        if word >> 1 & ~word & EVERY * 0x20:
            return False
    for i in range(n & ~7, n):
        if 0x41 <= p[i] <= 0x5A:
            return False
    return True


# The rules for every field that is not a pseudo-header field.
cdef int check_field(const Field* f, int64_t* content_length) noexcept nogil:
    if f.name_len == 0:
        return NAME_EMPTY
    if not (is_lower(f.name, f.name_len) if f.token != UNKNOWN else all_of(f.name, f.name_len, NAME)):
        return NAME_BYTES
    if not value_bytes(f.value, f.value_len):
        return VALUE_BYTES
    if f.value_len and (f.value[0] == 0x20 or f.value[0] == 0x09 or f.value[f.value_len - 1] == 0x20
                        or f.value[f.value_len - 1] == 0x09):
        return VALUE_SPACE
    if T_CONNECTION <= f.token <= T_UPGRADE:
        return CONNECTION_FIELD
    if f.token == T_TE and not is_text(f.value, f.value_len, "trailers", 8):
        return TE_NOT_TRAILERS
    if f.token == T_CONTENT_LENGTH:
        if content_length[0] >= 0:
            return LENGTH_FORM
        content_length[0] = number(f.value, f.value_len)
        if content_length[0] < 0:
            return LENGTH_FORM
    return HEAD_FINE


cdef inline bint is_pseudo(const Field* f) noexcept nogil:
    return f.name_len > 0 and f.name[0] == 0x3A


# What the pseudo-header fields of a request say together (8.3.1, 8.5).
cdef int check_target(const Field* method, const Field* scheme, const Field* path,
                      const Field* authority, const Field* protocol) noexcept nogil:
    if method == NULL:
        return PSEUDO_MISSING
    if method.value_len == 0 or not all_of(method.value, method.value_len, TOKEN):
        return METHOD_BYTES
    if authority != NULL and (authority.value_len == 0 or not all_of(authority.value, authority.value_len, HOST)):
        return AUTHORITY_BYTES
    if protocol != NULL:
        if not is_text(method.value, method.value_len, "CONNECT", 7) or authority == NULL or (
                protocol.value_len == 0 or not all_of(protocol.value, protocol.value_len, TARGET)):
            return CONNECT_FORM
    elif is_text(method.value, method.value_len, "CONNECT", 7):
        return CONNECT_FORM if scheme != NULL or path != NULL or authority == NULL else HEAD_FINE
    if scheme == NULL or path == NULL:
        return PSEUDO_MISSING
    if scheme.value_len == 0 or not all_of(scheme.value, scheme.value_len, SCHEME):
        return SCHEME_BYTES
    if path.value_len == 0:
        return PATH_EMPTY
    if path.value[0] != 0x2F and not (
            is_text(path.value, path.value_len, "*", 1) and is_text(method.value, method.value_len, "OPTIONS", 7)):
        return PATH_FORM
    if not target_bytes(path.value, path.value_len):
        return PATH_FORM
    return HEAD_FINE


cdef int check_request(FieldList head, HeadFacts* facts, bint any_host, bint extended) noexcept:
    cdef const Field* f
    cdef const Field* host = NULL
    cdef const Field* found[LAST_PSEUDO + 1]
    cdef int i, fault
    cdef int pseudos = 0
    for i in range(LAST_PSEUDO + 1):
        found[i] = NULL
    facts.content_length = -1
    facts.status = 0
    for i in range(head.count):
        f = &head.at[i]
        if is_pseudo(f):
            if i != pseudos:
                return PSEUDO_AFTER_FIELD
            pseudos += 1
            if (f.token < T_METHOD or f.token > T_PATH) and not (extended and f.token == T_PROTOCOL):
                return PSEUDO_UNKNOWN
            if found[f.token] != NULL:
                return PSEUDO_TWICE
            found[f.token] = f
            continue
        fault = check_field(f, &facts.content_length)
        if fault:
            return fault
        if f.token == T_HOST:
            if host != NULL:
                return HOST_DIFFERS
            host = f
            if found[<int> T_AUTHORITY] != NULL and not any_host and not same_host(f, found[<int> T_AUTHORITY]):
                return HOST_DIFFERS
    fault = check_target(found[<int> T_METHOD], found[<int> T_SCHEME], found[<int> T_PATH], found[<int> T_AUTHORITY],
                         found[<int> T_PROTOCOL])
    if fault:
        return fault
    facts.is_head = is_text(found[<int> T_METHOD].value, found[<int> T_METHOD].value_len, "HEAD", 4)
    return HEAD_FINE


cdef int check_response(FieldList head, HeadFacts* facts) noexcept:
    cdef const Field* f
    cdef int i, fault
    facts.content_length = -1
    facts.status = 0
    facts.is_head = False
    for i in range(head.count):
        f = &head.at[i]
        if is_pseudo(f):
            if f.token != T_STATUS:
                return PSEUDO_UNKNOWN
            if facts.status:
                return PSEUDO_TWICE
            if i:
                return PSEUDO_AFTER_FIELD
            if f.value_len != 3 or not all_of(f.value, 3, DIGIT) or f.value[0] == 0x30:
                return STATUS_FORM
            facts.status = (f.value[0] - 0x30) * 100 + (f.value[1] - 0x30) * 10 + (f.value[2] - 0x30)
            if facts.status == 101:
                return STATUS_FORM
            continue
        fault = check_field(f, &facts.content_length)
        if fault:
            return fault
    return HEAD_FINE if facts.status else PSEUDO_MISSING


cdef int check_trailers(FieldList trailers) noexcept:
    cdef const Field* f
    cdef int i, fault
    cdef int64_t content_length = -1
    for i in range(trailers.count):
        f = &trailers.at[i]
        if is_pseudo(f):
            return PSEUDO_IN_TRAILERS
        fault = check_field(f, &content_length)
        if fault:
            return fault
    return HEAD_FINE


cdef tuple WORDS = (
    "fine",
    "an empty field name",
    "a field name that is not a lower-case token",
    "a control character in a field value",
    "white space at an end of a field value",
    "a pseudo-header field after an ordinary one",
    "a pseudo-header field twice",
    "a pseudo-header field that has no meaning here",
    "a pseudo-header field is missing",
    "a pseudo-header field in trailers",
    "a connection-specific field",
    "te other than trailers",
    "a method that is not a token",
    "a scheme that is none",
    "an empty path",
    "a path that is none",
    "an authority that is none",
    "host and authority differ",
    "CONNECT needs an authority and nothing else",
    "a status that is none",
    "a content-length that is not one number",
)


cdef str head_fault(int fault):
    return WORDS[fault]
