"""HPACK's string code (RFC 7541 section 5.2), inline for hpack.pyx alone.

Decoding keeps up to 64 bits of input left-aligned in a register and looks 12 of them up at a time, which yields two
octets where both codes are short; codes of 13 bits and more are found by comparing with the bounds of each length,
since the code is canonical. Tables: hpack_tables.h.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "hpack_tables.h" nogil:
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
    HUFFMAN_EOS = 256
    HUFFMAN_LONGEST = 30        # bits


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
