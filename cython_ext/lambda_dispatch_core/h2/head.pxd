"""What a decoded header block must be to be a message (RFC 9113 section 8): the fields alone, without a session.

Everything refused here is "malformed" in the RFC's sense: a stream error PROTOCOL_ERROR, never a repair. Names and
values that pass may stand in an HTTP/1.1 head as far as their bytes go: no CR, LF, NUL or other control, no white
space at the ends, names that are lower-case tokens.
"""

from libc.stdint cimport int64_t

from lambda_dispatch_core.bytes.fields cimport FieldList


cdef enum HeadFault:
    HEAD_FINE = 0
    NAME_EMPTY = 1
    NAME_BYTES = 2              # not a token, or upper case (8.2.1)
    VALUE_BYTES = 3             # a control character (8.2.1)
    VALUE_SPACE = 4             # white space at an end (8.2.1)
    PSEUDO_AFTER_FIELD = 5      # 8.3
    PSEUDO_TWICE = 6
    PSEUDO_UNKNOWN = 7          # not defined for this kind of message
    PSEUDO_MISSING = 8
    PSEUDO_IN_TRAILERS = 9      # 8.1
    CONNECTION_FIELD = 10       # 8.2.2
    TE_NOT_TRAILERS = 11        # 8.2.2
    METHOD_BYTES = 12
    SCHEME_BYTES = 13
    PATH_EMPTY = 14             # 8.3.1
    PATH_FORM = 15              # neither "/…" nor "*" for OPTIONS, or a byte no request target can hold
    AUTHORITY_BYTES = 16        # empty, userinfo, or a byte no authority can hold
    HOST_DIFFERS = 17           # from :authority, or from another Host
    CONNECT_FORM = 18           # 8.5: :authority alone
    STATUS_FORM = 19            # not three digits, or 101 (8.6)
    LENGTH_FORM = 20            # content-length: not one number below 2**63
    HEAD_FAULTS = 21


cdef struct HeadFacts:
    int64_t content_length      # bytes; -1 when none was declared
    int status                  # 100 .. 999; 0 in a request
    bint is_head                # the method is HEAD


# Each returns a HeadFault, and fills in `facts` when that is HEAD_FINE. any_host: a Host may differ from :authority.
# extended: CONNECT may have a :protocol, and then has a scheme and a path, too (RFC 8441).
cdef int check_request(FieldList head, HeadFacts* facts, bint any_host, bint extended) noexcept
cdef int check_response(FieldList head, HeadFacts* facts) noexcept
cdef int check_trailers(FieldList trailers) noexcept

# For people: what is wrong, in words of ours.
cdef str head_fault(int fault)
