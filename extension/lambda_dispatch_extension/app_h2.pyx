"""Requests to an application that speaks HTTP/2; the theory stands in app_h2.pxd."""

from collections import deque

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport T_CONTENT_LENGTH, T_CONTENT_TYPE, T_STATUS, Field, FieldList
from lambda_dispatch_core.bytes.literal cimport begins_lit
from lambda_dispatch_core.h2.session cimport (
    CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, NO_ERROR, H2Events, H2Limits, H2Stream, default_limits,
)
from lambda_dispatch_core.h2.stream cimport CLOSED
from lambda_dispatch_core.http1.head cimport ResponseHead, parse_size
from lambda_dispatch_extension.app_link cimport AppUser
from lambda_dispatch_net.credit cimport hold, release
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub

from lambda_dispatch_extension.collect import NoAnswer
from lambda_dispatch_extension.loop import timeout

cdef enum:
    # Connections at once: an instance has at most 100 channels, and servers allow 100 streams on one or more.
    MAX_LINKS = 4


cdef FieldList copy_of(FieldList fields):
    cdef FieldList copy = FieldList()
    cdef Field* f
    cdef int i
    for i in range(fields.count):
        f = &fields.at[i]
        copy.add_copy(f.name, f.name_len, f.value, f.value_len, f.token, f.flags)
    return copy


cdef bint is_grpc(FieldList fields) noexcept:
    cdef Field* kind = fields.find(T_CONTENT_TYPE)
    return kind != NULL and begins_lit(kind.value, kind.value_len, b"application/grpc")


# What HTTP/1.1 would call the head. A gRPC answer's length is that of its messages, and trailers follow: no one may
# take the answer for whole when as many bytes have come.
cdef int head_of(FieldList fields, ResponseHead* head) except -1:
    cdef Field* f = fields.find(T_STATUS)
    memset(head, 0, sizeof(ResponseHead))
    head.status = <int> parse_size(f.value, f.value_len)
    head.minor = 1
    head.keep_alive = True
    head.content_length = -1
    f = fields.find(T_CONTENT_LENGTH)
    if f != NULL:
        if is_grpc(fields):
            f[0] = fields.at[0]     # :status again, which is not passed on
        else:
            head.content_length = parse_size(f.value, f.value_len)
    return 0


# "Errors" of gRPC's HTTP/2 mapping; the rest is INTERNAL.
cdef dict STATUS_OF_RESET = {
    CANCEL: b"1",                   # CANCELLED
    ENHANCE_YOUR_CALM: b"8",        # RESOURCE_EXHAUSTED
    INADEQUATE_SECURITY: b"7",      # PERMISSION_DENIED
}


class NotHttp2(NoAnswer):
    """What came is no HTTP/2."""


@cython.final
cdef class H2Call:
    cdef int start(self, H2Link link, FieldList head) except -1:
        cdef OutBuffer early = self.early
        cdef FieldList trailers = self.trailers
        self.stream = link.session.open(head, self.ended and trailers is None and early is None)
        self.link = link
        self.stream.owner = self
        self.head = None
        self.early = None
        self.trailers = None
        if early is not None:
            link.session.send_data(self.stream, early.data, early.length, self.ended and trailers is None)
        if trailers is not None:
            link.session.send_head(self.stream, trailers, True)
        link.touch()
        if early is not None and self.stream.pending == 0:
            return self.user.on_app_room()
        return 0

    cdef bint send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.left >= 0:
            if n > self.left or (end and n < self.left):
                return False
            self.left -= n
        if self.head is not None:
            if n:
                if self.early is None:
                    self.early = OutBuffer()
                self.early.write(p, n)
            self.ended = end
            return True
        if self.stream is None:
            return True
        self.link.session.send_data(self.stream, p, n, end)
        self.link.touch()
        if self.stream.pending == 0:
            self.user.on_app_room()
        return True

    cdef bint send_trailers(self, FieldList trailers) except -1:
        if self.left > 0:
            return False
        if self.head is not None:
            self.ended = True
            self.trailers = copy_of(trailers)
        elif self.stream is not None:
            self.link.session.send_head(self.stream, trailers, True)
            self.link.touch()
        return True

    cdef Py_ssize_t backlog(self) noexcept:
        if self.stream is not None:
            return self.stream.pending
        return self.early.length if self.early is not None else 0

    cdef int hold_back(self) except -1:
        self.held = True
        return 0

    cdef int go_on(self) except -1:
        cdef int64_t owed
        self.held = False
        owed = release(&self.owed)
        if owed and self.stream is not None:
            self.link.session.consumed(self.stream, owed)
            return self.link.touch()
        return 0

    cdef int drop(self) except -1:
        cdef H2Link link = self.link
        self.user = None
        if self.head is not None:
            self.head = None
            self.early = None
            self.app.waiting.remove(self)
        elif link is not None:
            if self.stream.state != CLOSED:
                link.session.reset(self.stream, CANCEL)
                link.touch()
            self.forget()
            # A stream has ended: there is room for one that waits.
            return self.app.serve()
        return 0

    cdef int forget(self) except -1:
        self.stream.owner = None
        self.stream = None
        self.link = None
        return 0

    cdef int lose(self, str why, bint unseen) except -1:
        cdef AppUser user = self.user
        self.user = None
        if self.link is not None:
            self.forget()
        return user.on_call_lost(why, unseen) if user is not None else 0

    cdef int end_grpc(self, str why, uint32_t code) except -1:
        cdef AppUser user = self.user
        cdef FieldList fields = FieldList()
        cdef ResponseHead head
        if user is not None and not self.whole:
            if not self.answered:
                fields.append(b":status", b"200")
                fields.append(b"content-type", b"application/grpc")
                head_of(fields, &head)
                user.on_answer(&head, fields, False)
                fields.clear()
            fields.append(b"grpc-status", STATUS_OF_RESET.get(code, b"13"))
            fields.append(b"grpc-message", why.encode("ascii"))
            user.on_answer_trailers(fields)
        return self.lose(why, False)


