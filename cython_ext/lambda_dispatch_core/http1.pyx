"""HTTP/1.1 heads and chunked bodies; the rules each dialect follows stand in http1.pxd.

A head is read once, front to back, and the first fault found is the one reported: so a prefix of a head yields 0 or the
very error the whole head yields. What the strict dialect refuses although RFC 9112 or 9110 would let it pass: HTTP/1.x
above 1.1, a comma in a host, an IPvFuture host, a host that differs from that of an absolute target, white space
around a chunk extension, and Content-Length twice with the same value. Each of them is how two readers of the same
bytes have come to different requests.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int8_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from lambda_dispatch_core.buffer cimport OutBuffer
from lambda_dispatch_core.cursor cimport skip_text, skip_visible
from lambda_dispatch_core.fields cimport (
    T_CONNECTION,
    T_CONTENT_LENGTH,
    T_EXPECT,
    T_HOST,
    T_TRANSFER_ENCODING,
    T_UPGRADE,
    FieldList,
    token_of,
)
from lambda_dispatch_core.limits cimport CHUNK_LINE, LEADING_LINES, TRAILER_BYTES

cdef enum Dialect:
    STRICT
    TUNNEL
    RESPONSE

cdef enum:
    NAME = 1            # may stand in a token (RFC 9110 5.6.2): methods, field names, options
    HOST = 2            # may stand in a registered name (RFC 3986 3.2.2), commas and percent signs apart
    ADDRESS = 4         # may stand in an IPv6 address
    HTAB = 0x09
    LF = 0x0A
    CR = 0x0D
    SP = 0x20

cdef uint8_t CLASS[256]
cdef int8_t HEX[256]    # a hexadecimal digit's value; -1 for every other byte


cdef void fill_tables() noexcept:
    cdef int c
    for c in range(256):
        CLASS[c] = 0
        HEX[c] = -1
    for c in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        CLASS[c] = NAME | HOST
    for c in b"!#$%&'*+-.^_`|~":
        CLASS[c] |= NAME
    for c in b"-._~!$&'()*+;=":
        CLASS[c] |= HOST
    for c in b"0123456789abcdefABCDEF:.":
        CLASS[c] |= ADDRESS
    for c in range(10):
        HEX[c"0" + c] = c
    for c in range(6):
        HEX[c"a" + c] = HEX[c"A" + c] = 10 + c


fill_tables()


# What a head's fields say about its body and its connection.
cdef struct Meaning:
    const uint8_t* host
    Py_ssize_t host_len
    int64_t content_length      # -1 when none
    Dialect dialect
    uint8_t minor
    bint has_host
    bint has_length
    bint has_encoding
    bint chunked
    bint close                  # Connection: close
    bint keep                   # Connection: keep-alive
    bint upgrade_option         # Connection: upgrade
    bint upgrade_field
    bint expect_continue
    bint options                # Connection names other fields


cdef inline bint is_word(const uint8_t* p, Py_ssize_t n, const char* word, Py_ssize_t length) noexcept nogil:
    """Whether p is this lower-case word of letters and '-', in any case."""
    cdef Py_ssize_t i
    if n != length:
        return False
    for i in range(n):
        if p[i] != <uint8_t> word[i] and ((p[i] | 0x20) != <uint8_t> word[i] or word[i] < c"a"):
            return False
    return True


# ---- lines

cdef inline Py_ssize_t line_end(const uint8_t* c, const uint8_t* end, Dialect dialect) noexcept nogil:
    """The length of the line end at c; 0 when more bytes must tell; BAD_LINE_END."""
    if c[0] == CR:
        if c + 1 == end:
            return 0
        if c[1] == LF:
            return 2
    elif c[0] == LF and dialect != STRICT:
        return 1
    return BAD_LINE_END


cdef Py_ssize_t read_version(const uint8_t* c, const uint8_t* end, uint8_t* minor) noexcept nogil:
    """8 when HTTP/1.0 or HTTP/1.1 stands at c."""
    cdef const char* like = b"HTTP/1.1"
    cdef int i
    for i in range(8):
        if c + i == end:
            return 0
        if c[i] == <uint8_t> like[i]:
            continue
        if i != 5 and i != 7 or not c"0" <= c[i] <= c"9":
            return BAD_VERSION
    if c[5] != c"1" or c[7] > c"1":
        return UNSUPPORTED_VERSION
    minor[0] = c[7] - c"0"
    return 8


cdef inline const uint8_t* line_stop(const uint8_t* c, const uint8_t* end, uint32_t line) noexcept nogil:
    """Where reading a first line stops: with its line end a line has at most line + 2 bytes."""
    return end if end - c <= <Py_ssize_t> line + 2 else c + <Py_ssize_t> line + 2


cdef inline Py_ssize_t cut_short(const uint8_t* start, const uint8_t* stop, uint32_t line) noexcept nogil:
    return LINE_TOO_LONG if stop - start >= <Py_ssize_t> line + 2 else 0


cdef Py_ssize_t request_line(const uint8_t* start, const uint8_t* end, uint32_t line, Dialect dialect,
                             RequestHead* head) noexcept nogil:
    cdef const uint8_t* stop = line_stop(start, end, line)
    cdef const uint8_t* c = start
    cdef Py_ssize_t got
    while c < stop and CLASS[c[0]] & NAME:
        c += 1
    if c == stop:
        return cut_short(start, stop, line)
    if c[0] != SP or c == start:
        if c[0] == CR and c + 1 == stop:
            return cut_short(start, stop, line)
        return BAD_REQUEST_LINE if c[0] == CR or c[0] == LF else BAD_METHOD
    head.method = start
    head.method_len = <uint32_t> (c - start)
    head.target = c + 1
    c = skip_visible(c + 1, stop)
    if c == stop:
        return cut_short(start, stop, line)
    head.target_len = <uint32_t> (c - head.target)
    if c[0] != SP or head.target_len == 0:
        return BAD_REQUEST_LINE if c[0] == SP or c[0] == CR or c[0] == LF else BAD_TARGET
    c += 1
    if stop - c >= 10 and memcmp(c, b"HTTP/1.1\r\n", 10) == 0:
        head.minor = 1
        c += 8
        got = 2
    else:
        if c < stop and c[0] == SP:
            return BAD_REQUEST_LINE
        got = read_version(c, stop, &head.minor)
        if got <= 0:
            return got if got else cut_short(start, stop, line)
        c += got
        if c == stop:
            return cut_short(start, stop, line)
        if c[0] != CR and c[0] != LF:
            return BAD_REQUEST_LINE if c[0] == SP else BAD_VERSION
        got = line_end(c, stop, dialect)
        if got <= 0:
            return got if got else cut_short(start, stop, line)
    if c - start > <Py_ssize_t> line:
        return LINE_TOO_LONG
    head.is_head = head.method_len == 4 and memcmp(head.method, b"HEAD", 4) == 0
    return c + got - start


cdef Py_ssize_t status_line(const uint8_t* start, const uint8_t* end, uint32_t line, Dialect dialect,
                            ResponseHead* head) noexcept nogil:
    cdef const uint8_t* stop = line_stop(start, end, line)
    cdef const uint8_t* c = start
    cdef Py_ssize_t got = read_version(c, stop, &head.minor)
    cdef int i
    if got <= 0:
        return got if got else cut_short(start, stop, line)
    c += 8
    for i in range(4):
        if c == stop:
            return cut_short(start, stop, line)
        if i == 0:
            if c[0] != SP:
                return BAD_STATUS_LINE
        elif c"0" <= c[0] <= c"9":
            head.status = head.status * 10 + (c[0] - c"0")
        else:
            return BAD_STATUS_LINE
        c += 1
    if head.status < 100:
        return BAD_STATUS_LINE
    head.reason = c
    if c < stop and c[0] == SP:
        head.reason = c + 1
        c = skip_text(c + 1, stop)
        head.reason_len = <uint32_t> (c - head.reason)
    if c == stop:
        return cut_short(start, stop, line)
    if c[0] != CR and c[0] != LF:
        return BAD_STATUS_LINE
    got = line_end(c, stop, dialect)
    if got <= 0:
        return got if got else cut_short(start, stop, line)
    if c - start > <Py_ssize_t> line:
        return LINE_TOO_LONG
    return c + got - start


# ---- targets and hosts

cdef int check_host(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """uri-host [ ":" port ] of RFC 9110 7.2, not empty (4.2.1); a name, an IPv4 address or [IPv6]."""
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c = p
    cdef int port = 0
    if n == 0:
        return BAD_HOST
    if c[0] == c"[":
        c += 1
        while c < end and CLASS[c[0]] & ADDRESS:
            c += 1
        if c == end or c[0] != c"]" or c - p < 3:
            return BAD_HOST
        c += 1
    else:
        while c < end:
            if CLASS[c[0]] & HOST:
                c += 1
            elif c[0] == c"%" and end - c >= 3 and HEX[c[1]] >= 0 and HEX[c[2]] >= 0:
                c += 3
            else:
                break
        if c == p:
            return BAD_HOST
    if c == end:
        return 0
    if c[0] != c":" or end - c > 6:
        return BAD_HOST
    c += 1
    while c < end:
        if not c"0" <= c[0] <= c"9":
            return BAD_HOST
        port = port * 10 + (c[0] - c"0")
        c += 1
    return 0 if port <= 65535 else BAD_HOST


cdef int check_target(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """Origin-form, its bytes as they are, or "*" (which only OPTIONS may ask for: the caller knows the method)."""
    if n == 1 and p[0] == c"*":
        return 0
    if n == 0 or p[0] != c"/" or skip_visible(p, p + n) != p + n:
        return BAD_TARGET
    return 0


cdef Py_ssize_t scheme_length(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """The bytes of "http://" or "https://", in any case, at the start of a target; 0 for others."""
    cdef Py_ssize_t length = 4
    if n < 7 or not is_word(p, 4, b"http", 4):
        return 0
    if p[4] == c"s" or p[4] == c"S":
        length = 5
    if n < length + 3 or memcmp(p + length, b"://", 3) != 0:
        return 0
    return length + 3


cdef int request_target(const RequestHead* head, Meaning* meaning) noexcept nogil:
    """Whether this method may ask for this target (RFC 9112 3.2). Sets meaning.host to an absolute target's authority."""
    cdef const uint8_t* p = head.target
    cdef const uint8_t* end = p + head.target_len
    cdef const uint8_t* c
    cdef Py_ssize_t scheme
    if head.method_len == 7 and memcmp(head.method, b"CONNECT", 7) == 0:
        # authority-form: the port may not be left out (RFC 9110 9.3.6)
        if check_host(p, end - p) != 0 or not c"0" <= (end - 1)[0] <= c"9":
            return BAD_TARGET
        return 0 if has_port(p, end) else BAD_TARGET
    if p[0] == c"/":
        return 0
    if end - p == 1 and p[0] == c"*":
        return 0 if head.method_len == 7 and memcmp(head.method, b"OPTIONS", 7) == 0 else BAD_TARGET
    scheme = scheme_length(p, end - p)
    if scheme == 0:
        return BAD_TARGET
    p += scheme
    c = p
    while c < end and c[0] != c"/" and c[0] != c"?":
        c += 1
    if check_host(p, c - p) != 0:
        return BAD_TARGET
    meaning.host = p
    meaning.host_len = c - p
    return 0


