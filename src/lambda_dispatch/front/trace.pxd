"""Traces at the front door: the context that a request brings, whether it is recorded, what goes on to the instance,
and the record that is left when it is over.

    a request that brings                   is recorded                   and the instance gets
    a context that is sampled               if the sampler follows it     the trace's id, our span as parent, sampled
    a context that is not                   not                           its fields as they came
    nothing, or nothing that can be read    as the sampler decides        a new trace, sampled or not

Fields of a propagator that is not asked for (OTEL_PROPAGATORS) pass as they came, as all of them do without tracing;
`baggage` always passes. A record goes into this worker's ring (board/trace_ring.pxd); the admin process reads it there.
A request that is not recorded has nothing allocated for it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from lambda_dispatch.dispatch.model cimport Exchange, Mark
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.trace_ring cimport TraceRing
from lambda_dispatch_core.bytes.fields cimport Field, FieldList


cdef enum Traced:
    LEFT = 0                    # its trace fields pass as they came
    UNRECORDED = 1              # they are written again, and say that it is not sampled
    RECORDED = 2                # the same, sampled


cdef enum:
    MARK_ROOM = 384             # bytes that write() adds at most
    MARK_FIELDS = 6             # fields that write() adds at most
    CARRIERS = 9                # tokens that carry a context, from T_TRACEPARENT on


cdef enum Propagator:
    W3C = 1
    B3 = 2
    B3_MULTI = 4
    XRAY = 8


# What came with a request.
cdef struct Context:
    uint8_t[16] trace
    uint8_t[8] parent
    bint found                  # `trace` is there
    bint has_parent
    int sampled                 # -1: it does not say
    uint8_t by                  # the Propagator


cdef class Tracer:
    cdef TraceRing ring
    cdef Board board
    cdef bint follows           # the sampler follows a context that says whether it is sampled
    cdef bint always            # roots are sampled whatever their id
    cdef uint64_t bound         # or where the low 64 bits of the trace's id are below this
    cdef uint8_t[4] order       # the Propagators; the last that finds a context wins
    cdef int propagators
    cdef uint8_t writes         # the same as bits
    cdef Py_ssize_t room        # bytes that write() adds at most, MARK_ROOM or less

    # Reads the context and decides. mark is filled in unless the answer is LEFT.
    cdef int begin(self, FieldList fields, Mark* mark) noexcept
    # Whether a field of this token does not pass, because write() writes it or it belongs to a trace that has ended.
    cdef bint replaces(self, uint16_t token, const Mark* mark) noexcept
    # The fields for the instance; returns what follows them.
    cdef uint8_t* write(self, uint8_t* to, const Mark* mark) noexcept
    # The request is over: its record. word: 1 + number of its error word, or 0. asked: when it asked for an instance.
    cdef void finish(self, Exchange exchange, bint tls, int minor, int word, int64_t asked, int64_t now) noexcept

    cdef void _read(self, uint8_t propagator, Field** by_token, Context* context) noexcept
    cdef bint _is_sampled(self, const uint8_t* trace) noexcept
