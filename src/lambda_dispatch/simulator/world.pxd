"""Routers, their instances and one Lambda, event by event. Times are ns of a clock that begins at 0.

A pool here is what one router has of the function: a queue, and instances that only it knows. The scaler is not part
of the world: advance() stops whenever a pool's scaler is to look, which is 100 ms after its last look, or sooner where
it asked for that, or 5 ms after its bell. The caller observes, decides and acts through start(), warm() and let_go().

    an instance:  invoke --start time--> OPEN --idle, deadline or let_go()--> DRAINING --nothing in flight--> returned
                     '--throttled, failed--> returned

Requests are paired with slots by the rule of dispatch/matcher.pyx, with its own loop (board/pick.h) and its memory of
the slots that became free last. An instance that asked to end is a last resort until it is released, as in
control/control.py.

With `clients`, requests are not given by time: the first `clients` arrive as given, and each that is over, up to
`until`, is followed at once by the next one of the arrays, whose arrival is written there.

The service time of a request is what it takes alone on a whole CPU. With `share` of it on the CPU, the requests of one
environment share `cpus`: n of them take (1 - share) + share x max(1, n x share / cpus) times as long.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t

from lambda_dispatch.simulator.heap cimport Heap
from lambda_dispatch.simulator.service cimport Service
from lambda_dispatch_core.board.layout cimport Histogram

cdef enum:
    HINTS = 64              # as in dispatch/model.pxd


# One place of one pool: an instance, or none.
cdef struct Place:
    int state               # INSTANCE_FREE, _STARTING, _OPEN or _DRAINING of the board
    uint32_t generation     # grows with each instance; events of another one are void
    uint32_t version        # of the next completion, where requests slow each other
    int64_t created         # ns: the invoke was sent
    int64_t opened          # ns; 0: not yet
    int64_t ends            # ns: its deadline
    int64_t goaway_at       # ns; DRAINING: when it is released
    int64_t last_active     # ns: when its last request ended, or it opened
    int64_t served          # requests
    int32_t reason          # why it asked to end, or why its start fails: see REASONS in world.pyx
    bint stays              # it does not end when idle
    bint watched            # an event looks whether it is idle
    int32_t* running        # the requests that are in flight, in no order
    # Where requests slow each other: at which progress each of `running` is done, and the progress so far.
    double progress         # s of service time that each request here has got
    int64_t progressed      # ns: until when
    double* done_at


cdef struct Pool:
    int32_t first           # of the queue; -1: empty
    int32_t last
    int64_t queued
    int64_t running
    int64_t arrivals
    int64_t completions
    int64_t duration        # ns from dispatch to the last byte, all completed
    int64_t waited          # ns, all that were dispatched
    int64_t failures
    int64_t last_used       # ns of the last arrival
    Histogram service       # from dispatch to the end, all dispatched: those that were cut, too
    int64_t next_look       # ns
    int resorts             # draining instances that may still be used
    int high                # places in use are below this
    int living              # instances
    int turn                # where the search for an instance begins
    int16_t packs           # the fullest instance with fewer requests is used first; 0: the least busy one
    int16_t[HINTS] parked
    uint32_t parked_top


cdef class World:
    cdef readonly int64_t now
    cdef readonly int64_t over_at           # ns: when what still lives is cut off; -1 while there are requests
    cdef readonly int64_t refused           # requests: the queue was full
    cdef readonly int64_t expired           # requests that waited too long
    cdef readonly int64_t cut               # requests whose instance died
    cdef readonly int64_t completed
    cdef readonly int64_t invokes
    cdef readonly int64_t spare_invokes     # of those: init-only
    cdef readonly int64_t billed            # ns from an invoke to its return, all
    cdef readonly int64_t busy              # ns that requests ran, all
    cdef readonly list ends                 # (pool, Instance, reason, at), oldest first
    cdef readonly list samples              # (at, instances, queued, running)
    cdef readonly int pools
    cdef readonly int limit                 # slots per instance
    cdef Service service
    cdef object requests                    # owner of the next two
    cdef int64_t* arrive
    cdef int64_t* takes
    cdef Py_ssize_t count
    cdef Py_ssize_t issued                  # requests whose arrival is known: all of them, but for clients' next ones
    cdef int64_t until                      # ns: clients send nothing afterwards
    cdef Py_ssize_t arrived
    cdef int64_t settled                    # requests that came to an end of any kind
    cdef int64_t* sent                      # ns; -1: never dispatched
    cdef int64_t* done                      # ns; -1: never completed
    cdef int32_t* after                     # next in the queue
    cdef Heap heap
    cdef Pool* pool
    cdef Place* places                      # MAX_PLACES per pool
    cdef int16_t* in_flight                 # the same, for pick.h
    cdef int16_t* limits
    cdef int16_t* mask
    cdef int64_t idle_exit
    cdef int64_t life
    cdef int64_t patience                   # ns in the queue
    cdef int64_t queue_limit
    cdef int64_t tail
    cdef int64_t sample_every
    cdef int64_t next_sample
    cdef int64_t due                        # the soonest next_look
    cdef double share
    cdef double cpus
    cdef bint contended                     # requests may slow each other
    cdef object failing                     # () -> whether a start fails
    cdef bint ends_idle                      # instances end when idle even if they were asked to stay

    cdef int _arrive(self, int32_t request) except -1
    cdef int _acquire(self, int p) noexcept
    cdef int _resort(self, int p) noexcept
    cdef int _send(self, int p, int place, int32_t request) except -1
    cdef int _serve(self, int p) except -1
    cdef int _complete(self, int p, int place, int32_t request) except -1
    cdef int _happen(self, int kind, int place, uint32_t generation, int32_t request) except -1
    cdef int _open(self, int p, int place) except -1
    cdef int _look_if_idle(self, int place) except -1
    cdef int _ask_to_end(self, int p, int place, int reason) except -1
    cdef int _retire(self, int p, int place, int reason) except -1
    cdef int _last_resort(self, int p, int place, int reason, int64_t until) except -1
    cdef int _end(self, int p, int place, int reason, bint alive) except -1
    cdef void _settle(self) noexcept
    cdef int _expire(self, int p) noexcept
    cdef void _ring(self, int p) noexcept
    cdef double _rate(self, int n) noexcept
    cdef int _progress(self, int place, int n) noexcept
    cdef int _next_completion(self, int place) except -1
    cdef int _first_done(self, int p, int place) except -1
    cdef int _sample(self) except -1
