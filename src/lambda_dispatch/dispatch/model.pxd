"""The types that dispatch is about: who is served, where, and for whom.

    Pool        the requests of one function, and the instances that serve them
    Instance    one invoke, as this worker sees it
    Slot        a place at an instance where one exchange is served
    Exchange    one request and its answer

An Exchange stands between two sides that know nothing of each other: the client's side (front/), which subclasses it,
and the slot (control/), through which an instance serves it.

    stage       meaning                                                  leaves by
    WAITING     in its pool's queue, or about to be matched              dispatch, time-out, client gone
    SENT        a slot has the request; no byte of the answer came yet   first head, slot lost, client gone
    ANSWERING   the answer's head went to the client                     both directions ended, slot lost, client gone
                an answer of 101 has made it bytes both ways: a tunnel
    OVER        nothing more happens; counted out exactly once

A request is in exactly one stage; the one function that moves it on is named for it below.
"""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t

from lambda_dispatch.dispatch.features cimport FEATURE_GRPC
from lambda_dispatch.dispatch.turns cimport Turns
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport ResponseHead
from lambda_dispatch_core.queue.waitqueue cimport Waiter, WaitQueue


cdef enum Stage:
    WAITING = 0
    SENT = 1
    ANSWERING = 2
    OVER = 3


cdef enum:
    ID_TEXT = 36                # bytes of an instance's id as a UUID is written
    INLINE = 768                # bytes of request head kept without an allocation
    STORE_LIMIT = 64 * 1024     # bytes of request (head and early body) kept while there is no slot, or to try again
    UNSURE_LIMIT = 192 * 1024   # the same while the slot may yet refuse it; one read is at most 128 KiB
    SHOWN = 80                  # bytes of a request or an answer that a log line shows
    MANY = 0xFFFF               # head_fields: not counted
    INSTANCES = 4096            # instance slots of the board
    HINTS = 64                  # of them remembered; a power of two
    INTERIMS = 16               # interim answers of one request that are passed on ...
    INTERIM_BYTES = 64 * 1024   # ... and their bytes; they need no credit, so that more are dropped
    PRESSURE = 64 * 1024        # request bytes waiting for the instance above which the client is not read


cdef enum Ender:
    NOBODY = 0
    CLIENT = 1
    APPLICATION = 2
    ROUTER = 3


cdef enum Standing:
    OPEN = 0                    # may be given requests
    RESORT = 1                  # is to be replaced: given requests only while no other has a slot
    RETIRED = 2                 # parks no more; what it has in flight is finished


cdef class Slot


# An instance as this worker sees it: there is one of these while the worker holds a slot of it.
cdef class Instance:
    cdef readonly int slot              # its place in the board
    cdef readonly uint32_t generation   # of that place: a stale view is recognised by it
    cdef readonly Pool pool
    cdef uint8_t[16] id
    cdef char[ID_TEXT] written          # the same as text, in lower case
    cdef Slot idle                      # parked slots, the last parked first: it is the likeliest to be warm
    cdef readonly int idle_count
    cdef readonly int busy_count        # slots here that serve an exchange
    cdef readonly uint8_t standing      # a Standing
    cdef set wires                      # the control connections it has here
    cdef readonly bint announced        # its extension is ours: takes every request, lives with resets
    cdef readonly uint8_t features      # what its extension has said that it can do: bits of features.pxd
    cdef int most_channels              # held here at once so far; control compares more than that with what was asked

    # The slots in its idle list (slow).
    cdef list idle_slots(self)


cdef class Pool:
    cdef readonly int index             # its place in the board
    cdef readonly uint32_t generation   # of that place
    cdef readonly bytes name            # what x-pool-id says; b"default" for the configured function
    cdef readonly WaitQueue queue
    # Beside it, those that wait for an instance with a feature, in a fleet in which not all have it; see matcher.pxd.
    cdef WaitQueue for_upgrade
    cdef WaitQueue for_grpc
    cdef uint8_t newest                 # features of the instance that was the last to open a connection here
    cdef int16_t* mask                  # INSTANCES entries
    cdef list at                        # the Instance of each board place, or None
    cdef list resorts                   # instances standing at RESORT; nearly always empty
    # Places that parked a slot and got no request since, the last on top; a ring, so the oldest are forgotten.
    # They break ties between equally busy instances: such a connection has an answer to the parking to send anyway.
    cdef int16_t[HINTS] parked
    cdef uint32_t parked_top
    cdef readonly Turns turns           # its order with siblings' requests
    cdef readonly int running           # exchanges of this pool that a slot serves now

    cdef inline WaitQueue aside(self, uint8_t needs):
        return self.for_grpc if needs & FEATURE_GRPC else self.for_upgrade

    # Since when the request has waited that has waited longest, in the queue or for a sibling's word; 0 when none does.
    cdef inline int64_t oldest(self) except -1:
        return self.turns.oldest(self.queue.oldest())


