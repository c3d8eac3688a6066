"""The routes of the control port (protocol.md sections 2 and 3), read without allocating."""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.fields cimport FieldList


cdef enum RouteKind:
    NOWHERE = 0
    CHANNEL = 1             # POST …/request/{Id}/{ChannelId} or its long spelling
    PING = 2                # GET …/ping/{Id} or its long spelling
    CLOSE = 3               # GET …/close/{Id} or its long spelling


cdef struct Route:
    const uint8_t* id_text  # the instance id as written; borrowed from the head
    Py_ssize_t id_len
    const uint8_t* pool_text    # the pool of the long spelling; NULL in the short one
    Py_ssize_t pool_len
    const uint8_t* channel_text     # the channel's id as written; NULL on other routes
    Py_ssize_t channel_len


cdef int parse_route(FieldList head, Route* route) noexcept
