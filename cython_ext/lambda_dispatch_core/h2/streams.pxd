"""The streams of one connection: which there are, what each side may still send, and how all of it ends.

One layer of H2Session, below H2Sender and the session itself, which alone is made. This layer has the state that both
directions share, so that each rule about it is in one place:

    streams      open ones by id, a reference held for each; ids of those that are over, as far as they matter
    credit       every window there is; h2/flow.pxd has the arithmetic and the invariant
    budgets      what a peer may ask for that costs us more than it costs the peer; limits.pxd has the reasons
    ends         of a stream (reset, fault, in order) and of the connection (shutdown, failure, loss)

The errors and limits of a connection, its streams and its events are declared here and are cimported from h2_session
like the rest.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.flow cimport Backlog
from lambda_dispatch_core.h2.stream cimport Slots


cdef enum ErrorCode:
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


cdef enum Mark:
    HEAD_IN = 1             # the request or final response head has come: the next HEADERS are trailers
    HEAD_OUT = 2            # our final response head is out: a reset by the peer is no rapid reset any more
    END_WAITS = 4           # END_STREAM follows the pending bytes
    SWALLOW = 8             # the head was too large: the body has no owner
    BUSY = 16               # an event of this stream is on the stack


cdef enum:
    UNDECLARED = -1             # content_left: nothing to compare with
    NO_HEAD_YET = -2            # content_left: the head will say
    MAX_STREAM_ID = 0x7FFFFFFF


cdef struct H2Limits:
    # What we advertise and enforce; defaults and reasons in limits.pxd
    uint32_t max_concurrent_streams     # streams the peer may have open
    uint32_t initial_window             # bytes per stream the peer may send ahead of consumed()
    uint32_t connection_window          # bytes on the whole connection, likewise
    uint32_t max_frame_size             # payload bytes we accept
    uint32_t max_header_list            # bytes, as RFC 9113 6.5.2 counts; over it: 431 (see on_head_too_large)
    uint32_t max_header_block           # bytes of HEADERS + CONTINUATION payload; over it: ENHANCE_YOUR_CALM
    uint32_t max_fields                 # header fields per block
    uint32_t header_table_size          # bytes of the decoder's dynamic table
    bint connect_protocol               # server: CONNECT may name a :protocol (RFC 8441)


cdef class H2Stream:
    cdef readonly uint32_t id
    cdef readonly uint8_t state         # a StreamState of h2/stream.pxd
    # the caller's own object for this stream; the session only keeps it, and sets it to None after the last event
    cdef public object owner
    cdef int64_t send_window            # bytes of credit the peer gave this stream; may be negative (RFC 9113 6.9.2)
    cdef int64_t recv_window            # bytes the peer may still send before we give credit
    cdef int64_t unreturned             # bytes consumed() but not yet announced in a WINDOW_UPDATE
    cdef int64_t content_left           # bytes of content-length still to come; -1 when none was declared
    cdef readonly Py_ssize_t pending    # bytes taken by send_data() that wait for credit
    cdef H2Ledger session               # None once the stream is closed
    # the session's own:
    cdef int64_t _owed                  # bytes delivered by on_data and not yet consumed()
    cdef uint8_t _marks                 # Mark bits
    cdef Backlog _backlog               # the `pending` bytes
    cdef FieldList _trailers            # trailers that wait behind pending bytes, or None
    cdef void* _after                   # neighbours in the ring of streams that can be served; NULL outside of it
    cdef void* _before

    # Bytes that wait for credit, and trailers behind them.
    cdef inline Py_ssize_t held(self) noexcept:
        return self.pending + (self._trailers.held() if self._trailers is not None else 0)


cdef class H2Events:
    # A request (server) or the final response (client). end: no body follows.
    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1
    # Client: a 1xx response.
    cdef int on_informational(self, H2Stream stream, FieldList head) except -1
    # A piece of the body; n may be 0 only when end is set. end: nothing follows.
    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # Trailers; they end the peer's side of the stream.
    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1
    # The stream ended abnormally: the peer reset it (by_peer), or the session did because of a fault of the peer's.
    # Not called for a reset() of ours. Nothing more comes for this stream. refused: the peer cannot have acted on it
    # (REFUSED_STREAM, or above the last id of its GOAWAY).
    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1
    # Server: the request's head was over max_header_list. Answer 431 (send_head); the body, if any, is swallowed by the
    # session. The default resets the stream with ENHANCE_YOUR_CALM.
    cdef int on_head_too_large(self, H2Stream stream, bint end) except -1
    # Server: a request's head breaks a rule, so that its stream was reset before it began; stream_fault says which.
    cdef int on_head_refused(self) except -1
    # All pending bytes of the stream have gone to `out`.
    cdef int on_drained(self, H2Stream stream) except -1
    # The peer sends GOAWAY: streams of ours above last_id have been given to on_reset(refused) already.
    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1
    cdef int on_ping_ack(self, uint64_t opaque) except -1
    # The peer's SETTINGS have been applied (client: may wait for the first before opening many streams).
    cdef int on_settings(self) except -1


cdef class H2Ledger:
    cdef readonly bint client
    cdef public H2Events events             # gets the events; set before the first receive()
    cdef readonly OutBuffer out             # may be replaced by the owner of the socket before the first byte
    cdef readonly bint failed               # a connection error was found; GOAWAY is in `out`; close after sending it
    cdef readonly uint32_t error            # its ErrorCode (ours, or the peer's GOAWAY code)
    cdef readonly str error_reason          # what was wrong, for the log; never peer bytes
    # A GOAWAY of ours was sent. The peer's new streams are refused from finish_shutdown() on: begin_shutdown() only
    # warns, and some may be under way.
    cdef readonly bint going_away
    cdef readonly str stream_fault          # what was wrong with the stream that the session reset last, or None
    cdef readonly bint peer_going_away      # open() returns None from now on
    cdef readonly int open_streams          # streams that are not closed, both sides
    cdef readonly uint32_t peer_max_streams  # the peer's SETTINGS_MAX_CONCURRENT_STREAMS (2**31-1 before it says one)
    cdef readonly uint32_t last_peer_id     # highest stream the peer opened
    cdef readonly bint blocked              # the socket takes no more at the moment: data waits, frames do not
    cdef public bint share_connection_credit
    cdef H2Limits limits
    # private from here on
    cdef bint _busy                 # receive() is on the stack
    cdef bint _serving              # _serve() is on the stack
    cdef bint _dead                 # failed or lost: no command does anything any more
    cdef bint _lost
    # streams
    cdef Slots _slots               # the living, by id; one reference held for each
    cdef uint32_t _next_id          # client: the id of the next open()
    cdef int64_t _last_accepted     # the last id of finish_shutdown(); -1 before
    cdef uint32_t* _resets          # ring of ids we reset, or NULL
    cdef uint32_t _resets_at
    cdef uint32_t[32] _ends         # ring of ids that ended otherwise
    cdef uint32_t _ends_at
    cdef bint _settings_acked       # the peer has acknowledged ours
    # flow control
    cdef int64_t _send_window       # the connection's
    cdef int64_t _recv_window
    cdef int64_t _unreturned        # of the connection's receiving window
    cdef int64_t _peer_initial      # the peer's SETTINGS_INITIAL_WINDOW_SIZE
    cdef int64_t _our_initial       # the receiving window new streams get
    cdef void* _ready               # ring of streams with pending bytes and credit: whose turn it is, or NULL
    # abuse
    cdef int _control               # what is left of CONTROL_BUDGET
    cdef int _reset_budget          # what is left of RESET_BUDGET
    cdef Py_ssize_t _replies        # bytes of replies written since the socket took something

    # RST_STREAM; the stream is closed and forgotten, its pending bytes dropped.
    cdef int reset(self, H2Stream stream, uint32_t code) except -1
    # n bytes delivered by on_data are gone: give the peer credit again (announced when it is worth a frame).
    cdef int consumed(self, H2Stream stream, Py_ssize_t n) except -1
    cdef int ping(self, uint64_t opaque) except -1
    # Graceful end: the first GOAWAY (last id 2**31-1) warns, finish_shutdown() sends the one with the real last id.
    cdef int begin_shutdown(self) except -1
    cdef int finish_shutdown(self) except -1
    # Ends the connection: GOAWAY with this code.
    cdef int fail(self, uint32_t code, str reason) except -1
    # The connection is gone: every open stream is given to on_reset (code CANCEL, by_peer) and everything is released.
    cdef int lost(self) except -1
    # Every open stream, oldest first (slow: shutdown and tests).
    cdef list streams(self)
    # The open stream with this id, or None.
    cdef H2Stream find(self, uint32_t id)

    cdef H2Stream _add(self, uint32_t id)
    cdef int _tell_end(self, H2Stream stream) except -1
    cdef int _ended(self, H2Stream stream) except -1
    cdef int _over(self, H2Stream stream) except -1
    cdef int _fault(self, H2Stream stream, uint32_t code, str reason) except -1
    cdef int _refuse(self, uint32_t id, uint32_t code) except -1
    cdef int _remember_reset(self, uint32_t id) except -1
    cdef int _tell_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1

    cdef int _late(self, uint32_t id, uint8_t what) except -1
    cdef uint8_t _forgotten(self, uint32_t id) noexcept
    cdef bint _ended_lately(self, uint32_t id) noexcept

    cdef int _credit_connection(self, int64_t n) except -1
    cdef int _credit_stream(self, H2Stream stream, int64_t n) except -1
    cdef bint _initial_window(self, uint32_t size) except -1
    cdef int _our_window_holds(self) except -1
    cdef void _enter(self, H2Stream stream) noexcept
    cdef void _leave(self, H2Stream stream) noexcept

    cdef int _charge(self, int cost) except -1
    cdef int _charge_reset(self) except -1
    cdef int _reply(self, Py_ssize_t n) except -1
    cdef int _write_reset(self, uint32_t id, uint32_t code) except -1
    cdef int _write_window(self, uint32_t id, int64_t credit) except -1
    cdef int _write_goaway(self, uint32_t last_id, uint32_t code, bytes words) except -1
