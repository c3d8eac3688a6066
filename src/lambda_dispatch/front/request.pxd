"""The way of a request's head, in either protocol: where it goes, and which of its fields go with it."""

from libc.stdint cimport uint8_t

from lambda_dispatch.front.door cimport ClientWire, Door
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch_core.bytes.fields cimport FieldList


# What a head says apart from its fields.
cdef struct Request:
    const uint8_t* method
    const uint8_t* target       # origin-form, or empty or a query where the absolute form had no path
    const uint8_t* host         # what Host is to be; NULL: the client's own field stands
    Py_ssize_t method_len
    Py_ssize_t target_len
    Py_ssize_t host_len
    bint connection_options     # Connection names fields of this hop
    bint has_length             # Content-Length is given


# Answers the request here, refuses it, or asks for a slot for it.
cdef int admit(Door door, ClientWire wire, ClientExchange exchange, const Request* request,
               FieldList fields) except -1
