"""Every bound of the core: its name, its value, its reason.

Limits that an operator sets (head sizes, time-outs, queue lengths) come in from outside and have their defaults in
lambda_dispatch.config; these are the ones that are nobody's business but ours.
"""

cdef enum:
    # HTTP/2 -----------------------------------------------------------------------------------------------------------
    # A stream may have this much of its body unread by the other side. With what one socket holds back
    # (WRITE_HIGH below) it stays under the 256 KiB per request and direction that design.md promises.
    STREAM_WINDOW = 192 * 1024
    # The connection's window never binds before the streams' do.
    CONNECTION_WINDOW = 1 << 30
    # Frames we accept: the protocol's own default; larger ones save nothing, a bigger read does.
    MAX_FRAME = 16384
    # Decoder table: the protocol's default; what a channel's headers repeat fits ten times.
    HEADER_TABLE = 4096
    # Encoder table: we index what repeats; more than the peer's default is never used.
    OUR_TABLE = 4096

    # HTTP/1.1 ---------------------------------------------------------------------------------------------------------
    # Empty lines before a request: RFC 9112 2.2 asks for one, old clients send it after a POST. More are idle talk.
    LEADING_LINES = 4
    # A chunk's size line with its extensions, which nobody sends and everybody must skip: RFC 9112 7.1.1 asks for a bound.
    CHUNK_LINE = 256
    # All trailers of a chunked body; they are read to be dropped.
    TRAILER_BYTES = 8 * 1024

    # Sockets ----------------------------------------------------------------------------------------------------------
    # A transport that holds more than this back is "blocked": sources stop until it is down to a quarter.
    WRITE_HIGH = 64 * 1024
