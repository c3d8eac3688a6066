"""Records of traced requests to spans; what it is stands in span_encoder.pxd."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

cimport cython

from lambda_dispatch_core.board.layout cimport BUCKETS, time_bucket
from lambda_dispatch_core.board.trace_ring cimport (
    SPAN_HOST, SPAN_METHOD, SPAN_REMOTE, SPAN_RESENT, SPAN_TARGET, SPAN_TLS,
)

from lambda_dispatch.telemetry import span_parts as parts

cdef enum:
    INVOKES = 8192              # instances whose invoke was sent already that are remembered: twice what a board has
    FUNCTIONS = 256             # names that are numbered; beyond it all begin again
    SPAN_ROOM = 128             # bytes of a span that are not parts: ids, times, wait

cdef uint16_t HAS_IS_REMOTE = parts.HAS_IS_REMOTE
cdef uint16_t IS_REMOTE = parts.IS_REMOTE
cdef bytes WAIT = parts.WAIT
cdef uint8_t[16] NONE
memset(NONE, 0, 16)


cdef inline uint64_t mix(const uint8_t* p, Py_ssize_t n) noexcept:
    cdef uint64_t hash = <uint64_t> n * 0x9E3779B97F4A7C15ULL
    cdef uint64_t word
    while n >= 8:
        memcpy(&word, p, 8)
        hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL
        hash ^= hash >> 29
        p += 8
        n -= 8
    word = 0
    memcpy(&word, p, n)
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL
    return hash ^ hash >> 32


cdef inline uint8_t* put_varint(uint8_t* to, uint64_t value) noexcept:
    while value > 0x7F:
        to[0] = <uint8_t> (value & 0x7F | 0x80)
        value >>= 7
        to += 1
    to[0] = <uint8_t> value
    return to + 1


cdef inline uint8_t* put(uint8_t* to, const void* p, Py_ssize_t n) noexcept:
    memcpy(to, p, n)
    return to + n


cdef inline uint8_t* put_bytes(uint8_t* to, bytes data) noexcept:
    return put(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


# Key and length of a field, then its bytes.
cdef inline uint8_t* put_id(uint8_t* to, uint8_t key, const uint8_t* id, uint8_t n) noexcept:
    to[0] = key
    to[1] = n
    return put(to + 2, id, n)


@cython.final
cdef class Parts:
    def __init__(self, int cells):
        """`cells`: a power of two."""
        self.keys = [None] * cells
        self.values = [b""] * cells
        self.mask = <uint64_t> (cells - 1)

    cdef bytes find(self, const uint8_t* key, Py_ssize_t n):
        self.at = mix(key, n) & self.mask
        there = self.keys[self.at]
        if there is None or PyBytes_GET_SIZE(there) != n or memcmp(PyBytes_AS_STRING(there), key, n) != 0:
            return None
        return <bytes> self.values[self.at]

    cdef int keep(self, const uint8_t* key, Py_ssize_t n, bytes value) except -1:
        self.keys[self.at] = <bytes> key[:n]
        self.values[self.at] = value
        return 0


@cython.final
cdef class Encoder:
    def __init__(self, str region=""):
        self.region = region
        self.out = OutBuffer()
        self.told = {}
        self._forget()

    def _forget(self):
        self.functions = {}
        self.function = None
        self.commons = Parts(1024)
        self.paths = Parts(4096)
        self.servers = Parts(1024)
        self.clients = Parts(4096)

    def add(self, list spans, int first, int most, str function, int64_t offset):
        """The spans of requests of one function, from place `first` on, at most so many; the place after them.
        `offset`: what turns monotonic ns into ns since 1970."""
        cdef int place
        cdef int end = min(first + most, <int> len(spans))
        cdef Span span = spans[first]
        cdef uint32_t pool = span.record.pool
        for place in range(first, end):
            span = spans[place]
            if span.record.pool != pool:
                return place
            self._add(span, function, offset)
        return end

    def take(self):
        """What was added, each span as a field of ScopeSpans."""
        self.count = 0
        return self.out.take()

    cdef int _add(self, Span span, str function, int64_t offset) except -1:
        cdef SpanRecord* it = &span.record
        cdef uint8_t[KEY_ROOM] key
        cdef uint8_t* to
        cdef bytes common, path, own
        cdef int method = min(<int> it.method_length, <int> SPAN_METHOD)
        cdef int host = min(<int> it.host_length, <int> SPAN_HOST)
        cdef int target = min(<int> it.target_length, <int> SPAN_TARGET)
        cdef uint8_t tls = (it.flags & SPAN_TLS) != 0
        cdef uint8_t resent = (it.flags & SPAN_RESENT) != 0
        cdef uint8_t cold = it.opened > it.asked > 0 and it.sent > 0
        cdef uint8_t went = it.sent != 0
        cdef uint16_t flags = it.trace_flags | HAS_IS_REMOTE
        cdef uint16_t parents = flags | IS_REMOTE if it.flags & SPAN_REMOTE else flags
        cdef bint fresh
        if function is not self.function:
            self._name(function)

        to = put(put(key, &it.status, 4), &tls, 1)
        to = put(put(put(to, &method, 1), it.method, method), it.host, host)
        common = self.commons.find(key, to - key)
        if common is None:
            common = parts.common(it.method[:method], it.status, it.host[:host], tls != 0)
            self.commons.keep(key, to - key, common)
        path = self.paths.find(it.target, target)
        if path is None:
            path = parts.path_of(it.target[:target])
            self.paths.keep(it.target, target, path)
        to = put(put(put(put(key, &self.number, 4), &it.status, 4), &it.word, 2), &it.version, 1)
        to = put(put(put(put(to, &parents, 2), &tls, 1), &cold, 1), &went, 1)
        own = self.servers.find(key, to - key)
        if own is None:
            own = parts.of_server(function, "cold" if cold else "warm" if went else "", it.status, it.word, it.version,
                                  tls != 0, parents)
            self.servers.keep(key, to - key, own)
        self._span(it, common, path, own, it.arrived + offset, it.ended + offset, it.server,
                   it.parent if memcmp(it.parent, NONE, 8) else NULL,
                   (it.sent if went else it.ended) - it.asked if it.asked else -1)
        self.count += 1
        if not went:
            return 0

        to = put(put(put(put(key, &self.number, 4), &it.status, 4), &it.word, 2), &flags, 2)
        to = put(put(put(to, &cold, 1), &resent, 1), it.instance, 16)
        own = self.clients.find(key, to - key)
        fresh = own is None
        if fresh:
            own = parts.of_client(function, self.region, cold != 0, span.instance, it.status, it.word, resent != 0,
                                  flags)
            self.clients.keep(key, to - key, own)
        self._span(it, common, b"", own, it.sent + offset, it.ended + offset, it.client, it.server, -1)
        # What is found again has been told.
        return self._tell(span, function, offset) if fresh and it.opened and memcmp(it.instance, NONE, 16) else 0

    # The invoke that the instance came from, unless it was sent with an earlier request.
    cdef int _tell(self, Span span, str function, int64_t offset) except -1:
        instance = span.instance
        if instance not in self.told:
            self.told[instance] = None
            if len(self.told) > INVOKES:
                del self.told[next(iter(self.told))]
            self.out.write_bytes(parts.of_invoke(span, function, self.region, offset))
        return 0

    cdef int _name(self, str function) except -1:
        number = self.functions.get(function)
        if number is None:
            if len(self.functions) >= FUNCTIONS:
                self._forget()
            number = self.functions[function] = len(self.functions)
        self.number = number
        self.function = function
        return 0

    cdef int _span(self, const SpanRecord* it, bytes common, bytes path, bytes own, int64_t start, int64_t end,
                   const uint8_t* id, const uint8_t* parent, int64_t wait) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(common) + PyBytes_GET_SIZE(path) + PyBytes_GET_SIZE(own)
        cdef Py_ssize_t length = size + 18 + 10 + 18
        cdef double ms = wait / 1e6
        cdef uint8_t* begin
        cdef uint8_t* to
        if parent != NULL:
            length += 10
        if wait >= 0:
            length += PyBytes_GET_SIZE(WAIT) + 8
        begin = to = self.out.reserve(size + SPAN_ROOM)
        to[0] = 0x12
        to = put_varint(to + 1, <uint64_t> length)
        to = put_id(put_id(to, 0x0A, it.trace, 16), 0x12, id, 8)
        if parent != NULL:
            to = put_id(to, 0x22, parent, 8)
        to[0] = 0x39
        to = put(to + 1, &start, 8)
        to[0] = 0x41
        to = put(to + 1, &end, 8)
        to = put_bytes(put_bytes(put_bytes(to, common), path), own)
        if wait >= 0:
            to = put(put_bytes(to, WAIT), &ms, 8)
        self.out.length += to - begin
        return 0


def newest(list spans, int first, int end):
    """Of the requests from place `first` to before `end` those that are the last in some bucket of a histogram; the
    earlier first."""
    cdef uint8_t[TIMES][BUCKETS] taken
    cdef int place
    cdef Span span
    cdef const SpanRecord* it
    cdef bint wanted
    cdef list found = []
    memset(taken, 0, sizeof(taken))
    for place in range(end - 1, first - 1, -1):
        span = spans[place]
        it = &span.record
        wanted = take_bucket(taken[0], it.ended - it.arrived)
        if it.sent:
            wanted |= take_bucket(taken[1], it.sent - it.asked)
            wanted |= take_bucket(taken[2], it.ended - it.sent)
        if wanted:
            found.append(span)
    found.reverse()
    return found


cdef inline bint take_bucket(uint8_t* taken, int64_t ns) noexcept:
    cdef int bucket = time_bucket(ns if ns > 0 else 0)
    if taken[bucket]:
        return False
    taken[bucket] = 1
    return True
