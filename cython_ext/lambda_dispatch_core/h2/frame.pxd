"""Frames on the wire (RFC 9113 section 4.1): nine bytes of head, then the payload. Header-only: per frame, inline."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef enum FrameType:
    DATA_FRAME = 0
    HEADERS_FRAME = 1
    PRIORITY_FRAME = 2
    RST_STREAM_FRAME = 3
    SETTINGS_FRAME = 4
    PUSH_PROMISE_FRAME = 5
    PING_FRAME = 6
    GOAWAY_FRAME = 7
    WINDOW_UPDATE_FRAME = 8
    CONTINUATION_FRAME = 9


cdef enum FrameFlag:
    END_STREAM = 0x01
    ACK = 0x01
    END_HEADERS = 0x04
    PADDED = 0x08
    WITH_PRIORITY = 0x20


cdef enum Setting:
    SETTING_HEADER_TABLE_SIZE = 1
    SETTING_ENABLE_PUSH = 2
    SETTING_MAX_CONCURRENT_STREAMS = 3
    SETTING_INITIAL_WINDOW_SIZE = 4
    SETTING_MAX_FRAME_SIZE = 5
    SETTING_MAX_HEADER_LIST_SIZE = 6
    SETTING_ENABLE_CONNECT_PROTOCOL = 8     # RFC 8441


cdef enum:
    FRAME_HEAD = 9                  # bytes
    SETTING_BYTES = 6               # one parameter of a SETTINGS payload
    SENT_FRAME = 16384              # payload bytes of the frames we send, also when the peer allows more: fairness
    SMALLEST_MAX_FRAME = 16384      # RFC 9113 6.5.2
    LARGEST_MAX_FRAME = 16777215
    STREAM_ID_BITS = 0x7FFFFFFF     # the highest bit is reserved and ignored


cdef struct FrameHead:
    uint32_t length     # payload bytes
    uint32_t stream     # reserved bit removed
    uint8_t type
    uint8_t flags


cdef inline uint32_t read_u32(const uint8_t* p) noexcept nogil:
    return (<uint32_t> p[0] << 24) | (<uint32_t> p[1] << 16) | (<uint32_t> p[2] << 8) | p[3]


cdef inline uint16_t read_u16(const uint8_t* p) noexcept nogil:
    return <uint16_t> ((p[0] << 8) | p[1])


cdef inline void write_u32(uint8_t* p, uint32_t n) noexcept nogil:
    p[0] = <uint8_t> (n >> 24)
    p[1] = <uint8_t> (n >> 16)
    p[2] = <uint8_t> (n >> 8)
    p[3] = <uint8_t> n


cdef inline uint64_t read_u64(const uint8_t* p) noexcept nogil:
    return (<uint64_t> read_u32(p) << 32) | read_u32(p + 4)


cdef inline void write_u64(uint8_t* p, uint64_t n) noexcept nogil:
    write_u32(p, <uint32_t> (n >> 32))
    write_u32(p + 4, <uint32_t> n)


cdef inline void read_frame_head(FrameHead* head, const uint8_t* p) noexcept nogil:
    head.length = (<uint32_t> p[0] << 16) | (<uint32_t> p[1] << 8) | p[2]
    head.type = p[3]
    head.flags = p[4]
    head.stream = read_u32(p + 5) & STREAM_ID_BITS


cdef inline void write_frame_head(uint8_t* p, Py_ssize_t length, uint8_t type, uint8_t flags,
                                  uint32_t stream) noexcept nogil:
    p[0] = <uint8_t> (length >> 16)
    p[1] = <uint8_t> (length >> 8)
    p[2] = <uint8_t> length
    p[3] = type
    p[4] = flags
    write_u32(p + 5, stream)


cdef inline void write_setting(uint8_t* p, uint16_t name, uint32_t value) noexcept nogil:
    p[0] = <uint8_t> (name >> 8)
    p[1] = <uint8_t> name
    write_u32(p + 2, value)
