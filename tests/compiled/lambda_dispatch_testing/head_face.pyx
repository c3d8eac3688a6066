"""The rules of HTTP/2 heads (h2/head) as Python functions."""

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.head cimport HEAD_FAULTS, HeadFacts, check_request, check_response, check_trailers, head_fault


def faults():
    """The words of every fault, in the order of HeadFault."""
    return [head_fault(fault) for fault in range(HEAD_FAULTS)]


def check(str kind not None, list pairs not None, bint any_host=False, bint extended=False):
    """(fault in words or None, content-length, status) of a block given as (name, value) pairs."""
    cdef FieldList fields = FieldList()
    cdef HeadFacts facts
    cdef int fault
    cdef bytes name, value
    facts.content_length = -1
    facts.status = 0
    for name, value in pairs:
        fields.append(name, value)
    if kind == "request":
        fault = check_request(fields, &facts, any_host, extended)
    elif kind == "response":
        fault = check_response(fields, &facts)
    elif kind == "trailers":
        fault = check_trailers(fields)
    else:
        raise ValueError(f"kind {kind!r} is none of request, response, trailers")
    return (head_fault(fault) if fault else None, facts.content_length, facts.status)
