"""Every bound of the core: its name, its value, its reason.

Limits that an operator sets (head sizes, time-outs, queue lengths) come in from outside and have their defaults in
lambda_dispatch.config; these are not configurable.
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
    # Streams a peer may have open: an instance's 255 channels, its pings and its close call, twice over.
    MAX_STREAMS = 512
    # A head of four fields of 31 KiB, or one of 64 KiB, must pass; twice that need not. Counted as RFC 9113 6.5.2 does.
    MAX_HEADER_LIST = 192 * 1024
    # The same head on the wire, which is what is held while it comes in pieces. HPACK makes no list that passes longer
    # than the count above (32 bytes a field are more than any prefix); beyond it there must be room to answer 431.
    MAX_HEADER_BLOCK = 256 * 1024
    # Fields of one block: no browser or proxy sends a third of that.
    MAX_FIELDS = 256
    # CONTINUATION frames of one block: MAX_HEADER_BLOCK in full frames is 16; the rest is for peers that cut smaller.
    # Frames without an end are how CONTINUATION floods work (CVE-2024-27316 and its kin).
    MAX_CONTINUATIONS = 64

    # HTTP/2 budgets. There is no clock here, so what earns budget back is useful work, and each read: a polite peer's
    # PING comes alone in its read, however many hours that goes on, while a flood that outruns us comes many frames to
    # a read. A read in which nothing but overhead comes may so hold CONTROL_PER_READ frames of it for ever, and
    # CONTROL_BUDGET once. Over budget: GOAWAY with ENHANCE_YOUR_CALM.
    #
    # Frames that cost us work and carry nothing: PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown types,
    # CONTINUATION, RST_STREAM of what is over, refused streams (CVE-2019-9512, -9515, -9516, -9518 and their kin).
    # A hundred streams opened at once with PRIORITY and WINDOW_UPDATE each pass at once.
    CONTROL_BUDGET = 1024
    CONTROL_PER_READ = 4
    # A SETTINGS frame is answered and may touch every stream; a second GOAWAY says nothing new.
    SETTINGS_COST = 8
    # A SETTINGS frame full of INITIAL_WINDOW_SIZE would have every stream touched 2,730 times.
    SETTINGS_BYTES_PER_COST = 64
    # A request brings its own PRIORITY, WINDOW_UPDATE and perhaps CONTINUATION frames.
    CONTROL_PER_REQUEST = 8
    # DATA of ours is answered with WINDOW_UPDATE for stream and connection, and by some clients with a PING that
    # measures the path (hyper's "adaptive window"); some return credit for every KiB. Only frames of a size count, or
    # a peer could have us dribble.
    CONTROL_PER_DATA_SENT = 3
    BYTES_PER_CONTROL = 512
    USEFUL_DATA = 256
    # Requests the peer took back before any answer to them began, and streams that its faults made us reset: rapid
    # reset (CVE-2023-44487) and its mirror (CVE-2025-8671) in one. Every stream that ends in order earns one back. An
    # instance that goes away resets all its channels at once, a browser its page: twice MAX_STREAMS lies far above.
    RESET_BUDGET = 1024
    # Bytes of replies (acknowledgements, resets) that may wait while the socket takes nothing: a peer that asks and
    # never reads. 64 KiB is 3,800 PINGs.
    REPLY_BACKLOG = 64 * 1024
    # Streams of which we remember that we reset them, so that what the peer had under way is dropped in silence. All
    # the streams a peer may have can be reset at once.
    RESETS_REMEMBERED = 512
    # Streams of which we remember that they ended in order. Serves only to name the peer's fault correctly.
    ENDS_REMEMBERED = 32
    # Decoder table: the protocol's default; what a channel's headers repeat fits ten times.
    HEADER_TABLE = 4096
    # Encoder table: we index what repeats; more than the peer's default is never used.
    OUR_TABLE = 4096
    # The same towards clients: there are thousands of them, most of them idle, and 12 KiB for an idle one is promised.
    # Half a dozen fields that answers repeat fit.
    CLIENT_TABLE = 512

    # HTTP/1.1 ---------------------------------------------------------------------------------------------------------
    # Empty lines before a request: RFC 9112 2.2 asks for one, old clients send it after a POST. More are idle talk.
    LEADING_LINES = 4
    # A chunk's size line with its extensions, rarely sent and always skipped; RFC 9112 7.1.1 asks for a
    # bound.
    CHUNK_LINE = 256
    # All trailers of a chunked body; they are read to be dropped.
    TRAILER_BYTES = 8 * 1024

    # Sockets ----------------------------------------------------------------------------------------------------------
    # A transport that holds more than this back is "blocked": sources stop until it is down to a quarter.
    WRITE_HIGH = 64 * 1024