@cython.final
cdef class AppEvents(H2Events):
    cdef int on_settings(self) except -1:
        return self.link.greeted(True)

    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef H2Call call = self.called(stream)
        cdef AppUser user
        cdef ResponseHead said
        if call is None:
            return 0
        user = call.user
        call.answered = True
        call.whole = end
        head_of(head, &said)
        return user.on_answer(&said, head, end)

    cdef int on_informational(self, H2Stream stream, FieldList head) except -1:
        cdef H2Call call = self.called(stream)
        cdef AppUser user
        cdef ResponseHead said
        if call is None:
            return 0
        user = call.user
        head_of(head, &said)
        return user.on_interim(&said, head) if said.status != 100 else 0

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef H2Call call = self.called(stream)
        cdef H2Link link = self.link
        cdef AppUser user
        if call is None:
            return link.session.consumed(stream, n)
        user = call.user
        call.whole = end
        user.on_answer_data(p, n, end)
        if n and not end:
            if call.held:
                hold(&call.owed, n)
            else:
                link.session.consumed(stream, n)
        return 0

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        cdef H2Call call = self.called(stream)
        cdef AppUser user
        if call is None:
            return 0
        user = call.user
        call.whole = True
        return user.on_answer_trailers(trailers)

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef H2Call call = <H2Call> stream.owner
        cdef H2Link link = self.link
        if call is None:
            return 0
        if link.closing:
            return call.lose("application closed the connection", refused)
        if by_peer:
            why = f"application reset the stream with code {code}"
            return call.end_grpc(why, code) if call.grpc and not refused else call.lose(why, refused)
        return call.lose(f"application sent a bad answer: {link.session.stream_fault}", False)

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef H2Call call = <H2Call> stream.owner
        cdef AppUser user = call.user if call is not None else None
        return user.on_app_room() if user is not None else 0

    cdef int on_goaway(self, uint32_t last_id, uint32_t code) except -1:
        self.link.away = True
        return 0

    cdef H2Call called(self, H2Stream stream):
        cdef H2Call call = <H2Call> stream.owner
        if call is None or call.user is None:
            return None
        if not call.touched:
            call.touched = True
            self.link.touched.append(call)
        return call


@cython.final
cdef class H2Link(H2Wire):
    def __init__(self, H2App app not None):
        H2Wire.__init__(self, app.hub)
        self.app = app
        self.touched = []
        self.greeting = app.hub.loop.create_future()

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef AppEvents events = AppEvents()
        events.link = self
        default_limits(&limits)
        limits.max_concurrent_streams = 0
        self.app.links.append(self)
        return self.begin(True, &limits, events)

    cdef int greeted(self, bint spoken) except -1:
        self.spoken = self.spoken or spoken
        if not self.greeting.done():
            self.greeting.set_result(spoken)
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        H2Wire.on_bytes(self, p, n)
        self.tell()
        if self.away and self.session.open_streams == 0:
            return self.close()
        if self.app.waiting:
            return self.app.serve()
        return 0

    # Everything that one read brought has been handed over.
    cdef int tell(self) except -1:
        cdef list touched = self.touched
        cdef H2Call call
        cdef AppUser user
        if touched:
            self.touched = []
            for item in touched:
                call = <H2Call> item
                call.touched = False
                user = call.user
                if user is not None:
                    user.on_answer_pause()
        return 0

    cdef int on_violation(self) except -1:
        self.away = True
        return self.greeted(False)

    cdef int on_lost(self) except -1:
        self.away = True
        self.greeted(False)
        if self.session is not None:
            H2Wire.on_lost(self)
            self.tell()
            self.session.events = H2Events()    # which points back here
        return self.app.gone(self)

    cdef bint has_room(self) noexcept:
        return (self.spoken and not self.away and not self.closing and self.transport is not None
                and not self.session.peer_going_away
                and <uint32_t> self.session.open_streams < self.session.peer_max_streams)


