"""Records in a ring of traces, for tests; and what tracing adds to a request, for the micro benchmarks."""

from types import SimpleNamespace

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset

from lambda_dispatch.dispatch.model cimport Exchange, Mark
from lambda_dispatch.front.trace cimport LEFT, MARK_ROOM, Tracer
from lambda_dispatch_core.board.trace_ring cimport SPAN_HOST, SPAN_METHOD, SPAN_TARGET, Span, SpanRecord, TraceRing
from lambda_dispatch_core.bytes.fields cimport FieldList

TEXTS = ("trace", "parent", "server", "client", "instance", "method", "host", "target")
NUMBERS = (
    "arrived", "asked", "sent", "ended", "invoked", "opened", "request_bytes", "answer_bytes", "pool", "status",
    "flags", "word", "version", "trace_flags",
)
EMPTY = {**dict.fromkeys(TEXTS, b""), **dict.fromkeys(NUMBERS, 0)}


# What does not fit is cut off; how much was kept.
cdef Py_ssize_t keep(uint8_t* to, Py_ssize_t room, bytes value) except -1:
    cdef Py_ssize_t n = min(room, len(value))
    memcpy(to, <const uint8_t*> value, n)
    return n


def record(TraceRing ring not None, **values):
    """One record with these fields; the others are zero."""
    it = SimpleNamespace(**EMPTY)
    for name, value in values.items():
        if name not in EMPTY:
            raise TypeError(f"a record has no field {name}")
        setattr(it, name, value)
    cdef SpanRecord* to = ring.begin()
    # Behind the number, which begin() has set.
    memset(<uint8_t*> to + sizeof(to.number), 0, sizeof(SpanRecord) - sizeof(to.number))
    keep(to.trace, sizeof(to.trace), it.trace)
    keep(to.parent, sizeof(to.parent), it.parent)
    keep(to.server, sizeof(to.server), it.server)
    keep(to.client, sizeof(to.client), it.client)
    keep(to.instance, sizeof(to.instance), it.instance)
    to.method_length = <uint8_t> keep(to.method, SPAN_METHOD, it.method)
    to.host_length = <uint8_t> keep(to.host, SPAN_HOST, it.host)
    to.target_length = <uint16_t> keep(to.target, SPAN_TARGET, it.target)
    to.arrived, to.asked, to.sent, to.ended = it.arrived, it.asked, it.sent, it.ended
    to.invoked, to.opened = it.invoked, it.opened
    to.request_bytes, to.answer_bytes = it.request_bytes, it.answer_bytes
    to.pool, to.status, to.flags, to.word = it.pool, it.status, it.flags, it.word
    to.version, to.trace_flags = it.version, it.trace_flags
    ring.finish(to)


def values_of(Span span not None):
    """The fields of a record that was read."""
    cdef SpanRecord* it = &span.record
    texts = (it.trace[:16], it.parent[:8], it.server[:8], it.client[:8], it.instance[:16], it.method[:it.method_length],
             it.host[:it.host_length], it.target[:it.target_length])
    numbers = (it.arrived, it.asked, it.sent, it.ended, it.invoked, it.opened, it.request_bytes, it.answer_bytes,
               it.pool, it.status, it.flags, it.word, it.version, it.trace_flags)
    return dict(zip(TEXTS + NUMBERS, texts + numbers, strict=True))


def decide(Tracer tracer not None, FieldList fields not None, int times):
    """Reads the context, decides, and writes the fields for the instance where there are any; a Traced."""
    cdef uint8_t[MARK_ROOM] room
    cdef Mark mark
    cdef int i
    cdef int traced = LEFT
    for i in range(times):
        traced = tracer.begin(fields, &mark)
        if traced != LEFT:
            tracer.write(room, &mark)
    return traced


def exchanges(bytes head not None, int times, Tracer tracer=None, FieldList fields=None):
    """Exchanges that hold this head and end; with a tracer each is recorded."""
    cdef uint8_t[MARK_ROOM] room
    cdef Mark mark
    cdef Exchange exchange
    cdef int i
    for i in range(times):
        exchange = Exchange()
        memcpy(exchange.reserve(len(head)), <const uint8_t*> head, len(head))
        exchange.stored += len(head)
        if tracer is not None:
            tracer.begin(fields, &mark)
            tracer.write(room, &mark)
            exchange.trace(&mark)
            tracer.finish(exchange, False, 1, 0, 5, 6)
