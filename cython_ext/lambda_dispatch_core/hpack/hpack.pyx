"""HPACK (RFC 7541): header blocks to fields and back.

The shape of it. Both ends of one direction of a connection keep the same dynamic table: a ring of (name, value)
entries, newest first, that the encoder steers. A field in a block is an index into static and dynamic table together,
or a literal that says whether it joins the table. So one octet lost or misread spoils all that follows: every error
here is the connection's, with one exception. A header list that is merely too large for us is its request's fault
alone: the decoder then goes on without keeping fields, so that the table stays in step.

What the decoder bounds. Integers have at most five octets after the prefix and fit 32 bits, whatever zeros they are
padded with (RFC 7541 5.1 asks for a limit on both). Before anything of an indexed field is copied its size is counted
against max_list_size: a block of one-octet references to a large entry costs nothing. A literal is decoded before it
is counted, but cannot be larger than 8/5 of the block it came in, which the session bounds. The dynamic table's memory
is bounded by what we announced, or by the protocol's first 4,096 bytes, which a peer that has not yet seen our
SETTINGS may use.

What is indexed. An entry is worth its place when it is used again before FIFO order pushes it out; one that is not
costs twice, since what it displaced comes back as a literal. So:

* Fields whose values hardly ever change on one connection (`stable`: content-type, server, user-agent, ...) are added
  at first sight.
* Everything else is added at second sight: `seen` keeps hashes of fields that were lately sent as literals. A path with
  an id in it or an etag passes once and leaves the table alone; a channel's path, the date within one second, a
  browser's cookie come again and are added. When a field is added its hash is forgotten: pushed out of the table, it
  must earn its place again.
* A new hash takes the place of any of the four in its set, by chance: an order by age would never let in five fields
  that take turns in one set. When L fields take turns and are too many for the table (a hundred channels on one
  connection, each with its own path), a share of (3/4) ** (L / 16) of them is seen again: never more than 21 in one
  round, which is less than the table holds of ordinary size. So what is added is used before it is pushed out, and
  with many hundreds in turn the table is left to those fields that do repeat.
* Fields that would take more than half of the table are never added.
* authorization, proxy-authorization, the shared secret, and cookies below 20 bytes are never-indexed literals (RFC 7541
  7.1.3): who can make us send guesses of his and watch sizes could find out short secrets. So is whatever arrived as a
  never-indexed literal.

How it is found. Two hash tables, of whole fields and of names, hold the number of the newest entry in each bucket; an
entry holds the number of the next older one. Numbers only grow, and an entry is alive while its number is among the
last `count`; so eviction touches no chain: a walk ends at the first number that is dead, since all after it are older.
Chains cannot be longer than the table (128 entries), whatever hashes an attacker finds. Known names are hashed and
compared by token. The static table is asked first, by token or by the name's hash: entries of one name stand together
there, so a match is a few compares.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport (
    NEVER_INDEX, TOKENS, T_ACCEPT, T_ACCEPT_ENCODING, T_AUTHORITY, T_AUTHORIZATION, T_CACHE_CONTROL,
    T_CONTENT_ENCODING, T_CONTENT_TYPE, T_COOKIE, T_HOST, T_METHOD, T_PROXY_AUTHORIZATION, T_SCHEME, T_SERVER,
    T_SET_COOKIE, T_STATUS, T_TE, T_USER_AGENT, T_VARY, T_VIA, T_X_FORWARDED_PORT, T_X_FORWARDED_PROTO,
    T_X_LAMBDA_DISPATCH_BUILD_TIME, T_X_LAMBDA_DISPATCH_SECRET, T_X_LAMBDA_DISPATCH_VERSION, T_X_LAMBDA_NAME,
    T_X_POOL_ID, Field, FieldList, token_of
)
from lambda_dispatch_core.hpack.primitives cimport (
    INTEGER_ROOM, huffman_decode, huffman_room, read_integer, write_integer, write_string
)
from lambda_dispatch_core.hpack.table cimport (
    ENTRY_OVERHEAD, STATIC_LAST, Entry, Table, table_add, table_alive, table_at, table_free, table_init, table_resize
)
from lambda_dispatch_core.bytes.limits cimport OUR_TABLE

cdef extern from "hpack/tables.h" nogil:
    ctypedef struct hpack_static_entry:
        const char* name
        const char* value
        uint32_t name_len
        uint32_t value_len
    const hpack_static_entry hpack_static[STATIC_LAST + 1]

cdef enum:
    FIRST_TABLE = 4096          # bytes; both sides' table before any SETTINGS (RFC 9113 6.5.2)
    LARGEST_TABLE = 1 << 24     # bytes; a decoder's table above that is a mistake in a configuration
    SHORT_COOKIE = 20           # bytes; below it a cookie can be guessed octet by octet
    STATIC_BUCKETS = 256        # for 52 names; a power of two

cdef uint16_t static_token[STATIC_LAST + 1]     # each static entry's token
cdef uint8_t static_of_token[TOKENS]            # the first static entry with this token's name, or 0
cdef uint8_t static_of_name[STATIC_BUCKETS]     # open addressing by hash of the name: its first static entry, or 0
cdef uint8_t static_more[STATIC_LAST + 1]       # how many entries with the same name follow this one
cdef bint stable[TOKENS]                        # values hardly ever change: index at first sight


class HpackError(ValueError):
    """A header block that breaks RFC 7541; the connection it came on is lost."""


class HeaderListTooLarge(ValueError):
    """A header block with more bytes or fields than allowed; the decoder can go on with the next one."""


cdef inline uint64_t mixed(uint64_t h) noexcept nogil:
    h *= 0x9E3779B97F4A7C15ULL
    return h ^ (h >> 32)


cdef inline uint32_t hash_of(const uint8_t* p, Py_ssize_t n, uint64_t seed) noexcept nogil:
    cdef uint64_t h = seed ^ <uint64_t> n, load
    cdef uint32_t low, high
    if n >= 8:
        while n > 8:
            memcpy(&load, p, 8)
            h = mixed(h ^ load)
            p += 8
            n -= 8
        memcpy(&load, p + n - 8, 8)
    elif n >= 4:
        memcpy(&low, p, 4)
        memcpy(&high, p + n - 4, 4)
        load = <uint64_t> high << 32 | low
    elif n > 0:
        load = <uint64_t> p[0] << 16 | <uint64_t> p[n >> 1] << 8 | p[n - 1]
    else:
        load = 0
    return <uint32_t> mixed(mixed(h ^ load))


cdef inline uint32_t hash_of_name(const uint8_t* p, Py_ssize_t n, uint16_t token) noexcept nogil:
    return <uint32_t> mixed(token) if token else hash_of(p, n, 0)


cdef inline bint same(const uint8_t* a, const uint8_t* b, Py_ssize_t n) noexcept nogil:
    return memcmp(a, b, n) == 0


# The first static entry with this name, or 0.
cdef inline uint32_t static_by_name(const uint8_t* name, Py_ssize_t n, uint32_t hashed) noexcept nogil:
    cdef uint32_t slot = hashed & (STATIC_BUCKETS - 1), index
    while True:
        index = static_of_name[slot]
        if index == 0:
            return 0
        if hpack_static[index].name_len == <uint32_t> n and same(<const uint8_t*> hpack_static[index].name, name, n):
            return index
        slot = (slot + 1) & (STATIC_BUCKETS - 1)


cdef void prepare() noexcept:
    cdef uint32_t index, first = 0, slot
    cdef const uint8_t* name
    cdef uint16_t token
    for index in range(1, STATIC_LAST + 1):
        name = <const uint8_t*> hpack_static[index].name
        if first and hpack_static[first].name_len == hpack_static[index].name_len and \
                same(<const uint8_t*> hpack_static[first].name, name, hpack_static[index].name_len):
            static_token[index] = static_token[first]
            for slot in range(first, index):
                static_more[slot] += 1
            continue
        first = index
        token = token_of(name, hpack_static[index].name_len)
        static_token[index] = token
        if token:
            static_of_token[token] = index
        slot = hash_of(name, hpack_static[index].name_len, 0) & (STATIC_BUCKETS - 1)
        while static_of_name[slot]:
            slot = (slot + 1) & (STATIC_BUCKETS - 1)
        static_of_name[slot] = index
    for token in (
        T_METHOD, T_SCHEME, T_AUTHORITY, T_STATUS, T_HOST, T_SERVER, T_USER_AGENT, T_VIA, T_VARY, T_TE, T_ACCEPT,
        T_ACCEPT_ENCODING, T_CACHE_CONTROL, T_CONTENT_TYPE, T_CONTENT_ENCODING, T_X_POOL_ID, T_X_LAMBDA_NAME,
        T_X_FORWARDED_PORT, T_X_FORWARDED_PROTO, T_X_LAMBDA_DISPATCH_BUILD_TIME, T_X_LAMBDA_DISPATCH_VERSION
    ):
        stable[token] = True


prepare()


@cython.final
cdef class Decoder:

    def __cinit__(self, uint32_t max_table_size=4096, uint32_t max_list_size=65536, uint32_t max_fields=200):
        if max_table_size > LARGEST_TABLE:
            raise ValueError(f"a header table of {max_table_size} bytes is asked for, the most is {LARGEST_TABLE}")
        self.max_table_size = max_table_size
        self.max_list_size = max_list_size
        self.max_fields = max_fields
        self.reason = ""
        table_init(&self.table, max(max_table_size, <uint32_t> FIRST_TABLE), FIRST_TABLE)

    def __dealloc__(self):
        table_free(&self.table)

    cdef int fail(self, const char* reason) noexcept:
        self.reason = reason
        return HPACK_ERROR

    # Decodes the string literal at p[0], moves p behind it, and leaves its octets at the arena's end without taking
    # them into arena_len.
    cdef int string(self, const uint8_t** p, const uint8_t* end, FieldList into, uint32_t* length) except -1:
        cdef const uint8_t* at = p[0]
        cdef bint huffman
        cdef uint8_t* to
        cdef Py_ssize_t n
        if at == end:
            return self.fail("a header block ends where a string should begin")
        huffman = at[0] >> 7
        at = read_integer(at, end, 0x7F, length)
        if at == NULL:
            return self.fail("a string's length is cut short or too large")
        n = length[0]
        if n > end - at:
            return self.fail("a string is longer than its header block")
        p[0] = at + n
        if not huffman:
            to = into.arena_reserve(n)
            memcpy(to, at, n)
            return HPACK_OK
        to = into.arena_reserve(huffman_room(n))
        n = huffman_decode(at, n, to)
        if n < 0:
            return self.fail("a string has EOS or wrong padding in its Huffman code")
        length[0] = <uint32_t> n
        return HPACK_OK

    cdef int decode(self, const uint8_t* p, Py_ssize_t n, FieldList into) except -1:
        cdef const uint8_t* end = p + n
        cdef const uint8_t* name
        cdef uint8_t* to
        cdef uint8_t octet
        cdef uint32_t index, name_len, value_len
        cdef uint64_t total = 0
        cdef uint32_t fields = 0
        cdef uint16_t token, flags
        cdef Entry* e
        cdef int done
        cdef bint too_large = False
        cdef Py_ssize_t mark
        while p < end:
            octet = p[0]
            if octet >= 0x80:
                # indexed field (6.1)
                p = read_integer(p, end, 0x7F, &index)
                if p == NULL:
                    return self.fail("an index is cut short or too large")
                fields += 1
                if index <= STATIC_LAST:
                    if index == 0:
                        return self.fail("index 0 was used")
                    name_len = hpack_static[index].name_len
                    value_len = hpack_static[index].value_len
                    total += name_len + value_len + ENTRY_OVERHEAD
                    too_large = too_large or total > self.max_list_size or fields > self.max_fields
                    if not too_large:
                        into.add(<const uint8_t*> hpack_static[index].name, name_len,
                                 <const uint8_t*> hpack_static[index].value, value_len, static_token[index], 0)
                    continue
                e = table_at(&self.table, index)
                if e == NULL:
                    return self.fail("an index beyond the dynamic table was used")
                total += <uint64_t> e.name_len + e.value_len + ENTRY_OVERHEAD
                too_large = too_large or total > self.max_list_size or fields > self.max_fields
                if not too_large:
                    n = <Py_ssize_t> e.name_len + e.value_len
                    to = into.arena + into.arena_len if n < into.arena_room - into.arena_len else into.arena_reserve(n)
                    memcpy(to, self.table.store + e.start, n)
                    into.arena_len += n
                    into.add(to, e.name_len, to + e.name_len, e.value_len, e.token, 0)
                continue
            if octet & 0xE0 == 0x20:
                # size update (6.3)
                if fields:
                    return self.fail("a table size update is not at the start of a header block")
                p = read_integer(p, end, 0x1F, &index)
                if p == NULL or index > self.max_table_size:
                    return self.fail("a table size update is above what SETTINGS allow")
                table_resize(&self.table, index)
                continue
            # literals: with indexing (6.2.1), without (6.2.2), never indexed (6.2.3)
            flags = NEVER_INDEX if octet & 0xF0 == 0x10 else 0
            p = read_integer(p, end, 0x3F if octet & 0x40 else 0x0F, &index)
            if p == NULL:
                return self.fail("an index is cut short or too large")
            fields += 1
            mark = into.arena_len
            if index == 0:
                done = self.string(&p, end, into, &name_len)
                if done:
                    return done
                token = token_of(into.arena + into.arena_len, name_len)
            else:
                if index <= STATIC_LAST:
                    name = <const uint8_t*> hpack_static[index].name
                    name_len = hpack_static[index].name_len
                    token = static_token[index]
                else:
                    e = table_at(&self.table, index)
                    if e == NULL:
                        return self.fail("an index beyond the dynamic table was used")
                    name = self.table.store + e.start
                    name_len = e.name_len
                    token = e.token
                memcpy(into.arena_reserve(name_len), name, name_len)
            into.arena_len += name_len
            done = self.string(&p, end, into, &value_len)
            if done:
                return done
            into.arena_len += value_len
            to = into.arena + mark
            if octet & 0x40:
                table_add(&self.table, to, name_len, to + name_len, value_len, token, &e)
            total += <uint64_t> name_len + value_len + ENTRY_OVERHEAD
            too_large = too_large or total > self.max_list_size or fields > self.max_fields
            if too_large:
                into.arena_len = mark
            else:
                into.add(to, name_len, to + name_len, value_len, token, flags)
        return HPACK_TOO_LARGE if too_large else HPACK_OK


@cython.final
cdef class Encoder:

    def __cinit__(self):
        table_init(&self.table, OUR_TABLE, FIRST_TABLE)
        self.table_size = FIRST_TABLE
        self.most = OUR_TABLE
        self.lowest_size = FIRST_TABLE
        self.size_changed = False
        self.dice = 0
        memset(self.seen, 0, sizeof(self.seen))
        memset(self.pairs, 0, sizeof(self.pairs))
        memset(self.names, 0, sizeof(self.names))

    def __dealloc__(self):
        table_free(&self.table)

    cdef int set_peer_table_size(self, uint32_t size) except -1:
        if size > self.most:
            size = self.most
        if size != self.table.limit:
            if not self.size_changed:
                self.lowest_size = size
            self.lowest_size = min(self.lowest_size, size)
            self.size_changed = True
            self.table_size = size
            table_resize(&self.table, size)
        return 0

    cdef int keep_within(self, uint32_t size) except -1:
        self.most = size
        if self.table.store == NULL:
            self.table.capacity = size
        return self.set_peer_table_size(min(size, self.table.limit))

    cdef int begin(self, OutBuffer out) except -1:
        cdef uint8_t* start
        cdef uint8_t* to
        if self.size_changed:
            start = to = out.reserve(2 * INTEGER_ROOM)
            if self.lowest_size < self.table.limit:
                to = write_integer(to, 0x20, 0x1F, self.lowest_size)
            to = write_integer(to, 0x20, 0x1F, self.table.limit)
            out.length += to - start
            self.size_changed = False
        return 0

    cdef int field(self, OutBuffer out, const uint8_t* name, Py_ssize_t name_len,
                   const uint8_t* value, Py_ssize_t value_len, uint16_t token, uint16_t flags, bint lower) except -1:
        cdef uint8_t lowered[LOWERED]
        cdef Py_ssize_t i
        cdef uint32_t index, last, number, name_hash, pair_hash
        cdef uint32_t name_index = 0
        cdef uint8_t pattern = 0            # literal without indexing
        cdef uint8_t mask = 0x0F
        cdef Entry* e
        cdef uint8_t* start = out.reserve(name_len + value_len + 3 * INTEGER_ROOM)
        cdef uint8_t* to = start
        if lower and static_of_token[token]:
            name = <const uint8_t*> hpack_static[static_of_token[token]].name
        elif lower:
            if name_len > LOWERED:
                return write_lowered(out, to, name, name_len, value, value_len, flags)
            for i in range(name_len):
                lowered[i] = name[i] | 0x20 if 0x41 <= name[i] <= 0x5A else name[i]
            name = lowered
        name_hash = hash_of_name(name, name_len, token)
        if token:
            index = static_of_token[token]
        else:
            index = static_by_name(name, name_len, name_hash)
            if index:
                token = static_token[index]
                name_hash = hash_of_name(name, name_len, token)
        name_index = index
        if flags & NEVER_INDEX or token == T_AUTHORIZATION or token == T_PROXY_AUTHORIZATION or \
                token == T_X_LAMBDA_DISPATCH_SECRET or \
                ((token == T_COOKIE or token == T_SET_COOKIE) and value_len < SHORT_COOKIE):
            pattern = 0x10
        else:
            if index:
                last = index + static_more[index]
                while index <= last:
                    if hpack_static[index].value_len == <uint32_t> value_len and \
                            same(<const uint8_t*> hpack_static[index].value, value, value_len):
                        to[0] = <uint8_t> (0x80 | index)
                        out.length += 1
                        return 0
                    index += 1
            if 2 * (name_len + value_len + ENTRY_OVERHEAD) <= <Py_ssize_t> self.table.limit:
                pair_hash = hash_of(value, value_len, name_hash)
                number = self.pairs[pair_hash & (PAIR_BUCKETS - 1)]
                while table_alive(&self.table, number):
                    e = &self.table.ring[number & self.table.mask]
                    if e.pair_hash == pair_hash and is_name(&self.table, e, name, name_len, token) and \
                            e.value_len == <uint32_t> value_len and \
                            same(self.table.store + e.start + e.name_len, value, value_len):
                        to = write_integer(to, 0x80, 0x7F, STATIC_LAST + self.table.next - number)
                        out.length += to - start
                        return 0
                    number = e.older_pair
                if stable[token]:
                    pattern = 0x40
                elif was_seen(self.seen[pair_hash & (SEEN_SETS - 1)], pair_hash, &self.dice):
                    pattern = 0x40
        if name_index == 0:
            number = self.names[name_hash & (NAME_BUCKETS - 1)]
            while table_alive(&self.table, number):
                e = &self.table.ring[number & self.table.mask]
                if is_name(&self.table, e, name, name_len, token):
                    name_index = STATIC_LAST + self.table.next - number
                    break
                number = e.older_name
        if pattern == 0x40:
            mask = 0x3F
        to = write_integer(to, pattern, mask, name_index)
        if name_index == 0:
            to = write_string(to, name, name_len)
        to = write_string(to, value, value_len)
        out.length += to - start
        if pattern == 0x40:
            number = self.table.next
            table_add(&self.table, name, name_len, value, value_len, token, &e)
            e.pair_hash = pair_hash
            e.older_pair = self.pairs[pair_hash & (PAIR_BUCKETS - 1)]
            e.older_name = self.names[name_hash & (NAME_BUCKETS - 1)]
            self.pairs[pair_hash & (PAIR_BUCKETS - 1)] = number
            self.names[name_hash & (NAME_BUCKETS - 1)] = number
        return 0

    cdef int status(self, OutBuffer out, int status) except -1:
        cdef uint8_t digits[3]
        digits[0] = <uint8_t> (48 + status // 100 % 10)
        digits[1] = <uint8_t> (48 + status // 10 % 10)
        digits[2] = <uint8_t> (48 + status % 10)
        return self.field(out, <const uint8_t*> ":status", 7, digits, 3, T_STATUS, 0, False)

    cdef int encode(self, OutBuffer out, FieldList fields) except -1:
        cdef int i
        cdef Field* f
        self.begin(out)
        for i in range(fields.count):
            f = &fields.at[i]
            self.field(out, f.name, f.name_len, f.value, f.value_len, f.token, f.flags, False)
        return 0


# Whether the hash is in the set; forgets it if so, otherwise remembers it in place of any.
cdef inline bint was_seen(uint32_t* ways, uint32_t pair_hash, uint32_t* dice) noexcept nogil:
    cdef int way
    for way in range(SEEN_WAYS):
        if ways[way] == pair_hash:
            ways[way] = 0
            return True
    dice[0] = dice[0] * 1664525 + 1013904223
    ways[dice[0] >> 30] = pair_hash
    return False


cdef inline bint is_name(Table* t, Entry* e, const uint8_t* name, Py_ssize_t n, uint16_t token) noexcept nogil:
    if token or e.token:
        return e.token == token
    return e.name_len == <uint32_t> n and same(t.store + e.start, name, n)


# A literal whose name is too long to be lowered on the stack; plain octets, lowered where they come to stand.
cdef int write_lowered(OutBuffer out, uint8_t* start, const uint8_t* name, Py_ssize_t name_len,
                       const uint8_t* value, Py_ssize_t value_len, uint16_t flags) except -1:
    cdef Py_ssize_t i
    cdef uint8_t* to
    start[0] = 0x10 if flags & NEVER_INDEX else 0
    to = write_integer(start + 1, 0, 0x7F, <uint32_t> name_len)
    for i in range(name_len):
        to[i] = name[i] | 0x20 if 0x41 <= name[i] <= 0x5A else name[i]
    to = write_string(to + name_len, value, value_len)
    out.length += to - start
    return 0


cdef Decoder new_decoder(uint32_t max_table_size, uint32_t max_list_size, uint32_t max_fields):
    return Decoder.__new__(Decoder, max_table_size, max_list_size, max_fields)


cdef Encoder new_encoder():
    return Encoder.__new__(Encoder)