# The place at an instance where one exchange is served: a parked channel, or a sibling's.
cdef class Slot:
    cdef Exchange exchange      # who is served; None while parked
    cdef Instance instance      # it belongs to; None when it is a sibling's
    cdef Slot next_idle         # the instance's list of idle slots: the matcher's
    cdef Slot idle_before
    cdef bint idle              # it stands in that list
    cdef bint held              # a place among its instance's in-flight is held for it
    cdef bint unsure            # it may yet refuse the exchange (a sibling's): the whole request is kept until then

    # Request bytes for the instance; takes all of them.
    cdef int send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The request's end, with trailers; they may be left out.
    cdef int send_trailers(self, FieldList trailers) except -1
    # Request bytes taken by send() that the instance has no credit for yet.
    cdef Py_ssize_t backlog(self) noexcept
    # n bytes of answer given to the exchange have left for the client: the instance may send as many again.
    cdef int consumed(self, Py_ssize_t n) except -1
    # The client is gone or the answer is no good: stop serving it.
    cdef int cancel(self) except -1
    # Both directions have ended.
    cdef int finished(self) except -1
    # The request has ended and the answer has all its content-length promised, only the stream's end has not come: the
    # exchange is over for the client, who need not wait for that.
    cdef int satisfied(self) except -1
    # The exchange is over for the client, and the request has ended: what the instance still says is dropped, for a
    # while.
    cdef int leave(self) except -1
    # Whose it is, for debugging.
    cdef str where(self)


# What a request that is traced is known by (front/trace.pxd).
cdef struct Mark:
    uint8_t[16] trace
    uint8_t[8] parent           # all zero: none
    uint8_t[8] server           # the span of the request here
    uint8_t[8] client           # the span of the request at the instance
    uint8_t flags               # as in traceparent
    bint remote                 # `parent` came with the request
    bint keeps_state            # tracestate belongs to this trace


