"""HPACK's integers and strings (RFC 7541 section 5), inline for hpack.pyx alone.

Huffman decoding keeps up to 64 bits of input left-aligned in a register and looks 12 of them up at a time, which
yields two octets where both codes are short; codes of 13 bits and more are found by comparing with the bounds of each
length, since the code is canonical. Tables: hpack_tables.h.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "hpack/tables.h" nogil:
    enum:
        HPACK_STEP
        HPACK_LONG_LENGTHS
    const uint32_t hpack_code[256]
    const uint8_t hpack_code_bits[256]
    const uint32_t hpack_step[4096]
    const uint8_t hpack_long_bits[HPACK_LONG_LENGTHS]
    const uint32_t hpack_long_first[HPACK_LONG_LENGTHS]
    const uint64_t hpack_long_end[HPACK_LONG_LENGTHS]
    const uint16_t hpack_long_start[HPACK_LONG_LENGTHS]
    const uint16_t hpack_long_symbol[1]


cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define hpack_big_endian_64(x) (x)
    #define hpack_big_endian_32(x) (x)
    #else
    #define hpack_big_endian_64(x) __builtin_bswap64(x)
    #define hpack_big_endian_32(x) __builtin_bswap32(x)
    #endif
    """
    uint64_t hpack_big_endian_64(uint64_t) noexcept nogil
    uint32_t hpack_big_endian_32(uint32_t) noexcept nogil


cdef enum:
    INTEGER_ROOM = 6            # octets an integer of 32 bits takes at most, prefix included
    HUFFMAN_EOS = 256
    HUFFMAN_LONGEST = 30        # bits


# Reads an integer whose prefix is what `mask` covers of p[0] (RFC 7541 5.1). Returns the octet after it, or NULL when
# it is cut short or too large.
cdef inline const uint8_t* read_integer(const uint8_t* p, const uint8_t* end, uint32_t mask,
                                        uint32_t* value) noexcept nogil:
    cdef uint64_t total = p[0] & mask
    cdef uint32_t shift = 0
    cdef uint8_t octet
    p += 1
    if total == mask:
        while True:
            if p == end or shift > 28:
                return NULL
            octet = p[0]
            total += <uint64_t> (octet & 0x7F) << shift
            shift += 7
            p += 1
            if octet < 0x80:
                break
        if total >> 32:
            return NULL
    value[0] = <uint32_t> total
    return p


# Writes an integer below 2**32 under the bits in `pattern`. Returns the octet after it.
cdef inline uint8_t* write_integer(uint8_t* to, uint8_t pattern, uint32_t mask, uint32_t value) noexcept nogil:
    if value < mask:
        to[0] = <uint8_t> (pattern | value)
        return to + 1
    to[0] = <uint8_t> (pattern | mask)
    to += 1
    value -= mask
    while value >= 0x80:
        to[0] = <uint8_t> (value | 0x80)
        to += 1
        value >>= 7
    to[0] = <uint8_t> value
    return to + 1


# Octets that n octets of Huffman code can become at most (the shortest code has 5 bits), and room for huffman_decode to
# write one octet more than it means.
cdef inline Py_ssize_t huffman_room(Py_ssize_t n) noexcept nogil:
    return n * 8 // 5 + 2


# Decodes n octets to `to`, which has huffman_room(n). Returns how many octets came out, or -1 for what RFC 7541 5.2
# forbids: EOS inside, padding of more than 7 bits or with a 0 in it.
cdef inline Py_ssize_t huffman_decode(const uint8_t* p, Py_ssize_t n, uint8_t* to) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef uint8_t* start = to
    cdef uint64_t bits = 0      # the input's next bits, left-aligned; below `have` either right already or 0
    cdef uint32_t have = 0      # how many of them count
    cdef uint64_t load
    cdef uint32_t entry, used, nth
    cdef int i, _
    cdef uint16_t symbol
    while True:
        if end - p >= 8:
            memcpy(&load, p, 8)
            bits |= hpack_big_endian_64(load) >> have
            p += (63 - have) >> 3
            have |= 56
        else:
            while p < end and have <= 56:
                bits |= <uint64_t> p[0] << (56 - have)
                p += 1
                have += 8
        if have >= 4 * HPACK_STEP:
            for _ in range(4):
                entry = hpack_step[bits >> (64 - HPACK_STEP)]
                if entry == 0:
                    break
                to[0] = <uint8_t> entry
                to[1] = <uint8_t> (entry >> 8)
                to += entry >> 24
                used = (entry >> 16) & 15
                bits <<= used
                have -= used
            else:
                continue
            if have < HUFFMAN_LONGEST and p < end:
                continue        # a long code that is not wholly in the register yet
        elif have == 0:
            return to - start
        else:
            entry = hpack_step[bits >> (64 - HPACK_STEP)]
        if entry != 0:
            used = (entry >> 16) & 15
            if used <= have:
                to[0] = <uint8_t> entry
                to[1] = <uint8_t> (entry >> 8)
                to += entry >> 24
            else:
                used = (entry >> 20) & 15
                if used > have:
                    break
                to[0] = <uint8_t> entry
                to += 1
            bits <<= used
            have -= used
            continue
        i = 0
        while (bits >> 32) >= hpack_long_end[i]:
            i += 1
        used = hpack_long_bits[i]
        if used > have:
            break
        nth = (<uint32_t> (bits >> 32) - hpack_long_first[i]) >> (32 - used)
        symbol = hpack_long_symbol[hpack_long_start[i] + nth]
        if symbol == HUFFMAN_EOS:
            return -1
        to[0] = <uint8_t> symbol
        to += 1
        bits <<= used
        have -= used
    # what is left is no whole code
    if have > 7 or bits >> (64 - have) != (1U << have) - 1:
        return -1
    return to - start


# How many octets p[0..n-1] takes in Huffman code.
cdef inline Py_ssize_t huffman_length(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t bits = 0, i
    for i in range(n):
        bits += hpack_code_bits[p[i]]
    return (bits + 7) >> 3


# Writes p[0..n-1] in Huffman code; `to` has huffman_length(p, n) octets. Returns the octet after the last one.
cdef inline uint8_t* huffman_encode(const uint8_t* p, Py_ssize_t n, uint8_t* to) noexcept nogil:
    cdef uint64_t bits = 0      # right-aligned
    cdef uint32_t have = 0, word
    cdef Py_ssize_t i
    for i in range(n):
        bits = bits << hpack_code_bits[p[i]] | hpack_code[p[i]]
        have += hpack_code_bits[p[i]]
        if have >= 32:
            have -= 32
            word = hpack_big_endian_32(<uint32_t> (bits >> have))
            memcpy(to, &word, 4)
            to += 4
    while have >= 8:
        have -= 8
        to[0] = <uint8_t> (bits >> have)
        to += 1
    if have:
        to[0] = <uint8_t> (bits << (8 - have) | (0xFF >> have))
        to += 1
    return to


# Writes a string literal, Huffman coded where that is shorter. `to` has n + INTEGER_ROOM octets.
cdef inline uint8_t* write_string(uint8_t* to, const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t short = huffman_length(p, n)
    if short < n:
        return huffman_encode(p, n, write_integer(to, 0x80, 0x7F, <uint32_t> short))
    to = write_integer(to, 0, 0x7F, <uint32_t> n)
    memcpy(to, p, n)
    return to + n
