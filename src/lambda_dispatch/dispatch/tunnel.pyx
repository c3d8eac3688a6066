"""Tunnels, and the end of them; the theory stands in tunnel.pxd."""

import os
import random

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.string cimport memset

from lambda_dispatch.dispatch.model cimport (
    ANSWERING, APPLICATION, CLIENT, NOBODY, ROUTER, Exchange, Instance, Passage, Slot,
)
from lambda_dispatch_core.bytes.cursor cimport is_word
from lambda_dispatch_core.http1.frames cimport LONGEST_CLOSE, FrameReader, at_boundary, read_frames, write_close

cdef enum:
    SECOND = 1000000000
    # What an application gets to answer a Close, and a client to go once the application has: a few round trips.
    PATIENCE = 2 * SECOND
    # Codes of RFC 6455 7.4.1 and its registry.
    GOING_AWAY = 1001
    INTERNAL_ERROR = 1011       # what became of it is unknown
    SERVICE_RESTART = 1012      # come again, after a random while

# Why it was closed, as the access log has it.
cdef str word_drained = "upgrade_drained"
cdef str word_idle = "upgrade_idle"
cdef str word_too_old = "upgrade_too_old"


@cython.final
cdef class Tunnel(Passage):
    cdef int down(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Py_ssize_t at
        cdef Slot slot = exchange.slot
        if self.course == RELAYING:
            if self.frames:
                read_frames(&self.from_app, p, n, False, False)
            if self.ended_by == NOBODY and (end or self.from_app.closing):
                self.ended_by = APPLICATION
            return self.pass_down(exchange, p, n, end)
        if not self.frames:
            return self.pass_down(exchange, p, n, end)
        at = read_frames(&self.from_app, p, n, False, True)
        if at:
            self.pass_down(exchange, p, at, False)
        if exchange.slot is slot and (at < n or end):
            return self.finish(exchange, end)
        return 0

    cdef int up(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Py_ssize_t at = n
        if self.frames and self.course != ASKED:
            at = read_frames(&self.from_client, p, n, self.course == LEAVING, False)
        elif self.course == ASKED:
            at = 0
        if self.ended_by == NOBODY and (end or self.from_client.closing):
            self.ended_by = CLIENT
        if at or end:
            self.pass_up(exchange, p, at, end)
        if self.course == LEAVING and exchange.slot is not None and at_boundary(&self.from_client):
            return self.ask(exchange)
        return 0

    cdef int pass_down(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Slot slot = exchange.slot
        exchange.answer_bytes += n
        exchange.answer_ended = end
        if n or end:
            exchange.on_body(p, n, end)
            if end and exchange.request_ended and exchange.slot is slot:
                return exchange._end(False)
        return 0

    cdef int pass_up(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Slot slot = exchange.slot
        if slot is None or exchange.request_ended:
            return 0
        exchange.request_ended = end
        slot.send(p, n, end)
        if end and exchange.answer_ended and exchange.slot is slot:
            return exchange._end(False)
        return 0

    cdef int leave(self, Exchange exchange, int64_t now, uint16_t code, str word) except -1:
        if self.course != RELAYING:
            return 0
        self.course = LEAVING
        self.code = code
        if self.ended_by == NOBODY:
            self.ended_by = ROUTER
        exchange.fault = word
        self.patience = now + PATIENCE
        self.all.leaving[exchange] = self
        if not self.frames or exchange.answer_ended:
            return self.give_up(exchange)
        if at_boundary(&self.from_client):
            return self.ask(exchange)
        return 0

    # A Close to the application, where a frame of the client's would begin.
    cdef int ask(self, Exchange exchange) except -1:
        cdef uint8_t[LONGEST_CLOSE] frame
        cdef Py_ssize_t n
        cdef bytes mask
        self.course = ASKED
        if exchange.request_ended:
            return 0
        mask = os.urandom(4)
        n = write_close(frame, self.code, <const uint8_t*> PyBytes_AS_STRING(mask))
        return exchange.slot.send(frame, n, False)

    # A Close to the client, where a frame of the application's would begin, and the end. end: the application's side
    # has ended.
    cdef int finish(self, Exchange exchange, bint end) except -1:
        cdef uint8_t[LONGEST_CLOSE] frame
        cdef Py_ssize_t n = write_close(frame, self.code, NULL)
        cdef Slot slot = exchange.slot
        exchange.answer_ended = True
        exchange.on_body(frame, n, True)
        if exchange.slot is not slot:
            return 0
        return exchange.part(end)

    cdef int give_up(self, Exchange exchange) except -1:
        if exchange.answer_ended:
            return exchange.part(True)
        if self.frames and at_boundary(&self.from_app) and not self.from_app.closing:
            return self.finish(exchange, False)
        return exchange.fail(0, "upgrade_cut")

    cdef bint broken(self, Exchange exchange, str reason) except -1:
        cdef uint8_t[LONGEST_CLOSE] frame
        if not self.frames or exchange.answer_ended or not at_boundary(&self.from_app):
            return False
        exchange.answer_ended = True
        if self.from_app.closing:
            exchange.on_body(NULL, 0, True)     # it had said its last word
            return True
        exchange.on_body(frame, write_close(
            frame, SERVICE_RESTART if reason.startswith("instance_") else INTERNAL_ERROR, NULL), True)
        return True

    cdef int over(self, Exchange exchange) except -1:
        cdef Tunnels all = self.all
        if all is not None:
            self.all = None
            self.course = OVER
            del all.open[exchange]
            all.leaving.pop(exchange, None)
        return 0

    # Once a second.
    cdef int look(self, Exchange exchange, int64_t now) except -1:
        cdef int64_t moved = exchange.request_bytes + exchange.answer_bytes
        if moved != self.moved:
            self.moved = moved
            self.moved_at = now
        if exchange.answer_ended and self.from_app.closing:
            # The end that got a Close has nothing more to say (RFC 6455 7.1.1).
            if self.half_since == 0:
                self.half_since = now
            elif now - self.half_since >= PATIENCE:
                return exchange.part(True)
        if self.all.longest and now - self.began >= self.all.longest:
            return self.leave(exchange, now, SERVICE_RESTART, word_too_old)
        if self.all.idle and now - self.moved_at >= self.all.idle:
            return self.leave(exchange, now, GOING_AWAY, word_idle)
        return 0


@cython.final
cdef class Tunnels:
    def __cinit__(self):
        self.open = {}
        self.leaving = {}

    def apply(self, config):
        """Takes a configuration."""
        self.idle = <int64_t> (config.upgrade_idle_timeout * SECOND)
        self.longest = <int64_t> (config.upgrade_max_lifetime * SECOND)

    cdef int begin(self, Exchange exchange, const uint8_t* protocol, Py_ssize_t n, int64_t now) except -1:
        cdef Tunnel tunnel = Tunnel()
        tunnel.all = self
        tunnel.frames = is_word(protocol, n, b"websocket")
        tunnel.began = tunnel.moved_at = now
        exchange.passage = tunnel
        self.open[exchange] = tunnel
        return 0

    def __len__(self):
        return len(self.open)

    def leave_all(self, long long now, long long spread):
        """Closes all that are open, over so many ns."""
        cdef Tunnel tunnel
        for exchange, tunnel in self.open.items():
            self._plan(exchange, tunnel, now, spread)

    def leave_instance(self, Instance instance not None, long long now, long long spread):
        """The same for those that an instance serves."""
        cdef Exchange exchange
        cdef Tunnel tunnel
        for exchange, tunnel in self.open.items():
            if exchange.slot is not None and exchange.slot.instance is instance:
                self._plan(exchange, tunnel, now, spread)

    cdef int _plan(self, Exchange exchange, Tunnel tunnel, int64_t now, int64_t spread) except -1:
        if tunnel.course == RELAYING and (tunnel.due == 0 or tunnel.due > now + spread):
            tunnel.due = now + <int64_t> (random.random() * spread)
            self.leaving[exchange] = tunnel
        return 0

    def tick(self, long long now):
        """Whose time has come, to leave or to be cut."""
        cdef Exchange exchange
        cdef Tunnel tunnel
        if not self.leaving:
            return
        for exchange, tunnel in list(self.leaving.items()):
            if tunnel.course == RELAYING:
                if now >= tunnel.due:
                    tunnel.leave(exchange, now, SERVICE_RESTART, word_drained)
            elif now >= tunnel.patience and exchange.stage == ANSWERING:
                tunnel.give_up(exchange)

    def sweep(self, long long now):
        """Idleness and age. Once a second."""
        cdef Exchange exchange
        cdef Tunnel tunnel
        for exchange, tunnel in list(self.open.items()):
            if exchange.stage == ANSWERING:
                tunnel.look(exchange, now)


def boundaries(list pieces not None, bint at_close=False):
    """Offsets at which frames begin (or Close frames), in bytes that come in these pieces; for tests."""
    cdef FrameReader reader
    cdef bytes piece
    cdef Py_ssize_t before = 0
    cdef Py_ssize_t at, n
    cdef list found = []
    memset(&reader, 0, sizeof(reader))
    for piece in pieces:
        at = 0
        n = len(piece)
        while at < n:
            at += read_frames(&reader, <const uint8_t*> PyBytes_AS_STRING(piece) + at, n - at, not at_close, at_close)
            if at < n:
                found.append(before + at)
                at += read_frames(&reader, <const uint8_t*> PyBytes_AS_STRING(piece) + at, 1, False, False)
        before += n
    return found
