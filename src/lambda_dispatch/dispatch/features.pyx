"""Words to bits; the theory stands in features.pxd."""

from libc.stdint cimport uint8_t

cdef enum:
    LONGEST = 256               # bytes of a list that is read; the words there are take 7
    MOST_WORDS = 16

cdef bytes FIELD = b"x-lambda-dispatch-features"
cdef dict WORDS = {b"upgrade": FEATURE_UPGRADE, b"grpc": FEATURE_GRPC}


cdef uint8_t features_in(bytes value) except? 0:
    cdef uint8_t found = 0
    for word in value[:LONGEST].split(b",", MOST_WORDS)[:MOST_WORDS]:
        found |= <uint8_t> WORDS.get(word.strip(b" \t").lower(), 0)
    return found


def features(list fields not None):
    """The features that a channel's head announces, as bits. Once per connection."""
    cdef uint8_t found = 0
    for name, value in fields:
        if name == FIELD:
            found |= features_in(value)
    return found
