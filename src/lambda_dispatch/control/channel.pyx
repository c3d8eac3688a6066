"""Channels and the connections that carry them; the theory stands in channel.pxd."""

import socket

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from lambda_dispatch.control.credentials cimport proof_of
from lambda_dispatch.control.routes cimport CHANNEL, Route, parse_route
from lambda_dispatch.dispatch.foreign cimport encode_target, needs_encoding
from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport ID_TEXT, RETIRED, SENT, Exchange, Instance, Slot
from lambda_dispatch.dispatch.trailers cimport passing
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub, Wire
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.bytes.atomics cimport get16
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport T_X_LAMBDA_ID, Field, FieldList
from lambda_dispatch_core.h2.session cimport (
    CANCEL, NO_ERROR, H2Events, H2Limits, H2Stream, default_limits,
)
from lambda_dispatch_core.h2.stream cimport may_receive

cdef int IPPROTO_TCP = socket.IPPROTO_TCP
cdef int TCP_INFO = getattr(socket, "TCP_INFO", -1)

cdef enum:
    # Offsets in struct tcp_info (linux/tcp.h), 64 bits each.
    BYTES_ACKED = 120
    BYTES_SENT = 200            # retransmissions included
    BYTES_RETRANS = 208
    # Channels an extension may hold on one connection, with room for its ping and close calls. ChannelCount is at most
    # 100 per instance; streams that are ending overlap with those that are parking.
    MAX_STREAMS = 512
    # Bytes of body thrown away behind an answer that was complete; a stream that goes on beyond is reset.
    SURPLUS = 64 * 1024
    # The same for the rest of an answer that no client waits for, from an extension that has not announced itself; see
    # also ABANDONED_NS in control.py.
    ABANDONED = 8 * 1024 * 1024
    MAX_CONTROL_HEAD = 32 * 1024    # bytes of header list: what a channel request is never near

# A request's line and target for an extension that has not announced itself.
cdef OutBuffer scratch = OutBuffer()


cdef inline bint same(const uint8_t* p, Py_ssize_t n, bytes text) noexcept:
    return n == PyBytes_GET_SIZE(text) and memcmp(p, PyBytes_AS_STRING(text), n) == 0


@cython.final
cdef class Channel(Slot):
    cdef int send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef ControlWire wire = self.wire
        cdef Py_ssize_t used
        if wire is None:
            return 0
        if self.head_upto == 0:
            # The whole head, and what came of the body.
            if not self.instance.announced and needs_encoding(p, n):
                scratch.clear()
                used = encode_target(scratch, p, n)
                wire.session.send_data(self.stream, scratch.data, scratch.length, False)
                p += used
                n -= used
            wire.session.send_data(self.stream, p, n, end)
            self.head_upto = wire.handed + wire.out.length
        else:
            wire.session.send_data(self.stream, p, n, end)
        return wire.touch()

    cdef int send_trailers(self, FieldList trailers) except -1:
        cdef ControlWire wire = self.wire
        if wire is None:
            return 0
        if not self.instance.announced:
            return self.send(NULL, 0, True)
        wire.session.send_head(self.stream, passing(trailers), True)
        return wire.touch()

    cdef Py_ssize_t backlog(self) noexcept:
        return self.stream.pending if self.stream is not None else 0

    cdef int consumed(self, Py_ssize_t n) except -1:
        cdef ControlWire wire = self.wire
        if wire is None or self.stream is None:
            return 0
        wire.session.consumed(self.stream, n)
        if wire.out.length:
            return wire.touch()
        return 0

    cdef int cancel(self) except -1:
        cdef ControlWire wire = self.wire
        if wire is None:
            return 0
        if self._runs_out():
            self.allowance = ABANDONED
            wire.control.abandoned(self)
            return wire.matcher.satisfied(self, wire.hub.now)
        return self._reset()

    # The original extension ends its whole invoke when a channel is reset. Not where the request is incomplete: its end
    # would make it look complete to the application.
    cdef bint _runs_out(self) noexcept:
        return (self.exchange is not None and self.exchange.request_ended
                and not self.instance.announced and may_receive(self.stream.state))

    cdef int _reset(self) except -1:
        cdef ControlWire wire = self.wire
        wire.session.reset(self.stream, CANCEL)
        wire.control.took_back(self.instance, <bytes> self.id[:self.id_len])
        wire.touch()
        self._forget()
        return wire.matcher.done(self, wire.hub.now)

    cdef int finished(self) except -1:
        cdef ControlWire wire = self.wire
        if wire is not None:
            self._forget()
            wire.matcher.done(self, wire.hub.now)
        return 0

    cdef int satisfied(self) except -1:
        cdef ControlWire wire = self.wire
        if wire is not None:
            self.allowance = SURPLUS
            return wire.matcher.satisfied(self, wire.hub.now)
        return 0

    cdef int leave(self) except -1:
        cdef ControlWire wire = self.wire
        if wire is not None:
            self.allowance = ABANDONED
            wire.control.abandoned(self)
            return wire.matcher.satisfied(self, wire.hub.now)
        return 0

    cdef int tail(self, Py_ssize_t n, bint end) except -1:
        self.wire.session.consumed(self.stream, n)
        self.surplus += <uint32_t> n
        if end:
            return self.finished()
        if self.surplus > self.allowance:
            return self._reset()
        if self.wire.out.length:
            return self.wire.touch()
        return 0

    cdef str where(self):
        cdef Instance instance = self.instance
        return "instance " + instance.short()

    def give_up(self):
        """Resets the stream if the rest of an answer that no client waits for still has not run out."""
        if self.wire is not None and self.exchange is None and self.held:
            self._reset()

    cdef int _forget(self) except -1:
        self.stream.owner = None
        self.wire = None
        self.stream = None
        return 0


