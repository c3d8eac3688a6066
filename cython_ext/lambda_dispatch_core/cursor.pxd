"""Finding the byte that ends a run, eight bytes at a time.

Each skip_ function returns the first byte in [c, end) that does not belong to the run, or `end`; nothing at or beyond
`end` is read. A word is tested as a whole: for each of its bytes b, (b - bound) & ~b has the top bit set when
b < bound <= 0x80. A borrow can set a wrong bit only above a right one, and only the lowest is used.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* The eight bytes at c; the first of them is the least significant one on every machine. */
    static inline uint64_t ld_word_at(const uint8_t *c)
    {
        uint64_t word;
        memcpy(&word, c, sizeof word);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    """
    uint64_t word_at "ld_word_at"(const uint8_t* c) noexcept nogil
    int trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil


cdef inline uint64_t below(uint64_t word, uint64_t bound) noexcept nogil:
    return (word - bound * 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL


# Bytes that may stand in a field value or a reason: HTAB, SP, VCHAR and obs-text. RFC 9110 5.5
cdef inline const uint8_t* skip_text(const uint8_t* c, const uint8_t* end) noexcept nogil:
    cdef uint64_t word, hits
    while end - c >= 8:
        word = word_at(c)
        hits = below(word, 0x20) | below(word ^ 0x7F7F7F7F7F7F7F7FULL, 1)
        if hits == 0:
            c += 8
            continue
        c += trailing_zeros(hits) >> 3
        if c[0] != 0x09:
            return c
        c += 1
    while c < end and (c[0] >= 0x20 and c[0] != 0x7F or c[0] == 0x09):
        c += 1
    return c


# Bytes that may stand in a request target: neither CTL nor SP.
cdef inline const uint8_t* skip_visible(const uint8_t* c, const uint8_t* end) noexcept nogil:
    cdef uint64_t word, hits
    while end - c >= 8:
        word = word_at(c)
        hits = below(word, 0x21) | below(word ^ 0x7F7F7F7F7F7F7F7FULL, 1)
        if hits:
            return c + (trailing_zeros(hits) >> 3)
        c += 8
    while c < end and c[0] > 0x20 and c[0] != 0x7F:
        c += 1
    return c
