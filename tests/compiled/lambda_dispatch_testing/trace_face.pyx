"""What tracing adds to a request, for the micro benchmarks."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from lambda_dispatch.dispatch.model cimport Exchange, Mark
from lambda_dispatch.front.trace cimport LEFT, MARK_ROOM, Tracer
from lambda_dispatch_core.bytes.fields cimport FieldList


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