@cython.final
cdef class H2App:
    def __init__(self, Hub hub not None, str host not None, int port, *, double connect_timeout):
        self.hub = hub
        self.host = host
        self.port = port
        self.connect_timeout = connect_timeout
        self.links = []
        self.waiting = deque()
        self.request = FieldList()

    cdef H2Call begin(self, AppUser user, FieldList head, int64_t length, bint end):
        cdef H2Call call = H2Call()
        cdef H2Link link = None if self.waiting else self.with_room()
        call.app = self
        call.user = user
        call.left = length
        call.grpc = is_grpc(head)
        call.ended = end
        if link is not None:
            call.start(link, head)
            return call
        call.head = copy_of(head)
        self.waiting.append(call)
        self.ask()
        return call

    cdef H2Link with_room(self):
        cdef H2Link link
        for link in self.links:
            if link.has_room():
                return link
        return None

    # What waits gets what room there is.
    cdef int serve(self) except -1:
        cdef H2Link link
        cdef H2Call call
        while self.waiting:
            link = self.with_room()
            if link is None:
                self.ask()
                return 0
            call = self.waiting.popleft()
            call.start(link, call.head)
        return 0

    cdef int gone(self, H2Link link) except -1:
        if link in self.links:
            self.links.remove(link)
        return self.serve()

    def ask(self):
        """Makes one more connection, unless one is being made or there are enough."""
        if self.dial is None and len(self.links) < MAX_LINKS:
            self.dial = self.hub.loop.create_task(self._dial())

    async def _dial(self):
        try:
            await self._connect()
        except NoAnswer as error:
            self.dial = None
            self.fail(str(error), error.refused)
        else:
            self.dial = None
            self.serve()

    async def _connect(self):
        """A connection on which the application has said its SETTINGS."""
        cdef H2Link link = None
        try:
            async with timeout(self.connect_timeout):
                _, link = await self.hub.loop.create_connection(self._link, self.host, self.port)
                spoken = await link.greeting
        except ConnectionRefusedError:
            raise NoAnswer(f"{self.host}:{self.port} refuses connections", True) from None
        except TimeoutError:
            if link is not None:
                link.abort()
            raise NoAnswer(
                f"{self.host}:{self.port}: no HTTP/2 within {self.connect_timeout:g} s of the connect") from None
        except OSError as error:
            raise NoAnswer(f"{self.host}:{self.port}: {error}") from None
        if not spoken:
            raise NotHttp2(f"{self.host}:{self.port} does not speak HTTP/2; see LAMBDA_DISPATCH_APP_PROTOCOL")

    async def speaks(self):
        """Whether the application speaks HTTP/2 with prior knowledge; NoAnswer where it does not say."""
        try:
            await self._connect()
        except NotHttp2:
            return False
        return True

    async def status(self, bytes path not None):
        """The status of its answer to GET path; NoAnswer where there is none."""
        cdef Probe probe = Probe()
        cdef FieldList head = FieldList()
        cdef H2Call call
        for name, value in (
            (b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", path),
        ):
            head.append(name, value)
        probe.done = self.hub.loop.create_future()
        call = self.begin(probe, head, -1, True)
        try:
            return await probe.done
        finally:
            call.drop()

    def _link(self):
        return H2Link(self)

    def fail(self, str why not None, bint refused):
        """No connection can be made: so much for those that wait. With another one open they wait on."""
        cdef H2Call call
        cdef AppUser user
        if self.links:
            return
        while self.waiting:
            call = <H2Call> self.waiting.popleft()
            call.head = None
            user = call.user
            call.user = None
            user.on_no_link(refused, why)

    def close_idle(self):
        """Ends every connection that carries nothing."""
        cdef H2Link link
        for link in list(self.links):
            if link.session is None or link.session.open_streams == 0:
                link.away = True
                if link.session is not None:
                    link.session.fail(NO_ERROR, "idle")
                    link.touch()
                link.close()

    def abort(self):
        """Cuts every connection and makes no more."""
        cdef H2Link link
        if self.dial is not None:
            self.dial.cancel()
        for link in list(self.links):
            link.abort()

    @property
    def open(self):
        """Open connections."""
        return len(self.links)


# Asks for a head, and lets the rest go.
@cython.final
cdef class Probe(AppUser):
    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        if not self.done.done():
            self.done.set_result(head.status)
        return 0

    cdef int on_call_lost(self, str why, bint unseen) except -1:
        if not self.done.done():
            self.done.set_exception(NoAnswer(why))
        return 0

    cdef int on_no_link(self, bint refused, str why) except -1:
        if not self.done.done():
            self.done.set_exception(NoAnswer(why, refused))
        return 0
