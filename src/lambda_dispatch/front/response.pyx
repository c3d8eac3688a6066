"""Answers to clients; what is shared by both protocols stands in response.pxd."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch.dispatch.model cimport APPLICATION, CLIENT, NOBODY, ROUTER, Exchange, Pool
from lambda_dispatch.front.door cimport ClientWire, Door
from lambda_dispatch.front.uploads cimport ClientExchange
from lambda_dispatch.telemetry.access cimport Entry
from lambda_dispatch_core.board.board cimport GRPC_STATUSES, REASONS, WORDS, Board, PoolNumbers, WorkerSlot, observe
from lambda_dispatch_core.bytes.atomics cimport get64, getu64
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport AS_LINE, T_DATE, Field, FieldList, line_after
from lambda_dispatch_core.http1.head cimport ResponseHead, reason_phrase, write_field

from lambda_dispatch.error_words import ErrorWord

# By PoolNumbers.outcomes: who made the answer what it is.
cdef enum:
    OUTCOME_OK = 0              # the application answered, below 500
    OUTCOME_APPLICATION = 1     # the application answered 500 or more
    OUTCOME_ROUTER = 2          # the router answered, or broke the answer off
    OUTCOME_CLIENT = 3          # the client left before its answer was complete

cdef enum:
    RETRY_MOST = 120            # s: no prediction reaches further (scaler/wait.py)

cdef dict WORD_NUMBERS = {str(word): number for number, word in enumerate(ErrorWord)}

# The way to the application broke.
cdef frozenset BROKEN = frozenset([str(word) for word in ErrorWord if word.status == 502])

cdef dict TEXTS = {
    502: b"Bad gateway",
    504: b"Gateway timeout",
}
cdef FieldList own = FieldList()


cdef bytes text_of(int status):
    text = TEXTS.get(status)
    if text is None:
        text = TEXTS[status] = <bytes> reason_phrase(status) or b"Error"
    return text


# s, whole, after which a client that is refused may find a slot: what the scaler expects the next request to wait.
cdef int retry_after(Door door, Pool pool) noexcept:
    cdef int64_t us
    if pool is None or door.board.pool_slots == NULL:
        return 1
    us = get64(&door.board.pool_slots[pool.index].predicted_wait_us)
    return <int> min(max(1, (us + 999999) // 1000000), RETRY_MOST)


cdef bint write_passing(OutBuffer out, const ResponseHead* head, FieldList fields, Door door) except -1:
    cdef bint dated = False
    cdef const uint8_t* first = NULL    # lines that pass as they stand and are not written yet: from here ...
    cdef const uint8_t* end = NULL      # ... to here
    cdef int i
    cdef Field* f
    for i in range(fields.count):
        f = &fields.at[i]
        if not passes(f, head, fields, door):
            continue
        dated = dated or f.token == T_DATE
        if f.flags & AS_LINE and f.name == end:
            end = line_after(f)
            continue
        out.write(first, end - first)
        first = end = NULL
        if f.flags & AS_LINE:
            first = f.name
            end = line_after(f)
        else:
            write_field(out, f.name, f.name_len, f.value, f.value_len)
    out.write(first, end - first)
    return dated


cdef FieldList own_fields(Door door, int status, bytes text, str word, Pool pool):
    own.clear()
    own.append(b"content-type", b"text/plain")
    own.append(b"content-length", b"%d" % len(text))
    own.append(b"date", door.date_value())
    if word is not None:
        own.append(b"x-lambda-dispatch-error", word.encode("ascii"))
        if status == 503:
            own.append(b"retry-after", b"%d" % retry_after(door, pool))
    return own


cdef int count_upgrade(Door door) noexcept:
    if door.board.me != NULL:
        door.board.me.upgrades_opened += 1
        door.board.me.upgrades_open += 1
    return 0


cdef int count_upgraded(WorkerSlot* me, Exchange exchange) noexcept:
    cdef uint8_t by = exchange.passage.ended_by
    me.upgrades_open -= 1
    me.upgrade_bytes_in += <uint64_t> exchange.request_bytes
    me.upgrade_bytes_out += <uint64_t> exchange.answer_bytes
    if by == ROUTER:
        me.upgrades_by_router += 1
    elif by == CLIENT or by == NOBODY and exchange.fault == "client_gone":
        me.upgrades_by_client += 1
    elif by == APPLICATION:
        me.upgrades_by_application += 1
    else:
        me.upgrades_broken += 1
    return 0


cdef int count_call(Door door) noexcept:
    if door.board.me != NULL:
        door.board.me.grpc_opened += 1
        door.board.me.grpc_open += 1
    return 0


cdef int count_called(WorkerSlot* me, PoolNumbers* numbers, ClientExchange exchange) except -1:
    cdef str fault = exchange.fault
    me.grpc_open -= 1
    me.grpc_bytes_in += <uint64_t> exchange.request_bytes
    me.grpc_bytes_out += <uint64_t> exchange.answer_bytes
    numbers.grpc[exchange.grpc_status if exchange.grpc_status >= 0 else GRPC_STATUSES - 1] += 1
    if fault is None:
        me.grpc_by_application += 1
    elif fault.startswith("client_"):
        me.grpc_by_client += 1
    elif fault in BROKEN:
        me.grpc_broken += 1
    else:
        me.grpc_by_router += 1
    return 0


cdef int count(Door door, Exchange exchange, ClientWire wire, int minor) except -1:
    cdef WorkerSlot* me = door.board.me
    cdef PoolNumbers* numbers
    cdef int reason
    cdef int word = 0
    cdef int status = exchange.status
    cdef int64_t now = door.hub.now
    # When it asked for a slot: an upload does when its body allows.
    cdef int64_t asked = exchange.since if exchange.since else exchange.arrived
    if me != NULL:
        me.requests += 1
        if status < 300:
            if status >= 200:
                me.status_2xx += 1
        elif status < 400:
            me.status_3xx += 1
        elif status < 500:
            me.status_4xx += 1
        else:
            me.status_5xx += 1
        if exchange.fault is not None:
            if exchange.fault == "client_gone":
                me.clients_gone += 1
            elif status == 400:
                me.bad_requests += 1
            elif status == 431:
                me.heads_too_large += 1
            elif status == 502:
                me.bad_gateways += 1
            elif status == 503:
                me.rejected += 1
            elif status == 504:
                me.queue_timeouts += 1
        numbers = &door.board.my_numbers[
            (<Pool> exchange.pool).index if exchange.pool is not None else door.board.pools]
        reason = OUTCOME_OK if status < 500 else OUTCOME_APPLICATION
        if exchange.fault is not None:
            reason = OUTCOME_CLIENT if exchange.fault == "client_gone" else OUTCOME_ROUTER
            word = 1 + min(<int> WORD_NUMBERS.get(exchange.fault, WORDS - 1), WORDS - 1)
            numbers.words[word - 1] += 1
        elif exchange.sent == 0:
            reason = OUTCOME_ROUTER     # a health check
        numbers.outcomes[(status // 100 - 1 if 200 <= status < 600 else 0) * REASONS + reason] += 1
        numbers.request_bytes += <uint64_t> exchange.request_bytes
        numbers.response_bytes += <uint64_t> exchange.answer_bytes
        if exchange.sent:
            observe(&numbers.wait, exchange.sent - asked)
        if (<ClientExchange> exchange).grpc:
            count_called(me, numbers, <ClientExchange> exchange)
        if exchange.passage is not None:
            count_upgraded(me, exchange)    # how long it lived says nothing about how long answers take
        else:
            observe(&numbers.total, now - exchange.arrived)
            if exchange.sent:
                observe(&numbers.service, now - exchange.sent)
    if exchange.debug is not None:
        exchange.tell("over: %d %s" % (status, exchange.fault or "served"), now)
    if exchange.mark != NULL:
        door.tracer.finish(exchange, wire.proto == b"https", minor, word, asked, now)
    if door.access is not None:
        write_access(door, exchange, wire, minor, now, asked)
    return 0


cdef int write_access(Door door, Exchange exchange, ClientWire wire, int minor, int64_t now, int64_t asked) except -1:
    cdef Entry entry
    entry.head = exchange.store
    entry.head_len = exchange.stored
    entry.instance = served_id(door.board, exchange)
    entry.minor = minor
    entry.status = exchange.status
    entry.grpc_status = (<ClientExchange> exchange).grpc_status     # every client's exchange is one
    entry.request_bytes = exchange.request_bytes
    entry.answer_bytes = exchange.answer_bytes
    entry.wait = (exchange.sent if exchange.sent else now) - asked
    entry.service = now - exchange.sent if exchange.sent else -1
    entry.total = now - exchange.arrived
    return door.access.line(
        now, wire.peer, exchange.pool.name if exchange.pool is not None else None, exchange.fault, &entry)


cdef const uint8_t* served_id(Board board, Exchange exchange) noexcept:
    if not 0 <= exchange.served < board.instances:
        return NULL
    if getu64(&board.slots[exchange.served].life) >> 32 != exchange.served_generation:
        return NULL
    return board.slots[exchange.served].id
