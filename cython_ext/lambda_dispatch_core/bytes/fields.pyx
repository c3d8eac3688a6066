"""Known names to tokens, and the memory of a FieldList."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef enum:
    FIRST_FIELDS = 32       # fields; an ordinary browser sends fewer
    KEPT_ARENA = 4096       # bytes an idle list may keep


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Whether the bytes at p and at the literal are the same, the case of letters ignored. A letter differs from its
       upper case in bit 5 only; in the literals letters are the bytes with bit 6 set, and those only may differ. */
    static inline int ld_alike8(const uint8_t *p, const char *text)
    {
        uint64_t a, b;
        memcpy(&a, p, sizeof a);
        memcpy(&b, text, sizeof b);
        return ((a ^ b) & ~(b >> 1 & 0x2020202020202020ULL)) == 0;
    }

    static inline int ld_alike4(const uint8_t *p, const char *text)
    {
        uint32_t a, b;
        memcpy(&a, p, sizeof a);
        memcpy(&b, text, sizeof b);
        return ((a ^ b) & ~(b >> 1 & 0x20202020U)) == 0;
    }

    static inline int ld_alike2(const uint8_t *p, const char *text)
    {
        uint16_t a, b;
        memcpy(&a, p, sizeof a);
        memcpy(&b, text, sizeof b);
        return (uint16_t) ((a ^ b) & ~(b >> 1 & 0x2020)) == 0;
    }

    /* Word by word, the last of which overlaps the one before: of 2 to 32 bytes. The compiler knows n. */
    static inline __attribute__((always_inline)) int ld_same(const uint8_t *p, const char *text, size_t n)
    {
        if (n < 4)
            return ld_alike2(p, text) && ld_alike2(p + n - 2, text + n - 2);
        if (n < 8)
            return ld_alike4(p, text) && ld_alike4(p + n - 4, text + n - 4);
        return ld_alike8(p, text) && (n <= 16 || ld_alike8(p + 8, text + 8))
            && (n <= 24 || ld_alike8(p + 16, text + 16)) && ld_alike8(p + n - 8, text + n - 8);
    }
    """
    # True when the name equals the lower-case literal of n bytes, ASCII case ignored.
    bint same "ld_same"(const uint8_t* name, const char* literal, Py_ssize_t n) noexcept nogil


