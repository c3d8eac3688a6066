"""The Lambda side: a control connection, its channels, and what is asked of it.

One HTTP/2 connection dialled by an extension. A channel is one of its streams, used in reverse (protocol.md section 2):
parked when its 200 has gone out, then a Slot the matcher may use once.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from lambda_dispatch.dispatch.matcher cimport Matcher
from lambda_dispatch.dispatch.model cimport Instance, Slot
from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Stream


cdef enum:
    CHANNEL_ID = 36             # bytes of a UUID as text


cdef class Channel(Slot):
    cdef ControlWire wire       # None once the stream is closed
    cdef H2Stream stream        # None once the stream is closed
    cdef uint8_t[CHANNEL_ID] id  # as the extension wrote it, for the go-away; cut off where it is longer
    cdef uint8_t id_len
    cdef uint64_t head_upto     # wire position behind the request's head; 0 before it was sent

    # What comes while no exchange is served is thrown away: behind an answer that was complete by its content-length,
    # or the rest of one that no client waits for any more.
    cdef uint32_t surplus       # bytes thrown away
    cdef uint32_t allowance     # of these: the stream is reset beyond

    cdef int tail(self, Py_ssize_t n, bint end) except -1
    # Whether the rest of the answer may run out instead of a reset.
    cdef bint _runs_out(self) noexcept
    cdef int _reset(self) except -1
    cdef int _forget(self) except -1


cdef class ControlWire(H2Wire):
    cdef object control         # control.control.Control: the calls that are not per request
    cdef Matcher matcher
    cdef Instance instance      # whose channels it carries; None before the first
    cdef Py_ssize_t greetings   # bytes of `out` the current read put there that no peer waits for: heads of channels
    cdef readonly object origin     # hash of the address it came from, not 0
    cdef bint secret_required       # ControlSecret
    cdef int64_t left           # ns: when the instance it carried was over; 0 before, and when it carries another
    cdef int64_t heard          # ns: when the last byte came
    cdef int64_t pinged         # ns: when the unanswered PING went out; 0 when none is out
    cdef uint64_t arrived_upto  # once lost: wire position up to which its bytes have reached the other host
    cdef readonly str lost_because  # the reason its exchanges fail with when it is lost

    # Whether one more channel would be more than the instance was asked for.
    cdef bint full(self, Instance instance) noexcept
    cdef int park(self, H2Stream stream, Instance instance, const uint8_t* id, Py_ssize_t id_len) except -1
    cdef uint64_t reached(self, bint silent) except? 0
    cdef int goaway(self, Channel channel) except -1
    cdef list channels(self)
    cdef int refuse(self, H2Stream stream, int status, bytes text) except -1


cdef class ControlEvents(H2Events):
    cdef ControlWire wire
