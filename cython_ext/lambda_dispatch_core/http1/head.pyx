"""HTTP/1.1 heads and chunked bodies; the rules each dialect follows stand in http1/head.pxd.

A head is read once, front to back, and the first fault found is the one reported: so a prefix of a head yields 0 or the
very error the whole head yields. What the strict dialect refuses although RFC 9112 or 9110 would let it pass: HTTP/1.x
above 1.1, a comma in a host, an IPvFuture host, a host that differs from that of an absolute target, white space
around a chunk extension, and Content-Length twice with the same value. Each of them is how two readers of the same
bytes have come to different requests.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memset

from lambda_dispatch_core.bytes.cursor cimport (
    CLASS,
    CR,
    HTAB,
    LF,
    NAME,
    SP,
    is_word,
    same_text,
    skip_blanks,
    skip_name,
    skip_text,
    skip_visible,
    trim_blanks,
)
from lambda_dispatch_core.bytes.fields cimport (
    AS_LINE,
    T_CONNECTION,
    T_CONTENT_LENGTH,
    T_EXPECT,
    T_HOST,
    T_TRANSFER_ENCODING,
    T_UPGRADE,
    FieldList,
    token_of,
)
from lambda_dispatch_core.http1.body cimport parse_size
from lambda_dispatch_core.http1.target cimport authority_of, is_authority, is_host, is_path
from lambda_dispatch_core.bytes.limits cimport LEADING_LINES
from lambda_dispatch_core.bytes.literal cimport begins_lit, is_lit

cdef enum Dialect:
    STRICT
    TUNNEL
    RESPONSE

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
    cdef const uint8_t* c = skip_name(start, stop)
    cdef Py_ssize_t got
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
    if begins_lit(c, stop - c, b"HTTP/1.1\r\n"):
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
    head.is_head = is_lit(head.method, head.method_len, b"HEAD")
    return c + got - start


cdef Py_ssize_t status_line(const uint8_t* start, const uint8_t* end, uint32_t line, Dialect dialect,
                            ResponseHead* head) noexcept nogil:
    cdef const uint8_t* stop = line_stop(start, end, line)
    cdef const uint8_t* c = start
    cdef Py_ssize_t got
    cdef int i
    if begins_lit(c, stop - c, b"HTTP/1.1 "):
        head.minor = 1
    else:
        got = read_version(c, stop, &head.minor)
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
    return 0 if is_host(p, n) else BAD_HOST


cdef int check_target(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    return 0 if is_path(p, n) or n == 1 and p[0] == c"*" else BAD_TARGET


cdef int request_target(const RequestHead* head, Meaning* meaning) noexcept nogil:
    """Whether this method may ask for this target. Sets meaning.host to an absolute target's authority."""
    cdef const uint8_t* p = head.target
    if is_lit(head.method, head.method_len, b"CONNECT"):
        return 0 if is_authority(p, head.target_len) else BAD_TARGET
    if p[0] == c"/":
        return 0
    if head.target_len == 1 and p[0] == c"*":
        return 0 if is_lit(head.method, head.method_len, b"OPTIONS") else BAD_TARGET
    meaning.host = authority_of(p, head.target_len, &meaning.host_len)
    return 0 if meaning.host != NULL else BAD_TARGET


# ---- fields

