"""The secret of an invoke, compared; the theory stands in credentials.pxd."""

from libc.stdint cimport uint8_t, uint32_t

from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.board.layout cimport SECRET_SHOWN, SECRET_SIZE
from lambda_dispatch_core.bytes.atomics cimport getu32
from lambda_dispatch_core.bytes.fields cimport T_X_LAMBDA_DISPATCH_SECRET, Field, FieldList

cdef const uint8_t* ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


cdef int proof_of(Board board, int slot, uint32_t generation, FieldList head, bint required) noexcept:
    cdef Field* f = head.find(T_X_LAMBDA_DISPATCH_SECRET)
    cdef uint32_t shown = getu32(&board.slots[slot].flags) & SECRET_SHOWN
    cdef Py_ssize_t length
    if f == NULL:
        return WRONG if required or shown else NOT_PRESENTED
    length = f.value_len
    while length > SECRET_TEXT and f.value[length - 1] == c"=":
        length -= 1             # padding
    if length != SECRET_TEXT or not _equal(board.slots[slot].secret, f.value):
        return WRONG
    if not shown:
        board.show_secret(slot, generation)
    return PROVEN


# Whether `text` is `secret` in base64url; no branch depends on either. A secret of zeros is none, and equals nothing.
cdef bint _equal(const uint8_t* secret, const uint8_t* text) noexcept:
    cdef uint32_t differs = 0
    cdef uint32_t some = 0
    cdef uint32_t bits
    cdef int i
    cdef int at = 0
    for i in range(0, SECRET_SIZE - 1, 3):
        bits = <uint32_t> secret[i] << 16 | <uint32_t> secret[i + 1] << 8 | secret[i + 2]
        some |= bits
        differs |= ALPHABET[bits >> 18] ^ text[at]
        differs |= ALPHABET[bits >> 12 & 63] ^ text[at + 1]
        differs |= ALPHABET[bits >> 6 & 63] ^ text[at + 2]
        differs |= ALPHABET[bits & 63] ^ text[at + 3]
        at += 4
    bits = <uint32_t> secret[SECRET_SIZE - 1] << 16
    some |= bits
    differs |= ALPHABET[bits >> 18] ^ text[at]
    differs |= ALPHABET[bits >> 12 & 63] ^ text[at + 1]
    return differs == 0 and some != 0


def proof(Board board not None, int slot, uint32_t generation, FieldList head not None, bint required):
    """0 wrong, 1 not presented, 2 proven: see credentials.pxd."""
    return proof_of(board, slot, generation, head, required)
