"""The two heads of a relayed request: the request's as the application gets it, the answer's as the router gets it.

Pure functions over what was parsed; whose they are and when they leave is channel.pyx's business.
"""

from libc.stdint cimport int64_t, uint8_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport RequestHead, ResponseHead


# How the request to the application marks the end of its body.
cdef enum BodyFraming:
    NO_BODY = 0
    LENGTH = 1              # content-length, as the tunnelled head says
    CHUNKED = 2
    UNSETTLED = 3           # a method that seldom has a body, no length, stream not ended: the next event decides
    UPGRADE = 4             # none: it asks to go on as another protocol


# Appends the head for the application, with `ids` (whole lines) in the place of those that came. ended: the stream has
# ended with the head. upgrade: its Upgrade goes with it. Returns a BodyFraming; *length says how much LENGTH is, -1
# otherwise. While it is UNSETTLED the head lacks its end: end_request_head() is to follow.
cdef int write_request_head(OutBuffer out, const RequestHead* head, FieldList fields, bytes ids, bint ended,
                            bint upgrade, int64_t* length) except -1
# The same head for HTTP/2, in place of what is in `to`: pseudo-header fields, and fields with names in lower case;
# values are borrowed. Returns the content-length, or -1.
cdef int64_t fill_request_head(FieldList to, const RequestHead* head, FieldList fields, bytes ids) except -2
# Ends a head whose length is not known: with a chunked body, or none. Returns CHUNKED or NO_BODY.
cdef int end_request_head(OutBuffer out, bint body) except -1
# Appends the answer's head for the router. squeeze: the body follows gzipped; vary: it could have for another client.
cdef int write_answer_head(OutBuffer out, const ResponseHead* head, FieldList fields, bytes ids, bint squeeze,
                           bint vary) except -1
# RFC 9110 section 9.2.2: the method's requests may be sent again when nothing came back.
cdef bint idempotent(const uint8_t* p, Py_ssize_t n) noexcept nogil
# Whether the router says go-away to the invoke of this id. The path alone is none: any client could send it.
cdef bint is_go_away(const RequestHead* head, FieldList fields, bytes lambda_id) noexcept
# Appends an interim answer's head (1xx) for the router.
cdef int write_interim_head(OutBuffer out, const ResponseHead* head, FieldList fields) except -1
cdef int write_lines(OutBuffer out, bytes lines) except -1
# An answer of our own for the router: one line of text.
cdef int write_text_answer(OutBuffer out, int status, bytes ids, bytes body) except -1