# What the bytes of an exchange pass that has gone on in another protocol (tunnel.pxd): it passes them on, or not.
cdef class Passage:
    cdef uint8_t ended_by       # an Ender: who ended it first
    # From the instance.
    cdef int down(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # From the client.
    cdef int up(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # It has failed, its slot is gone. True when the client has been told in its protocol.
    cdef bint broken(self, Exchange exchange, str reason) except -1
    # Nothing passes any more.
    cdef int over(self, Exchange exchange) except -1


cdef class Exchange(Waiter):
    cdef Slot slot              # None unless SENT or ANSWERING
    cdef Pool pool              # it is for
    cdef readonly uint8_t stage
    cdef readonly bint request_ended    # the whole request has come from the client
    cdef readonly bint answer_ended     # the whole answer has come from the instance
    # Bits of features.pxd that its instance should have; see without(). FEATURE_UPGRADE: its head asks for another
    # protocol and its request is open until the answer says whether the rest is that protocol's.
    cdef uint8_t needs
    cdef Passage passage        # None before an answer of 101
    cdef int head_fields        # fields of the request's head at most; a scan counts exactly where that matters
    cdef bint is_head           # the method is HEAD: the answer has no body whatever its head says
    cdef bint resent            # it had its second try
    cdef uint8_t interims       # interim answers that came
    cdef Py_ssize_t interim_bytes
    cdef bint bare              # while on_answer() runs: the answer ends with its head
    cdef FieldList trailers     # of the request, once it has ended with some; None otherwise
    cdef bint whole             # `store` holds everything that came of the request so far
    cdef uint8_t* store         # the tunnelled request head and the body that came with it; `spot` or malloc'ed
    cdef Py_ssize_t stored
    cdef Py_ssize_t room
    cdef uint8_t* partial       # an answer head that is not whole yet, malloc'ed; NULL otherwise
    cdef Py_ssize_t partial_len
    cdef Py_ssize_t partial_room
    cdef int64_t answer_left    # bytes the answer's content-length still promises; -1: it gave none
    cdef readonly int64_t arrived       # ns: the head was read
    cdef readonly int64_t sent          # ns: given to a slot; 0 before
    cdef readonly int64_t request_bytes  # body bytes from the client
    cdef readonly int64_t answer_bytes  # body bytes from the instance
    cdef readonly int status            # what the client was answered; 0 before
    cdef int served             # the board's place of the instance it was last given to; -1: none
    cdef uint32_t served_generation     # of that place
    cdef Mark* mark             # NULL, or malloc'ed: it is traced and recorded
    cdef readonly object fault          # why it failed: the x-lambda-dispatch-error word, or None
    cdef object debug           # None, or called (request line, stage, ms since it arrived) as it moves on
    cdef uint8_t[INLINE] spot

    # The client's side calls these -----------------------------------------------------------------------------------
    # Room for n bytes at the end of the store, for the tunnelled head; the writer adds to `stored`.
    cdef uint8_t* reserve(self, Py_ssize_t n) except NULL
    # A piece of the request's body.
    cdef int body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # Request bytes that wait: for a slot, or for credit.
    cdef Py_ssize_t backlog(self) noexcept
    # It is traced and recorded; the mark is copied.
    cdef int trace(self, const Mark* mark) except -1
    # Bytes of the request kept here: for a slot, another try, or the instance's credit.
    cdef inline Py_ssize_t held(self) noexcept:
        return ((self.room if self.store != self.spot else 0) + self.partial_room
                + (self.trailers.held() if self.trailers is not None else 0)
                + (self.slot.backlog() if self.slot is not None else 0))

    # True while nothing is lost by a client that sends nothing: it waits in the queue, or the application answers
    # and is not done, and how long the two may think in between is their business.
    cdef inline bint may_pause(self) noexcept:
        return self.stage == WAITING or (self.stage == ANSWERING and not self.answer_ended)

    # The client is gone.
    cdef int gone(self) except -1

    # The slot calls these --------------------------------------------------------------------------------------------
    cdef int dispatch(self, Slot slot, int64_t now) except -1
    cdef int received(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The answer ends, with trailers. Borrowed.
    cdef int received_trailers(self, FieldList trailers) except -1
    # Whether it may be sent again when its slot is lost. unseen: the instance cannot have acted on it.
    cdef bint may_resend(self, bint unseen) noexcept
    cdef int take_back(self) except -1
    # A sibling that was to serve it has no slot: it waits again, this was no try.
    cdef int not_taken(self) except -1
    # Nothing happens to it any more here, and it is not counted: a sibling's that finds no slot.
    cdef int discard(self) except -1
    # It ends badly: an answer of our own when nothing was answered yet, otherwise the client's connection is cut.
    cdef int fail(self, int status, str reason, str where=*) except -1

    # What the answer begins with, because it is about to fail for that.
    cdef int blame(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int on_bad_gateway(self, str reason, str where) except -1

    # It is about to be sent to an instance without these features of those it needs: it becomes a request that any
    # instance serves, or fails.
    cdef int without(self, uint8_t missing) except -1
    # The final answer to a request that asked for an upgrade is a plain one: the request has ended.
    cdef int not_upgraded(self, int status) except -1

    # A sibling's request, its head in the store: it goes on telling its stages if it did so there.
    cdef int follow(self) except -1
    cdef int tell(self, str stage, int64_t now) except -1
    # Over for the client before one of its sides has ended by itself. ended: the instance's has.
    cdef int part(self, bint ended) except -1
    cdef int _let_go(self, Slot slot, bint ended) except -1
    # early: all of the answer is here, the end of the stream is not.
    cdef int _end(self, bint early) except -1
    cdef int _head_came(self, const uint8_t* p, Py_ssize_t n, bint end, Py_ssize_t* used) except -1
    cdef int _keep_partial(self, const uint8_t* p, Py_ssize_t n) except -1
    cdef int _body_came(self, const uint8_t* p, Py_ssize_t n, bint end) except -1

    # The client's side overrides these -------------------------------------------------------------------------------
    cdef int on_dispatched(self) except -1
    # An interim (1xx) answer.
    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1
    # The final head. bodyless: no body will follow whatever the fields say (HEAD, 204, 304).
    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1
    # An answer of 101: from here on body bytes are those of another protocol, both ways.
    cdef int on_upgraded(self, ResponseHead* head, FieldList fields) except -1
    # Body bytes; the client's side calls slot.consumed() when they are gone. end: the answer is complete.
    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The answer is complete, and these follow its body. The default leaves them out.
    cdef int on_trailers(self, FieldList trailers) except -1
    # An answer of our own: status, one line of text, x-lambda-dispatch-error: reason.
    cdef int on_refused(self, int status, str reason) except -1
    # The answer broke off after its head: the client must be able to tell.
    cdef int on_broken(self) except -1
    # Waiting request bytes have left: reading may go on.
    cdef int on_flowing(self) except -1
    # The last thing that happens: logged and counted.
    cdef int on_over(self) except -1
