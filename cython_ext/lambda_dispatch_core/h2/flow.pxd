"""Flow control (RFC 9113 sections 5.2 and 6.9): window arithmetic, and the bytes that wait for credit. Header-only.

A window is an int64_t that is kept within RFC 9113's 31 bits upwards and may be negative downwards (6.9.2: a smaller
INITIAL_WINDOW_SIZE is taken off windows already in use). Every addition to a window goes through grow().

For each receiving window, at any time:  window + owed + unreturned == its size
    owed         delivered by on_data, not yet consumed()
    unreturned   consumed (or swallowed), not yet announced to the peer
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef enum:
    WINDOW_MAX = 0x7FFFFFFF         # RFC 9113 6.9.1
    FIRST_WINDOW = 65535            # RFC 9113 6.9.2: every window before any SETTINGS or WINDOW_UPDATE
    PIECE = 16384                   # a Piece holds at most this much, so that memory goes as the bytes go
    SMALL_PIECE = 2048              # and at least this much, so that many small writes share one


# Adds n (which may be negative) to a window. False when it would pass 2**31 - 1: the window is left as it was.
cdef inline bint grow(int64_t* window, int64_t n) noexcept nogil:
    if window[0] + n > WINDOW_MAX:
        return False
    window[0] += n
    return True


# Whether credit that is held back should be announced now: half of the window has come together, or the peer has less
# left than we could give (what is owed may bind most of the window, so half of the whole might never come together).
cdef inline bint worth_a_frame(int64_t window, int64_t unreturned, int64_t size) noexcept nogil:
    return unreturned > 0 and (2 * unreturned >= size or window <= unreturned)


# Bytes a sender took and cannot send yet: a list of pieces, oldest first. Owned by one stream.
cdef struct Piece:
    Piece* after
    uint32_t start          # first byte not sent yet
    uint32_t end            # one past the last byte
    uint32_t room           # bytes it can hold
    uint8_t bytes[1]        # really `room` of them


cdef struct Backlog:
    Piece* oldest
    Piece* newest


# Copies n bytes to the end. 0, or -1 when memory is out: what was added before that stays.
cdef inline int backlog_add(Backlog* log, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Piece* piece
    cdef Py_ssize_t part
    while n > 0:
        piece = log.newest
        if piece == NULL or piece.end == piece.room:
            part = PIECE if n > PIECE else (SMALL_PIECE if n < SMALL_PIECE else n)
            piece = <Piece*> malloc(sizeof(Piece) + part)
            if piece == NULL:
                return -1
            piece.after = NULL
            piece.start = piece.end = 0
            piece.room = <uint32_t> part
            if log.newest == NULL:
                log.oldest = piece
            else:
                log.newest.after = piece
            log.newest = piece
        part = min(n, <Py_ssize_t> (piece.room - piece.end))
        memcpy(piece.bytes + piece.end, p, part)
        piece.end += <uint32_t> part
        p += part
        n -= part
    return 0


# Moves the n oldest bytes to `to`; the backlog must hold as many.
cdef inline void backlog_take(Backlog* log, uint8_t* to, Py_ssize_t n) noexcept nogil:
    cdef Piece* piece
    cdef Py_ssize_t part
    while n > 0:
        piece = log.oldest
        part = min(n, <Py_ssize_t> (piece.end - piece.start))
        memcpy(to, piece.bytes + piece.start, part)
        piece.start += <uint32_t> part
        to += part
        n -= part
        if piece.start == piece.end:
            log.oldest = piece.after
            if log.oldest == NULL:
                log.newest = NULL
            free(piece)


cdef inline void backlog_drop(Backlog* log) noexcept nogil:
    cdef Piece* piece
    while log.oldest != NULL:
        piece = log.oldest
        log.oldest = piece.after
        free(piece)
    log.newest = NULL
