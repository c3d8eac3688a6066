"""HPACK's dynamic table (RFC 7541 section 4), inline for hpack.pyx alone.

Entries stand in a ring by age; their octets, name and value side by side, stand in one flat store that is filled round
and round. An entry never wraps: one that does not fit before the end begins at 0 again. Since at most `capacity` octets
live at a time and the gap left at the end is smaller than one entry, a store of twice the capacity never runs over
what lives. Memory is taken when the first entry comes: peers that never index cost nothing.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy


cdef enum:
    ENTRY_OVERHEAD = 32         # bytes an entry counts beyond its octets (RFC 7541 4.1)
    STATIC_LAST = 61            # the static table's last index; dynamic indices follow


cdef struct Entry:
    uint32_t start              # where in the store the name begins; the value follows it
    uint32_t name_len           # bytes
    uint32_t value_len          # bytes
    uint16_t token              # a Token of fields.pxd
    # the encoder's alone:
    uint32_t pair_hash          # of name and value
    uint32_t older_pair         # the entry before it in the same bucket of pairs, by number
    uint32_t older_name         # likewise of names


cdef struct Table:
    uint8_t* store              # 2 * capacity bytes, or NULL while nothing was ever added
    Entry* ring                 # mask + 1 entries
    uint32_t mask               # the entry numbered n is ring[n & mask]
    uint32_t capacity           # bytes `limit` may ever be
    uint32_t limit              # bytes; the size in force now (RFC 7541 4.2)
    uint32_t size               # bytes in use as RFC 7541 4.1 counts; size <= limit
    uint32_t count              # entries in use
    uint32_t next               # number of the entry to come; numbers grow by one and wrap at 2**32
    uint32_t head               # where in the store the next entry's octets go, if they fit


cdef inline void table_init(Table* t, uint32_t capacity, uint32_t limit) noexcept nogil:
    t.store = NULL
    t.ring = NULL
    t.mask = 0
    t.capacity = capacity
    t.limit = limit
    t.size = 0
    t.count = 0
    t.next = 1          # so that 0 is no entry's number at first
    t.head = 0


cdef inline void table_free(Table* t) noexcept nogil:
    free(t.store)
    free(t.ring)


cdef inline int table_allocate(Table* t) except -1:
    cdef uint32_t entries = 1
    while entries < t.capacity // ENTRY_OVERHEAD:       # room is made before an entry is added
        entries *= 2
    t.ring = <Entry*> calloc(entries, sizeof(Entry))
    t.store = <uint8_t*> malloc(2 * <size_t> t.capacity)
    if t.ring == NULL or t.store == NULL:
        free(t.ring)
        free(t.store)
        t.ring = NULL
        t.store = NULL
        raise MemoryError()
    t.mask = entries - 1
    return 0


# Whether the entry with this number is in the table (true or false, never wrong while numbers are younger than 2**32).
cdef inline bint table_alive(Table* t, uint32_t number) noexcept nogil:
    return <uint32_t> (t.next - number - 1) < t.count


# The entry of an HPACK index above STATIC_LAST, or NULL.
cdef inline Entry* table_at(Table* t, uint32_t index) noexcept nogil:
    index -= STATIC_LAST + 1
    if index >= t.count:
        return NULL
    return &t.ring[(t.next - 1 - index) & t.mask]


cdef inline Entry* table_oldest(Table* t) noexcept nogil:
    return &t.ring[(t.next - t.count) & t.mask]


cdef inline void table_evict(Table* t) noexcept nogil:
    cdef Entry* e = table_oldest(t)
    t.size -= e.name_len + e.value_len + ENTRY_OVERHEAD
    t.count -= 1


cdef inline void table_resize(Table* t, uint32_t limit) noexcept nogil:
    t.limit = limit
    while t.size > limit:
        table_evict(t)


# Adds an entry, evicting what must go (RFC 7541 4.4). `added` becomes the entry, or NULL when it is larger than the
# whole table, which then is empty. The octets must not be the table's own.
cdef inline int table_add(Table* t, const uint8_t* name, Py_ssize_t name_len, const uint8_t* value,
                          Py_ssize_t value_len, uint16_t token, Entry** added) except -1:
    cdef Py_ssize_t length = name_len + value_len
    cdef uint8_t* to
    cdef Entry* e
    added[0] = NULL
    if length + ENTRY_OVERHEAD > t.limit:
        t.size = 0
        t.count = 0
        return 0
    while t.size + length + ENTRY_OVERHEAD > t.limit:
        table_evict(t)
    if t.store == NULL:
        table_allocate(t)
    if t.head + length > 2 * <Py_ssize_t> t.capacity:
        t.head = 0
    to = t.store + t.head
    memcpy(to, name, name_len)
    memcpy(to + name_len, value, value_len)
    e = &t.ring[t.next & t.mask]
    e.start = t.head
    e.name_len = <uint32_t> name_len
    e.value_len = <uint32_t> value_len
    e.token = token
    t.head += <uint32_t> length
    t.size += <uint32_t> length + ENTRY_OVERHEAD
    t.count += 1
    t.next += 1
    added[0] = e
    return 0
