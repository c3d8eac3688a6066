"""HPACK as Python objects: blocks in bytes, fields as (name, value, flags)."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport Field, FieldList, token_of
from lambda_dispatch_core.hpack cimport hpack
from lambda_dispatch_core.hpack.hpack cimport HPACK_ERROR, HPACK_OK, HPACK_TOO_LARGE
from lambda_dispatch_core.hpack.table cimport STATIC_LAST, Entry, Table, table_at
from lambda_dispatch_core.hpack.hpack import HeaderListTooLarge, HpackError


@cython.final
cdef class Decoder:
    cdef hpack.Decoder inner

    def __init__(self, uint32_t max_table_size=4096, uint32_t max_list_size=65536, uint32_t max_fields=200):
        self.inner = hpack.new_decoder(max_table_size, max_list_size, max_fields)

    def decode_block(self, bytes block not None):
        """The fields of one block as (name, value, flags); raises HpackError or HeaderListTooLarge."""
        cdef FieldList fields = FieldList.__new__(FieldList)
        cdef int done = self.inner.decode(<const uint8_t*> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), fields)
        if done == HPACK_ERROR:
            raise HpackError((<bytes> self.inner.reason).decode("ascii"))
        if done == HPACK_TOO_LARGE:
            raise HeaderListTooLarge(
                f"a header list has more than {self.inner.max_list_size} bytes or {self.inner.max_fields} fields")
        return [(name, value, flags) for (name, value), flags in zip(fields.pairs(), fields.flags(), strict=True)]

    def decode_tokens(self, bytes block not None):
        """The tokens of one block's fields; empty when it is refused."""
        cdef FieldList fields = FieldList.__new__(FieldList)
        cdef int i
        if self.inner.decode(<const uint8_t*> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), fields) != HPACK_OK:
            return []
        return [fields.at[i].token for i in range(fields.count)]

    def decode_room(self, bytes block not None):
        """Bytes of memory that one block takes while it is decoded, whatever the result."""
        cdef FieldList fields = FieldList.__new__(FieldList)
        self.inner.decode(<const uint8_t*> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), fields)
        return fields.arena_room + fields.room * sizeof(Field)

    def decode_times(self, bytes block not None, int times):
        """Decodes the same block many times into the same list (benchmarks); returns the last HpackResult."""
        cdef FieldList fields = FieldList.__new__(FieldList)
        cdef int done = HPACK_OK
        for _ in range(times):
            fields.clear()
            done = self.inner.decode(<const uint8_t*> PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block), fields)
        return done

    def table_entries(self):
        """The dynamic table as (name, value), newest first."""
        return table_list(&self.inner.table)

    @property
    def max_table_size(self):
        return self.inner.max_table_size

    @property
    def max_list_size(self):
        return self.inner.max_list_size

    @max_list_size.setter
    def max_list_size(self, uint32_t size):
        self.inner.max_list_size = size

    @property
    def max_fields(self):
        return self.inner.max_fields

    @max_fields.setter
    def max_fields(self, uint32_t fields):
        self.inner.max_fields = fields

    @property
    def table_size(self):
        """The table's size limit in force, in bytes."""
        return self.inner.table.limit

    @property
    def table_used(self):
        """Bytes in use, as RFC 7541 4.1 counts."""
        return self.inner.table.size


@cython.final
cdef class Encoder:
    cdef hpack.Encoder inner

    def __cinit__(self):
        self.inner = hpack.new_encoder()

    def encode_block(self, fields not None, bint lower=False):
        """A block of (name, value) or (name, value, flags) in bytes."""
        cdef OutBuffer out = OutBuffer.__new__(OutBuffer)
        cdef bytes name, value
        cdef const uint8_t* p
        self.inner.begin(out)
        for name, value, *flags in fields:
            p = <const uint8_t*> PyBytes_AS_STRING(name)
            self.inner.field(out, p, PyBytes_GET_SIZE(name), <const uint8_t*> PyBytes_AS_STRING(value),
                             PyBytes_GET_SIZE(value), token_of(p, PyBytes_GET_SIZE(name)), flags[0] if flags else 0,
                             lower)
        return out.take()

    def encode_times(self, FieldList fields not None, int times):
        """Encodes the same fields many times over the same octets (benchmarks); returns the last block."""
        cdef OutBuffer out = OutBuffer.__new__(OutBuffer)
        for _ in range(times):
            out.length = 0
            self.inner.encode(out, fields)
        return out.take()

    def encode_status(self, int status):
        """A block of :status alone."""
        cdef OutBuffer out = OutBuffer.__new__(OutBuffer)
        self.inner.begin(out)
        self.inner.status(out, status)
        return out.take()

    def set_table_size(self, uint32_t size):
        """The peer's SETTINGS_HEADER_TABLE_SIZE."""
        self.inner.set_peer_table_size(size)

    def table_entries(self):
        """The dynamic table as (name, value), newest first."""
        return table_list(&self.inner.table)

    @property
    def table_size(self):
        return self.inner.table_size


cdef list table_list(Table* t):
    cdef uint32_t index
    cdef Entry* e
    cdef list entries = []
    for index in range(STATIC_LAST + 1, STATIC_LAST + 1 + t.count):
        e = table_at(t, index)
        entries.append(((t.store + e.start)[:e.name_len], (t.store + e.start + e.name_len)[:e.value_len]))
    return entries
