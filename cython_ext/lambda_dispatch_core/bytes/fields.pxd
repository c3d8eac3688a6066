"""Header fields as the whole product passes them on: borrowed pointers in a flat list, known names as small numbers.

A Field's pointers are borrowed. From the HTTP/1.1 parser they point into the bytes being parsed; from HPACK they point
into the list's own arena. Either way they are valid until the list is cleared or the callback that was handed it
returns, whichever is first. Code that needs a field for longer copies it.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef enum Token:
    # Names the product treats specially. UNKNOWN must be 0. Pseudo-header fields come first: token <= LAST_PSEUDO.
    UNKNOWN = 0
    T_METHOD = 1
    T_SCHEME = 2
    T_AUTHORITY = 3
    T_PATH = 4
    T_STATUS = 5
    T_PROTOCOL = 6
    LAST_PSEUDO = 6
    # hop by hop (RFC 9110 7.6.1): token <= LAST_HOP and > LAST_PSEUDO is never forwarded
    T_CONNECTION = 7
    T_KEEP_ALIVE = 8
    T_PROXY_CONNECTION = 9
    T_TRANSFER_ENCODING = 10
    T_UPGRADE = 11
    T_TE = 12
    T_TRAILER = 13
    T_HTTP2_SETTINGS = 14
    T_PROXY_AUTHENTICATE = 15
    T_PROXY_AUTHORIZATION = 16
    LAST_HOP = 16
    T_HOST = 17
    T_CONTENT_LENGTH = 18
    T_EXPECT = 19
    T_DATE = 20
    T_SERVER = 21
    T_VIA = 22
    T_COOKIE = 23
    T_SET_COOKIE = 24
    T_AUTHORIZATION = 25
    T_CONTENT_TYPE = 26
    T_CONTENT_ENCODING = 27
    T_ACCEPT_ENCODING = 28
    T_CACHE_CONTROL = 29
    T_VARY = 30
    T_RETRY_AFTER = 31
    T_X_FORWARDED_FOR = 32
    T_X_FORWARDED_PROTO = 33
    T_X_FORWARDED_PORT = 34
    T_X_FORWARDED_HOST = 35
    T_FORWARDED = 36
    T_X_POOL_ID = 37
    T_X_LAMBDA_ID = 38
    T_X_CHANNEL_ID = 39
    T_X_LAMBDA_NAME = 40
    T_X_LAMBDA_DISPATCH_DEBUG = 41
    T_X_LAMBDA_DISPATCH_VERSION = 42
    T_X_LAMBDA_DISPATCH_BUILD_TIME = 43
    T_X_LAMBDA_DISPATCH_ERROR = 44
    T_X_LAMBDA_DISPATCH_SECRET = 45
    T_ETAG = 46
    T_CONTENT_RANGE = 47
    T_RANGE = 48
    T_ACCEPT = 49
    T_USER_AGENT = 50
    T_LOCATION = 51
    T_X_REAL_IP = 52
    T_REFERER = 53
    T_X_REQUEST_ID = 54
    # where a trace goes on (front/trace.pxd)
    T_TRACEPARENT = 55
    T_TRACESTATE = 56
    T_B3 = 57
    T_X_B3_TRACEID = 58
    T_X_B3_SPANID = 59
    T_X_B3_PARENTSPANID = 60
    T_X_B3_SAMPLED = 61
    T_X_B3_FLAGS = 62
    T_X_AMZN_TRACE_ID = 63
    TOKENS = 64


cdef enum FieldFlag:
    NEVER_INDEX = 1         # RFC 7541 7.1.3: must be forwarded as a never-indexed literal
    # What stands at `name` is the line that this field is written as: name, ": ", value, CRLF. Not so in a copy.
    AS_LINE = 2


cdef struct Field:
    const uint8_t* name     # as it came; lower case when it came over HTTP/2
    const uint8_t* value    # surrounding white space already removed
    uint32_t name_len       # bytes
    uint32_t value_len      # bytes
    uint16_t token          # a Token; UNKNOWN when the name is none of them
    uint16_t flags          # FieldFlag bits


# The end of the line that stands at f.name, where the field is AS_LINE.
cdef inline const uint8_t* line_after(const Field* f) noexcept nogil:
    return f.value + f.value_len + 2


# The token of a name in any case; UNKNOWN for others.
cdef uint16_t token_of(const uint8_t* name, Py_ssize_t n) noexcept nogil


cdef class FieldList:
    cdef Field* at              # the fields, in the order they came; at[0 .. count-1]
    cdef readonly int count     # how many there are
    cdef int room               # how many `at` can hold
    cdef uint8_t* arena         # bytes owned by the list; fields may point into it
    cdef Py_ssize_t arena_len   # bytes of the arena in use
    cdef Py_ssize_t arena_room  # bytes the arena has

    cdef int add_slow(self) except -1
    # Makes room for n bytes in the arena and returns where they go; the caller adds n to arena_len. When the arena has
    # to move, every field that points into it is moved along.
    cdef uint8_t* arena_reserve(self, Py_ssize_t n) except NULL
    # Adds a copy of name and value (kept in the arena).
    cdef int add_copy(self, const uint8_t* name, Py_ssize_t name_len,
                      const uint8_t* value, Py_ssize_t value_len, uint16_t token, uint16_t flags) except -1
    # The first field with this token, or NULL.
    cdef Field* find(self, uint16_t token) noexcept
    # Gives back memory beyond what an ordinary head needs. Call when idle.
    cdef void trim(self) noexcept

    # Bytes of memory.
    cdef inline Py_ssize_t held(self) noexcept:
        return self.arena_room + self.room * <Py_ssize_t> sizeof(Field)

    cdef inline void clear(self) noexcept:
        self.count = 0
        self.arena_len = 0

    # Adds borrowed pointers.
    cdef inline int add(self, const uint8_t* name, Py_ssize_t name_len,
                        const uint8_t* value, Py_ssize_t value_len, uint16_t token, uint16_t flags) except -1:
        cdef Field* f
        if self.count == self.room:
            self.add_slow()
        f = &self.at[self.count]
        f.name = name
        f.value = value
        f.name_len = <uint32_t> name_len
        f.value_len = <uint32_t> value_len
        f.token = token
        f.flags = flags
        self.count += 1
        return 0
