"""All that is sent on streams: heads, DATA, and DATA that waits. See h2/streams.pxd for the windows it keeps to.

    open, send_head ── _frame_block             HEADERS, and CONTINUATION where a block is long
    begin_head … end_head ── _frame_block       likewise, for callers that encode field by field
    send_data ┬─ _send_frame                    credit: straight into `out`
              └─ the stream's backlog           none: into the ring once the stream has credit
    _serve ── _send_frame, _drained             the ring: one frame each, in turn; trailers that waited follow

The ring holds the streams with pending bytes and credit of their own. It is served after every read and by unblock(),
and never from within itself: on_drained may send, and what it sends waits its turn.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memmove

from lambda_dispatch_core.bytes.fields cimport T_METHOD, T_STATUS, Field, FieldList
from lambda_dispatch_core.h2.flow cimport backlog_add, backlog_take
from lambda_dispatch_core.h2.frame cimport (
    CONTINUATION_FRAME, DATA_FRAME, END_HEADERS, END_STREAM, FRAME_HEAD, HEADERS_FRAME, SENT_FRAME, SETTING_BYTES,
    SETTING_ENABLE_CONNECT_PROTOCOL, SETTING_ENABLE_PUSH, SETTING_HEADER_TABLE_SIZE, SETTING_INITIAL_WINDOW_SIZE,
    SETTING_MAX_CONCURRENT_STREAMS, SETTING_MAX_FRAME_SIZE, SETTING_MAX_HEADER_LIST_SIZE, SETTINGS_FRAME,
    write_frame_head, write_setting
)
from lambda_dispatch_core.h2.streams cimport (
    BUSY, END_WAITS, HEAD_OUT, INTERNAL_ERROR, MAX_STREAM_ID, NO_HEAD_YET, UNDECLARED, H2Stream
)
from lambda_dispatch_core.h2.stream cimport CLOSED, SEND_END, after, is_over, may_send
from lambda_dispatch_core.hpack.hpack cimport new_encoder
from lambda_dispatch_core.bytes.limits cimport BYTES_PER_CONTROL, CONTROL_BUDGET, CONTROL_PER_DATA_SENT, USEFUL_DATA


cdef class H2Sender(H2Ledger):

    def __cinit__(self):
        self.encoder = new_encoder()
        self._head_at = -1
        self._head_void = -1

    cdef int _write_settings(self) except -1:
        cdef uint8_t* p = self.out.reserve(FRAME_HEAD + 6 * SETTING_BYTES)
        cdef uint8_t* at = p + FRAME_HEAD
        write_setting(at, SETTING_HEADER_TABLE_SIZE, self.limits.header_table_size)
        at += SETTING_BYTES
        if self.client:
            write_setting(at, SETTING_ENABLE_PUSH, 0)
        else:
            write_setting(at, SETTING_MAX_CONCURRENT_STREAMS, self.limits.max_concurrent_streams)
        at += SETTING_BYTES
        write_setting(at, SETTING_INITIAL_WINDOW_SIZE, self.limits.initial_window)
        at += SETTING_BYTES
        write_setting(at, SETTING_MAX_FRAME_SIZE, self.limits.max_frame_size)
        at += SETTING_BYTES
        write_setting(at, SETTING_MAX_HEADER_LIST_SIZE, self.limits.max_header_list)
        at += SETTING_BYTES
        if self.limits.connect_protocol:
            write_setting(at, SETTING_ENABLE_CONNECT_PROTOCOL, 1)
            at += SETTING_BYTES
        write_frame_head(p, at - p - FRAME_HEAD, SETTINGS_FRAME, 0, 0)
        self.out.length += at - p
        return 0

    cdef int offer_window(self, uint32_t size) except -1:
        cdef uint8_t* p
        if self._dead or not self._settings_acked:
            return 0
        self.limits.initial_window = size
        self._settings_acked = False
        p = self.out.reserve(FRAME_HEAD + SETTING_BYTES)
        write_frame_head(p, SETTING_BYTES, SETTINGS_FRAME, 0, 0)
        write_setting(p + FRAME_HEAD, SETTING_INITIAL_WINDOW_SIZE, size)
        self.out.length += FRAME_HEAD + SETTING_BYTES
        return 1

    # Heads ------------------------------------------------------------------------------------------------------------

    cdef H2Stream open(self, FieldList head, bint end):
        cdef H2Stream stream
        cdef Field* method
        if (self._dead or not self.client or self.peer_going_away or self._next_id > MAX_STREAM_ID
                or <uint32_t> self.open_streams >= self.peer_max_streams):
            return None
        stream = self._add(self._next_id)
        self._next_id += 2
        method = head.find(T_METHOD)
        # A response to HEAD has the length of what GET would have brought, and no body (RFC 9110 9.3.2).
        if method != NULL and method.value_len == 4 and memcmp(method.value, b"HEAD", 4) == 0:
            stream.content_left = UNDECLARED
        else:
            stream.content_left = NO_HEAD_YET
        self.send_head(stream, head, end)
        return stream

    cdef int begin_head(self, H2Stream stream) except -1:
        if stream.session is not self or not may_send(stream.state) or stream._marks & END_WAITS or self._dead:
            self._head_void = self.out.length
            return 0
        if stream.pending:
            raise RuntimeError("H2Session.begin_head() with bytes pending: trailers go through send_head()")
        self.out.reserve(FRAME_HEAD)
        self._head_at = self.out.length
        self.out.length += FRAME_HEAD
        self.encoder.begin(self.out)
        return 1

    cdef int end_head(self, H2Stream stream, bint end) except -1:
        if self._head_at < 0:
            if self.out.length != self._head_void:
                self.out.length = self._head_void
                return self.fail(INTERNAL_ERROR, "a header block was encoded for a closed stream")
            return 0
        self._frame_block(stream.id, end)
        stream._marks |= HEAD_OUT
        return self._we_ended(stream) if end else 0

    # Gives the block that begins at _head_at its frame head, and the CONTINUATION frames it needs.
    cdef int _frame_block(self, uint32_t id, bint end) except -1:
        cdef Py_ssize_t at = self._head_at
        cdef Py_ssize_t n = self.out.length - at - FRAME_HEAD
        cdef Py_ssize_t more = 0 if n <= SENT_FRAME else (n - 1) // SENT_FRAME
        cdef Py_ssize_t i, part
        cdef uint8_t* block
        self._head_at = -1
        self.out.reserve(more * FRAME_HEAD)
        self.out.length += more * FRAME_HEAD
        block = self.out.data + at
        # From the last on, each fragment makes room for the frame heads before it.
        for i in range(more, 0, -1):
            part = min(<Py_ssize_t> SENT_FRAME, n - i * SENT_FRAME)
            memmove(block + FRAME_HEAD + i * (SENT_FRAME + FRAME_HEAD), block + FRAME_HEAD + i * SENT_FRAME, part)
            write_frame_head(block + i * (SENT_FRAME + FRAME_HEAD), part, CONTINUATION_FRAME,
                             END_HEADERS if i == more else 0, id)
        write_frame_head(block, min(n, <Py_ssize_t> SENT_FRAME), HEADERS_FRAME,
                         (END_STREAM if end else 0) | (0 if more else END_HEADERS), id)
        return 0

    cdef int send_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef int i
        cdef Field* f
        if stream.session is not self or not may_send(stream.state) or stream._marks & END_WAITS or self._dead:
            return 0
        if stream.pending:
            stream._trailers = FieldList.__new__(FieldList)
            for i in range(head.count):
                f = &head.at[i]
                stream._trailers.add_copy(f.name, f.name_len, f.value, f.value_len, f.token, f.flags)
            stream._marks |= END_WAITS
            return 0
        self.out.reserve(FRAME_HEAD)
        self._head_at = self.out.length
        self.out.length += FRAME_HEAD
        self.encoder.encode(self.out, head)
        self._frame_block(stream.id, end)
        f = head.find(T_STATUS)
        if f == NULL or f.value_len != 3 or f.value[0] != 0x31:
            stream._marks |= HEAD_OUT
        return self._we_ended(stream) if end else 0

    cdef int send_status(self, H2Stream stream, int status, bint end) except -1:
        if self.begin_head(stream):
            self.encoder.status(self.out, status)
            self.end_head(stream, end)
        return 0

    # DATA -------------------------------------------------------------------------------------------------------------

    cdef int send_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Py_ssize_t part
        if stream.session is not self or not may_send(stream.state) or stream._marks & END_WAITS or self._dead:
            return 0
        if stream.pending == 0:
            if n == 0:
                return self._send_frame(stream, NULL, 0, True) if end else 0
            if not self.blocked and self._ready == NULL and not self._serving:
                while True:
                    part = min(min(n, <Py_ssize_t> SENT_FRAME), min(stream.send_window, self._send_window))
                    if part <= 0:
                        break
                    n -= part
                    self._send_frame(stream, p, part, end and n == 0)
                    if n == 0:
                        return 0
                    p += part
        if backlog_add(&stream._backlog, p, n) < 0:
            raise MemoryError()
        stream.pending += n
        if end:
            stream._marks |= END_WAITS
        if stream.send_window > 0:
            self._enter(stream)
        return 0

    # One DATA frame of n bytes from p, or from the backlog when p is NULL. Credit has been looked at.
    cdef int _send_frame(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef uint8_t* to = self.out.reserve(FRAME_HEAD + n)
        write_frame_head(to, n, DATA_FRAME, END_STREAM if end else 0, stream.id)
        if p != NULL:
            memcpy(to + FRAME_HEAD, p, n)
        elif n:
            backlog_take(&stream._backlog, to + FRAME_HEAD, n)
            stream.pending -= n
        self.out.length += FRAME_HEAD + n
        stream.send_window -= n
        self._send_window -= n
        if n >= USEFUL_DATA and self._control < CONTROL_BUDGET:
            self._control += CONTROL_PER_DATA_SENT + <int> (n // BYTES_PER_CONTROL)
        return self._we_ended(stream) if end else 0

    # Our side of the stream ends.
    cdef int _we_ended(self, H2Stream stream) except -1:
        stream.state = after(stream.state, SEND_END)
        return self._ended(stream) if stream.state == CLOSED else 0

    # The ring ---------------------------------------------------------------------------------------------------------

    # Serves the ring: one frame for the stream whose turn it is, then the next. 1 when the budget (bytes; -1: none)
    # ended before the work did.
    cdef int _serve(self, Py_ssize_t budget) except -1:
        cdef H2Stream stream
        cdef Py_ssize_t n
        cdef uint8_t was
        if self._serving:
            return 0
        self._serving = True
        try:
            while self._ready != NULL and self._send_window > 0 and not self.blocked and not self._dead:
                if budget == 0:
                    return 1
                stream = <H2Stream> self._ready
                n = min(min(stream.pending, <Py_ssize_t> SENT_FRAME), min(stream.send_window, self._send_window))
                if 0 <= budget < n:
                    n = budget
                if budget > 0:
                    budget -= n
                self._ready = stream._after
                was = stream._marks & BUSY
                stream._marks |= BUSY
                self._send_frame(stream, NULL, n, stream.pending == n and stream._marks & END_WAITS
                                 and stream._trailers is None)
                if stream.pending == 0:
                    self._leave(stream)
                    self._drained(stream)
                elif stream.send_window <= 0:
                    self._leave(stream)
                if not was:
                    stream._marks &= ~BUSY
                    if is_over(stream.state):
                        self._over(stream)
        finally:
            self._serving = False
        return 0

    # The stream's last pending byte is out: trailers that waited follow, then the owner gets the event.
    cdef int _drained(self, H2Stream stream) except -1:
        cdef FieldList trailers = stream._trailers
        if trailers is not None:
            stream._trailers = None
            stream._marks &= ~END_WAITS
            self.send_head(stream, trailers, True)
        return self.events.on_drained(stream)

    cdef void block(self) noexcept:
        self.blocked = True

    cdef int unblock(self, Py_ssize_t budget) except -1:
        cdef int more
        self.blocked = False
        self._replies = 0
        try:
            more = self._serve(max(budget, 1))
        except BaseException:
            self.fail(INTERNAL_ERROR, "an event raised")
            raise
        if more and not self._dead:
            self.blocked = True
            return 1
        return 0
