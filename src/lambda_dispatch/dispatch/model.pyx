"""What the types of dispatch do by themselves; the theory stands in model.pxd."""

from uuid import UUID

from lambda_dispatch.telemetry import log

cimport cython
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy

from lambda_dispatch.dispatch.features cimport FEATURE_GRPC, FEATURE_UPGRADE
from lambda_dispatch.dispatch.turns cimport Turns
from lambda_dispatch.dispatch.upgrade cimport agrees, strip_upgrade
from lambda_dispatch_core.board.layout cimport NOT_USABLE
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport HEAD_TOO_LARGE, HeadLimits, ResponseHead, parse_tunnel_response
from lambda_dispatch_core.queue.waitqueue cimport WaitQueue

# What an answer's head may be; set once from the configuration, the same for all exchanges of a process.
cdef HeadLimits answer_limits
answer_limits.head = 128 * 1024
answer_limits.line = 8 * 1024
answer_limits.fields = 200

# The fields of the head being passed on; borrowed by on_answer and on_interim for the length of the call.
cdef FieldList answer_fields = FieldList()


def set_answer_limits(unsigned int head, unsigned int fields):
    """Bounds of an answer's head, in bytes and fields; beyond them the answer is a 502."""
    answer_limits.head = head
    answer_limits.fields = fields


# What requests of siblings that ask for debugging tell their stages to; None where that is not allowed.
cdef object guests_tell = None


# Requests that failed with 502 by cause, since the process started; for the log.
cdef dict counts = {}

# Beginning of the answer that was no good, for the log.
cdef bytes culprit = b""


def set_guest_debug(to):
    global guests_tell
    guests_tell = to


@cython.final
cdef class Instance:
    def __init__(self, int slot, unsigned int generation, Pool pool not None, bytes id not None):
        cdef bytes text
        if len(id) != 16:
            raise ValueError("an instance id is 16 bytes")
        self.slot = slot
        self.generation = generation
        self.pool = pool
        memcpy(self.id, <const uint8_t*> <char*> id, 16)
        text = <bytes> self.text()
        memcpy(self.written, <const char*> text, ID_TEXT)
        self.wires = set()

    @property
    def key(self):
        """The id, sixteen bytes."""
        return <bytes> self.id[:16]

    def text(self):
        """The id as a UUID is written."""
        return str(UUID(bytes=self.key)).encode("ascii")

    def short(self):
        """The beginning of the id: for logs. Whole, it is a key to the control port."""
        return self.id[:4].hex()

    cdef list idle_slots(self):
        cdef Slot slot = self.idle
        found = []
        while slot is not None:
            found.append(slot)
            slot = slot.next_idle
        return found

    def carriers(self):
        """The control connections it has here."""
        return list(self.wires)

    def leave(self, wire):
        """A connection of it has ended."""
        self.wires.discard(wire)

    def unused(self):
        """Nothing of it is held here any more."""
        return not self.wires and self.idle_count == 0 and self.busy_count == 0

    @property
    def retired(self):
        return self.standing == RETIRED


@cython.final
cdef class Pool:
    def __cinit__(self, int index, unsigned int generation, bytes name not None, Py_ssize_t queue_limit):
        cdef int i
        self.index = index
        self.generation = generation
        self.name = name
        self.queue = WaitQueue(queue_limit)
        self.for_upgrade = WaitQueue(0, self.queue)
        self.for_grpc = WaitQueue(0, self.queue)
        self.mask = <int16_t*> malloc(INSTANCES * sizeof(int16_t))
        if self.mask == NULL:
            raise MemoryError()
        for i in range(INSTANCES):
            self.mask[i] = NOT_USABLE
        self.at = [None] * INSTANCES
        self.resorts = []
        self.turns = Turns()
        for i in range(HINTS):
            self.parked[i] = -1

    def __dealloc__(self):
        free(self.mask)


