"""What every answer to a client has in common, in either protocol: which of its fields pass, and answers of our own."""

from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch.dispatch.model cimport Exchange, Pool
from lambda_dispatch.front.door cimport ClientWire, Door
from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport (
    LAST_HOP, T_CONTENT_LENGTH, T_DATE, T_X_CHANNEL_ID, T_X_LAMBDA_ID, UNKNOWN, Field, FieldList,
)
from lambda_dispatch_core.http1.head cimport ResponseHead, named_by_connection


# Whether a field of an instance's answer goes to the client. Content-Length does not: each protocol frames for itself.
cdef inline bint passes(const Field* f, const ResponseHead* head, FieldList fields, Door door) noexcept:
    if f.token != UNKNOWN:
        if f.token <= LAST_HOP or f.token == T_CONTENT_LENGTH:
            return False
        if (f.token == T_X_LAMBDA_ID or f.token == T_X_CHANNEL_ID) and not door.expose_ids:
            return False
    return not head.connection_options or not named_by_connection(fields, f.name, f.name_len)


# The same for an interim answer (1xx), whose fields are few. It has no body, so no length either (RFC 9110 8.6).
cdef inline bint passes_interim(const Field* f) noexcept:
    return f.token == UNKNOWN or (f.token > LAST_HOP and f.token != T_CONTENT_LENGTH
                                  and f.token != T_X_LAMBDA_ID and f.token != T_X_CHANNEL_ID)


# Whether Content-Length may stand in an answer of this status (RFC 9110 8.6).
cdef inline bint may_have_length(int status) noexcept:
    return status != 204 and status >= 200


# Writes those of an instance's answer that pass, as HTTP/1.1 lines. Whether Date was one of them.
cdef bint write_passing(OutBuffer out, const ResponseHead* head, FieldList fields, Door door) except -1
# The one line of text that an answer of our own has.
cdef bytes text_of(int status)
# The fields of an answer of our own, but for those that every answer has. word: for x-lambda-dispatch-error, or None.
# pool: whose queue the client would wait in, for retry-after; or None. The list is used again by the next call.
cdef FieldList own_fields(Door door, int status, bytes text, str word, Pool pool)
# A gRPC call has begun.
cdef int count_call(Door door) noexcept
# It has gone on in another protocol.
cdef int count_upgrade(Door door) noexcept
# The exchange is over: counted, and logged where that is asked for. minor: HTTP/1.minor, -1 for HTTP/2.
cdef int count(Door door, Exchange exchange, ClientWire wire, int minor) except -1
# The same for the access log alone. asked: when it asked for an instance.
cdef int write_access(Door door, Exchange exchange, ClientWire wire, int minor, int64_t now, int64_t asked) except -1
# The id of the instance that had the request, 16 bytes; NULL where none had, or its place has got another since.
cdef const uint8_t* served_id(Board board, Exchange exchange) noexcept
