"""The answers of our own that gRPC clients get; the theory stands in grpc.pxd."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from lambda_dispatch.front.door cimport Door
from lambda_dispatch_core.bytes.fields cimport UNKNOWN, Field, FieldList
from lambda_dispatch_core.bytes.literal cimport is_lit

cdef enum Status:
    UNKNOWN_ERROR = 2
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16

cdef dict BY_STATUS = {
    400: INTERNAL,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: UNIMPLEMENTED,
    414: RESOURCE_EXHAUSTED,
    429: RESOURCE_EXHAUSTED,
    431: RESOURCE_EXHAUSTED,
    501: UNIMPLEMENTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
# Where the word says more. What the application should not have sent is no reason to try again; a request whose own
# body did not come has missed the client's time, not ours.
cdef dict BY_WORD = {
    "answer_malformed": INTERNAL,
    "answer_head_too_large": INTERNAL,
    "answer_too_long": INTERNAL,
    "answer_too_short": INTERNAL,
    "answer_upgrade": INTERNAL,
    "upload_timeout": DEADLINE_EXCEEDED,
}
cdef FieldList own = FieldList()


cdef bint is_grpc(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    if n < 16 or memcmp(p, "application/grpc", 16) != 0:
        return False
    return n == 16 or p[16] == c"+" or p[16] == c";"


cdef int grpc_status(int status, str word) except -1:
    known = BY_WORD.get(word)
    if known is None:
        known = BY_STATUS.get(status, UNKNOWN_ERROR)
    return known


# Two digits at most; what is longer or no number is UNKNOWN, as clients read it.
cdef int said_status(FieldList fields) noexcept:
    cdef int i
    cdef int value
    cdef Field* f
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token == UNKNOWN and is_lit(f.name, f.name_len, b"grpc-status"):
            value = 0
            if f.value_len == 0 or f.value_len > 2:
                return UNKNOWN_ERROR
            for k in range(f.value_len):
                if not c"0" <= f.value[k] <= c"9":
                    return UNKNOWN_ERROR
                value = value * 10 + f.value[k] - c"0"
            return value if value < STATUSES else UNKNOWN_ERROR
    return NO_STATUS


# Our texts and words are printable ASCII without "%": nothing is there to be percent-encoded.
cdef int say(int status, bytes text, str word) except -1:
    own.append(b"grpc-status", b"%d" % grpc_status(status, word))
    own.append(b"grpc-message", b"%b (%b)" % (text, word.encode("ascii")) if word is not None else text)
    if word is not None:
        own.append(b"x-lambda-dispatch-error", word.encode("ascii"))
    return 0


cdef FieldList grpc_head(Door door, int status, bytes text, str word):
    own.clear()
    own.append(b":status", b"200")
    own.append(b"content-type", b"application/grpc")
    own.append(b"date", door.date_value())
    say(status, text, word)
    for name, value in door.common_fields.pairs():
        own.append(name, value)
    return own


cdef FieldList grpc_trailers(int status, bytes text, str word):
    own.clear()
    say(status, text, word)
    return own


def status_of(int status, str word):
    """The gRPC status of an answer of our own; for tests."""
    return grpc_status(status, word)


def is_grpc_type(bytes value not None):
    """Whether this content-type is gRPC's; for tests."""
    return is_grpc(<const uint8_t*> value, len(value))