cdef uint16_t token_of(const uint8_t* name, Py_ssize_t n) noexcept nogil:
    if n == 2:
        if (name[1] | 0x20) == 101 and same(name, "te", 2):
            return T_TE
        if (name[1] | 0x20) == 51 and same(name, "b3", 2):
            return T_B3
    elif n == 3:
        if (name[2] | 0x20) == 97 and same(name, "via", 3):
            return T_VIA
    elif n == 4:
        if (name[3] | 0x20) == 116 and same(name, "host", 4):
            return T_HOST
        if (name[3] | 0x20) == 101 and same(name, "date", 4):
            return T_DATE
        if (name[3] | 0x20) == 121 and same(name, "vary", 4):
            return T_VARY
        if (name[3] | 0x20) == 103 and same(name, "etag", 4):
            return T_ETAG
    elif n == 5:
        if (name[4] | 0x20) == 104 and same(name, ":path", 5):
            return T_PATH
        if (name[4] | 0x20) == 101 and same(name, "range", 5):
            return T_RANGE
    elif n == 6:
        if (name[5] | 0x20) == 116 and same(name, "expect", 6):
            return T_EXPECT
        if (name[5] | 0x20) == 114 and same(name, "server", 6):
            return T_SERVER
        if (name[5] | 0x20) == 101 and same(name, "cookie", 6):
            return T_COOKIE
        if (name[5] | 0x20) == 116 and same(name, "accept", 6):
            return T_ACCEPT
    elif n == 7:
        if (name[6] | 0x20) == 100 and same(name, ":method", 7):
            return T_METHOD
        if (name[6] | 0x20) == 101 and same(name, ":scheme", 7):
            return T_SCHEME
        if (name[6] | 0x20) == 115 and same(name, ":status", 7):
            return T_STATUS
        if (name[6] | 0x20) == 101 and same(name, "upgrade", 7):
            return T_UPGRADE
        if (name[6] | 0x20) == 114 and same(name, "trailer", 7):
            return T_TRAILER
        if (name[6] | 0x20) == 114 and same(name, "referer", 7):
            return T_REFERER
    elif n == 8:
        if (name[7] | 0x20) == 110 and same(name, "location", 8):
            return T_LOCATION
    elif n == 9:
        if (name[8] | 0x20) == 108 and same(name, ":protocol", 9):
            return T_PROTOCOL
        if (name[8] | 0x20) == 100 and same(name, "forwarded", 9):
            return T_FORWARDED
        if (name[8] | 0x20) == 100 and same(name, "x-pool-id", 9):
            return T_X_POOL_ID
        if (name[8] | 0x20) == 112 and same(name, "x-real-ip", 9):
            return T_X_REAL_IP
    elif n == 10:
        if (name[9] | 0x20) == 121 and same(name, ":authority", 10):
            return T_AUTHORITY
        if (name[9] | 0x20) == 110 and same(name, "connection", 10):
            return T_CONNECTION
        if (name[9] | 0x20) == 101 and same(name, "keep-alive", 10):
            return T_KEEP_ALIVE
        if (name[9] | 0x20) == 101 and same(name, "set-cookie", 10):
            return T_SET_COOKIE
        if (name[9] | 0x20) == 116 and same(name, "user-agent", 10):
            return T_USER_AGENT
        if (name[9] | 0x20) == 101 and same(name, "tracestate", 10):
            return T_TRACESTATE
        if (name[9] | 0x20) == 115 and same(name, "x-b3-flags", 10):
            return T_X_B3_FLAGS
    elif n == 11:
        if (name[10] | 0x20) == 114 and same(name, "retry-after", 11):
            return T_RETRY_AFTER
        if (name[10] | 0x20) == 100 and same(name, "x-lambda-id", 11):
            return T_X_LAMBDA_ID
        if (name[10] | 0x20) == 116 and same(name, "traceparent", 11):
            return T_TRACEPARENT
        if (name[10] | 0x20) == 100 and same(name, "x-b3-spanid", 11):
            return T_X_B3_SPANID
    elif n == 12:
        if (name[11] | 0x20) == 101 and same(name, "content-type", 12):
            return T_CONTENT_TYPE
        if (name[11] | 0x20) == 100 and same(name, "x-channel-id", 12):
            return T_X_CHANNEL_ID
        if (name[11] | 0x20) == 100 and same(name, "x-request-id", 12):
            return T_X_REQUEST_ID
        if (name[11] | 0x20) == 100 and same(name, "x-b3-traceid", 12):
            return T_X_B3_TRACEID
        if (name[11] | 0x20) == 100 and same(name, "x-b3-sampled", 12):
            return T_X_B3_SAMPLED
    elif n == 13:
        if (name[12] | 0x20) == 110 and same(name, "authorization", 13):
            return T_AUTHORIZATION
        if (name[12] | 0x20) == 108 and same(name, "cache-control", 13):
            return T_CACHE_CONTROL
        if (name[12] | 0x20) == 101 and same(name, "x-lambda-name", 13):
            return T_X_LAMBDA_NAME
        if (name[12] | 0x20) == 101 and same(name, "content-range", 13):
            return T_CONTENT_RANGE
    elif n == 14:
        if (name[13] | 0x20) == 115 and same(name, "http2-settings", 14):
            return T_HTTP2_SETTINGS
        if (name[13] | 0x20) == 104 and same(name, "content-length", 14):
            return T_CONTENT_LENGTH
    elif n == 15:
        if (name[14] | 0x20) == 103 and same(name, "accept-encoding", 15):
            return T_ACCEPT_ENCODING
        if (name[14] | 0x20) == 114 and same(name, "x-forwarded-for", 15):
            return T_X_FORWARDED_FOR
        if (name[14] | 0x20) == 100 and same(name, "x-amzn-trace-id", 15):
            return T_X_AMZN_TRACE_ID
    elif n == 16:
        if (name[15] | 0x20) == 110 and same(name, "proxy-connection", 16):
            return T_PROXY_CONNECTION
        if (name[15] | 0x20) == 103 and same(name, "content-encoding", 16):
            return T_CONTENT_ENCODING
        if (name[15] | 0x20) == 116 and same(name, "x-forwarded-port", 16):
            return T_X_FORWARDED_PORT
        if (name[15] | 0x20) == 116 and same(name, "x-forwarded-host", 16):
            return T_X_FORWARDED_HOST
    elif n == 17:
        if (name[16] | 0x20) == 103 and same(name, "transfer-encoding", 17):
            return T_TRANSFER_ENCODING
        if (name[16] | 0x20) == 111 and same(name, "x-forwarded-proto", 17):
            return T_X_FORWARDED_PROTO
        if (name[16] | 0x20) == 100 and same(name, "x-b3-parentspanid", 17):
            return T_X_B3_PARENTSPANID
    elif n == 18:
        if (name[17] | 0x20) == 101 and same(name, "proxy-authenticate", 18):
            return T_PROXY_AUTHENTICATE
    elif n == 19:
        if (name[18] | 0x20) == 110 and same(name, "proxy-authorization", 19):
            return T_PROXY_AUTHORIZATION
    elif n == 23:
        if (name[22] | 0x20) == 103 and same(name, "x-lambda-dispatch-debug", 23):
            return T_X_LAMBDA_DISPATCH_DEBUG
        if (name[22] | 0x20) == 114 and same(name, "x-lambda-dispatch-error", 23):
            return T_X_LAMBDA_DISPATCH_ERROR
    elif n == 24:
        if (name[23] | 0x20) == 116 and same(name, "x-lambda-dispatch-secret", 24):
            return T_X_LAMBDA_DISPATCH_SECRET
    elif n == 25:
        if (name[24] | 0x20) == 110 and same(name, "x-lambda-dispatch-version", 25):
            return T_X_LAMBDA_DISPATCH_VERSION
    elif n == 28:
        if (name[27] | 0x20) == 101 and same(name, "x-lambda-dispatch-build-time", 28):
            return T_X_LAMBDA_DISPATCH_BUILD_TIME
    return UNKNOWN


