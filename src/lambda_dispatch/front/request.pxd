"""The way of a request's head, in either protocol: where it goes, and which of its fields go with it."""

from libc.stdint cimport uint8_t

from lambda_dispatch.front.door cimport ClientWire, Door
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch_core.bytes.fields cimport Field, FieldList


# What a head says apart from its fields.
cdef struct Request:
    const uint8_t* method
    const uint8_t* target       # origin-form, or empty or a query where the absolute form had no path
    const uint8_t* host         # what Host is to be; NULL: the client's own field stands
    Py_ssize_t method_len
    Py_ssize_t target_len
    const uint8_t* protocol     # what it asks to go on as, where nothing stands in the way of that; NULL: HTTP
    Py_ssize_t host_len
    Py_ssize_t protocol_len
    bint connection_options     # Connection names fields of this hop
    bint has_length             # Content-Length is given


# What Upgrade asks for, where it is one field; NULL otherwise.
cdef Field* sole_upgrade(FieldList fields) noexcept
# Answers the request here, refuses it, or asks for a slot for it.
cdef int admit(Door door, ClientWire wire, ClientExchange exchange, const Request* request,
               FieldList fields) except -1