cdef class Slot:
    cdef int send(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        raise NotImplementedError

    cdef int send_trailers(self, FieldList trailers) except -1:
        return self.send(NULL, 0, True)

    cdef Py_ssize_t backlog(self) noexcept:
        return 0

    cdef int consumed(self, Py_ssize_t n) except -1:
        raise NotImplementedError

    cdef int cancel(self) except -1:
        raise NotImplementedError

    cdef int finished(self) except -1:
        raise NotImplementedError

    cdef int satisfied(self) except -1:
        return self.finished()

    cdef int leave(self) except -1:
        return self.cancel()

    cdef str where(self):
        return "the router itself"


cdef class Passage:
    cdef int down(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        raise NotImplementedError

    cdef int up(self, Exchange exchange, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        raise NotImplementedError

    cdef bint broken(self, Exchange exchange, str reason) except -1:
        raise NotImplementedError

    cdef int over(self, Exchange exchange) except -1:
        raise NotImplementedError


cdef class Exchange(Waiter):
    def __cinit__(self):
        self.stage = WAITING
        self.whole = True
        self.store = self.spot
        self.room = INLINE
        self.answer_left = -1
        self.head_fields = MANY
        self.served = -1

    def __dealloc__(self):
        if self.store != self.spot:
            free(self.store)
        free(self.partial)
        if self.mark != NULL:
            free(self.mark)

    # The client's side ------------------------------------------------------------------------------------------------

    cdef uint8_t* reserve(self, Py_ssize_t n) except NULL:
        cdef Py_ssize_t want = self.stored + n
        cdef Py_ssize_t room = self.room
        cdef uint8_t* store
        if want > room:
            while room < want:
                room *= 2
            store = <uint8_t*> malloc(room)
            if store == NULL:
                raise MemoryError()
            memcpy(store, self.store, self.stored)
            if self.store != self.spot:
                free(self.store)
            self.store = store
            self.room = room
        return self.store + self.stored

    cdef int trace(self, const Mark* mark) except -1:
        self.mark = <Mark*> malloc(sizeof(Mark))
        if self.mark == NULL:
            raise MemoryError()
        self.mark[0] = mark[0]
        return 0

    cdef int body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef uint8_t* to
        cdef Slot slot = self.slot
        if self.stage == OVER:
            return 0
        self.request_bytes += n
        if self.passage is not None:
            return self.passage.up(self, p, n, end)
        if end:
            self.request_ended = True
        if self.whole and self.stage != ANSWERING and (
                slot is None or self.stored + n <= (UNSURE_LIMIT if slot.unsure else STORE_LIMIT)):
            if n:
                to = self.reserve(n)
                memcpy(to, p, n)
                self.stored += n
        else:
            self.whole = False
        if slot is not None:
            if self.trailers is not None:
                slot.send_trailers(self.trailers)
            else:
                slot.send(p, n, end)
            if end and self.answer_ended and self.slot is slot:
                return self._end(False)
        return 0

    cdef Py_ssize_t backlog(self) noexcept:
        if self.slot is not None:
            return self.slot.backlog()
        return self.stored

    cdef int gone(self) except -1:
        cdef Slot slot = self.slot
        if self.stage == OVER:
            return 0
        self.leave_queue()
        if self.fault is None:
            self.fault = "client_gone"
        self.stage = OVER
        if slot is not None:
            self.slot = None
            if self.passage is None:
                slot.cancel()
            else:
                self._let_go(slot, self.answer_ended)       # what it has said is delivered
        return self.on_over()

    cdef int part(self, bint ended) except -1:
        cdef Slot slot = self.slot
        self.stage = OVER
        self.slot = None
        self._let_go(slot, ended)
        return self.on_over()

    cdef int _let_go(self, Slot slot, bint ended) except -1:
        if not self.request_ended:
            slot.send(NULL, 0, True)
        return slot.finished() if ended else slot.leave()

    cdef int without(self, uint8_t missing) except -1:
        if missing & FEATURE_GRPC:
            # No answer of such an application could be one, and calls are in no share of uploads.
            return self.fail(501, "grpc_not_supported")
        self.needs = 0
        self.request_ended = True
        self.stored = strip_upgrade(self.store, self.stored)
        return 0

    cdef int not_upgraded(self, int status) except -1:
        self.needs = 0
        self.request_ended = True
        return self.slot.send(NULL, 0, True)

    cdef int follow(self) except -1:
        if guests_tell is not None:
            head = self.store[:self.stored].partition(b"\r\n\r\n")[0].lower()
            if b"\r\nx-lambda-dispatch-debug: true" in head:
                self.debug = guests_tell
        return 0

    cdef int tell(self, str stage, int64_t now) except -1:
        cdef const uint8_t* end = <const uint8_t*> memchr(self.store, c"\r", self.stored) if self.stored else NULL
        self.debug(self.store[:end - self.store] if end != NULL else b"", stage, (now - self.arrived) / 1e6)
        return 0

    # The slot's side --------------------------------------------------------------------------------------------------

    cdef int dispatch(self, Slot slot, int64_t now) except -1:
        assert self.stage == WAITING and self.slot is None
        self.stage = SENT
        self.slot = slot
        self.sent = now
        slot.exchange = self
        if self.debug is not None:
            self.tell("sent to " + slot.where(), now)
        slot.send(self.store, self.stored, self.request_ended and self.trailers is None)
        if self.trailers is not None and self.slot is slot:
            slot.send_trailers(self.trailers)
        if self.slot is slot and not self.request_ended:
            return self.on_dispatched()
        return 0

    cdef int received(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Py_ssize_t used = 0
        cdef Slot slot = self.slot
        if self.stage == SENT:
            self._head_came(p, n, end, &used)
            if self.slot is not slot:
                return 0
            if used:
                slot.consumed(used)
            if self.stage != ANSWERING:
                return 0
        return self._body_came(p + used, n - used, end)

    cdef int received_trailers(self, FieldList trailers) except -1:
        cdef Slot slot = self.slot
        if self.stage != ANSWERING or self.answer_left > 0:
            return self.received(NULL, 0, True)     # it ends too early
        self.answer_ended = True
        self.on_trailers(trailers)
        if self.request_ended and self.slot is slot:
            return self._end(False)
        return 0

    # Tries for a whole head. Afterwards the stage is ANSWERING and *used says where in p the body begins, or more must
    # come and *used is n, or the exchange has failed and has no slot any more.
    cdef int _head_came(self, const uint8_t* p, Py_ssize_t n, bint end, Py_ssize_t* used) except -1:
        cdef ResponseHead head
        cdef const uint8_t* at = p
        cdef Py_ssize_t length = n
        cdef Py_ssize_t before = 0      # bytes of the head that were kept from earlier pieces
        cdef Py_ssize_t done = 0        # bytes of `at` that interim heads took
        cdef Py_ssize_t r
        cdef uint8_t* kept = NULL
        if self.partial != NULL:
            before = self.partial_len
            self._keep_partial(p, n)
            at = kept = self.partial
            length = self.partial_len
            self.partial = NULL
            self.partial_len = self.partial_room = 0
        try:
            while True:
                answer_fields.clear()
                r = parse_tunnel_response(at + done, length - done, &answer_limits, &head, answer_fields)
                if r < 0:
                    self.blame(at + done, length - done)
                    return self.fail(502, "answer_head_too_large" if r == HEAD_TOO_LARGE else "answer_malformed")
                if r == 0:
                    if end:
                        self.blame(at + done, length - done)
                        return self.fail(502, "answer_missing" if length == done else "answer_cut_off")
                    if length - done > answer_limits.head:
                        return self.fail(502, "answer_head_too_large")
                    self._keep_partial(at + done, length - done)
                    used[0] = n
                    return 0
                done += r
                if head.status >= 200:
                    break
                if head.status == 101:
                    if not (self.needs & FEATURE_UPGRADE and agrees(self.store, self.stored, answer_fields)):
                        return self.fail(502, "answer_upgrade")
                    break
                self.interim_bytes += r
                if self.interims < INTERIMS and self.interim_bytes <= INTERIM_BYTES:
                    self.interims += 1
                    self.on_interim(&head, answer_fields)
            used[0] = done - before
            self.bare = end and used[0] == n
            if self.needs & FEATURE_UPGRADE and head.status != 101:
                self.not_upgraded(head.status)
                if self.stage == OVER:
                    return 0
            self.stage = ANSWERING
            self.status = head.status
            self.whole = False
            if head.status == 101:
                self.on_upgraded(&head, answer_fields)
            elif self.is_head or head.status == 204 or head.status == 304:
                self.answer_left = 0
                self.on_answer(&head, answer_fields, True)
            else:
                self.answer_left = head.content_length
                self.on_answer(&head, answer_fields, False)
        finally:
            free(kept)
        return 0

    cdef int _keep_partial(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t want = self.partial_len + n
        cdef uint8_t* partial
        if want > self.partial_room:
            partial = <uint8_t*> realloc(self.partial, want * 2)
            if partial == NULL:
                raise MemoryError()
            self.partial = partial
            self.partial_room = want * 2
        if n:
            memcpy(self.partial + self.partial_len, p, n)
        self.partial_len = want
        return 0

    cdef int _body_came(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef Slot slot = self.slot
        cdef bint whole
        if self.answer_left >= 0:
            if n > self.answer_left:
                if self.answer_bytes == 0 and self.answer_left == 0:
                    # A body where none may be (HEAD, 204, 304, content-length: 0): dropped, the client must not see it.
                    slot.consumed(n)
                    n = 0
                else:
                    return self.fail(502, "answer_too_long")
            self.answer_left -= n
            if end and self.answer_left > 0:
                return self.fail(502, "answer_too_short")
        elif self.passage is not None:
            return self.passage.down(self, p, n, end)
        self.answer_bytes += n
        # An instance may end its stream later than its answer: the client need not wait for that.
        whole = end or (self.answer_left == 0 and self.request_ended)
        if whole:
            self.answer_ended = True
        if n or whole:
            self.on_body(p, n, whole)
            if whole and self.request_ended and self.slot is slot:
                return self._end(not end)
        return 0

    cdef bint may_resend(self, bint unseen) noexcept:
        return unseen and self.stage == SENT and self.whole and not self.resent and self.partial == NULL

    cdef int take_back(self) except -1:
        assert self.stage == SENT
        self.stage = WAITING
        self.slot = None
        self.resent = True
        return 0

    cdef int not_taken(self) except -1:
        assert self.stage == SENT
        self.stage = WAITING
        self.slot = None
        return 0

    cdef int discard(self) except -1:
        self.stage = OVER
        return self.on_over()

    cdef int fail(self, int status, str reason, str where=None) except -1:
        cdef Slot slot = self.slot
        cdef bint answered = self.stage == ANSWERING
        if self.stage == OVER:
            return 0
        self.leave_queue()
        self.fault = reason
        self.stage = OVER
        if status == 502:
            self.on_bad_gateway(reason, slot.where() if slot is not None else where or "unknown")
        if slot is not None:
            self.slot = None
            slot.cancel()
        if answered:
            if self.passage is None or not self.passage.broken(self, reason):
                self.on_broken()
        else:
            self.status = status
            self.on_refused(status, reason)
        return self.on_over()

    cdef int blame(self, const uint8_t* p, Py_ssize_t n) except -1:
        global culprit
        culprit = p[:min(n, SHOWN)]
        return 0

    # A request failed: why, and because of whom. Guests' are reported where their clients are.
    cdef int on_bad_gateway(self, str reason, str where) except -1:
        global culprit
        cdef const uint8_t* end = self.store
        cdef const uint8_t* last = self.store + self.stored
        counts[reason] = counts.get(reason, 0) + 1
        fields = {"cause": reason, "from": where, "count": counts[reason]}
        while end < last and end[0] != c"?" and end[0] != c"\r":
            end += 1            # the query may be confidential
        fields["request"] = self.store[:min(end - self.store, SHOWN)].decode("latin-1").removesuffix(" HTTP/1.1")
        if culprit:
            fields["answer"] = culprit.decode("latin-1")
            culprit = b""
        log.limited(log.WARNING, "request failed", **fields)
        return 0

    cdef int _end(self, bint early) except -1:
        cdef Slot slot = self.slot
        self.stage = OVER
        self.slot = None
        if early:
            slot.satisfied()
        else:
            slot.finished()
        return self.on_over()

    # Overridden by the client's side ----------------------------------------------------------------------------------

    cdef int on_dispatched(self) except -1:
        return 0

    cdef int on_interim(self, ResponseHead* head, FieldList fields) except -1:
        return 0

    cdef int on_answer(self, ResponseHead* head, FieldList fields, bint bodyless) except -1:
        raise NotImplementedError

    cdef int on_upgraded(self, ResponseHead* head, FieldList fields) except -1:
        raise NotImplementedError

    cdef int on_body(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        raise NotImplementedError

    cdef int on_trailers(self, FieldList trailers) except -1:
        return self.on_body(NULL, 0, True)

    cdef int on_refused(self, int status, str reason) except -1:
        raise NotImplementedError

    cdef int on_broken(self) except -1:
        raise NotImplementedError

    cdef int on_flowing(self) except -1:
        return 0

    cdef int on_over(self) except -1:
        return 0