@cython.final
cdef class ControlEvents(H2Events):
    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        cdef ControlWire wire = self.wire
        cdef Route route
        cdef Field* named
        cdef Instance instance = wire.instance
        if parse_route(head, &route) == CHANNEL:
            named = head.find(T_X_LAMBDA_ID)
            if named == NULL:
                return wire.refuse(stream, 400, b"No X-Lambda-Id header")
            # All channels of a connection are one instance's: the look-up by name is for the first of them, and for
            # extensions that write the id in another way.
            if (instance is not None and instance.standing != RETIRED and route.id_len == ID_TEXT
                    and memcmp(route.id_text, instance.written, ID_TEXT) == 0
                    and named.value_len == route.id_len and memcmp(named.value, route.id_text, route.id_len) == 0
                    and (route.pool_text == NULL or same(route.pool_text, route.pool_len, instance.pool.name))
                    and not wire.full(instance)
                    and proof_of(wire.matcher.board, instance.slot, instance.generation, head, wire.secret_required)):
                return wire.park(stream, instance, route.channel_text, route.channel_len)
            wire.control.channel(wire, stream, route.id_text[:route.id_len], head)
            return 0
        wire.control.call(wire, stream, head, end)
        return 0

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef ControlWire wire = self.wire
        cdef Channel channel
        cdef Exchange exchange
        if stream.owner is None:
            # A body where none is of use (ping, close, a refused channel).
            return wire.session.consumed(stream, n)
        channel = <Channel> stream.owner
        exchange = channel.exchange
        if exchange is None and channel.held:
            return channel.tail(n, end)
        if exchange is None:
            # It speaks before it was asked, or it stops parking.
            wire.matcher.unpark(channel)
            if not end:
                wire.session.reset(stream, NO_ERROR)
            else:
                wire.session.send_data(stream, NULL, 0, True)
            channel._forget()
            return wire.touch()
        return exchange.received(p, n, end)

    cdef int on_trailers(self, H2Stream stream, FieldList trailers) except -1:
        cdef Channel channel = <Channel> stream.owner
        cdef Exchange exchange = channel.exchange if channel is not None else None
        if exchange is None:
            return self.on_data(stream, NULL, 0, True)
        return exchange.received_trailers(trailers)

    cdef int on_reset(self, H2Stream stream, uint32_t code, bint by_peer, bint refused) except -1:
        cdef ControlWire wire = self.wire
        cdef Channel channel
        cdef bint unseen = refused
        if stream.owner is None:
            return 0
        channel = <Channel> stream.owner
        if wire.lost_because is not None and channel.head_upto > wire.arrived_upto:
            unseen = True       # not even its head has reached the instance
        channel._forget()
        return wire.matcher.lost(channel, unseen, wire.lost_because or "channel_reset", wire.hub.now)

    cdef int on_drained(self, H2Stream stream) except -1:
        cdef Channel channel
        cdef Exchange exchange
        if stream.owner is not None:
            channel = <Channel> stream.owner
            exchange = channel.exchange
            if exchange is not None:
                return exchange.on_flowing()
        return 0

    cdef int on_ping_ack(self, uint64_t opaque) except -1:
        self.wire.pinged = 0
        return 0


