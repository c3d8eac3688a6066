"""Trailers: fields behind a body, on their way through the router.

They are passed on where the next hop has a place for them: HTTP/2 streams (clients, channels, siblings). On a channel
they are the trailers of its stream, which an extension that knows nothing of them ignores. HTTP/1.1 clients get none.
"""

from lambda_dispatch_core.bytes.fields cimport FieldList


# Those that may pass: no framing or routing, nothing that only the router says (RFC 9110 6.5.1). The list itself where
# all may; otherwise one that is valid until the next call.
cdef FieldList passing(FieldList trailers)

# A copy that outlives the call in which they came.
cdef FieldList copied(FieldList trailers)
