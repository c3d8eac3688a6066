"""What a head does not need: chunked bodies, and everything that is written. The rules stand in http1/head.pxd."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, strlen

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.cursor cimport CLASS, CR, HEX, HTAB, LF, NAME, SP
from lambda_dispatch_core.bytes.limits cimport CHUNK_LINE, TRAILER_BYTES
from lambda_dispatch_core.bytes.literal cimport write_lit


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
        if HEX[c]:
            if reader.extra == 16 or reader.left > INT64_MAX >> 4:
                return CHUNKS_BAD
            reader.left = reader.left << 4 | (HEX[c] - 1)
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
    return write_lit(out, b"0\r\n\r\n")


cdef int write_status_line(OutBuffer out, int status, const uint8_t* reason, Py_ssize_t reason_len) except -1:
    cdef uint8_t* to
    if not 100 <= status <= 999:
        raise ValueError(f"no HTTP status: {status}")
    if reason == NULL or reason_len == 0:
        reason = <const uint8_t*> reason_phrase(status)
        reason_len = strlen(<const char*> reason)
    to = out.reserve(reason_len + 15)
    memcpy(to, b"HTTP/1.1 ", 9)
    to[9] = <uint8_t> (c"0" + status // 100)
    to[10] = <uint8_t> (c"0" + status // 10 % 10)
    to[11] = <uint8_t> (c"0" + status % 10)
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
