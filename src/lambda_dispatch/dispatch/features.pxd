"""What an instance's extension can do beyond protocol.md, as it says in x-lambda-dispatch-features on its channels.

An extension that says nothing gets plain requests. The words are documented in docs/extension.md.
"""

from libc.stdint cimport uint8_t


cdef enum Feature:
    FEATURE_UPGRADE = 1         # `upgrade`: an answer of 101 turns the channel into bytes both ways
    FEATURE_GRPC = 2            # `grpc`: its application is spoken to in HTTP/2, trailers pass


# The features that a field's value names; words that are not known count for nothing.
cdef uint8_t features_in(bytes value) except? 0
