"""HPACK (RFC 7541), both ways.

One Decoder and one Encoder live as long as their connection. Neither allocates per field: a decoded field's bytes go to
the FieldList's arena, an encoded block goes straight to the OutBuffer.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.hpack.table cimport Entry, Table


cdef enum HpackResult:
    HPACK_OK = 0
    HPACK_ERROR = -2            # COMPRESSION_ERROR: the connection is lost (RFC 7541 section 2.3.3, 4.2, 5.2, ...)
    HPACK_TOO_LARGE = -3        # the list is over its limit; the table was kept in step, the connection is fine


cdef enum:
    SEEN_SETS = 16              # the encoder remembers so many sets of hashes (a power of two)
    SEEN_WAYS = 4               # of so many fields that it did not index; 4, chosen among by two bits
    PAIR_BUCKETS = 256          # about two for each entry of a full table; a power of two
    NAME_BUCKETS = 64
    LOWERED = 256               # bytes; names that have to be lowered and are longer are never indexed


cdef class Decoder:
    cdef readonly uint32_t max_table_size       # bytes; what our SETTINGS_HEADER_TABLE_SIZE allows the peer
    cdef public uint32_t max_list_size          # bytes as RFC 9113 6.5.2 counts (name + value + 32), and
    cdef public uint32_t max_fields             # fields per block; over either: HPACK_TOO_LARGE
    cdef const char* reason                     # after HPACK_ERROR: what was wrong, for the log; never peer bytes
    cdef Table table
    # Decodes one whole header block (all fragments joined) and adds its fields to `into`, tokens set, NEVER_INDEX kept.
    # On HPACK_TOO_LARGE `into` holds a part and is to be cleared. Returns a HpackResult; raises only MemoryError (-1).
    cdef int decode(self, const uint8_t* p, Py_ssize_t n, FieldList into) except -1
    cdef int fail(self, const char* reason) noexcept
    cdef int string(self, const uint8_t** p, const uint8_t* end, FieldList into, uint32_t* length) except -1


cdef class Encoder:
    cdef readonly uint32_t table_size           # bytes; the table in use now
    cdef Table table
    cdef uint32_t lowest_size                   # bytes; the smallest size since the last block
    cdef uint32_t most                          # bytes; what we never go beyond, whatever the peer allows
    cdef bint size_changed                      # the next block begins with a size update
    cdef uint32_t seen[SEEN_SETS][SEEN_WAYS]    # see "What is indexed" in hpack.pyx
    cdef uint32_t dice                          # pseudo-random state: which hash in `seen` is replaced
    cdef uint32_t pairs[PAIR_BUCKETS]           # by hash of name and value: number of the newest entry
    cdef uint32_t names[NAME_BUCKETS]           # by hash of the name
    # The peer's SETTINGS_HEADER_TABLE_SIZE. We never use more than OUR_TABLE (limits.pxd); a change is announced at the
    # start of the next block, lowest and last value where it went down and up again.
    cdef int set_peer_table_size(self, uint32_t size) except -1
    # A smaller table than OUR_TABLE, to save memory; before the first block.
    cdef int keep_within(self, uint32_t size) except -1
    # Call once at the start of each block, before its first field().
    cdef int begin(self, OutBuffer out) except -1
    # Appends one field. The name must be lower case already when `lower` is False; otherwise it is lowered on the way.
    # The token is what token_of() says of the name: secrets are recognised by it.
    cdef int field(self, OutBuffer out, const uint8_t* name, Py_ssize_t name_len,
                   const uint8_t* value, Py_ssize_t value_len, uint16_t token, uint16_t flags, bint lower) except -1
    # Appends :status; one byte for the seven of the static table.
    cdef int status(self, OutBuffer out, int status) except -1
    # begin() and every field of the list.
    cdef int encode(self, OutBuffer out, FieldList fields) except -1


# As Python's Decoder(...) and Encoder(), for callers in C.
cdef Decoder new_decoder(uint32_t max_table_size, uint32_t max_list_size, uint32_t max_fields)
cdef Encoder new_encoder()
