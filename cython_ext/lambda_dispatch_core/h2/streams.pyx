"""The streams of one connection, what they may send, and how they and the connection end: see h2/streams.pxd.

A stream is in the ledger from _add() to _over(). Every end goes through _over():

    in order      _tell_end (the peer's side), H2Sender._we_ended (ours) ── _ended ── _over
    by reset      reset (a command)                                                ── _over
                  _fault (the session), RST_STREAM, GOAWAY, lost ── _tell_reset    ── _over

An event may reset any stream, end the session, or send. So a stream whose own event is on the stack (BUSY) is
released only when the event has returned: _over() then does nothing, and is called again.

What outlives a stream is its id: one ring of those we reset, one of those that ended otherwise. They tell a frame that
was under way from one that is wrong (h2/stream.pxd, RESET and CLOSED).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.flow cimport FIRST_WINDOW, backlog_drop, grow, worth_a_frame
from lambda_dispatch_core.h2.frame cimport (
    FRAME_HEAD, GOAWAY_FRAME, PING_FRAME, RST_STREAM_FRAME, WINDOW_UPDATE_FRAME, write_frame_head, write_u32, write_u64
)
from lambda_dispatch_core.h2.stream cimport (
    CLOSED, IDLE, NOTHING, OPEN, PROTOCOL_ERROR_ALL, RECV_END, RESET, SEND_RESET, STREAM_CLOSED_ALL, after, is_over,
    may_receive, slots_find, slots_put, slots_remove
)
from lambda_dispatch_core.bytes.limits cimport (
    CONTROL_BUDGET, ENDS_REMEMBERED, REPLY_BACKLOG, RESETS_REMEMBERED, RESET_BUDGET
)


@cython.final
@cython.freelist(256)
@cython.no_gc
cdef class H2Stream:

    def __dealloc__(self):
        backlog_drop(&self._backlog)


cdef class H2Events:

    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        return 0

    cdef int on_informational(self, H2Stream stream, FieldList head) except -1:
        return 0

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        return 0

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        return 0

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        return 0

    cdef int on_head_too_large(self, H2Stream stream, bint end) except -1:
        return stream.session.reset(stream, ENHANCE_YOUR_CALM)

    cdef int on_head_refused(self) except -1:
        return 0

    cdef int on_drained(self, H2Stream stream) except -1:
        return 0

    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1:
        return 0

    cdef int on_ping_ack(self, uint64_t opaque) except -1:
        return 0

    cdef int on_settings(self) except -1:
        return 0


cdef object by_id(H2Stream stream):
    return stream.id


cdef class H2Ledger:

    def __cinit__(self):
        self.out = OutBuffer.__new__(OutBuffer)
        self.share_connection_credit = True
        self.peer_max_streams = MAX_STREAM_ID
        self._next_id = 1
        self._last_accepted = -1
        self._send_window = FIRST_WINDOW
        self._peer_initial = FIRST_WINDOW
        self._control = CONTROL_BUDGET
        self._reset_budget = RESET_BUDGET

    def __dealloc__(self):
        free(self._resets)
        free(self._slots.at)

    # Streams ----------------------------------------------------------------------------------------------------------

    cdef H2Stream find(self, uint32_t id):
        cdef void* found = slots_find(&self._slots, id)
        return None if found == NULL else <H2Stream> found

    cdef list streams(self):
        cdef list every = []
        cdef uint32_t i
        for i in range(self._slots.mask + 1 if self._slots.count else 0):
            if self._slots.at[i].id:
                every.append(<H2Stream> self._slots.at[i].stream)
        every.sort(key=by_id)
        return every

    cdef H2Stream _add(self, uint32_t id):
        cdef H2Stream stream = H2Stream.__new__(H2Stream)
        stream.id = id
        stream.state = OPEN
        stream.send_window = self._peer_initial
        stream.recv_window = self._our_initial
        stream.session = self
        if slots_put(&self._slots, id, <void*> stream) < 0:
            raise MemoryError()
        Py_INCREF(stream)
        self.open_streams += 1
        return stream

    # The peer's side of the stream ends.
    cdef int _tell_end(self, H2Stream stream) except -1:
        stream.state = after(stream.state, RECV_END)
        return self._ended(stream) if stream.state == CLOSED else 0

    # Both sides have ended in order.
    cdef int _ended(self, H2Stream stream) except -1:
        if self._reset_budget < RESET_BUDGET:
            self._reset_budget += 1
        return self._over(stream)

    # A stream is over: it is released, unless one of its own events is on the stack, which then does that.
    cdef int _over(self, H2Stream stream) except -1:
        cdef int64_t owed = stream._owed
        if stream._marks & BUSY or stream.session is None:
            return 0
        self._leave(stream)
        slots_remove(&self._slots, stream.id)
        self.open_streams -= 1
        if stream.state == CLOSED:
            self._ends[self._ends_at] = stream.id
            self._ends_at = (self._ends_at + 1) % ENDS_REMEMBERED
        backlog_drop(&stream._backlog)
        stream.pending = 0
        stream._trailers = None
        stream._owed = 0
        stream.owner = None
        stream.session = None
        Py_DECREF(stream)
        if owed and not self.share_connection_credit:
            return self._credit_connection(owed)
        return 0

    # The peer did something wrong on one stream.
    cdef int _fault(self, H2Stream stream, uint32_t code, str reason) except -1:
        self.stream_fault = reason
        self._charge_reset()
        if self._dead or is_over(stream.state):
            return 0
        stream.state = after(stream.state, SEND_RESET)
        self._write_reset(stream.id, code)
        if stream.state == RESET:
            self._remember_reset(stream.id)
        return self._tell_reset(stream, code, False, False)

    # RST_STREAM for a stream that never came to be.
    cdef int _refuse(self, uint32_t id, uint32_t code) except -1:
        if self._dead:
            return 0
        self._remember_reset(id)
        return self._write_reset(id, code)

    cdef int _remember_reset(self, uint32_t id) except -1:
        if self._resets == NULL:
            self._resets = <uint32_t*> calloc(RESETS_REMEMBERED, sizeof(uint32_t))
            if self._resets == NULL:
                raise MemoryError()
        self._resets[self._resets_at] = id
        self._resets_at = (self._resets_at + 1) % RESETS_REMEMBERED
        return 0

    # The last event of a stream whose state says already that it is over.
    cdef int _tell_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef uint8_t was = stream._marks & BUSY
        stream._marks |= BUSY
        self._leave(stream)
        self.events.on_reset(stream, code, by_peer, refused)
        if not was:
            stream._marks &= ~BUSY
            self._over(stream)
        return 0

    # Those that are over ----------------------------------------------------------------------------------------------

    # A frame on a stream that is not open: never opened, or over.
    cdef int _late(self, uint32_t id, uint8_t what) except -1:
        cdef uint8_t verdict = after(self._forgotten(id), what)
        if verdict == PROTOCOL_ERROR_ALL:
            return self.fail(PROTOCOL_ERROR, "a frame on a stream that was never opened")
        if verdict == STREAM_CLOSED_ALL:
            return self.fail(STREAM_CLOSED, "a frame on a closed stream")
        return 0

    cdef uint8_t _forgotten(self, uint32_t id) noexcept:
        cdef int i
        if not id & 1 or (id >= self._next_id if self.client else id > self.last_peer_id):
            return IDLE
        if self._resets != NULL:
            for i in range(RESETS_REMEMBERED):
                if self._resets[i] == id:
                    return RESET
        return CLOSED

    cdef bint _ended_lately(self, uint32_t id) noexcept:
        cdef int i
        for i in range(ENDS_REMEMBERED):
            if self._ends[i] == id:
                return True
        return False

    # Credit -----------------------------------------------------------------------------------------------------------

    cdef int _credit_connection(self, int64_t n) except -1:
        cdef int64_t size = max(<int64_t> self.limits.connection_window, FIRST_WINDOW)
        self._unreturned += n
        if worth_a_frame(self._recv_window, self._unreturned, size) and not self._dead:
            self._write_window(0, self._unreturned)
            self._recv_window += self._unreturned
            self._unreturned = 0
        return 0

    cdef int _credit_stream(self, H2Stream stream, int64_t n) except -1:
        stream.unreturned += n
        if (worth_a_frame(stream.recv_window, stream.unreturned, self._our_initial) and may_receive(stream.state)
                and not self._dead):
            self._write_window(stream.id, stream.unreturned)
            stream.recv_window += stream.unreturned
            stream.unreturned = 0
        return 0

    cdef int consumed(self, H2Stream stream, Py_ssize_t n) except -1:
        if n > stream._owed:
            n = stream._owed
        if stream.session is not self or n <= 0:
            return 0
        stream._owed -= n
        if not self.share_connection_credit:
            self._credit_connection(n)
        return self._credit_stream(stream, n)

    # Every stream's sending window moves by the difference (RFC 9113 6.9.2). False when one would overflow.
    cdef bint _initial_window(self, uint32_t size) except -1:
        cdef int64_t by = <int64_t> size - self._peer_initial
        cdef H2Stream stream
        cdef uint32_t i
        if by == 0:
            return True
        self._peer_initial = size
        for i in range(self._slots.mask + 1 if self._slots.count else 0):
            if self._slots.at[i].id == 0:
                continue
            stream = <H2Stream> self._slots.at[i].stream
            if not grow(&stream.send_window, by):
                return False
            if stream.send_window <= 0:
                self._leave(stream)
            elif stream.pending:
                self._enter(stream)
        return True

    # The peer knows our SETTINGS now: windows were the default's size where ours is smaller, and are ours from now on.
    cdef int _our_window_holds(self) except -1:
        cdef int64_t by = <int64_t> self.limits.initial_window - self._our_initial
        cdef H2Stream stream
        cdef uint32_t i
        if by == 0:
            return 0
        self._our_initial += by
        for i in range(self._slots.mask + 1 if self._slots.count else 0):
            if self._slots.at[i].id:
                stream = <H2Stream> self._slots.at[i].stream
                stream.recv_window += by
        return 0

    cdef void _enter(self, H2Stream stream) noexcept:
        cdef H2Stream first, last
        if stream._after != NULL:
            return
        if self._ready == NULL:
            stream._after = stream._before = <void*> stream
            self._ready = <void*> stream
            return
        first = <H2Stream> self._ready
        last = <H2Stream> first._before
        stream._before = <void*> last
        stream._after = <void*> first
        last._after = <void*> stream
        first._before = <void*> stream

    cdef void _leave(self, H2Stream stream) noexcept:
        if stream._after == NULL:
            return
        if stream._after == <void*> stream:
            self._ready = NULL
        else:
            (<H2Stream> stream._after)._before = stream._before
            (<H2Stream> stream._before)._after = stream._after
            if self._ready == <void*> stream:
                self._ready = stream._after
        stream._after = stream._before = NULL

    # Budgets and small frames -----------------------------------------------------------------------------------------

    cdef int _charge(self, int cost) except -1:
        self._control -= cost
        if self._control < 0:
            return self.fail(ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        return 0

    cdef int _charge_reset(self) except -1:
        self._reset_budget -= 1
        if self._reset_budget < 0:
            return self.fail(ENHANCE_YOUR_CALM, "too many streams reset before they were answered")
        return 0

    # n bytes of an answer that the peer asked for were put at the end of `out`.
    cdef int _reply(self, Py_ssize_t n) except -1:
        self.out.length += n
        self._replies += n
        if self._replies > REPLY_BACKLOG:
            return self.fail(ENHANCE_YOUR_CALM, "the peer asks and does not read the answers")
        return 0

    cdef int _write_reset(self, uint32_t id, uint32_t code) except -1:
        cdef uint8_t* to
        if self._dead:
            return 0
        to = self.out.reserve(FRAME_HEAD + 4)
        write_frame_head(to, 4, RST_STREAM_FRAME, 0, id)
        write_u32(to + FRAME_HEAD, code)
        return self._reply(FRAME_HEAD + 4)

    cdef int _write_window(self, uint32_t id, int64_t credit) except -1:
        cdef uint8_t* to = self.out.reserve(FRAME_HEAD + 4)
        write_frame_head(to, 4, WINDOW_UPDATE_FRAME, 0, id)
        write_u32(to + FRAME_HEAD, <uint32_t> credit)
        self.out.length += FRAME_HEAD + 4
        return 0

    cdef int _write_goaway(self, uint32_t last_id, uint32_t code, bytes words) except -1:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(words)
        cdef uint8_t* to = self.out.reserve(FRAME_HEAD + 8 + n)
        write_frame_head(to, 8 + n, GOAWAY_FRAME, 0, 0)
        write_u32(to + FRAME_HEAD, last_id)
        write_u32(to + FRAME_HEAD + 4, code)
        memcpy(to + FRAME_HEAD + 8, PyBytes_AS_STRING(words), n)
        self.out.length += FRAME_HEAD + 8 + n
        return 0

    cdef int ping(self, uint64_t opaque) except -1:
        cdef uint8_t* to
        if self._dead:
            return 0
        to = self.out.reserve(FRAME_HEAD + 8)
        write_frame_head(to, 8, PING_FRAME, 0, 0)
        write_u64(to + FRAME_HEAD, opaque)
        self.out.length += FRAME_HEAD + 8
        return 0

    # Ends -------------------------------------------------------------------------------------------------------------

    cdef int reset(self, H2Stream stream, uint32_t code) except -1:
        cdef uint8_t state = after(stream.state, SEND_RESET)
        cdef uint8_t* to
        if stream.session is not self or self._dead or state == NOTHING:
            return 0
        stream.state = state
        if state == RESET:
            self._remember_reset(stream.id)
        to = self.out.reserve(FRAME_HEAD + 4)
        write_frame_head(to, 4, RST_STREAM_FRAME, 0, stream.id)
        write_u32(to + FRAME_HEAD, code)
        self.out.length += FRAME_HEAD + 4
        self._leave(stream)
        backlog_drop(&stream._backlog)
        stream.pending = 0
        return self._over(stream)

    cdef int begin_shutdown(self) except -1:
        if self._dead or self.going_away:
            return 0
        self.going_away = True
        return self._write_goaway(MAX_STREAM_ID, NO_ERROR, b"")

    cdef int finish_shutdown(self) except -1:
        if self._dead or self._last_accepted >= 0:
            return 0
        self.going_away = True
        self._last_accepted = self.last_peer_id
        return self._write_goaway(self.last_peer_id, NO_ERROR, b"")

    cdef int fail(self, uint32_t code, str reason) except -1:
        if self._dead:
            return 0
        self._dead = True
        self.failed = True
        self.error = code
        self.error_reason = reason
        # A GOAWAY never takes back what an earlier one refused (RFC 9113 6.8).
        return self._write_goaway(self.last_peer_id if self._last_accepted < 0 else <uint32_t> self._last_accepted,
                                  code, reason.encode())

    cdef int lost(self) except -1:
        cdef H2Stream stream
        cdef BaseException first = None
        cdef bint on_stack = self._busy or self._serving
        if self._lost:
            return 0
        self._lost = True
        self._dead = True
        for stream in self.streams():
            # An event that raised has left its mark behind.
            if not on_stack:
                stream._marks &= ~BUSY
            if is_over(stream.state):
                self._over(stream)
                continue
            stream.state = CLOSED
            try:
                self._tell_reset(stream, CANCEL, True, False)
            except BaseException as error:
                first = first or error
                if not on_stack:
                    stream._marks &= ~BUSY
                    self._over(stream)
        if first is not None:
            raise first
        return 0