@cython.final
cdef class ControlWire(H2Wire):
    def __init__(self, Hub hub not None, Matcher matcher not None, control):
        H2Wire.__init__(self, hub)
        self.secret_required = control.secret_required
        self.matcher = matcher
        self.control = control

    cdef int on_open(self) except -1:
        cdef H2Limits limits
        cdef ControlEvents events = ControlEvents()
        events.wire = self
        default_limits(&limits)
        limits.max_concurrent_streams = MAX_STREAMS
        limits.max_header_list = MAX_CONTROL_HEAD
        self.begin(False, &limits, events)
        # Extensions are known whose Host lacks the port of :authority; nothing here depends on either.
        self.session.any_host = True
        self.heard = self.hub.now
        peer = self.transport.get_extra_info("peername")
        self.origin = self.control.opened(self, peer[0] if isinstance(peer, tuple) else "")
        self.matcher.board.me.instance_accepted += 1
        self.matcher.board.me.instance_connections += 1
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t said = self.out.length
        self.heard = self.hub.now
        self.greetings = 0
        self.matcher.board.me.instance_bytes_in += n
        if self.session.receive(p, n) < 0:
            self.control.violated(self, self.session.error_reason)
            self.close()
        if self.out.length > said + self.greetings:
            return self.touch()
        return 0

    cdef int flush(self) except -1:
        self.matcher.board.me.instance_bytes_out += self.out.length
        return Wire.flush(self)

    cdef int on_lost(self) except -1:
        if self.lost_because is None:
            self.lost_because = "instance_connection_lost"
        if self.session is not None:
            self.arrived_upto = self.reached(self.lost_because == "instance_silent")
            H2Wire.on_lost(self)
            self.control.closed(self)
            self.matcher.board.me.instance_connections -= 1
        return 0

    # How far what was written may have come. A peer that lived a moment ago may have read whatever left this host,
    # acknowledged or not (delayed ACK). Who was silent for so long that we gave it up has not got what it has not
    # acknowledged. Where that cannot be known (TLS, not Linux), as far as it was given to our kernel.
    cdef uint64_t reached(self, bint silent) except? 0:
        cdef bytes info
        cdef const char* at
        if TCP_INFO < 0 or self.transport.get_extra_info("ssl_object") is not None:
            return self.handed
        try:
            info = self.transport.get_extra_info("socket").getsockopt(IPPROTO_TCP, TCP_INFO, BYTES_RETRANS + 8)
        except (OSError, AttributeError):
            return self.handed
        if len(info) < BYTES_RETRANS + 8:
            return self.handed
        at = PyBytes_AS_STRING(info)
        if silent:
            return (<const uint64_t*> (at + BYTES_ACKED))[0]
        return (<const uint64_t*> (at + BYTES_SENT))[0] - (<const uint64_t*> (at + BYTES_RETRANS))[0]

    cdef bint full(self, Instance instance) noexcept:
        cdef Board board = self.matcher.board
        cdef int asked = board.pool_slots[instance.pool.index].channels
        cdef int here = instance.idle_count + instance.busy_count
        cdef int worker, held = 0
        if here < instance.most_channels or asked == 0:
            return False
        if here >= asked:
            return True
        for worker in range(board.workers):
            held += (get16(&board.idle[worker * board.instances + instance.slot])
                     + get16(&board.reserved[worker * board.instances + instance.slot]))
        # A sibling that takes a channel for a request counts it twice for an instant.
        if held >= asked + board.workers - 1:
            return True
        instance.most_channels = here + 1
        return False

    cdef int park(self, H2Stream stream, Instance instance, const uint8_t* id, Py_ssize_t id_len) except -1:
        cdef Py_ssize_t said = self.out.length
        cdef Channel channel = Channel.__new__(Channel)
        channel.id_len = <uint8_t> (id_len if id_len < CHANNEL_ID else CHANNEL_ID)
        memcpy(channel.id, id, channel.id_len)
        channel.wire = self
        channel.stream = stream
        stream.owner = channel
        self.session.send_status(stream, 200, False)
        self.greetings += self.out.length - said
        self.mention()
        return self.matcher.park(instance, channel, self.hub.now)

    # Tells the extension, on a parked channel, to park no more.
    cdef int goaway(self, Channel channel) except -1:
        cdef bytes text = self.control.goaway_text(channel.instance, <bytes> channel.id[:channel.id_len])
        self.matcher.unpark(channel)
        self.session.send_data(
            channel.stream, <const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), True)
        channel._forget()
        return self.touch()

    cdef int refuse(self, H2Stream stream, int status, bytes text) except -1:
        cdef FieldList head = FieldList()
        head.append(b":status", b"%d" % status)
        head.append(b"content-type", b"text/plain")
        head.append(b"content-length", b"%d" % PyBytes_GET_SIZE(text))
        # Which worker this connection reached: our extension spreads its connections by it.
        head.append(b"x-lambda-dispatch-worker", self.control.worker)
        self.session.send_head(stream, head, False)
        self.session.send_data(stream, <const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), True)
        return self.touch()

    def answer(self, H2Stream stream not None, int status, bytes text not None):
        """Answers a call (ping, close, or a channel that is refused)."""
        self.refuse(stream, status, text)

    def accept(self, H2Stream stream not None, Instance instance not None, bytes channel not None, bint announced,
               uint8_t features):
        """Parks a channel of this instance; later ones of the same connection need no look-up."""
        self.instance = instance
        self.left = 0
        instance.wires.add(self)
        if announced:
            instance.announced = True
            instance.features = features
        instance.pool.newest = instance.features
        self.park(stream, instance, <const uint8_t*> PyBytes_AS_STRING(channel), PyBytes_GET_SIZE(channel))

    def is_full(self, Instance instance not None):
        """Whether one more channel would be more than the instance was asked for."""
        return self.full(instance)

    def carries(self):
        """The instance whose channels come over this connection, or None."""
        return self.instance

    def leave(self):
        """It carries no instance any more."""
        self.instance = None
        self.left = self.hub.now

    def left_for(self, long long now):
        """Nanoseconds since the instance it carried is over; 0 when it carries one, or never has."""
        return 0 if self.left == 0 else now - self.left

    cdef list channels(self):
        cdef H2Stream stream
        if self.session is None:
            return []
        return [stream.owner for stream in self.session.streams() if stream.owner is not None]

    def has(self, bytes channel not None):
        """Whether this channel is parked or busy here (slow)."""
        cdef Channel it
        for it in self.channels():
            if it.id[:it.id_len] == channel:
                return True
        return False

    def awaits(self):
        """Whether a request here has no answer yet (slow)."""
        cdef Channel it
        for it in self.channels():
            if it.exchange is not None and it.exchange.stage == SENT:
                return True
        return False

    def send_goaways(self, Py_ssize_t spare):
        """Go-away on parked channels until its instance has only `spare` of them."""
        cdef Channel channel
        if self.instance is None:
            return
        for channel in self.instance.idle_slots():
            if self.instance.idle_count <= spare:
                break
            if channel.wire is self:
                self.goaway(channel)

    def cut(self, str reason not None):
        """Ends the connection at once; what it carried fails with this reason (or is sent elsewhere)."""
        self.lost_because = reason
        self.abort()

    def probe(self, long long interval, long long patience):
        """A PING when nothing was heard for `interval` ns. False when one has been out longer than `patience` ns."""
        cdef int64_t now = self.hub.now
        if self.pinged:
            if self.heard >= self.pinged:
                self.pinged = 0
            else:
                return now - self.pinged <= patience
        if now - self.heard >= interval and self.session is not None and not self.closing:
            self.pinged = now
            self.session.ping(<uint64_t> now)
            self.touch()
        return True

    def begin_shutdown(self):
        """First GOAWAY: no new connections' worth of streams, please."""
        if self.session is not None and not self.closing:
            self.session.begin_shutdown()
            self.touch()

    def hang_up(self):
        """The end of a connection that carries nothing."""
        self.begin_shutdown()
        self.close()

    def idle(self):
        """True when no stream is open."""
        return self.session is None or self.session.open_streams == 0
