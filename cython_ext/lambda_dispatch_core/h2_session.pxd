"""One HTTP/2 connection (RFC 9113), server or client, without I/O.

    session.receive(p, n)   bytes from the socket; calls the methods of H2Events as they mean something
    session.out             bytes for the socket; whoever owns the socket takes them once per loop turn

Every event method is called synchronously from receive(), inside one pass over the bytes, and may call any command of
the session, for any stream, at once. An event method that raises fails the connection (INTERNAL_ERROR).
A pointer or FieldList given to an event is borrowed: valid until the method returns.

Receiving window = credit. What on_data delivers is owed: the session gives the peer new credit only when consumed()
says that so many bytes are really gone. What the session itself swallows (padding, data of a stream that was reset) it
returns itself. Connection credit is returned on arrival, since every stream is bounded by its own window, unless
`share_connection_credit` is off.

Sending window = patience. send_data() always takes the whole piece: what credit (stream, connection) and `blocked`
allow goes to `out` at once, the rest is copied and waits; stream.pending says how much. on_drained tells when a stream
that had pending bytes has none left; a caller that stops reading its source above a mark keeps memory bounded.
When credit comes, waiting streams are served in turn, at most one frame each, so that no stream starves another.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.buffer cimport OutBuffer
from lambda_dispatch_core.fields cimport FieldList
from lambda_dispatch_core.hpack cimport Decoder, Encoder


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


cdef struct H2Limits:
    # What we advertise and enforce; defaults and reasons in limits.pxd
    uint32_t max_concurrent_streams     # streams the peer may have open
    uint32_t initial_window             # bytes per stream the peer may send ahead of consumed()
    uint32_t connection_window          # bytes on the whole connection, likewise
    uint32_t max_frame_size             # payload bytes we accept
    uint32_t max_header_list            # bytes, as RFC 9113 6.5.2 counts; over it: 431 for a request (see on_head_too_large)
    uint32_t max_header_block           # bytes of HEADERS + CONTINUATION payload; over it: ENHANCE_YOUR_CALM
    uint32_t max_fields                 # header fields per block
    uint32_t header_table_size          # bytes of the decoder's dynamic table


cdef class H2Stream:
    cdef readonly uint32_t id
    cdef readonly uint8_t state         # a StreamState of h2_stream.pxd
    cdef public object owner            # the caller's own object for this stream; the session only keeps it. Set to
                                        # None by the session after the stream's last event
    cdef int64_t send_window            # bytes of credit the peer gave this stream; may be negative (RFC 9113 6.9.2)
    cdef int64_t recv_window            # bytes the peer may still send before we give credit
    cdef int64_t unreturned             # bytes consumed() but not yet announced in a WINDOW_UPDATE
    cdef int64_t content_left           # bytes of content-length still to come; -1 when none was declared
    cdef readonly Py_ssize_t pending    # bytes taken by send_data() that wait for credit
    cdef H2Session session              # None once the stream is closed


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
    # All pending bytes of the stream have gone to `out`.
    cdef int on_drained(self, H2Stream stream) except -1
    # The peer sends GOAWAY: streams of ours above last_id have been given to on_reset(refused) already.
    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1
    cdef int on_ping_ack(self, uint64_t opaque) except -1
    # The peer's SETTINGS have been applied (client: may wait for the first before opening many streams).
    cdef int on_settings(self) except -1


cdef class H2Session:
    cdef readonly bint client
    cdef public H2Events events             # who is told; set before the first receive()
    cdef readonly OutBuffer out             # may be replaced by the owner of the socket before the first byte
    cdef readonly bint failed               # a connection error was found; GOAWAY is in `out`; close after sending it
    cdef readonly uint32_t error            # its ErrorCode (ours, or the peer's GOAWAY code)
    cdef readonly str error_reason          # what was wrong, for the log; never peer bytes
    cdef readonly bint going_away           # a GOAWAY of ours was sent: new streams of the peer are refused
    cdef readonly bint peer_going_away      # open() returns None from now on
    cdef readonly int open_streams          # streams that are not closed, both sides
    cdef readonly uint32_t peer_max_streams # the peer's SETTINGS_MAX_CONCURRENT_STREAMS (2**31-1 before it says one)
    cdef readonly uint32_t last_peer_id     # highest stream the peer opened
    cdef readonly bint blocked              # the socket takes no more at the moment: data waits, frames do not
    cdef public bint share_connection_credit
    cdef Encoder encoder
    cdef Decoder decoder

    # Takes all n bytes. 0, or -2 once `failed` (the caller flushes `out` and closes). Bytes after a failure are ignored.
    cdef int receive(self, const uint8_t* p, Py_ssize_t n) except -1
    # Client: opens a stream. None when the peer goes away, has too many, or ids ran out.
    cdef H2Stream open(self, FieldList head, bint end)
    # Server: 1xx or final response head. Either role: trailers, with end. Does nothing on a stream that is closed for
    # sending (returns 0); the same holds for every command on a stream below.
    cdef int send_head(self, H2Stream stream, FieldList head, bint end) except -1
    # Server: a final response head of :status alone, in its shortest form.
    cdef int send_status(self, H2Stream stream, int status, bint end) except -1
    # For callers that encode the block field by field: begin_head() reserves the frame head; then use `encoder` on
    # `out`; end_head() fills in length and flags and splits into CONTINUATION where needed. Nothing else may be sent in
    # between.
    cdef int begin_head(self, H2Stream stream) except -1
    cdef int end_head(self, H2Stream stream, bint end) except -1
    # Takes all n bytes (n may be 0 with end). Returns 0.
    cdef int send_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1
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
    # The socket's backlog: block() makes data wait, unblock() serves what waits (at most `budget` bytes of DATA, so that
    # the socket is not flooded again at once).
    cdef void block(self) noexcept
    cdef int unblock(self, Py_ssize_t budget) except -1
    # The connection is gone: every open stream is given to on_reset (code CANCEL, by_peer) and everything is released.
    cdef int lost(self) except -1
    # Every open stream, oldest first (slow: shutdown and tests).
    cdef list streams(self)


# A session with its limits set and its preface (client) and SETTINGS already in `out`.
cdef H2Session new_session(bint client, const H2Limits* limits)
cdef void default_limits(H2Limits* limits) noexcept nogil