@cython.final
@cython.no_gc
cdef class FieldList:

    def __cinit__(self):
        self.at = <Field*> malloc(FIRST_FIELDS * sizeof(Field))
        if self.at == NULL:
            raise MemoryError()
        self.room = FIRST_FIELDS

    def __dealloc__(self):
        free(self.at)
        free(self.arena)

    cdef int add_slow(self) except -1:
        cdef Field* at = <Field*> realloc(self.at, 2 * self.room * sizeof(Field))
        if at == NULL:
            raise MemoryError()
        self.at = at
        self.room *= 2
        return 0

    cdef uint8_t* arena_reserve(self, Py_ssize_t n) except NULL:
        cdef Py_ssize_t want = self.arena_len + n
        cdef Py_ssize_t room = self.arena_room if self.arena_room else KEPT_ARENA
        cdef uint8_t* arena
        cdef uint8_t* old = self.arena
        cdef int i
        cdef Field* f
        if want <= self.arena_room and old != NULL:
            return self.arena + self.arena_len
        while room < want:
            room *= 2
        arena = <uint8_t*> malloc(room)
        if arena == NULL:
            raise MemoryError()
        if old != NULL:
            memcpy(arena, old, self.arena_len)
            for i in range(self.count):
                f = &self.at[i]
                # <=: an empty name or value may stand at the very end
                if old <= f.name <= old + self.arena_room:
                    f.name = arena + (f.name - old)
                if old <= f.value <= old + self.arena_room:
                    f.value = arena + (f.value - old)
            free(old)
        self.arena = arena
        self.arena_room = room
        return arena + self.arena_len

    cdef int add_copy(self, const uint8_t* name, Py_ssize_t name_len,
                      const uint8_t* value, Py_ssize_t value_len, uint16_t token, uint16_t flags) except -1:
        cdef uint8_t* to = self.arena_reserve(name_len + value_len)
        if name_len:
            memcpy(to, name, name_len)
        if value_len:
            memcpy(to + name_len, value, value_len)
        self.arena_len += name_len + value_len
        return self.add(to, name_len, to + name_len, value_len, token, flags & ~AS_LINE)

    cdef Field* find(self, uint16_t token) noexcept:
        cdef int i
        for i in range(self.count):
            if self.at[i].token == token:
                return &self.at[i]
        return NULL

    cdef void trim(self) noexcept:
        cdef Field* at
        self.clear()
        if self.arena_room > KEPT_ARENA:
            free(self.arena)
            self.arena = NULL
            self.arena_room = 0
        if self.room > FIRST_FIELDS:
            at = <Field*> realloc(self.at, FIRST_FIELDS * sizeof(Field))
            if at != NULL:
                self.at = at
                self.room = FIRST_FIELDS

    def __len__(self):
        return self.count

    def append(self, bytes name not None, bytes value not None, int flags=0):
        """Adds a copy of one field (tests and slow paths)."""
        cdef const uint8_t* p = <const uint8_t*> PyBytes_AS_STRING(name)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(name)
        self.add_copy(p, n, <const uint8_t*> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), token_of(p, n), flags)

    def pairs(self):
        """The fields as (name, value) pairs of bytes (tests and slow paths)."""
        cdef int i
        return [
            (self.at[i].name[:self.at[i].name_len], self.at[i].value[:self.at[i].value_len])
            for i in range(self.count)
        ]

    def flags(self):
        """Each field's flags, in order (tests)."""
        cdef int i
        return [self.at[i].flags for i in range(self.count)]


def token(bytes name not None):
    """The token of a name (tests)."""
    return token_of(<const uint8_t*> PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
