"""Heads in both directions; what each function promises stands in heads.pxd."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, strlen
from posix.strings cimport strncasecmp

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport (
    LAST_HOP, LAST_PSEUDO, T_AUTHORITY, T_CONTENT_LENGTH, T_ETAG, T_EXPECT, T_HOST, T_METHOD, T_PATH, T_SCHEME, T_TE,
    T_TRANSFER_ENCODING, T_UPGRADE, T_X_CHANNEL_ID, T_X_LAMBDA_ID, T_X_POOL_ID, Field, FieldList,
)
from lambda_dispatch_core.bytes.literal cimport is_lit
from lambda_dispatch_core.http1.head cimport (
    RequestHead, ResponseHead, named_by_connection, parse_size, write_field, write_status_line,
)


cdef inline int text(OutBuffer out, const char* p, Py_ssize_t n) except -1:
    return out.write(<const uint8_t*> p, n)


cdef int write_lines(OutBuffer out, bytes lines) except -1:
    return text(out, PyBytes_AS_STRING(lines), PyBytes_GET_SIZE(lines))


# By length and first byte.
cdef bint idempotent(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    if n == 3:
        return memcmp(p, "GET", 3) == 0 or memcmp(p, "PUT", 3) == 0
    if n == 4:
        return memcmp(p, "HEAD", 4) == 0
    if n == 5:
        return memcmp(p, "TRACE", 5) == 0
    if n == 6:
        return memcmp(p, "DELETE", 6) == 0
    return n == 7 and memcmp(p, "OPTIONS", 7) == 0


# Methods whose requests have no body unless they say so.
cdef bint bodiless(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    return idempotent(p, n) and not (n == 3 and p[0] == 0x50)


cdef enum:
    LAMBDAS_SHORTEST = 15
    LAMBDAS_LONGEST = 22


# What an application believes to come from Lambda itself, because direct events bring it: no client may say it.
cdef bint lambdas(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    if n == 15:
        return strncasecmp(<const char*> p, "x-amz-tenant-id", 15) == 0
    if n == 21:
        return strncasecmp(<const char*> p, "x-amzn-lambda-context", 21) == 0
    return n == 22 and strncasecmp(<const char*> p, "x-amzn-request-context", 22) == 0


cdef int write_request_head(OutBuffer out, const RequestHead* head, FieldList fields, bytes ids, bint ended,
                            bint upgrade, int64_t* length) except -1:
    cdef Field* f
    cdef Field* announced = NULL
    cdef Field* protocol
    cdef bint chunked = False
    cdef int i
    out.write(head.method, head.method_len)
    text(out, " ", 1)
    out.write(head.target, head.target_len)
    text(out, " HTTP/1.1\r\n", 11)
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token:
            if LAST_PSEUDO < f.token <= LAST_HOP:
                chunked = chunked or f.token == T_TRANSFER_ENCODING
                continue
            if f.token == T_EXPECT or T_X_POOL_ID <= f.token <= T_X_CHANNEL_ID:
                continue
            if f.token == T_CONTENT_LENGTH:
                announced = f
                continue
        elif LAMBDAS_SHORTEST <= f.name_len <= LAMBDAS_LONGEST and lambdas(f.name, f.name_len):
            continue
        if head.connection_options and named_by_connection(fields, f.name, f.name_len):
            continue
        write_field(out, f.name, f.name_len, f.value, f.value_len)
    write_lines(out, ids)
    if upgrade:
        length[0] = -1
        protocol = fields.find(T_UPGRADE)
        write_upgrade(out, protocol)
        text(out, "\r\n", 2)
        return UPGRADE
    length[0] = parse_size(announced.value, announced.value_len) if announced != NULL and not chunked else -1
    if length[0] >= 0:
        write_field(out, announced.name, announced.name_len, announced.value, announced.value_len)
        text(out, "\r\n", 2)
        return LENGTH
    if chunked:
        return end_request_head(out, True)
    if ended:
        return end_request_head(out, False)
    if bodiless(head.method, head.method_len):
        return UNSETTLED
    return end_request_head(out, True)


# Hop by hop, so that these two are written for each hop.
cdef int write_upgrade(OutBuffer out, const Field* protocol) except -1:
    text(out, "Connection: Upgrade\r\n", 21)
    return write_field(out, protocol.name, protocol.name_len, protocol.value, protocol.value_len)


# `name` is a literal of ours.
cdef inline int put(FieldList to, const char* name, const uint8_t* value, Py_ssize_t n, uint16_t token) except -1:
    return to.add(<const uint8_t*> name, strlen(name), value, n, token, 0)


# Nearly always there is nothing to lower, and the name is borrowed like the value.
cdef int put_lower(FieldList to, const Field* f) except -1:
    cdef uint8_t* name
    cdef uint32_t i = 0
    while i < f.name_len and not 0x41 <= f.name[i] <= 0x5A:
        i += 1
    if i == f.name_len:
        return to.add(f.name, f.name_len, f.value, f.value_len, f.token, f.flags)
    name = to.arena_reserve(f.name_len)
    for i in range(f.name_len):
        name[i] = f.name[i] | 0x20 if 0x41 <= f.name[i] <= 0x5A else f.name[i]
    to.arena_len += f.name_len
    return to.add(name, f.name_len, f.value, f.value_len, f.token, f.flags)


cdef int64_t fill_request_head(FieldList to, const RequestHead* head, FieldList fields, bytes ids) except -2:
    cdef int64_t length = -1
    cdef Field* f = fields.find(T_HOST)
    cdef bint chunked = fields.find(T_TRANSFER_ENCODING) != NULL
    cdef int i
    to.clear()
    put(to, b":method", head.method, head.method_len, T_METHOD)
    put(to, b":scheme", <const uint8_t*> b"http", 4, T_SCHEME)
    if f != NULL:
        put(to, b":authority", f.value, f.value_len, T_AUTHORITY)
    put(to, b":path", head.target, head.target_len, T_PATH)
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token:
            if f.token <= LAST_HOP:
                if f.token != T_TE or f.value_len != 8 or memcmp(f.value, b"trailers", 8) != 0:
                    continue
            elif f.token == T_HOST or f.token == T_EXPECT or T_X_POOL_ID <= f.token <= T_X_CHANNEL_ID:
                continue
            elif f.token == T_CONTENT_LENGTH:
                length = parse_size(f.value, f.value_len)
                if chunked or length < 0:
                    length = -1
                    continue
        elif LAMBDAS_SHORTEST <= f.name_len <= LAMBDAS_LONGEST and lambdas(f.name, f.name_len):
            continue
        if head.connection_options and named_by_connection(fields, f.name, f.name_len):
            continue
        put_lower(to, f)
    for line in ids.splitlines():
        name, _, value = line.partition(b": ")
        to.append(name, value)
    return length


cdef int end_request_head(OutBuffer out, bint body) except -1:
    if body:
        text(out, "transfer-encoding: chunked\r\n\r\n", 30)
        return CHUNKED
    text(out, "\r\n", 2)
    return NO_BODY


cdef int write_answer_head(OutBuffer out, const ResponseHead* head, FieldList fields, bytes ids, bint squeeze,
                           bint vary) except -1:
    cdef Field* f
    cdef int i
    write_status_line(out, head.status, head.reason, head.reason_len)
    if head.status == 101:
        f = fields.find(T_UPGRADE)
        if f != NULL:
            write_upgrade(out, f)
    write_lines(out, ids)
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token:
            if f.token <= LAST_HOP or f.token == T_X_LAMBDA_ID or f.token == T_X_CHANNEL_ID:
                continue
            if squeeze:
                if f.token == T_CONTENT_LENGTH:
                    continue
                if f.token == T_ETAG and f.value_len and f.value[0] == 0x22:
                    # Other bytes, same meaning: a strong validator becomes a weak one (RFC 9110 section 8.8.1).
                    text(out, "etag: W/", 8)
                    out.write(f.value, f.value_len)
                    text(out, "\r\n", 2)
                    continue
        if head.connection_options and named_by_connection(fields, f.name, f.name_len):
            continue
        write_field(out, f.name, f.name_len, f.value, f.value_len)
    if vary:
        text(out, "vary: accept-encoding\r\n", 23)
    if squeeze:
        text(out, "content-encoding: gzip\r\n", 24)
    text(out, "\r\n", 2)
    return 0


cdef bint is_go_away(const RequestHead* head, FieldList fields, bytes lambda_id) noexcept:
    cdef Field* f
    cdef int i
    if not is_lit(head.target, head.target_len, b"/_lambda_dispatch/goaway"):
        return False
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token == T_X_LAMBDA_ID and f.value_len == <Py_ssize_t> PyBytes_GET_SIZE(lambda_id) and (
                strncasecmp(<const char*> f.value, PyBytes_AS_STRING(lambda_id), f.value_len) == 0):
            return True
    return False


cdef int write_interim_head(OutBuffer out, const ResponseHead* head, FieldList fields) except -1:
    cdef Field* f
    cdef int i
    write_status_line(out, head.status, head.reason, head.reason_len)
    for i in range(fields.count):
        f = &fields.at[i]
        if 0 < f.token <= LAST_HOP or f.token == T_CONTENT_LENGTH or (
                T_X_POOL_ID <= f.token <= T_X_CHANNEL_ID):
            continue
        if head.connection_options and named_by_connection(fields, f.name, f.name_len):
            continue
        write_field(out, f.name, f.name_len, f.value, f.value_len)
    text(out, "\r\n", 2)
    return 0


cdef int write_text_answer(OutBuffer out, int status, bytes ids, bytes body) except -1:
    write_status_line(out, status, NULL, 0)
    write_lines(out, ids)
    write_lines(out, b"content-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body))
    return write_lines(out, body)
