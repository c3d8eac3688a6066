"""One HTTP/2 connection (RFC 9113), server or client, without I/O.

    session.receive(p, n)   bytes from the socket; calls the methods of H2Events as they mean something
    session.out             bytes for the socket; the owner of the socket takes them once per loop turn

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

from libc.stdint cimport uint8_t, uint32_t

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.frame cimport FrameHead
from lambda_dispatch_core.h2.streams cimport (
    CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    HTTP_1_1_REQUIRED, INADEQUATE_SECURITY, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM,
    SETTINGS_TIMEOUT, STREAM_CLOSED, ErrorCode, H2Events, H2Limits, H2Stream
)
from lambda_dispatch_core.h2.sender cimport H2Sender
from lambda_dispatch_core.hpack.hpack cimport Decoder


# Its fields and commands are those of H2Ledger (h2/streams.pxd) and H2Sender (h2/sender.pxd), and receive().
cdef class H2Session(H2Sender):
    cdef Decoder decoder
    # Server: a Host that names another place than :authority is no fault (8.3.1 only says SHOULD).
    cdef bint any_host
    # private from here on
    cdef uint8_t _mode              # a Reading: what the next byte belongs to
    cdef bint _settings_seen        # the peer's first SETTINGS has come
    cdef FrameHead _frame           # the frame being read
    cdef uint8_t _part[24]          # a frame head or preface cut off by the end of the input
    cdef int _part_len
    cdef uint8_t* _payload          # a payload cut off likewise, or NULL
    cdef uint32_t _payload_len
    cdef uint8_t* _block            # header block fragments so far
    cdef uint32_t _block_len
    cdef uint32_t _block_room
    cdef uint32_t _block_stream     # whose they are; 0 outside of a block
    cdef bint _block_end            # its HEADERS had END_STREAM
    cdef int _block_frames          # CONTINUATION frames so far
    cdef uint32_t _data_left        # bytes of the DATA frame still to come, padding apart
    cdef uint32_t _skip_left        # bytes of padding or of an ignored frame still to come
    cdef H2Stream _data_stream      # whose DATA it is; None when it is to be swallowed
    cdef FieldList _fields          # the block decoded last

    # Credit of the connection is returned on arrival again, at once for what was not consumed yet.
    cdef int share_credit(self) except -1

    # Takes all n bytes. 0, or -2 once `failed` (the caller flushes `out` and closes); bytes after that are ignored.
    # What an event raises is raised here, after the session has failed.
    cdef int receive(self, const uint8_t* p, Py_ssize_t n) except -1

    cdef int _start(self, bint client, const H2Limits* limits) except -1
    cdef int _read(self, const uint8_t* p, const uint8_t* end) except -1
    cdef int _frame_begins(self) except -1
    cdef int _frame_ends(self, const uint8_t* p) except -1
    cdef int _data_begins(self) except -1
    cdef int _data_splits(self, uint32_t length, uint32_t pad) except -1
    cdef int _deliver(self, const uint8_t* p, uint32_t n) except -1
    cdef int _headers(self, const uint8_t* p) except -1
    cdef int _fragment(self, const uint8_t* p, uint32_t n) except -1
    cdef int _block_ends(self, uint32_t id, bint end, const uint8_t* p, uint32_t n) except -1
    cdef int _new_stream(self, uint32_t id, bint end, int result) except -1
    cdef int _later_head(self, H2Stream stream, bint end, int result) except -1
    cdef int _settings(self, const uint8_t* p, uint32_t n) except -1
    cdef int _goaway(self, const uint8_t* p) except -1
    cdef int _window_update(self, const uint8_t* p) except -1
    cdef int _rst_stream(self, const uint8_t* p) except -1


# A session with its limits set and its preface (client) and SETTINGS already in `out`.
cdef H2Session new_session(bint client, const H2Limits* limits)
cdef void default_limits(H2Limits* limits) noexcept nogil
