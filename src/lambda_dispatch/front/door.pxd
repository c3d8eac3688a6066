"""What every client connection of a worker shares: the configuration as plain numbers, and the texts that are always
the same. A request's way is in request.pxd, an answer's in response.pxd."""

from libc.stdint cimport int64_t, uint64_t

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport Pool
from lambda_dispatch.front.trace cimport Tracer
from lambda_dispatch.front.uploads cimport Uploads
from lambda_dispatch.telemetry.access cimport AccessLog
from lambda_dispatch_net.wire cimport Hub, Wire
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport HeadLimits


# Bytes that are held for clients now, by what they are.
cdef struct Held:
    Py_ssize_t heads            # heads that are not whole, pipelined requests
    Py_ssize_t bodies           # requests that wait for a slot or for the instance's credit
    Py_ssize_t answers          # answers that the client has not taken


cdef class Door:
    cdef readonly Hub hub
    cdef readonly Matcher matcher
    cdef readonly Board board
    cdef HeadLimits limits          # of a request's head
    cdef public Pool pool           # of the configured function
    cdef public object by_name      # None, or called (name, secret) -> Pool or (status, reason): X-Lambda-Name
    cdef public AccessLog access    # None when it is off
    cdef public Tracer tracer       # None when tracing is off
    cdef public object on_health    # called (target) -> (status, text): GET /health
    cdef public object on_debug     # None, or called with the stages of requests that have the debug header
    cdef readonly bint draining     # keep-alive ends: the worker does
    cdef bint expose_ids            # x-lambda-id and x-channel-id go to the client
    cdef int trusted_hops           # proxies in front whose forwarding fields are believed; -1: all (request.pyx)
    cdef frozenset upgrades         # protocols that a client may go on in, lower case
    cdef bint allow_underscores     # names that only '_' tells from a protected one pass
    cdef int64_t head_timeout       # ns for a whole request head
    cdef int64_t idle_timeout       # ns a kept-alive connection may be silent
    cdef int64_t grace              # ns a rate is averaged over
    cdef int64_t min_body_rate      # bytes per second a client must send while it is waited for; 0: any
    cdef int64_t min_read_rate      # bytes per second a client must read while it is waited for; 0: any
    cdef bytes common               # the fields of every answer, as HTTP/1.1 lines
    cdef FieldList common_fields    # the same
    cdef bytes date                 # the value of Date for this second
    cdef int64_t date_until         # hub time from which it is stale
    cdef FieldList fields           # scratch: the head being read
    cdef Uploads uploads            # requests whose body is on its way
    cdef readonly bint narrow       # MemoryBudget's first step: connections begin with small windows
    cdef Py_ssize_t pressure        # request bytes without a slot above which an HTTP/1.1 client is not read
    cdef readonly set wires         # client connections open now
    cdef uint64_t told_in           # bytes of clients the board was last told of: read
    cdef uint64_t told_out          # written

    cdef bytes date_value(self)


# How far something had come at some time; all zero at first.
cdef struct Pace:
    int64_t since               # ns; 0: not measured now
    uint64_t moved              # bytes at that time


# True while `moved` grew by at least `rate` bytes per second over the last `grace` ns, or that is not over. A rate of 0
# is always kept.
cdef bint keeps(Pace* pace, int64_t now, uint64_t moved, int64_t rate, int64_t grace) noexcept


cdef class ClientWire(Wire):
    cdef Door door
    cdef bytes peer             # the client's address as text
    cdef bytes port             # the port it came in by, as text
    cdef bytes proto            # b"http" or b"https"
    cdef int64_t came           # ns: when the connection began
    cdef int64_t deadline       # ns: when the connection is given up as it stands; 0: no limit now
    cdef Pace pace              # of what is waited for: the client's reading, or in HTTP/1.1 its body
    cdef Py_ssize_t discarded   # bytes thrown away since
    cdef bint lingering         # ended for writing: what still comes is thrown away
    cdef bint halted            # MemoryBudget's second step: see halt()
    cdef bint cut               # aborted while its client did not read: what it holds is as good as free

    # Once a second: time-outs and rates.
    cdef int sweep(self, int64_t now) except -1
    # Adds what is held for this client; the answer is how much that is.
    cdef Py_ssize_t measure(self, Held* held) except -1
    # MemoryBudget's first step: smaller windows (True), or what they were. True when that changes something.
    cdef bint narrow(self, bint on, Py_ssize_t least) except -1
    # Its second step, for a client that holds at least so much without a slot: nothing more is read of it, on HTTP/2
    # no new request taken. True when it was not so before.
    cdef bint halt(self, Py_ssize_t least, Py_ssize_t least_h2) except -1
    cdef int resume(self) except -1
    # MemoryBudget is used up, and this client holds much of it: its request is refused, or the connection ended.
    cdef int shed(self) except -1
    # Since when (ns) it has nothing in hand; 0 when it has.
    cdef int64_t idle_since(self) noexcept
    # The worker drains. idle: end now if nothing is in hand.
    cdef int drain(self, bint idle) except -1
    # Ends our side, throws away what still comes, and closes when the client does or after so many ns: a close() that
    # meets bytes of the client's would be a reset, which may overtake our last words (RFC 9112 9.6).
    cdef int part(self, int64_t patience) except -1
    # The same for a client that broke a rule, or is refused with bytes of its request still to come.
    cdef int linger(self) except -1
    # n bytes came after that: thrown away, within a bound.
    cdef int discard(self, Py_ssize_t n) except -1
    # An idle connection, while the worker drains: parted from, and closed when the time for that is over.
    cdef int dismiss(self) except -1
    # True when the kernel has bytes of the client's that were not read yet.
    cdef bint has_come(self) except -1
    # True when what was written waits for a client that does not read it at the least rate.
    cdef bint stuck(self, int64_t now) except -1
    # Ends a connection whose client does not read: what waits for it is dropped.
    cdef int cut_reader(self) except -1
    # True when the client has closed its side: what a connection that is not being read cannot be told otherwise.
    # half: one that only sends no more is still there.
    cdef bint hung_up(self, bint half) except -1
