"""Looking at bytes: what class each belongs to, and where a run of a class ends, eight bytes at a time.

Each skip_ function returns the first byte in [c, end) that does not belong to the run, or `end`; nothing at or beyond
`end` is read. A word is tested as a whole: for each of its bytes b, (b - bound) & ~b has the top bit set when
b < bound <= 0x80. A borrow can set a wrong bit only above a right one, and only the lowest is used.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport strlen

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

    /* NAME 1, HOST 2, ADDRESS 4: see the enum below. */
    __attribute__((unused)) static const uint8_t ld_class[256] = {
        ['0' ... '9'] = 7, ['A' ... 'F'] = 7, ['a' ... 'f'] = 7, ['G' ... 'Z'] = 3, ['g' ... 'z'] = 3,
        ['-'] = 3, ['.'] = 7, ['_'] = 3, ['~'] = 3, ['!'] = 3, ['$'] = 3, ['&'] = 3, [0x27] = 3, ['*'] = 3, ['+'] = 3,
        ['#'] = 1, ['%'] = 1, ['^'] = 1, ['`'] = 1, ['|'] = 1,
        ['('] = 2, [')'] = 2, [';'] = 2, ['='] = 2, [':'] = 4,
    };

    /* A hexadecimal digit's value plus one; 0 for every other byte. */
    __attribute__((unused)) static const uint8_t ld_hex[256] = {
        ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
        ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
        ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
    };
    """
    uint64_t word_at "ld_word_at"(const uint8_t* c) noexcept nogil
    int trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil
    const uint8_t* CLASS "ld_class"
    const uint8_t* HEX "ld_hex"


cdef enum:
    # Classes of CLASS[byte].
    NAME = 1            # may stand in a token (RFC 9110 5.6.2): methods, field names, options
    HOST = 2            # may stand in a registered name (RFC 3986 3.2.2), commas and percent signs apart
    ADDRESS = 4         # may stand in an IPv6 address
    # Bytes with a meaning of their own.
    HTAB = 0x09
    LF = 0x0A
    CR = 0x0D
    SP = 0x20


cdef inline uint64_t below(uint64_t word, uint64_t bound) noexcept nogil:
    return (word - bound * 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL


# Whether each byte is ASCII, not below `bound`, and no DEL: most text is, and it takes half the steps of an exact test.
cdef inline bint plain(uint64_t word, uint64_t bound) noexcept nogil:
    return not ((word | (word - bound * 0x0101010101010101ULL) | (word + 0x0101010101010101ULL))
                & 0x8080808080808080ULL)


# Whether one of the n bytes is c, which is ASCII; for short texts, where a call of memchr() costs more than the search.
cdef inline bint has_byte(const uint8_t* p, Py_ssize_t n, uint8_t c) noexcept nogil:
    cdef uint64_t pattern = c * 0x0101010101010101ULL
    cdef Py_ssize_t i
    if n >= 8:
        for i in range(0, n - 8, 8):
            if below(word_at(p + i) ^ pattern, 1):
                return True
        return below(word_at(p + n - 8) ^ pattern, 1) != 0
    for i in range(n):
        if p[i] == c:
            return True
    return False


# Bytes that may stand in a field value or a reason: HTAB, SP, VCHAR and obs-text. RFC 9110 5.5
cdef inline const uint8_t* skip_text(const uint8_t* c, const uint8_t* end) noexcept nogil:
    cdef uint64_t word, hits
    while True:
        while end - c >= 16 and plain(word_at(c), 0x20) and plain(word_at(c + 8), 0x20):
            c += 16
        if end - c < 8:
            break
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


cdef inline const uint8_t* skip_name(const uint8_t* c, const uint8_t* end) noexcept nogil:
    # Written out, so that the end is looked for once in eight bytes.
    while end - c >= 8:
        if not CLASS[c[0]] & NAME:
            return c
        if not CLASS[c[1]] & NAME:
            return c + 1
        if not CLASS[c[2]] & NAME:
            return c + 2
        if not CLASS[c[3]] & NAME:
            return c + 3
        if not CLASS[c[4]] & NAME:
            return c + 4
        if not CLASS[c[5]] & NAME:
            return c + 5
        if not CLASS[c[6]] & NAME:
            return c + 6
        if not CLASS[c[7]] & NAME:
            return c + 7
        c += 8
    while c < end and CLASS[c[0]] & NAME:
        c += 1
    return c


cdef inline const uint8_t* skip_blanks(const uint8_t* c, const uint8_t* end) noexcept nogil:
    while c < end and (c[0] == SP or c[0] == HTAB):
        c += 1
    return c


# Where [start, end) ends without the blanks at its end.
cdef inline const uint8_t* trim_blanks(const uint8_t* start, const uint8_t* end) noexcept nogil:
    while end > start and ((end - 1)[0] == SP or (end - 1)[0] == HTAB):
        end -= 1
    return end


# Whether p is this lower-case word of letters, digits and '-', in any case.
cdef inline bint is_word(const uint8_t* p, Py_ssize_t n, const char* word) noexcept nogil:
    return n == <Py_ssize_t> strlen(word) and same_text(p, <const uint8_t*> word, n)


# Whether they differ in the case of ASCII letters at most.
cdef inline bint same_text(const uint8_t* a, const uint8_t* b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if a[i] != b[i] and ((a[i] ^ b[i]) != 0x20 or not c"a" <= (a[i] | 0x20) <= c"z"):
            return False
    return True
