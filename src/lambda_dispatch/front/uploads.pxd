"""Requests whose body is still on its way: which of them may have a slot, and when.

A slot is a place at an environment that is paid for. A request without a body, or whose body came with its head, asks
for one at once. Any other waits here, where it costs a little memory and nothing else, and is no demand in the scaler's
eyes, until one of these holds:

    its body is whole                                               it asks for a slot like any other
    64 KiB of it are there                                          it asks for a slot, under way
    its length is not known, and few uploads are under way          the same: the client may wait for the answer's head
    it is a gRPC call                                               the same, in no share
    `UploadGrace` is over, and its length is not known              the same
    ... or nothing came for as long                                 the same
    ... or it came at `MinUploadRate`                               the same

Uploads under way hold at most `UploadShare` of the slots of their pool. Workers do not ask each other: each has its
part of the share, rounded down, and at least one, so that no upload waits for ever at a worker that has none. The bound
is therefore the share, or as many uploads as there are workers where the share is smaller than that. Beyond it they
wait here, the oldest first, for `IncomingRequestTimeout`. While one holds a slot and the application
has not begun its answer it must come at `MinUploadRate`; while it is waited for here, at `MinBodyRate`.
"""

from libc.stdint cimport int8_t, int64_t, uint8_t

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport Exchange, Pool
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.layout cimport MAX_POOLS
from lambda_dispatch_net.wire cimport Hub


cdef enum UploadStage:
    NO_UPLOAD = 0               # it has no body, all of it is there, or the exchange is over
    FRESH = 1                   # its head was read in this pass, its body may be next
    COLLECTING = 2              # it must show more before it may have a slot
    ELIGIBLE = 3                # it may have a slot once fewer uploads are under way
    UNDER_WAY = 4               # it has asked for a slot and holds a place in the share


# What a client asks for.
cdef class ClientExchange(Exchange):
    cdef uint8_t upload         # an UploadStage
    cdef bint sized             # the body's length is known
    cdef int64_t seen           # body bytes when it was last looked at
    cdef int64_t seen_at        # ns: when that number last changed
    cdef bint expects           # the client waits for 100 Continue
    cdef bint grpc              # a gRPC call: its body is messages, which come when they are said
    cdef int8_t grpc_status     # its status, once one was said; NO_STATUS of grpc.pxd otherwise
    cdef bytes text             # what an answer of our own says; None: what its status is called
    cdef Uploads uploads        # None where there is no body to come

    # Asks for a slot, at once or when its body allows.
    cdef int ask(self, Uploads uploads, bint sized, int64_t now) except -1
    # A piece of its body; instead of body().
    cdef int came(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # At the end of the pass in which its head was read.
    cdef int settle(self) except -1
    # The rate in bytes per second that its body must come at now; 0: none.
    cdef int64_t least_rate(self, int64_t body_rate) noexcept
    # The client may send its body: 100 Continue, if it waits for that.
    cdef int on_collect(self) except -1


cdef class Uploads:
    cdef Hub hub
    cdef Matcher matcher
    cdef Board board
    cdef int64_t grace          # ns
    cdef int64_t rate           # bytes per second
    cdef double share           # of a pool's slots, this worker's part
    cdef Py_ssize_t most        # how many may wait here
    cdef dict collecting        # the exchanges, in the order they came
    cdef dict eligible
    cdef bint turning           # start_waiting() is on the stack
    cdef int[MAX_POOLS] under_way
    cdef int[MAX_POOLS] places          # the share in slots, as of:
    cdef int64_t[MAX_POOLS] counted     # ns

    # Body came: it may be whole, or enough.
    cdef int look(self, ClientExchange exchange, bint end) except -1
    # It is no upload any more.
    cdef int forget(self, ClientExchange exchange) except -1
    cdef int hold(self, ClientExchange exchange, uint8_t stage) except -1
    # True when it got a place, and has asked for a slot.
    cdef bint start(self, ClientExchange exchange, int64_t now) except -1
    cdef int start_waiting(self, int64_t now) except -1
    cdef int share_of(self, Pool pool, int64_t now) noexcept
    cdef int publish(self) except -1
    cdef int touch(self, ClientExchange exchange, int64_t now) noexcept
    cdef int tick(self, int64_t now) except -1