cdef bint has_port(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Whether a host that passed check_host and ends with a digit has a port."""
    if p[0] == c"[":
        return True
    return memchr(p, c":", end - p) != NULL


# ---- fields

cdef int64_t parse_size(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef int64_t size = 0
    cdef Py_ssize_t i
    cdef int digit
    if n == 0:
        return -1
    for i in range(n):
        digit = p[i] - c"0"
        if digit < 0 or digit > 9 or size > (INT64_MAX - digit) // 10:
            return -1
        size = size * 10 + digit
    return size


cdef int note_length(const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    """A Content-Length field. Only an application's answer may repeat it, with the same number. RFC 9112 6.3"""
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c = p
    cdef const uint8_t* last
    cdef int64_t size
    cdef bint list_ends = False
    if meaning.dialect == TUNNEL:
        meaning.content_length = -1 if meaning.has_length else parse_size(p, n)
        meaning.has_length = True
        return 0
    if meaning.dialect == STRICT and (meaning.has_length or memchr(p, c",", n) != NULL):
        return BAD_CONTENT_LENGTH
    while not list_ends:
        while c < end and (c[0] == SP or c[0] == HTAB):
            c += 1
        p = c
        while c < end and c[0] != c",":
            c += 1
        list_ends = c == end
        last = c
        while last > p and ((last - 1)[0] == SP or (last - 1)[0] == HTAB):
            last -= 1
        size = parse_size(p, last - p)
        if size < 0 or meaning.has_length and size != meaning.content_length:
            return BAD_CONTENT_LENGTH
        meaning.has_length = True
        meaning.content_length = size
        c += 1
    return LENGTH_AND_ENCODING if meaning.has_encoding else 0


cdef int note_encoding(const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    cdef bint chunked = is_word(p, n, b"chunked", 7) and not meaning.has_encoding
    meaning.has_encoding = True
    meaning.chunked = chunked
    if meaning.dialect == TUNNEL:
        return 0
    if not chunked or meaning.minor == 0:
        return BAD_TRANSFER_ENCODING
    return LENGTH_AND_ENCODING if meaning.has_length else 0


cdef int note_connection(const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    """A Connection field: a list of tokens in which empty elements count for nothing. RFC 9110 5.6.1, 7.6.1"""
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c = p
    while c < end:
        if c[0] == c"," or c[0] == SP or c[0] == HTAB:
            c += 1
            continue
        p = c
        while c < end and CLASS[c[0]] & NAME:
            c += 1
        n = c - p
        while c < end and (c[0] == SP or c[0] == HTAB):
            c += 1
        if n == 0 or c < end and c[0] != c",":
            # an answer whose Connection makes no sense is read, but its connection is not used again
            meaning.close = True
            meaning.options = True
            return BAD_CONNECTION if meaning.dialect == STRICT else 0
        if is_word(p, n, b"close", 5):
            meaning.close = True
        elif is_word(p, n, b"keep-alive", 10):
            meaning.keep = True
        elif is_word(p, n, b"upgrade", 7):
            meaning.upgrade_option = True
        elif meaning.dialect == STRICT and (is_word(p, n, b"host", 4) or is_word(p, n, b"content-length", 14)):
            return BAD_CONNECTION       # asks that the request be forwarded as another one
        else:
            meaning.options = True
    return 0


cdef int note_field(uint16_t token, const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    if token == T_CONTENT_LENGTH:
        return note_length(p, n, meaning)
    if token == T_TRANSFER_ENCODING:
        return note_encoding(p, n, meaning)
    if token == T_CONNECTION:
        return note_connection(p, n, meaning)
    if token == T_UPGRADE:
        meaning.upgrade_field = True
    elif token == T_HOST and meaning.dialect == STRICT:
        if meaning.has_host or check_host(p, n) != 0:
            return BAD_HOST
        meaning.has_host = True
        if meaning.host != NULL and (n != meaning.host_len or not same_text(p, meaning.host, n)):
            return BAD_HOST
    elif token == T_EXPECT and meaning.dialect != RESPONSE:
        if is_word(p, n, b"100-continue", 12):
            meaning.expect_continue = meaning.minor == 1    # RFC 9110 10.1.1: ignored on HTTP/1.0
        elif meaning.dialect == STRICT:
            return EXPECTATION_FAILED
    return 0


cdef bint same_text(const uint8_t* a, const uint8_t* b, Py_ssize_t n) noexcept nogil:
    """Whether they differ in the case of ASCII letters at most."""
    cdef Py_ssize_t i
    for i in range(n):
        if a[i] != b[i] and ((a[i] ^ b[i]) != 0x20 or not c"a" <= (a[i] | 0x20) <= c"z"):
            return False
    return True


cdef inline Py_ssize_t read_fields(const uint8_t* start, const uint8_t* end, uint32_t most, Meaning* meaning,
                                   FieldList fields) except -1:
    """All field lines and the empty line. Bytes used; 0 when they are not all there; a HeadError."""
    cdef const uint8_t* c = start
    cdef const uint8_t* name
    cdef const uint8_t* colon
    cdef const uint8_t* value
    cdef const uint8_t* last
    cdef Py_ssize_t ending
    cdef uint16_t token
    cdef int error
    while c < end:
        name = c
        while c < end and CLASS[c[0]] & NAME:
            c += 1
        if c == end:
            return 0
        if c[0] != c":" or c == name:
            if c > name:
                return BAD_FIELD_NAME
            if c[0] == SP or c[0] == HTAB:
                return OBS_FOLD
            if c[0] != CR and c[0] != LF:
                return BAD_FIELD_NAME
            ending = line_end(c, end, meaning.dialect)
            return c + ending - start if ending > 0 else ending
        if <uint32_t> fields.count >= most:
            return TOO_MANY_FIELDS
        colon = c
        c += 1
        while c < end and (c[0] == SP or c[0] == HTAB):
            c += 1
        value = c
        c = skip_text(c, end)
        if c == end:
            return 0
        if c[0] != CR and c[0] != LF:
            return BAD_FIELD_VALUE
        ending = line_end(c, end, meaning.dialect)
        if ending <= 0:
            return ending
        token = token_of(name, colon - name)
        last = c
        while last > value and ((last - 1)[0] == SP or (last - 1)[0] == HTAB):
            last -= 1
        fields.add(name, colon - name, value, last - value, token, 0)
        if T_CONNECTION <= token <= T_EXPECT:
            error = note_field(token, value, last - value, meaning)
            if error:
                return error
        c += ending
    return 0


# ---- heads

cdef inline Py_ssize_t head_end(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits) noexcept nogil:
    return n if n < <Py_ssize_t> limits.head else <Py_ssize_t> limits.head


cdef inline void begin(Meaning* meaning, Dialect dialect, uint8_t minor) noexcept nogil:
    memset(meaning, 0, sizeof(Meaning))
    meaning.content_length = -1
    meaning.dialect = dialect
    meaning.minor = minor


cdef inline bint kept(const Meaning* meaning) noexcept nogil:
    return not meaning.close and (meaning.minor == 1 or meaning.keep)


cdef inline Py_ssize_t request_head(const uint8_t* p, const uint8_t* end, const HeadLimits* limits, Dialect dialect,
                                    RequestHead* head, FieldList fields) except -1:
    cdef Meaning meaning
    cdef Py_ssize_t used
    cdef Py_ssize_t got
    cdef int error
    memset(head, 0, sizeof(RequestHead))
    head.content_length = -1
    fields.clear()
    used = request_line(p, end, limits.line, dialect, head)
    if used <= 0:
        return used
    begin(&meaning, dialect, head.minor)
    if dialect == STRICT:
        error = request_target(head, &meaning)
        if error:
            return error
    got = read_fields(p + used, end, limits.fields, &meaning, fields)
    if got <= 0:
        return got
    if dialect == STRICT and meaning.minor == 1 and not meaning.has_host:
        return BAD_HOST
    head.content_length = meaning.content_length if not meaning.has_encoding else -1
    head.chunked = meaning.chunked
    head.keep_alive = kept(&meaning)
    head.expect_continue = meaning.expect_continue
    head.upgrade = meaning.upgrade_option and meaning.upgrade_field and meaning.minor == 1
    head.connection_options = meaning.options
    return used + got


cdef inline Py_ssize_t response_head(const uint8_t* p, const uint8_t* end, const HeadLimits* limits, Dialect dialect,
                                     ResponseHead* head, FieldList fields) except -1:
    cdef Meaning meaning
    cdef Py_ssize_t used
    cdef Py_ssize_t got
    memset(head, 0, sizeof(ResponseHead))
    head.content_length = -1
    fields.clear()
    used = status_line(p, end, limits.line, dialect, head)
    if used <= 0:
        return used
    begin(&meaning, dialect, head.minor)
    got = read_fields(p + used, end, limits.fields, &meaning, fields)
    if got <= 0:
        return got
    head.content_length = meaning.content_length if not meaning.has_encoding else -1
    head.chunked = meaning.chunked
    head.keep_alive = kept(&meaning)
    head.connection_options = meaning.options
    return used + got


cdef inline Py_ssize_t whole(Py_ssize_t got, Py_ssize_t n, const HeadLimits* limits) noexcept nogil:
    """What a parse function returns: a head that is still open where its limit is reached is too large."""
    return HEAD_TOO_LARGE if got == 0 and n >= <Py_ssize_t> limits.head else got


cdef Py_ssize_t parse_request(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                              RequestHead* head, FieldList fields) except -1:
    cdef Py_ssize_t most = head_end(p, n, limits)
    cdef Py_ssize_t empty = 0
    cdef Py_ssize_t got
    while most - empty >= 2 and p[empty] == CR and p[empty + 1] == LF:
        empty += 2
        if empty > 2 * LEADING_LINES:
            return BAD_REQUEST_LINE
    got = request_head(p + empty, p + most, limits, STRICT, head, fields)
    return got + empty if got > 0 else whole(got, n, limits)


cdef Py_ssize_t parse_tunnel_request(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                                     RequestHead* head, FieldList fields) except -1:
    return whole(request_head(p, p + head_end(p, n, limits), limits, TUNNEL, head, fields), n, limits)


cdef Py_ssize_t parse_tunnel_response(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                                      ResponseHead* head, FieldList fields) except -1:
    return whole(response_head(p, p + head_end(p, n, limits), limits, TUNNEL, head, fields), n, limits)


cdef Py_ssize_t parse_response(const uint8_t* p, Py_ssize_t n, const HeadLimits* limits,
                               ResponseHead* head, FieldList fields) except -1:
    return whole(response_head(p, p + head_end(p, n, limits), limits, RESPONSE, head, fields), n, limits)


cdef Py_ssize_t scan_head(HeadScan* scan, const uint8_t* p, Py_ssize_t n, bint lf) noexcept nogil:
    """Looks from line feed to line feed. Where bare ones do not count (lf False) the first of them ends the scan as
    well: the parser refuses the head there, and nobody should wait for more of it."""
    cdef const uint8_t* found
    cdef Py_ssize_t empty = 0
    cdef Py_ssize_t i
    if not lf:
        while empty <= 2 * LEADING_LINES and n - empty >= 2 and p[empty] == CR and p[empty + 1] == LF:
            empty += 2
        if empty > 2 * LEADING_LINES:
            return empty
        if scan.at < empty:
            scan.at = empty
    while scan.at < n:
        found = <const uint8_t*> memchr(p + scan.at, LF, n - scan.at)
        if found == NULL:
            scan.at = n
            return 0
        i = found - p
        scan.at = i + 1
        if i == empty or p[i - 1] == LF or p[i - 1] == CR and (i - 1 == empty or p[i - 2] == LF):
            return i + 1
        if not lf and p[i - 1] != CR:
            return i + 1
    return 0


cdef bint named_by_connection(FieldList fields, const uint8_t* name, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* c
    cdef const uint8_t* end
    cdef const uint8_t* option
    cdef int i
    for i in range(fields.count):
        if fields.at[i].token != T_CONNECTION:
            continue
        c = fields.at[i].value
        end = c + fields.at[i].value_len
        while c < end:
            option = c
            while c < end and CLASS[c[0]] & NAME:
                c += 1
            if c - option == n and n > 0 and same_text(option, name, n):
                return True
            while c < end and not CLASS[c[0]] & NAME:
                c += 1
    return False


cdef int head_error_status(int error) noexcept nogil:
    if error == UNSUPPORTED_VERSION:
        return 505
    if error == HEAD_TOO_LARGE or error == TOO_MANY_FIELDS:
        return 431
    if error == LINE_TOO_LONG:
        return 414
    if error == EXPECTATION_FAILED:
        return 417
    return 400


cdef const char* REASON[32]
for _ in range(32):
    REASON[_] = b"bad-head"
REASON[-BAD_REQUEST_LINE] = b"bad-request-line"
REASON[-BAD_METHOD] = b"bad-method"
REASON[-BAD_TARGET] = b"bad-target"
REASON[-BAD_VERSION] = b"bad-version"
REASON[-UNSUPPORTED_VERSION] = b"unsupported-version"
REASON[-BAD_FIELD_NAME] = b"bad-field-name"
REASON[-BAD_FIELD_VALUE] = b"bad-field-value"
REASON[-BAD_LINE_END] = b"bad-line-end"
REASON[-OBS_FOLD] = b"folded-field"
REASON[-BAD_CONTENT_LENGTH] = b"bad-content-length"
REASON[-BAD_TRANSFER_ENCODING] = b"bad-transfer-encoding"
REASON[-LENGTH_AND_ENCODING] = b"length-and-encoding"
REASON[-BAD_HOST] = b"bad-host"
REASON[-BAD_STATUS_LINE] = b"bad-status-line"
REASON[-BAD_CONNECTION] = b"bad-connection"
REASON[-HEAD_TOO_LARGE] = b"head-too-large"
REASON[-LINE_TOO_LONG] = b"line-too-long"
REASON[-TOO_MANY_FIELDS] = b"too-many-fields"
REASON[-EXPECTATION_FAILED] = b"expectation-failed"


cdef const char* head_error_reason(int error) noexcept nogil:
    return REASON[-error if -32 < error <= 0 else 0]


cdef const char* PHRASE[600]
for _ in range(600):
    PHRASE[_] = b""
PHRASE[100] = b"Continue"
PHRASE[101] = b"Switching Protocols"
PHRASE[102] = b"Processing"
PHRASE[103] = b"Early Hints"
PHRASE[200] = b"OK"
PHRASE[201] = b"Created"
PHRASE[202] = b"Accepted"
PHRASE[203] = b"Non-Authoritative Information"
PHRASE[204] = b"No Content"
PHRASE[205] = b"Reset Content"
PHRASE[206] = b"Partial Content"
PHRASE[207] = b"Multi-Status"
PHRASE[208] = b"Already Reported"
PHRASE[226] = b"IM Used"
PHRASE[300] = b"Multiple Choices"
PHRASE[301] = b"Moved Permanently"
PHRASE[302] = b"Found"
PHRASE[303] = b"See Other"
PHRASE[304] = b"Not Modified"
PHRASE[305] = b"Use Proxy"
PHRASE[307] = b"Temporary Redirect"
PHRASE[308] = b"Permanent Redirect"
PHRASE[400] = b"Bad Request"
PHRASE[401] = b"Unauthorized"
PHRASE[402] = b"Payment Required"
PHRASE[403] = b"Forbidden"
PHRASE[404] = b"Not Found"
PHRASE[405] = b"Method Not Allowed"
PHRASE[406] = b"Not Acceptable"
PHRASE[407] = b"Proxy Authentication Required"
PHRASE[408] = b"Request Timeout"
PHRASE[409] = b"Conflict"
PHRASE[410] = b"Gone"
PHRASE[411] = b"Length Required"
PHRASE[412] = b"Precondition Failed"
PHRASE[413] = b"Content Too Large"
PHRASE[414] = b"URI Too Long"
PHRASE[415] = b"Unsupported Media Type"
PHRASE[416] = b"Range Not Satisfiable"
PHRASE[417] = b"Expectation Failed"
PHRASE[421] = b"Misdirected Request"
PHRASE[422] = b"Unprocessable Content"
PHRASE[423] = b"Locked"
PHRASE[424] = b"Failed Dependency"
PHRASE[425] = b"Too Early"
PHRASE[426] = b"Upgrade Required"
PHRASE[428] = b"Precondition Required"
PHRASE[429] = b"Too Many Requests"
PHRASE[431] = b"Request Header Fields Too Large"
PHRASE[451] = b"Unavailable For Legal Reasons"
PHRASE[500] = b"Internal Server Error"
PHRASE[501] = b"Not Implemented"
PHRASE[502] = b"Bad Gateway"
PHRASE[503] = b"Service Unavailable"
PHRASE[504] = b"Gateway Timeout"
PHRASE[505] = b"HTTP Version Not Supported"
PHRASE[506] = b"Variant Also Negotiates"
PHRASE[507] = b"Insufficient Storage"
PHRASE[508] = b"Loop Detected"
PHRASE[511] = b"Network Authentication Required"


cdef const char* reason_phrase(int status) noexcept nogil:
    return PHRASE[status if 0 <= status < 600 else 0]


# ---- chunked bodies

cdef enum ChunkState:
    CHUNK_SIZE              # digits; the first is still to come when `extra`, their number, is 0
    CHUNK_EXT_NAME          # after ";"; extra: its characters, 0 or 1
    CHUNK_EXT_VALUE         # after "="; likewise
    CHUNK_EXT_QUOTED        # inside a quoted string
    CHUNK_EXT_ESCAPED       # after a backslash in it
    CHUNK_EXT_CLOSED        # after the closing quote
    CHUNK_SIZE_LF
    CHUNK_CONTENT
    CHUNK_CONTENT_CR
    CHUNK_CONTENT_LF
    TRAILER_LINE            # at the start of a line after the last chunk
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    CHUNKS_LF               # the line feed that ends it all
    CHUNKS_DONE
    CHUNKS_BAD


cdef int chunk_step(ChunkReader* reader, uint8_t c) noexcept nogil:
    """The state after one byte that is not content. RFC 9112 7.1, without white space in extensions; CHUNKS_BAD where
    the grammar ends."""
    cdef int state = reader.state
    if state == CHUNK_SIZE:
        if HEX[c] >= 0:
            if reader.extra == 16 or reader.left > INT64_MAX >> 4:
                return CHUNKS_BAD
            reader.left = reader.left << 4 | HEX[c]
            reader.extra += 1
            return CHUNK_SIZE
        if reader.extra == 0:
            return CHUNKS_BAD
    elif state == CHUNK_EXT_NAME or state == CHUNK_EXT_VALUE:
        if CLASS[c] & NAME:
            reader.extra = 1
            return state
        if reader.extra == 0:
            return CHUNK_EXT_QUOTED if c == c'"' and state == CHUNK_EXT_VALUE else CHUNKS_BAD
        if c == c"=" and state == CHUNK_EXT_NAME:
            reader.extra = 0
            return CHUNK_EXT_VALUE
    elif state == CHUNK_EXT_QUOTED:
        if c == c'"':
            return CHUNK_EXT_CLOSED
        if c == c"\\":
            return CHUNK_EXT_ESCAPED
        return CHUNK_EXT_QUOTED if is_text(c) else CHUNKS_BAD
    elif state == CHUNK_EXT_ESCAPED:
        return CHUNK_EXT_QUOTED if is_text(c) else CHUNKS_BAD
    elif state == CHUNK_SIZE_LF:
        reader.line = 0
        if c != LF:
            return CHUNKS_BAD
        return CHUNK_CONTENT if reader.left else TRAILER_LINE
    elif state == CHUNK_CONTENT_CR:
        return CHUNK_CONTENT_LF if c == CR else CHUNKS_BAD
    elif state == CHUNK_CONTENT_LF:
        reader.extra = 0
        reader.line = 0
        return CHUNK_SIZE if c == LF else CHUNKS_BAD
    elif state == TRAILER_LINE or state == TRAILER_NAME:
        if CLASS[c] & NAME:
            return TRAILER_NAME
        if c == c":" and state == TRAILER_NAME:
            return TRAILER_VALUE
        return CHUNKS_LF if c == CR and state == TRAILER_LINE else CHUNKS_BAD
    elif state == TRAILER_VALUE:
        if c == CR:
            return TRAILER_LF
        return TRAILER_VALUE if is_text(c) else CHUNKS_BAD
    elif state == TRAILER_LF:
        return TRAILER_LINE if c == LF else CHUNKS_BAD
    elif state == CHUNKS_LF:
        return CHUNKS_DONE if c == LF else CHUNKS_BAD
    # what a size, an extension's name or value, or a quoted value may be followed by
    if c == c";":
        reader.extra = 0
        return CHUNK_EXT_NAME
    return CHUNK_SIZE_LF if c == CR else CHUNKS_BAD


cdef inline bint is_text(uint8_t c) noexcept nogil:
    return c >= 0x20 and c != 0x7F or c == HTAB


cdef int read_chunked(ChunkReader* reader, const uint8_t* p, Py_ssize_t n,
                      const uint8_t** body, Py_ssize_t* body_len, Py_ssize_t* used) noexcept nogil:
    cdef Py_ssize_t i = 0
    body_len[0] = 0
    while i < n and reader.state < CHUNKS_DONE:
        if reader.state == CHUNK_CONTENT:
            body[0] = p + i
            body_len[0] = n - i if n - i < reader.left else <Py_ssize_t> reader.left
            reader.left -= body_len[0]
            if reader.left == 0:
                reader.state = CHUNK_CONTENT_CR
            used[0] = i + body_len[0]
            return CHUNK_DATA
        reader.line += 1
        reader.state = <uint8_t> chunk_step(reader, p[i])
        i += 1
        if reader.line > <uint32_t> (CHUNK_LINE if reader.state < CHUNK_CONTENT else TRAILER_BYTES):
            reader.state = CHUNKS_BAD
    used[0] = i
    if reader.state == CHUNKS_BAD:
        return CHUNK_BAD
    return CHUNK_END if reader.state == CHUNKS_DONE else CHUNK_MORE


# ---- writing

cdef inline Py_ssize_t decimal(uint8_t* to, int64_t number) noexcept nogil:
    """Writes a number that is not negative; its digits (at most 19)."""
    cdef uint8_t digits[20]
    cdef Py_ssize_t n = 0
    cdef Py_ssize_t i
    while True:
        digits[n] = <uint8_t> (c"0" + number % 10)
        number //= 10
        n += 1
        if number == 0:
            break
    for i in range(n):
        to[i] = digits[n - 1 - i]
    return n


cdef int write_decimal(OutBuffer out, int64_t number) except -1:
    if number < 0:
        raise ValueError(f"a size on the wire cannot be negative: {number}")
    out.length += decimal(out.reserve(20), number)
    return 0


cdef int write_chunk(OutBuffer out, const uint8_t* p, Py_ssize_t n) except -1:
    cdef uint8_t* to = out.reserve(n + 20)
    cdef int shift = 60
    if n <= 0:
        raise ValueError("an empty chunk would end the body: use write_last_chunk")
    while n >> shift == 0:
        shift -= 4
    while shift >= 0:
        to[0] = <uint8_t> b"0123456789abcdef"[n >> shift & 15]
        to += 1
        shift -= 4
    to[0] = CR
    to[1] = LF
    memcpy(to + 2, p, n)
    to += 2 + n
    to[0] = CR
    to[1] = LF
    out.length = to + 2 - out.data
    return 0


cdef int write_last_chunk(OutBuffer out) except -1:
    return out.write(<const uint8_t*> b"0\r\n\r\n", 5)


cdef int write_status_line(OutBuffer out, int status, const uint8_t* reason, Py_ssize_t reason_len) except -1:
    cdef uint8_t* to
    if not 100 <= status <= 999:
        raise ValueError(f"no HTTP status: {status}")
    if reason == NULL or reason_len == 0:
        reason = <const uint8_t*> reason_phrase(status)
        reason_len = strlen(<const char*> reason)
    to = out.reserve(reason_len + 15)
    memcpy(to, b"HTTP/1.1 ", 9)
    decimal(to + 9, status)
    to[12] = SP
    memcpy(to + 13, reason, reason_len)
    to[13 + reason_len] = CR
    to[14 + reason_len] = LF
    out.length += reason_len + 15
    return 0


cdef int write_field(OutBuffer out, const uint8_t* name, Py_ssize_t name_len,
                     const uint8_t* value, Py_ssize_t value_len) except -1:
    cdef uint8_t* to = out.reserve(name_len + value_len + 4)
    memcpy(to, name, name_len)
    to[name_len] = c":"
    to[name_len + 1] = SP
    to += name_len + 2
    if value_len:
        memcpy(to, value, value_len)
    to[value_len] = CR
    to[value_len + 1] = LF
    out.length += name_len + value_len + 4
    return 0


# ---- the same for tests and benchmarks, which cannot see what is C

class HeadRefused(ValueError):
    """A head that is refused: `reason`, one word, and `status`, the answer it deserves."""

    def __init__(self, str reason, int status):
        super().__init__(f"{reason} ({status})")
        self.reason = reason
        self.status = status


cdef HeadLimits limits_of(head, line, fields):
    cdef HeadLimits limits
    limits.head = head
    limits.line = line
    limits.fields = fields
    return limits


cdef object refused(Py_ssize_t error):
    return HeadRefused((<bytes> head_error_reason(<int> error)).decode("ascii"), head_error_status(<int> error))


def read_request(bytes data not None, *, bint tunnel=False, head=65536, line=16384, fields=128):
    """(length, what the head says, fields as pairs), or None when the head is not whole yet; raises HeadRefused."""
    cdef HeadLimits limits = limits_of(head, line, fields)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef RequestHead request
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used
    if tunnel:
        used = parse_tunnel_request(p, PyBytes_GET_SIZE(data), &limits, &request, found)
    else:
        used = parse_request(p, PyBytes_GET_SIZE(data), &limits, &request, found)
    if used == 0:
        return None
    if used < 0:
        raise refused(used)
    return used, {
        "method": request.method[:request.method_len],
        "target": request.target[:request.target_len],
        "minor": request.minor,
        "content_length": request.content_length,
        "chunked": bool(request.chunked),
        "keep_alive": bool(request.keep_alive),
        "expect_continue": bool(request.expect_continue),
        "upgrade": bool(request.upgrade),
        "is_head": bool(request.is_head),
        "connection_options": bool(request.connection_options),
    }, found.pairs()


def read_response(bytes data not None, *, bint tunnel=False, head=65536, line=16384, fields=128):
    """As read_request, for the answer of an application or one that came through the tunnel."""
    cdef HeadLimits limits = limits_of(head, line, fields)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef ResponseHead response
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used
    if tunnel:
        used = parse_tunnel_response(p, PyBytes_GET_SIZE(data), &limits, &response, found)
    else:
        used = parse_response(p, PyBytes_GET_SIZE(data), &limits, &response, found)
    if used == 0:
        return None
    if used < 0:
        raise refused(used)
    return used, {
        "status": response.status,
        "reason": response.reason[:response.reason_len],
        "minor": response.minor,
        "content_length": response.content_length,
        "chunked": bool(response.chunked),
        "keep_alive": bool(response.keep_alive),
        "connection_options": bool(response.connection_options),
    }, found.pairs()


def parse_many(bytes data not None, str dialect not None, Py_ssize_t rounds):
    """Parses the same head so many times without leaving C (benchmarks); the head's length."""
    cdef HeadLimits limits = limits_of(65536, 16384, 128)
    cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    cdef RequestHead request
    cdef ResponseHead response
    cdef FieldList found = FieldList()
    cdef Py_ssize_t used = 0
    cdef int which = ("request", "tunnel-request", "tunnel-response", "response").index(dialect)
    for _ in range(rounds):
        if which == 0:
            used = parse_request(p, n, &limits, &request, found)
        elif which == 1:
            used = parse_tunnel_request(p, n, &limits, &request, found)
        elif which == 2:
            used = parse_tunnel_response(p, n, &limits, &response, found)
        else:
            used = parse_response(p, n, &limits, &response, found)
    return used


@cython.final
cdef class HeadScanner:
    """scan_head over bytes that come in pieces."""
    cdef HeadScan _scan
    cdef bytes _kept
    cdef bint _lf

    def __init__(self, bint lf=False):
        self._kept = b""
        self._lf = lf

    def feed(self, bytes data not None):
        """The length of the head once its end is there, else 0."""
        self._kept += data
        return scan_head(&self._scan, <const uint8_t*> PyBytes_AS_STRING(self._kept), PyBytes_GET_SIZE(self._kept),
                         self._lf)


@cython.final
cdef class ChunkedBody:
    """read_chunked over bytes that come in pieces."""
    cdef ChunkReader _reader
    cdef readonly bint done
    cdef readonly bint bad

    def feed(self, bytes data not None):
        """(content in this piece, how many bytes of it were used)."""
        cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(data)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t used, body_len
        cdef const uint8_t* body
        cdef int result = CHUNK_DATA
        cdef list content = []
        while result == CHUNK_DATA:
            result = read_chunked(&self._reader, p + at, n - at, &body, &body_len, &used)
            if result == CHUNK_DATA:
                content.append(body[:body_len])
            at += used
        self.done = result == CHUNK_END
        self.bad = result == CHUNK_BAD
        return b"".join(content), at


def size(bytes text not None):
    """parse_size."""
    return parse_size(<const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


def host_is_valid(bytes host not None):
    """check_host."""
    return check_host(<const uint8_t*> PyBytes_AS_STRING(host), PyBytes_GET_SIZE(host)) == 0


def target_is_valid(bytes target not None):
    """check_target."""
    return check_target(<const uint8_t*> PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target)) == 0


def is_named_by_connection(FieldList fields not None, bytes name not None):
    """named_by_connection."""
    return bool(named_by_connection(fields, <const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)))


def phrase(int status):
    """reason_phrase."""
    return (<bytes> reason_phrase(status)).decode("ascii")


def chunk(bytes data not None):
    """write_chunk."""
    cdef OutBuffer out = OutBuffer()
    write_chunk(out, <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return out.take()


def last_chunk():
    """write_last_chunk."""
    cdef OutBuffer out = OutBuffer()
    write_last_chunk(out)
    return out.take()


def decimal_text(int64_t number):
    """write_decimal."""
    cdef OutBuffer out = OutBuffer()
    write_decimal(out, number)
    return out.take()


def status_text(int status, bytes reason not None=b""):
    """write_status_line."""
    cdef OutBuffer out = OutBuffer()
    write_status_line(out, status, <const uint8_t*> PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason))
    return out.take()


def field_text(bytes name not None, bytes value not None):
    """write_field."""
    cdef OutBuffer out = OutBuffer()
    write_field(out, <const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name),
                <const uint8_t*> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return out.take()
