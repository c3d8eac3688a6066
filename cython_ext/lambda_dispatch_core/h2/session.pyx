"""One HTTP/2 connection: see h2/session.pxd for what it promises, h2/stream.pxd for the life of a stream.

    receive ── _read ── _frame_begins ┬─ _data_begins, _deliver                     DATA, as its bytes come
                                      └─ _frame_ends ┬─ _headers ── _block_ends     HEADERS and CONTINUATION
                                                     └─ one method each             every other type

Here is what reads and decides; what follows from it is inherited: streams, credit and ends from h2_ledger, all that is
sent on streams from h2_sender.

An event may reset any stream, end the session, or send. So after each event nothing is taken for granted: a stream's
state is looked at again, `_dead` is asked, and a stream whose own event is on the stack is released only when the
event has returned (BUSY).
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.flow cimport FIRST_WINDOW, WINDOW_MAX, grow
from lambda_dispatch_core.h2.frame cimport (
    ACK, CONTINUATION_FRAME, DATA_FRAME, END_HEADERS, END_STREAM, FRAME_HEAD, GOAWAY_FRAME, HEADERS_FRAME,
    LARGEST_MAX_FRAME, PADDED, PING_FRAME, PRIORITY_FRAME, PUSH_PROMISE_FRAME, RST_STREAM_FRAME, SETTING_BYTES,
    SETTING_ENABLE_PUSH, SETTING_HEADER_TABLE_SIZE, SETTING_INITIAL_WINDOW_SIZE, SETTING_MAX_CONCURRENT_STREAMS,
    SETTING_MAX_FRAME_SIZE, SETTINGS_FRAME, SMALLEST_MAX_FRAME, STREAM_ID_BITS, WINDOW_UPDATE_FRAME, WITH_PRIORITY,
    read_frame_head, read_u16, read_u32, read_u64, write_frame_head
)
from lambda_dispatch_core.h2.head cimport (
    HeadFacts, check_request, check_response, check_trailers, head_fault
)
from lambda_dispatch_core.h2.streams cimport BUSY, HEAD_IN, HEAD_OUT, MAX_STREAM_ID, NO_HEAD_YET, SWALLOW, UNDECLARED
from lambda_dispatch_core.h2.stream cimport (
    CLOSED, DROP, IDLE, RECV_DATA, RECV_HEAD, RECV_RESET, RECV_WINDOW, STREAM_CLOSED_ALL, STREAM_CLOSED_STREAM, after,
    is_over, may_receive
)
from lambda_dispatch_core.hpack.hpack cimport HPACK_ERROR, HPACK_OK, HPACK_TOO_LARGE, new_decoder
from lambda_dispatch_core.bytes.limits cimport (
    CONNECTION_WINDOW, CONTROL_BUDGET, CONTROL_PER_READ, CONTROL_PER_REQUEST, HEADER_TABLE, MAX_CONTINUATIONS,
    MAX_FIELDS, MAX_FRAME, MAX_HEADER_BLOCK, MAX_HEADER_LIST, MAX_STREAMS, SETTINGS_BYTES_PER_COST, SETTINGS_COST,
    STREAM_WINDOW
)

cdef enum Reading:
    READ_HEAD = 0           # a frame head
    READ_PAYLOAD = 1        # a payload that is handled whole
    READ_PAD_LENGTH = 2     # the first byte of padded DATA
    READ_DATA = 3           # DATA, handed on as it comes
    READ_SKIP = 4           # padding, or a payload without use
    READ_PREFACE = 5        # the client's first 24 bytes

cdef enum:
    PREFACE = 24                # bytes of the client's preface
    PAYLOAD_KEPT = 1024         # bytes of a buffer for cut-off payloads that may stay when it is not in use

cdef const char* PREFACE_BYTES = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


cdef void default_limits(H2Limits* limits) noexcept nogil:
    limits.max_concurrent_streams = MAX_STREAMS
    limits.initial_window = STREAM_WINDOW
    limits.connection_window = CONNECTION_WINDOW
    limits.max_frame_size = MAX_FRAME
    limits.max_header_list = MAX_HEADER_LIST
    limits.max_header_block = MAX_HEADER_BLOCK
    limits.max_fields = MAX_FIELDS
    limits.header_table_size = HEADER_TABLE
    limits.connect_protocol = False


cdef H2Session new_session(bint client, const H2Limits* limits):
    cdef H2Session session = H2Session.__new__(H2Session)
    session._start(client, limits)
    return session


@cython.final
cdef class H2Session(H2Sender):

    def __cinit__(self):
        self._fields = FieldList.__new__(FieldList)

    def __dealloc__(self):
        free(self._payload)
        free(self._block)

    cdef int _start(self, bint client, const H2Limits* limits) except -1:
        if not SMALLEST_MAX_FRAME <= limits.max_frame_size <= LARGEST_MAX_FRAME:
            raise ValueError(f"max_frame_size {limits.max_frame_size} is not within 16384 .. 16777215")
        if limits.initial_window > <uint32_t> WINDOW_MAX or limits.connection_window > <uint32_t> WINDOW_MAX:
            raise ValueError(f"a window of {max(limits.initial_window, limits.connection_window)} is over 2**31 - 1")
        self.client = client
        self.limits = limits[0]
        self.decoder = new_decoder(limits.header_table_size, limits.max_header_list, limits.max_fields)
        self._mode = READ_HEAD if client else READ_PREFACE
        self._recv_window = max(<int64_t> limits.connection_window, FIRST_WINDOW)
        # Until it has acknowledged our SETTINGS the peer may go by the default (RFC 9113 6.9.3).
        self._our_initial = max(<int64_t> limits.initial_window, FIRST_WINDOW)
        if client:
            memcpy(self.out.reserve(PREFACE), PREFACE_BYTES, PREFACE)
            self.out.length += PREFACE
        self._write_settings()
        if self._recv_window > FIRST_WINDOW:
            self._write_window(0, self._recv_window - FIRST_WINDOW)
        return 0

    cdef int share_credit(self) except -1:
        cdef H2Stream stream
        # What is still to come of a DATA frame that was taken off the window whole when it began.
        cdef int64_t owed = self._frame.length if self._mode == READ_PAD_LENGTH else self._data_left
        if self.share_connection_credit:
            return 0
        self.share_connection_credit = True
        for item in self.streams():
            stream = <H2Stream> item
            owed += stream._owed
        return self._credit_connection(owed)

    # Reading ----------------------------------------------------------------------------------------------------------

    cdef int receive(self, const uint8_t* p, Py_ssize_t n) except -1:
        if self._dead:
            return -2
        if self._busy:
            raise RuntimeError("H2Session.receive() was called from inside an event")
        if self.events is None:
            raise RuntimeError("H2Session.events must be set before the first receive()")
        self._busy = True
        if self._control < CONTROL_BUDGET:
            self._control += CONTROL_PER_READ
        if self.out.length == 0 and not self.blocked:
            self._replies = 0
        try:
            self._read(p, p + n)
            if self._ready != NULL:
                self._serve(-1)
        except BaseException:
            self.fail(INTERNAL_ERROR, "an event raised")
            raise
        finally:
            self._busy = False
        return -2 if self._dead else 0

    cdef int _read(self, const uint8_t* p, const uint8_t* end) except -1:
        cdef Py_ssize_t n
        cdef uint32_t length
        cdef const uint8_t* at
        while True:
            if self._mode == READ_HEAD:
                if self._part_len == 0 and end - p >= FRAME_HEAD:
                    read_frame_head(&self._frame, p)
                    p += FRAME_HEAD
                else:
                    n = min(FRAME_HEAD - self._part_len, end - p)
                    memcpy(self._part + self._part_len, p, n)
                    p += n
                    self._part_len += <int> n
                    if self._part_len < FRAME_HEAD:
                        return 0
                    self._part_len = 0
                    read_frame_head(&self._frame, self._part)
                self._frame_begins()
            elif self._mode == READ_DATA:
                n = min(<Py_ssize_t> self._data_left, end - p)
                if n == 0 and self._data_left:
                    return 0
                at = p
                p += n
                self._deliver(at, <uint32_t> n)
            elif self._mode == READ_PAYLOAD:
                length = self._frame.length
                if self._payload_len == 0 and end - p >= length:
                    at = p
                    p += length
                else:
                    if self._payload == NULL:
                        self._payload = <uint8_t*> malloc(length)
                        if self._payload == NULL:
                            raise MemoryError()
                    n = min(<Py_ssize_t> (length - self._payload_len), end - p)
                    memcpy(self._payload + self._payload_len, p, n)
                    p += n
                    self._payload_len += <uint32_t> n
                    if self._payload_len < length:
                        return 0
                    at = self._payload
                self._mode = READ_HEAD
                try:
                    self._frame_ends(at)
                finally:
                    if self._payload != NULL:
                        free(self._payload)
                        self._payload = NULL
                        self._payload_len = 0
            elif self._mode == READ_SKIP:
                n = min(<Py_ssize_t> self._skip_left, end - p)
                p += n
                self._skip_left -= <uint32_t> n
                if self._skip_left:
                    return 0
                self._mode = READ_HEAD
            elif self._mode == READ_PAD_LENGTH:
                if p == end:
                    return 0
                at = p
                p += 1
                self._data_splits(self._frame.length - 1, at[0])
            else:
                n = min(PREFACE - self._part_len, end - p)
                if memcmp(p, PREFACE_BYTES + self._part_len, n) != 0:
                    return self.fail(PROTOCOL_ERROR, "the connection preface is wrong")
                p += n
                self._part_len += <int> n
                if self._part_len < PREFACE:
                    return 0
                self._part_len = 0
                self._mode = READ_HEAD
            if self._dead:
                return 0

    # A frame head has been read: what can be said before its payload is here.
    cdef int _frame_begins(self) except -1:
        cdef uint8_t type = self._frame.type
        cdef uint32_t length = self._frame.length
        cdef bint on_stream = self._frame.stream != 0
        cdef H2Stream stream
        if length > self.limits.max_frame_size:
            return self.fail(FRAME_SIZE_ERROR, "a frame is longer than SETTINGS_MAX_FRAME_SIZE")
        if not self._settings_seen and (type != SETTINGS_FRAME or self._frame.flags & ACK):
            return self.fail(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block_stream and (type != CONTINUATION_FRAME or self._frame.stream != self._block_stream):
            return self.fail(PROTOCOL_ERROR, "a header block is interrupted by another frame")
        self._mode = READ_PAYLOAD
        if type == DATA_FRAME:
            if not on_stream:
                return self.fail(PROTOCOL_ERROR, "DATA on stream 0")
            return self._data_begins()
        if type == HEADERS_FRAME:
            if not on_stream:
                return self.fail(PROTOCOL_ERROR, "HEADERS on stream 0")
        elif type == WINDOW_UPDATE_FRAME:
            if length != 4:
                return self.fail(FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
            return self._charge(1)
        elif type == RST_STREAM_FRAME:
            if not on_stream:
                return self.fail(PROTOCOL_ERROR, "RST_STREAM on stream 0")
            if length != 4:
                return self.fail(FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        elif type == SETTINGS_FRAME:
            if on_stream:
                return self.fail(PROTOCOL_ERROR, "SETTINGS on a stream")
            if length % SETTING_BYTES or (self._frame.flags & ACK and length):
                return self.fail(FRAME_SIZE_ERROR, "SETTINGS has a length it cannot have")
            return self._charge(SETTINGS_COST + length // SETTINGS_BYTES_PER_COST if self._settings_seen else 0)
        elif type == PING_FRAME:
            if on_stream:
                return self.fail(PROTOCOL_ERROR, "PING on a stream")
            if length != 8:
                return self.fail(FRAME_SIZE_ERROR, "PING is not 8 bytes long")
            return self._charge(1)
        elif type == GOAWAY_FRAME:
            if on_stream:
                return self.fail(PROTOCOL_ERROR, "GOAWAY on a stream")
            if length < 8:
                return self.fail(FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
            return self._charge(SETTINGS_COST if self.peer_going_away else 0)
        elif type == CONTINUATION_FRAME:
            if not self._block_stream:
                return self.fail(PROTOCOL_ERROR, "CONTINUATION without a header block")
            return self._charge(1)
        elif type == PUSH_PROMISE_FRAME:
            return self.fail(PROTOCOL_ERROR, "PUSH_PROMISE, which is not allowed here")
        elif type == PRIORITY_FRAME:
            if not on_stream:
                return self.fail(PROTOCOL_ERROR, "PRIORITY on stream 0")
            self._mode = READ_SKIP
            self._skip_left = length
            if length != 5:
                stream = self.find(self._frame.stream)
                if stream is None:
                    return self.fail(FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
                return self._fault(stream, FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
            return self._charge(1)
        else:
            self._mode = READ_SKIP
            self._skip_left = length
            return self._charge(1)
        return 0

    # A whole payload is at p.
    cdef int _frame_ends(self, const uint8_t* p) except -1:
        cdef uint8_t type = self._frame.type
        cdef uint8_t* to
        if type == HEADERS_FRAME:
            return self._headers(p)
        if type == WINDOW_UPDATE_FRAME:
            return self._window_update(p)
        if type == RST_STREAM_FRAME:
            return self._rst_stream(p)
        if type == SETTINGS_FRAME:
            return self._settings(p, self._frame.length)
        if type == CONTINUATION_FRAME:
            return self._fragment(p, self._frame.length)
        if type == GOAWAY_FRAME:
            return self._goaway(p)
        if self._frame.flags & ACK:
            return self.events.on_ping_ack(read_u64(p))
        to = self.out.reserve(FRAME_HEAD + 8)
        write_frame_head(to, 8, PING_FRAME, ACK, 0)
        memcpy(to + FRAME_HEAD, p, 8)
        return self._reply(FRAME_HEAD + 8)

    # DATA -------------------------------------------------------------------------------------------------------------

    # The whole frame is taken off both windows when its head comes, padding included (RFC 9113 6.1).
    cdef int _data_begins(self) except -1:
        cdef uint32_t length = self._frame.length
        cdef H2Stream stream = self.find(self._frame.stream)
        cdef uint8_t verdict
        if length > self._recv_window:
            return self.fail(FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        self._recv_window -= length
        if self.share_connection_credit:
            self._credit_connection(length)
        self._data_stream = None
        if stream is None:
            self._late(self._frame.stream, RECV_DATA)
        else:
            verdict = after(stream.state, RECV_DATA)
            if verdict == STREAM_CLOSED_STREAM:
                self._fault(stream, STREAM_CLOSED, "DATA after END_STREAM")
            elif not stream._marks & HEAD_IN:
                self._fault(stream, PROTOCOL_ERROR, "DATA before the response head")
            elif length > stream.recv_window:
                self._fault(stream, FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
            elif verdict < DROP:
                stream.recv_window -= length
                self._data_stream = stream
        if self._frame.flags & PADDED:
            if length == 0:
                return self.fail(FRAME_SIZE_ERROR, "padded DATA without its pad length")
            self._mode = READ_PAD_LENGTH
            return 0
        return self._data_splits(length, 0)

    # length: what the frame holds beside the pad length's own byte.
    cdef int _data_splits(self, uint32_t length, uint32_t pad) except -1:
        cdef uint32_t overhead = self._frame.length - length + pad
        cdef H2Stream stream = self._data_stream
        if pad > length:
            return self.fail(PROTOCOL_ERROR, "DATA with more padding than payload")
        self._data_left = length - pad
        self._skip_left = pad
        self._mode = READ_DATA
        if overhead:
            if not self.share_connection_credit:
                self._credit_connection(overhead)
            if self._data_stream is not None:
                self._credit_stream(self._data_stream, overhead)
        if self._data_left == 0 and not self._frame.flags & END_STREAM:
            return self._charge(1)
        # Of the frame as a whole: the event must not depend on the pieces it comes in.
        if (stream is not None and stream.content_left >= 0 and may_receive(stream.state)
                and not stream._marks & SWALLOW
                and (self._data_left > stream.content_left
                     or self._frame.flags & END_STREAM and self._data_left != stream.content_left)):
            return self._fault(stream, PROTOCOL_ERROR, "the body is not as long as content-length says")
        return 0

    # n of the frame's bytes, at p. Called once with 0 when the frame has none.
    cdef int _deliver(self, const uint8_t* p, uint32_t n) except -1:
        cdef H2Stream stream = self._data_stream
        cdef bint last = n == self._data_left
        cdef bint end = last and self._frame.flags & END_STREAM
        self._data_left -= n
        if last:
            self._mode = READ_SKIP if self._skip_left else READ_HEAD
            self._data_stream = None
        if stream is None or not may_receive(stream.state):
            if not self.share_connection_credit:
                self._credit_connection(n)
            return 0
        if stream._marks & SWALLOW:
            if not self.share_connection_credit:
                self._credit_connection(n)
            self._credit_stream(stream, n)
            return self._tell_end(stream) if end else 0
        if stream.content_left >= 0:
            stream.content_left -= n
        if n or end:
            stream._owed += n
            stream._marks |= BUSY
            if end:
                self._tell_end(stream)
            self.events.on_data(stream, p, n, end)
            stream._marks &= ~BUSY
            if is_over(stream.state):
                self._over(stream)
        return 0

    # Heads ------------------------------------------------------------------------------------------------------------

    cdef int _headers(self, const uint8_t* p) except -1:
        cdef uint32_t n = self._frame.length
        cdef uint32_t pad = 0
        cdef uint8_t flags = self._frame.flags
        if flags & PADDED:
            if n < 1:
                return self.fail(FRAME_SIZE_ERROR, "padded HEADERS without their pad length")
            pad = p[0]
            p += 1
            n -= 1
        if flags & WITH_PRIORITY:
            if n < 5:
                return self.fail(FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            p += 5
            n -= 5
        if pad > n:
            return self.fail(PROTOCOL_ERROR, "HEADERS with more padding than payload")
        n -= pad
        if flags & END_HEADERS:
            return self._block_ends(self._frame.stream, flags & END_STREAM, p, n)
        self._block_stream = self._frame.stream
        self._block_end = flags & END_STREAM
        self._block_frames = 0
        self._block_len = 0
        return self._fragment(p, n)

    # A part of a block that takes more than one frame: HEADERS without END_HEADERS, or CONTINUATION.
    cdef int _fragment(self, const uint8_t* p, uint32_t n) except -1:
        cdef uint32_t room
        cdef uint8_t* block
        if self._block_len + n > self.limits.max_header_block:
            return self.fail(ENHANCE_YOUR_CALM, "a header block is too long")
        if self._block_len + n > self._block_room:
            room = max(2 * self._block_room, self._block_len + n)
            block = <uint8_t*> realloc(self._block, room)
            if block == NULL:
                raise MemoryError()
            self._block = block
            self._block_room = room
        if n:
            memcpy(self._block + self._block_len, p, n)
            self._block_len += n
        if self._frame.type == HEADERS_FRAME:
            return 0
        self._block_frames += 1
        if not self._frame.flags & END_HEADERS:
            if self._block_frames >= MAX_CONTINUATIONS:
                return self.fail(ENHANCE_YOUR_CALM, "a header block has too many CONTINUATION frames")
            return 0
        self._block_stream = 0
        try:
            self._block_ends(self._frame.stream, self._block_end, self._block, self._block_len)
        finally:
            free(self._block)
            self._block = NULL
            self._block_room = 0
        return 0

    # A whole block is at p. Whatever becomes of it, it is decoded: the peer's compression has moved on.
    cdef int _block_ends(self, uint32_t id, bint end, const uint8_t* p, uint32_t n) except -1:
        cdef H2Stream stream = self.find(id)
        cdef uint8_t state = self._forgotten(id) if stream is None else stream.state
        cdef uint8_t verdict = after(state, RECV_HEAD)
        cdef int result
        if state == IDLE and (self.client or not id & 1):
            return self.fail(PROTOCOL_ERROR, "HEADERS on a stream that the peer cannot open")
        if verdict == STREAM_CLOSED_ALL:
            if self._ended_lately(id):
                return self.fail(STREAM_CLOSED, "HEADERS on a closed stream")
            return self.fail(PROTOCOL_ERROR, "a new stream's id is lower than an earlier one's")
        self._fields.clear()
        result = self.decoder.decode(p, n, self._fields)
        if result == HPACK_ERROR:
            return self.fail(COMPRESSION_ERROR, "a header block cannot be decoded")
        if state == IDLE:
            self._new_stream(id, end, result)
        elif verdict == DROP:
            self._charge(1)
        elif verdict == STREAM_CLOSED_STREAM:
            self._fault(stream, STREAM_CLOSED, "HEADERS after END_STREAM")
        else:
            self._later_head(stream, end, result)
        if self._fields.arena_len > PAYLOAD_KEPT:
            self._fields.trim()
        return 0

    # Server: a request.
    cdef int _new_stream(self, uint32_t id, bint end, int result) except -1:
        cdef HeadFacts facts
        cdef H2Stream stream
        cdef int fault
        self.last_peer_id = id
        if 0 <= self._last_accepted < id or <uint32_t> self.open_streams >= self.limits.max_concurrent_streams:
            self._charge(1)
            return self._refuse(id, REFUSED_STREAM)
        self._control = min(self._control + CONTROL_PER_REQUEST, CONTROL_BUDGET)
        facts.content_length = UNDECLARED
        if result == HPACK_OK:
            fault = check_request(self._fields, &facts, self.any_host, self.limits.connect_protocol)
            if fault or (end and facts.content_length > 0):
                self.stream_fault = head_fault(fault) if fault else "content-length without a body"
                self._charge_reset()
                self._refuse(id, PROTOCOL_ERROR)
                return self.events.on_head_refused()
        stream = self._add(id)
        stream._marks = HEAD_IN | BUSY
        stream.content_left = facts.content_length
        if end:
            self._tell_end(stream)
        if result == HPACK_OK:
            self.events.on_head(stream, self._fields, end)
        else:
            stream._marks |= SWALLOW
            self.events.on_head_too_large(stream, end)
        stream._marks &= ~BUSY
        if is_over(stream.state):
            self._over(stream)
        return 0

    # Client: a response head. Both: trailers.
    cdef int _later_head(self, H2Stream stream, bint end, int result) except -1:
        cdef HeadFacts facts
        cdef int fault
        cdef bint trailers = stream._marks & HEAD_IN
        if result == HPACK_TOO_LARGE:
            return self._fault(stream, ENHANCE_YOUR_CALM, "a head is over its limit")
        if trailers:
            if not end:
                return self._fault(stream, PROTOCOL_ERROR, "trailers without END_STREAM")
            fault = check_trailers(self._fields)
            if not fault and stream.content_left > 0:
                return self._fault(stream, PROTOCOL_ERROR, "the body is not as long as content-length says")
        else:
            fault = check_response(self._fields, &facts)
        if fault:
            return self._fault(stream, PROTOCOL_ERROR, head_fault(fault))
        if not trailers and facts.status >= 200:
            stream._marks |= HEAD_IN
            if stream.content_left == NO_HEAD_YET:
                stream.content_left = UNDECLARED if facts.status in (204, 304) else facts.content_length
            if end and stream.content_left > 0:
                return self._fault(stream, PROTOCOL_ERROR, "content-length without a body")
        elif not trailers and end:
            return self._fault(stream, PROTOCOL_ERROR, "a 1xx response with END_STREAM")
        if stream._marks & SWALLOW:
            return self._tell_end(stream)
        stream._marks |= BUSY
        if end:
            self._tell_end(stream)
        if trailers:
            self.events.on_trailers(stream, self._fields)
        elif facts.status >= 200:
            self.events.on_head(stream, self._fields, end)
        else:
            self.events.on_informational(stream, self._fields)
        stream._marks &= ~BUSY
        if is_over(stream.state):
            self._over(stream)
        return 0

    # The other frames -------------------------------------------------------------------------------------------------

    cdef int _settings(self, const uint8_t* p, uint32_t n) except -1:
        cdef uint32_t i, value
        cdef uint16_t name
        cdef uint8_t* to
        if self._frame.flags & ACK:
            if not self._settings_acked:
                self._settings_acked = True
                return self._our_window_holds()
            return 0
        self._settings_seen = True
        for i in range(0, n, SETTING_BYTES):
            name = read_u16(p + i)
            value = read_u32(p + i + 2)
            if name == SETTING_HEADER_TABLE_SIZE:
                self.encoder.set_peer_table_size(value)
            elif name == SETTING_ENABLE_PUSH:
                if value > 1 or (self.client and value):
                    return self.fail(PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH has a value it cannot have")
            elif name == SETTING_MAX_CONCURRENT_STREAMS:
                self.peer_max_streams = min(value, <uint32_t> MAX_STREAM_ID)
            elif name == SETTING_INITIAL_WINDOW_SIZE:
                if value > WINDOW_MAX:
                    return self.fail(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is over 2**31 - 1")
                if not self._initial_window(value):
                    return self.fail(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE makes a window overflow")
            elif name == SETTING_MAX_FRAME_SIZE:
                if value < SMALLEST_MAX_FRAME or value > LARGEST_MAX_FRAME:
                    return self.fail(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE has a value it cannot have")
        to = self.out.reserve(FRAME_HEAD)
        write_frame_head(to, 0, SETTINGS_FRAME, ACK, 0)
        self._reply(FRAME_HEAD)
        return 0 if self._dead else self.events.on_settings()

    cdef int _window_update(self, const uint8_t* p) except -1:
        cdef uint32_t credit = read_u32(p) & STREAM_ID_BITS
        cdef H2Stream stream
        if self._frame.stream == 0:
            if credit == 0:
                return self.fail(PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            if not grow(&self._send_window, credit):
                return self.fail(FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the connection's window overflow")
            return 0
        stream = self.find(self._frame.stream)
        if stream is None:
            return self._late(self._frame.stream, RECV_WINDOW)
        if credit == 0:
            return self._fault(stream, PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if not grow(&stream.send_window, credit):
            return self._fault(stream, FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes a window overflow")
        if stream.pending and stream.send_window > 0:
            self._enter(stream)
        return 0

    cdef int _rst_stream(self, const uint8_t* p) except -1:
        cdef H2Stream stream = self.find(self._frame.stream)
        cdef uint32_t code = read_u32(p)
        if stream is None:
            self._charge(1)
            return self._late(self._frame.stream, RECV_RESET)
        stream.state = after(stream.state, RECV_RESET)
        if not self.client and not stream._marks & HEAD_OUT:
            self._charge_reset()
        return self._tell_reset(stream, code, True, code == REFUSED_STREAM)

    cdef int _goaway(self, const uint8_t* p) except -1:
        cdef uint32_t last_id = read_u32(p) & STREAM_ID_BITS
        cdef uint32_t code = read_u32(p + 4)
        cdef H2Stream stream
        self.peer_going_away = True
        if code:
            self.error = code
        if self.client:
            for stream in self.streams():
                if stream.id > last_id and not is_over(stream.state):
                    stream.state = CLOSED
                    self._tell_reset(stream, REFUSED_STREAM, True, True)
        return 0 if self._dead else self.events.on_goaway(last_id, code)