cdef int note_length(const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    """A Content-Length field. Only an application's answer may repeat it, with the same number. RFC 9112 6.3"""
    cdef const uint8_t* end = p + n
    cdef const uint8_t* c = p
    cdef int64_t size
    cdef bint list_ends = False
    if meaning.dialect == TUNNEL:
        meaning.content_length = -1 if meaning.has_length else parse_size(p, n)
        meaning.has_length = True
        return 0
    if meaning.dialect == STRICT and (meaning.has_length or memchr(p, c",", n) != NULL):
        return BAD_CONTENT_LENGTH
    while not list_ends:
        p = skip_blanks(c, end)
        c = p
        while c < end and c[0] != c",":
            c += 1
        list_ends = c == end
        size = parse_size(p, trim_blanks(p, c) - p)
        if size < 0 or meaning.has_length and size != meaning.content_length:
            return BAD_CONTENT_LENGTH
        meaning.has_length = True
        meaning.content_length = size
        c += 1
    return LENGTH_AND_ENCODING if meaning.has_encoding else 0


cdef int note_encoding(const uint8_t* p, Py_ssize_t n, Meaning* meaning) noexcept nogil:
    cdef bint chunked = is_word(p, n, b"chunked") and not meaning.has_encoding
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
        c = skip_name(c, end)
        n = c - p
        c = skip_blanks(c, end)
        if n == 0 or c < end and c[0] != c",":
            # an answer whose Connection makes no sense is read, but its connection is not used again
            meaning.close = True
            meaning.options = True
            return BAD_CONNECTION if meaning.dialect == STRICT else 0
        if is_word(p, n, b"close"):
            meaning.close = True
        elif is_word(p, n, b"keep-alive"):
            meaning.keep = True
        elif is_word(p, n, b"upgrade"):
            meaning.upgrade_option = True
        elif meaning.dialect == STRICT and (is_word(p, n, b"host") or is_word(p, n, b"content-length")):
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
        if is_word(p, n, b"100-continue"):
            meaning.expect_continue = meaning.minor == 1    # RFC 9110 10.1.1: ignored on HTTP/1.0
        elif meaning.dialect == STRICT:
            return EXPECTATION_FAILED
    return 0


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
    cdef uint16_t flags
    cdef int error
    while c < end:
        name = c
        c = skip_name(c, end)
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
        value = skip_blanks(c + 1, end)
        c = skip_text(value, end)
        if c == end:
            return 0
        if c[0] != CR and c[0] != LF:
            return BAD_FIELD_VALUE
        ending = line_end(c, end, meaning.dialect)
        if ending <= 0:
            return ending
        token = token_of(name, colon - name)
        last = trim_blanks(value, c)
        flags = 0
        if ending == 2 and value == colon + 2 and colon[1] == SP and last == c:
            flags = AS_LINE
        fields.add(name, colon - name, value, last - value, token, flags)
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
    well: the parser refuses the head there, and more of it need not be waited for."""
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
            c = skip_name(c, end)
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
    REASON[_] = b"bad_head"
REASON[-BAD_REQUEST_LINE] = b"bad_request_line"
REASON[-BAD_METHOD] = b"bad_method"
REASON[-BAD_TARGET] = b"bad_target"
REASON[-BAD_VERSION] = b"bad_version"
REASON[-UNSUPPORTED_VERSION] = b"unsupported_version"
REASON[-BAD_FIELD_NAME] = b"bad_field_name"
REASON[-BAD_FIELD_VALUE] = b"bad_field_value"
REASON[-BAD_LINE_END] = b"bad_line_end"
REASON[-OBS_FOLD] = b"folded_field"
REASON[-BAD_CONTENT_LENGTH] = b"bad_content_length"
REASON[-BAD_TRANSFER_ENCODING] = b"bad_transfer_encoding"
REASON[-LENGTH_AND_ENCODING] = b"length_and_encoding"
REASON[-BAD_HOST] = b"bad_host"
REASON[-BAD_STATUS_LINE] = b"bad_status_line"
REASON[-BAD_CONNECTION] = b"bad_connection"
REASON[-HEAD_TOO_LARGE] = b"head_too_large"
REASON[-LINE_TOO_LONG] = b"line_too_long"
REASON[-TOO_MANY_FIELDS] = b"too_many_fields"
REASON[-EXPECTATION_FAILED] = b"expectation_failed"


cdef const char* head_error_reason(int error) noexcept nogil:
    return REASON[-error if -32 < error <= 0 else 0]
