"""An H2Session for Python: bytes in, events as tuples out, commands by stream id. For tests and slow users.

Events, in the order they happened:
    ("head", id, [(name, value), …], end)       ("informational", id, [(name, value), …])
    ("data", id, bytes, end)                    ("trailers", id, [(name, value), …])
    ("reset", id, code, by_peer, refused)       ("head_too_large", id, end)
    ("drained", id)    ("goaway", last_id, code)    ("ping_ack", opaque)    ("settings",)
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Limits, H2Session, H2Stream, default_limits, new_session
from lambda_dispatch_core.h2.stream cimport INPUTS, STATES, after


cdef class Recorder(H2Events):
    cdef list events
    cdef object hook            # called with each event as it happens, inside receive(); or None
    cdef bint default_too_large     # leave on_head_too_large to H2Events

    cdef int tell(self, tuple event) except -1:
        self.events.append(event)
        if self.hook is not None:
            self.hook(event)
        return 0

    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        return self.tell(("head", stream.id, head.pairs(), end))

    cdef int on_informational(self, H2Stream stream, FieldList head) except -1:
        return self.tell(("informational", stream.id, head.pairs()))

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        return self.tell(("data", stream.id, p[:n] if n else b"", end))

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        return self.tell(("trailers", stream.id, trailers.pairs()))

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        return self.tell(("reset", stream.id, code, by_peer, refused))

    cdef int on_head_too_large(self, H2Stream stream, bint end) except -1:
        if self.default_too_large:
            return H2Events.on_head_too_large(self, stream, end)
        return self.tell(("head_too_large", stream.id, end))

    cdef int on_drained(self, H2Stream stream) except -1:
        return self.tell(("drained", stream.id))

    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1:
        return self.tell(("goaway", last_id, code))

    cdef int on_ping_ack(self, uint64_t opaque) except -1:
        return self.tell(("ping_ack", opaque))

    cdef int on_settings(self) except -1:
        return self.tell(("settings",))


cdef FieldList field_list(list pairs):
    cdef FieldList fields = FieldList.__new__(FieldList)
    cdef bytes name, value
    for name, value in pairs:
        fields.append(name, value)
    return fields


cdef class PlainSession:
    cdef readonly H2Session session
    cdef Recorder recorder

    def __init__(self, bint client=False, hook=None, bint share_connection_credit=True, **limits):
        cdef H2Limits l
        default_limits(&l)
        l.max_concurrent_streams = limits.pop("max_concurrent_streams", l.max_concurrent_streams)
        l.initial_window = limits.pop("initial_window", l.initial_window)
        l.connection_window = limits.pop("connection_window", l.connection_window)
        l.max_frame_size = limits.pop("max_frame_size", l.max_frame_size)
        l.max_header_list = limits.pop("max_header_list", l.max_header_list)
        l.max_header_block = limits.pop("max_header_block", l.max_header_block)
        l.max_fields = limits.pop("max_fields", l.max_fields)
        l.header_table_size = limits.pop("header_table_size", l.header_table_size)
        if limits:
            raise TypeError(f"PlainSession has no limit called {', '.join(sorted(limits))}")
        self.session = new_session(client, &l)
        self.session.share_connection_credit = share_connection_credit
        self.recorder = Recorder.__new__(Recorder)
        self.recorder.events = []
        self.recorder.hook = hook
        self.session.events = self.recorder

    def feed(self, bytes data not None):
        """Gives bytes from the peer to the session; returns the events they meant, and any not yet returned."""
        self.session.receive(<const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return self.events()

    def events(self):
        """Events that happened since they were last returned."""
        cdef list events = self.recorder.events
        self.recorder.events = []
        return events

    def take(self):
        """Bytes for the peer."""
        return self.session.out.take()

    def open(self, list head not None, bint end=False):
        """Opens a stream; its id, or None when the session cannot."""
        cdef H2Stream stream = self.session.open(field_list(head), end)
        return None if stream is None else stream.id

    def send_head(self, uint32_t id, list head not None, bint end=False):
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            self.session.send_head(stream, field_list(head), end)

    def send_head_by_field(self, uint32_t id, list head not None, bint end=False):
        """The same through begin_head, one field at a time, and end_head. False when the stream is closed."""
        cdef H2Stream stream = self.session.find(id)
        cdef FieldList fields = field_list(head)
        cdef int i
        if stream is None or not self.session.begin_head(stream):
            return False
        for i in range(fields.count):
            self.session.encoder.field(self.session.out, fields.at[i].name, fields.at[i].name_len, fields.at[i].value,
                                       fields.at[i].value_len, fields.at[i].token, fields.at[i].flags, False)
        self.session.end_head(stream, end)
        return True

    def send_status(self, uint32_t id, int status, bint end=False):
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            self.session.send_status(stream, status, end)

    def send_data(self, uint32_t id, bytes data not None, bint end=False):
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            self.session.send_data(stream, <const uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), end)

    def reset(self, uint32_t id, uint32_t code):
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            self.session.reset(stream, code)

    def offer_window(self, uint32_t size):
        return bool(self.session.offer_window(size))

    def share_credit(self):
        self.session.share_credit()

    def consumed(self, uint32_t id, Py_ssize_t n):
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            self.session.consumed(stream, n)

    def expect_no_body(self, uint32_t id):
        """What a caller does that knows better than content-length."""
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            stream.content_left = -1

    def own(self, uint32_t id, owner):
        """Sets the stream's owner."""
        cdef H2Stream stream = self.session.find(id)
        if stream is not None:
            stream.owner = owner

    def default_too_large(self):
        """From now on a head that is too large gets the default answer and is not recorded."""
        self.recorder.default_too_large = True

    def ping(self, uint64_t opaque):
        self.session.ping(opaque)

    def begin_shutdown(self):
        self.session.begin_shutdown()

    def finish_shutdown(self):
        self.session.finish_shutdown()

    def fail(self, uint32_t code, str reason not None):
        self.session.fail(code, reason)

    def block(self):
        self.session.block()

    def unblock(self, Py_ssize_t budget):
        """True when more waits than the budget allowed."""
        return self.session.unblock(budget) == 1

    def lost(self):
        self.session.lost()

    def streams(self):
        """Ids of the open streams, oldest first."""
        return [(<H2Stream> stream).id for stream in self.session.streams()]

    def stream(self, uint32_t id):
        """The figures of one open stream, or None."""
        cdef H2Stream stream = self.session.find(id)
        if stream is None:
            return None
        return {
            "state": stream.state,
            "send_window": stream.send_window,
            "recv_window": stream.recv_window,
            "owed": stream._owed,
            "unreturned": stream.unreturned,
            "content_left": stream.content_left,
            "pending": stream.pending,
            "in_ring": stream._after != NULL,
        }

    def figures(self):
        """The figures of the connection."""
        return {
            "send_window": self.session._send_window,
            "recv_window": self.session._recv_window,
            "unreturned": self.session._unreturned,
            "our_initial": self.session._our_initial,
            "control": self.session._control,
            "reset_budget": self.session._reset_budget,
            "slots": self.session._slots.count,
            "block_room": self.session._block_room,
            "ready": self.session._ready != NULL,
        }


def stream_table():
    """The table of h2_stream.pxd, state by state (tests)."""
    return [[after(state, what) for what in range(INPUTS)] for state in range(STATES)]
