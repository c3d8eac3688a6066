"""All that is sent on streams: one layer of H2Session, above H2Ledger; only the session itself is made.

What h2/session.pxd says about patience is kept here: send_data() always takes the whole piece, `out` gets what credit
and `blocked` allow, the rest waits in the stream's backlog, and streams that wait are served in turn.
"""

from libc.stdint cimport uint8_t, uint32_t

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.streams cimport H2Ledger, H2Stream
from lambda_dispatch_core.hpack.hpack cimport Encoder


cdef class H2Sender(H2Ledger):
    cdef Encoder encoder
    # private from here on
    cdef Py_ssize_t _head_at        # where in `out` the block being written begins; -1 when none is
    cdef Py_ssize_t _head_void      # where `out` stood when begin_head() said no

    # Client: opens a stream. None when the peer goes away, has too many, or ids ran out.
    cdef H2Stream open(self, FieldList head, bint end)
    # Server: 1xx or final response head. Either role: trailers, with end. Does nothing on a stream that is closed for
    # sending (returns 0); the same holds for every command on a stream below.
    cdef int send_head(self, H2Stream stream, FieldList head, bint end) except -1
    # Server: a final response head of :status alone, in its shortest form.
    cdef int send_status(self, H2Stream stream, int status, bint end) except -1
    # For callers that encode the block field by field: begin_head() reserves the frame head and begins the block; then
    # use encoder.field()/status() on `out`; end_head() fills in length and flags and splits into CONTINUATION where
    # needed. Nothing else may be sent in between. begin_head() returns 1, or 0 when the stream is closed for sending:
    # then encode nothing (the compression state would be lost) and leave end_head() out. Not for trailers: those may
    # have to wait behind pending bytes, which send_head() sees to.
    cdef int begin_head(self, H2Stream stream) except -1
    cdef int end_head(self, H2Stream stream, bint end) except -1
    # Takes all n bytes (n may be 0 with end). Returns 0.
    cdef int send_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The socket's backlog: block() makes data wait, unblock() serves what waits, at most `budget` bytes of DATA, so
    # that the socket is not flooded again at once. When more waits than that, unblock() returns 1 and the session stays
    # `blocked`, so that nothing overtakes it: call it again once the socket has taken this. Otherwise it returns 0.
    cdef void block(self) noexcept
    cdef int unblock(self, Py_ssize_t budget) except -1
    # What the peer may send ahead of consumed() on each of its streams from now on; those that are open change by the
    # difference (RFC 9113 6.9.2). Holds once the peer has acknowledged it. 0: nothing was done, SETTINGS of ours are
    # not acknowledged yet.
    cdef int offer_window(self, uint32_t size) except -1

    cdef int _write_settings(self) except -1
    cdef int _frame_block(self, uint32_t id, bint end) except -1
    cdef int _send_frame(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1
    cdef int _we_ended(self, H2Stream stream) except -1
    cdef int _drained(self, H2Stream stream) except -1
    cdef int _serve(self, Py_ssize_t budget) except -1
