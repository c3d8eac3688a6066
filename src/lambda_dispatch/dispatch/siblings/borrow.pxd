"""The sibling hop: a request that has no slot in its own worker is served through a sibling that has one.

    here (borrows)                                      there (lends)
    PeerWire, client of the sibling's Unix socket  -->  GuestWire, server
    PeerSlot, the Slot of the exchange in hand          GuestExchange, an exchange whose client is the sibling

What travels on a stream is what travels on a channel (protocol.md section 2), only in the usual direction: the
tunnelled request as the request's body, the tunnelled answer as the response's. What the request needs (features.pxd)
stands in a field of the stream's head, as only the front door knows it. The lender answers 200 as soon as it
has given the request to a slot, or refuses the stream (REFUSED_STREAM) when the slot was taken meanwhile; the request
then goes back to the head of its queue. A guest is never queued and never passed on. What fails there ends the stream
with trailers that name status and error word, so that the client gets the answer, and the log the cause, from here.

A refusal is a request's way for nothing: no sibling is asked for more than the board says its instances have free, what
it is being asked for counted off. Who has to wait because of that is seen to when the sibling has answered.
"""

from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch.dispatch.matcher cimport Lender, Matcher
from lambda_dispatch.dispatch.model cimport Exchange, Pool, Slot
from lambda_dispatch_core.board.layout cimport MAX_POOLS
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Stream
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_net.wire cimport Hub


cdef class Peers(Lender):
    cdef Hub hub
    cdef Matcher matcher
    cdef readonly tuple addresses       # of every worker slot's Unix socket
    cdef readonly dict wires            # worker slot -> PeerWire that is up
    cdef readonly set dialling          # worker slots being connected to
    cdef object _dial                   # called (worker slot): starts connecting

    # Whom to ask for one more slot: `first`, or who else the board says has more slots free than it is being asked for;
    # -1: none.
    cdef int _choose(self, Pool pool, int first, int64_t since, int64_t now) except -2
    # Whether a sibling that has a slot free will give it to a request of its own rather than to one that has waited
    # since `since`.
    cdef bint _keeps(self, Pool pool, int worker, int64_t since) noexcept
    cdef int _asked(self, Pool pool, int worker) except -1
    # A slot of that worker's, if it is connected.
    cdef Slot _ask(self, Pool pool, int worker, uint8_t needs, int64_t since, int64_t now)


cdef class PeerSlot(Slot):
    cdef PeerWire wire                  # None once the stream is gone
    cdef H2Stream stream
    cdef Pool pool

    # The sibling has said whether it has the slot, or need not any more.
    cdef int answered(self) except -1
    cdef int _forget(self) except -1
    cdef int lost(self, bint refused) except -1
    # The lender's trailers: the request failed there.
    cdef int failed(self, FieldList trailers) except -1


cdef class PeerWire(H2Wire):
    cdef Peers peers
    cdef readonly int worker            # the sibling's slot
    # By pool: requests sent of which the sibling has not said whether it has a slot. The board does not count them yet,
    # or counts them already while the sibling's word is on its way: for that long too few are sent, never too many.
    cdef int[MAX_POOLS] asked


cdef class PeerEvents(H2Events):
    cdef PeerWire wire

    cdef int note(self, Exchange exchange, FieldList head) except -1
