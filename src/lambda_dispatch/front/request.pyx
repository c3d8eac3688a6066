"""Admission: route, fields, and the request for a slot; what it is stands in request.pxd.

Fields that say where a request came from (X-Forwarded-For, -Proto, -Port, -Host, Forwarded, X-Real-IP) are those of the
proxies in front of the router. `TrustedHops` says how many of these there are:

    -1  unknown: all such fields pass as they come, X-Forwarded-For gets one more entry. What an ALB's target expects
     0  clients connect directly: none of theirs passes, the router writes its own
     n  the last n entries of X-Forwarded-For pass, and our own entry; the other fields as they come

They cannot be named away by Connection. A name that differs from one of these, from a framing field or from one of the
router's own by `_` for `-` is dropped: many application servers take both for one. `AllowUnderscoreFields` lets them
pass.

A request that asks to go on as another protocol, by Upgrade, does so when `UpgradeAllow` has that protocol: the two
lines that say so stand behind the request line, and the request is open until the answer has come. Any other such
request is a plain one (RFC 9110 7.8: a server may ignore Upgrade).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from lambda_dispatch.dispatch.features cimport FEATURE_UPGRADE
from lambda_dispatch.dispatch.model cimport Mark, Pool
from lambda_dispatch.dispatch.upgrade cimport UPGRADE_LINES
from lambda_dispatch.front.door cimport ClientWire, Door
from lambda_dispatch.front.echo cimport EchoSlot
from lambda_dispatch.front.reserved cimport is_reserved
from lambda_dispatch.front.trace cimport LEFT, MARK_FIELDS, RECORDED
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch.telemetry.chance cimport by_chance, put_hex
from lambda_dispatch_core.bytes.cursor cimport has_byte
from lambda_dispatch_core.bytes.fields cimport (
    AS_LINE, LAST_HOP, LAST_PSEUDO, T_CONTENT_LENGTH, T_COOKIE, T_EXPECT, T_FORWARDED, T_HOST, T_TE, T_TRACEPARENT,
    T_UPGRADE, T_X_AMZN_TRACE_ID, T_X_CHANNEL_ID, T_X_FORWARDED_FOR, T_X_FORWARDED_PORT, T_X_FORWARDED_PROTO,
    T_X_LAMBDA_DISPATCH_DEBUG, T_X_LAMBDA_DISPATCH_SECRET, T_X_LAMBDA_NAME, T_X_POOL_ID, T_X_REAL_IP, T_X_REQUEST_ID,
    UNKNOWN, Field, FieldList, line_after, token_of,
)
from lambda_dispatch_core.bytes.literal cimport begins_lit, is_lit, put_lit
from lambda_dispatch_core.http1.head cimport named_by_connection

cdef enum:
    OWN_FIELDS = 8              # that write_fields() adds at most: Host, framing, Upgrade's two, X-Forwarded-…, an id
    OWN_ROOM = 288              # bytes of them, values that vary left out
    LONGEST_NAME = 32           # bytes of the longest name that is protected against a spelling with '_'


cdef inline uint8_t* put(uint8_t* to, const void* p, Py_ssize_t n) noexcept:
    memcpy(to, p, n)
    return to + n


cdef inline uint8_t* put_bytes(uint8_t* to, bytes text) noexcept:
    return put(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline uint8_t* put_field(uint8_t* to, const Field* f) noexcept:
    to = put(to, f.name, f.name_len)
    to = put_lit(to, b": ")
    to = put(to, f.value, f.value_len)
    return put_lit(to, b"\r\n")


# X-Lambda-Dispatch-Debug: true
cdef bint wants_debug(FieldList fields) noexcept:
    cdef Field* f = fields.find(T_X_LAMBDA_DISPATCH_DEBUG)
    return f != NULL and f.value_len == 4 and (f.value[0] | 0x20) == c"t" and (f.value[3] | 0x20) == c"e"


cdef inline bint says_origin(uint16_t token) noexcept:
    return T_X_FORWARDED_FOR <= token <= T_FORWARDED or token == T_X_REAL_IP


# Names that an application may take for one of `token` when '_' and '-' are the same to it.
cdef inline bint is_protected(uint16_t token) noexcept:
    return (LAST_PSEUDO < token <= T_EXPECT or says_origin(token)
            or T_X_POOL_ID <= token <= T_X_LAMBDA_DISPATCH_SECRET)


# A name that has a '_'.
cdef bint mimics(const Field* f) noexcept:
    cdef uint8_t[LONGEST_NAME] name
    cdef unsigned int i
    if f.name_len > LONGEST_NAME:
        return False
    for i in range(f.name_len):
        name[i] = c"-" if f.name[i] == c"_" else f.name[i]
    return is_protected(token_of(name, f.name_len))


# Where the last n entries of X-Forwarded-For begin, over all its fields: the field's index, and *at in its value.
cdef int last_entries(FieldList fields, int n, unsigned int* at) noexcept:
    cdef int i = fields.count
    cdef unsigned int c
    cdef Field* f
    while i > 0:
        i -= 1
        f = &fields.at[i]
        if f.token != T_X_FORWARDED_FOR:
            continue
        c = f.value_len
        while c > 0:
            c -= 1
            if f.value[c] == c",":
                n -= 1
                if n == 0:
                    at[0] = c + 1
                    return i
        n -= 1
        if n == 0:
            break
    at[0] = 0
    return i


# X-Forwarded-For: what came, as far as it is trusted, and the address that this request came from.
cdef uint8_t* put_forwarded_for(uint8_t* to, FieldList fields, bytes peer, int trusted) noexcept:
    cdef unsigned int at = 0
    cdef int i = 0
    cdef Field* f
    to = put_lit(to, b"X-Forwarded-For: ")
    if trusted:
        if trusted > 0:
            i = last_entries(fields, trusted, &at)
        while i < fields.count:
            f = &fields.at[i]
            if f.token == T_X_FORWARDED_FOR:
                while at < f.value_len and (f.value[at] == c" " or f.value[at] == c"\t"):
                    at += 1
                to = put(to, f.value + at, f.value_len - at)
                to = put_lit(to, b", ")
                at = 0
            i += 1
    to = put_bytes(to, peer)
    return put_lit(to, b"\r\n")


# HTTP/2 may split Cookie for compression; HTTP/1.1 wants one (RFC 9113 8.2.3).
cdef uint8_t* put_cookies(uint8_t* to, FieldList fields) noexcept:
    cdef bint more = False
    cdef int i
    cdef Field* f
    to = put_lit(to, b"cookie: ")
    for i in range(fields.count):
        f = &fields.at[i]
        if f.token == T_COOKIE:
            if more:
                to = put_lit(to, b"; ")
            to = put(to, f.value, f.value_len)
            more = True
    return put_lit(to, b"\r\n")


# So that the application's log and the access log name the request alike.
cdef uint8_t* put_request_id(uint8_t* to) noexcept:
    cdef uint64_t[2] id
    id[0] = by_chance()
    id[1] = by_chance()
    to = put_lit(to, b"x-request-id: ")
    to = put_hex(to, <const uint8_t*> id, 16)
    return put_lit(to, b"\r\n")


# Whether this field of the client's passes. cookies: how many fields of that name there are.
cdef inline bint passes(Door door, ClientExchange exchange, const Request* request, FieldList fields, const Mark* mark,
                        int cookies, const Field* f) noexcept:
    if f.token == UNKNOWN:
        if not door.allow_underscores and has_byte(f.name, f.name_len, c"_") and mimics(f):
            return False
    elif f.token <= LAST_HOP:
        if f.token != T_TE or not exchange.grpc:
            return False
    elif f.token == T_HOST:
        return request.host == NULL
    elif f.token == T_CONTENT_LENGTH:
        return True
    elif says_origin(f.token):
        return f.token != T_X_FORWARDED_FOR and door.trusted_hops != 0
    elif f.token == T_COOKIE:
        if cookies > 1:
            return False
    elif T_X_POOL_ID <= f.token <= T_X_CHANNEL_ID or f.token == T_EXPECT or f.token == T_X_LAMBDA_DISPATCH_SECRET:
        return False
    elif mark != NULL and T_TRACEPARENT <= f.token <= T_X_AMZN_TRACE_ID and door.tracer.replaces(f.token, mark):
        return False
    return not request.connection_options or not named_by_connection(fields, f.name, f.name_len)


# Appends the fields of the tunnelled head to the exchange's store, and the empty line.
# mark: the trace that the instance gets; NULL: fields of a trace pass as they came.
cdef int write_fields(Door door, ClientWire wire, ClientExchange exchange, const Request* request,
                      FieldList fields, const Mark* mark) except -1:
    cdef Py_ssize_t room = (OWN_ROOM + request.host_len + request.protocol_len + PyBytes_GET_SIZE(wire.peer)
                            + PyBytes_GET_SIZE(wire.port))
    cdef bint has_proto = False
    cdef bint has_port = False
    cdef bint forwarded = False
    cdef bint wants_id = door.access is not None and door.access.wants_id
    cdef int cookies = 0
    cdef int i
    cdef Field* f
    cdef uint8_t* to
    cdef uint8_t* start
    cdef const uint8_t* first = NULL    # lines that pass as they stand and are not copied yet: from here ...
    cdef const uint8_t* end = NULL      # ... to here
    for i in range(fields.count):
        f = &fields.at[i]
        room += f.name_len + f.value_len + 4
        if f.token == T_COOKIE:
            cookies += 1
        elif f.token == T_X_FORWARDED_FOR:
            forwarded = True
        elif f.token == T_X_REQUEST_ID:
            wants_id = False
    if mark != NULL:
        room += door.tracer.room
    start = to = exchange.reserve(room)
    if exchange.needs & FEATURE_UPGRADE:
        to = put_lit(to, UPGRADE_LINES)
        to = put(to, request.protocol, request.protocol_len)
        to = put_lit(to, b"\r\n")
    if request.host != NULL:
        to = put_lit(to, b"Host: ")
        to = put(to, request.host, request.host_len)
        to = put_lit(to, b"\r\n")
    for i in range(fields.count):
        f = &fields.at[i]
        if not passes(door, exchange, request, fields, mark, cookies, f):
            continue
        has_proto = has_proto or f.token == T_X_FORWARDED_PROTO
        has_port = has_port or f.token == T_X_FORWARDED_PORT
        if f.flags & AS_LINE and f.name == end:
            end = line_after(f)
            continue
        if first != end:
            to = put(to, first, end - first)
        first = end = NULL
        if f.flags & AS_LINE:
            first = f.name
            end = line_after(f)
        else:
            to = put_field(to, f)
    if first != end:
        to = put(to, first, end - first)
    if cookies > 1:
        to = put_cookies(to, fields)
    if not exchange.request_ended and not request.has_length and not exchange.needs & FEATURE_UPGRADE:
        to = put_lit(to, b"transfer-encoding: chunked\r\n")
    to = put_forwarded_for(to, fields, wire.peer, door.trusted_hops if forwarded else 0)
    if not has_proto:
        to = put_lit(to, b"X-Forwarded-Proto: ")
        to = put_bytes(to, wire.proto)
        to = put_lit(to, b"\r\n")
    if not has_port:
        to = put_lit(to, b"X-Forwarded-Port: ")
        to = put_bytes(to, wire.port)
        to = put_lit(to, b"\r\n")
    if wants_id:
        to = put_request_id(to)
    if mark != NULL:
        to = door.tracer.write(to, mark)
    to = put_lit(to, b"\r\n")
    exchange.stored += to - start
    exchange.head_fields = fields.count + OWN_FIELDS + (MARK_FIELDS if mark != NULL else 0)
    return 0


# "METHOD target HTTP/1.1" and its line end, at the beginning of the store.
cdef int write_line(ClientExchange exchange, const Request* request) except -1:
    cdef uint8_t* start = exchange.reserve(request.method_len + request.target_len + 16)
    cdef uint8_t* to = put(start, request.method, request.method_len)
    to = put_lit(to, b" ")
    if request.target_len == 0 or request.target[0] == c"?":
        to = put_lit(to, b"/")
    to = put(to, request.target, request.target_len)
    to = put_lit(to, b" HTTP/1.1\r\n")
    exchange.stored += to - start
    return 0


cdef inline bint is_health_check(const Request* request) noexcept:
    return (begins_lit(request.target, request.target_len, b"/health")
            and (request.target_len == 7 or request.target[7] == c"?")
            and (is_lit(request.method, request.method_len, b"GET")
                 or is_lit(request.method, request.method_len, b"HEAD")))


cdef Field* sole_upgrade(FieldList fields) noexcept:
    cdef Field* found = NULL
    cdef int i
    for i in range(fields.count):
        if fields.at[i].token == T_UPGRADE:
            if found != NULL:
                return NULL
            found = &fields.at[i]
    return found


# The pool of the function that the client names, or None: then the request was refused.
cdef Pool named_pool(Door door, ClientExchange exchange, const Field* name, FieldList fields):
    cdef Field* secret = fields.find(T_X_LAMBDA_DISPATCH_SECRET)
    found = door.by_name(name.value[:name.value_len], b"" if secret == NULL else secret.value[:secret.value_len])
    if isinstance(found, Pool):
        return <Pool> found
    exchange.fail(found[0], found[1])
    return None


cdef int admit(Door door, ClientWire wire, ClientExchange exchange, const Request* request, FieldList fields) except -1:
    cdef Pool pool = door.pool
    cdef Field* name
    cdef Mark mark
    cdef Mark* shown = NULL
    cdef int traced
    if is_lit(request.method, request.method_len, b"CONNECT"):
        return exchange.fail(501, "connect_not_supported")
    write_line(exchange, request)
    if is_health_check(request):
        if door.board.me != NULL:
            door.board.me.health_checks += 1
        status, exchange.text = door.on_health(request.target[:request.target_len])
        return exchange.fail(status, None)
    if is_reserved(request.target, request.target_len):
        return exchange.fail(404, "reserved_path")
    if door.tracer is not None:
        traced = door.tracer.begin(fields, &mark)
        if traced != LEFT:
            shown = &mark
        if traced == RECORDED:
            exchange.trace(&mark)
    if door.by_name is not None:
        name = fields.find(T_X_LAMBDA_NAME)
        if name != NULL:
            pool = named_pool(door, exchange, name, fields)
            if pool is None:
                return 0
    if door.on_debug is not None and wants_debug(fields):
        exchange.debug = door.on_debug
        exchange.tell("received", door.hub.now)
        if request.protocol == NULL and begins_lit(request.target, request.target_len, b"/echo-local"):
            write_fields(door, wire, exchange, request, fields, shown)
            return exchange.dispatch(EchoSlot(), door.hub.now)
    if pool is None:
        return exchange.fail(503, "no_function")
    exchange.pool = pool
    if request.protocol != NULL and request.protocol[:request.protocol_len].lower() in door.upgrades:
        exchange.needs = FEATURE_UPGRADE
        exchange.request_ended = False
        write_fields(door, wire, exchange, request, fields, shown)
        return door.matcher.submit(exchange, door.hub.now)
    write_fields(door, wire, exchange, request, fields, shown)
    return exchange.ask(door.uploads, request.has_length, door.hub.now)
