"""Reading an application's answers, and the pool of connections; the theory stands in app_link.pxd."""

import _socket as socket

cimport cython
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memmove, memset

from lambda_dispatch_net.wire cimport Hub, Wire
from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.http1.head cimport (
    CHUNK_DATA, CHUNK_END, ChunkReader, HeadLimits, ResponseHead, head_error_reason, parse_response, read_chunked,
    scan_head,
)

from lambda_dispatch_extension.loop import timeout

cdef enum LinkState:
    IDLE = 0            # no request
    HEAD = 1            # the answer's head is expected or incomplete
    LENGTH = 2          # `left` bytes of body still to come
    CHUNKED = 3
    UNTIL_CLOSE = 4     # the body ends with the connection
    DONE = 5            # the answer is whole; the user may still be writing the request

cdef enum:
    # Four headers of 31 KB and one of 64 KB must pass (behaviours of the original); held per request only while it is
    # incomplete.
    ANSWER_HEAD = 192 * 1024
    ANSWER_FIELDS = 512
    # A carry larger than this is given back once the head is read.
    KEPT_CARRY = 16 * 1024
    # Bytes of a head that could not be read which are kept for the log.
    BAD_SHOWN = 200

cdef HeadLimits answer_limits
answer_limits.head = ANSWER_HEAD
answer_limits.line = ANSWER_HEAD
answer_limits.fields = ANSWER_FIELDS


cdef class AppUser:
    cdef int on_link(self, AppLink link) except -1:
        return 0

    cdef int on_no_link(self, bint refused, str why) except -1:
        return 0

    cdef int on_interim(self, const ResponseHead* head, FieldList fields) except -1:
        return 0

    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        return 0

    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        return 0

    cdef int on_answer_trailers(self, FieldList trailers) except -1:
        return self.on_answer_data(NULL, 0, True)

    cdef int on_answer_pause(self) except -1:
        return 0

    cdef int on_call_lost(self, str why, bint unseen) except -1:
        return 0

    cdef int on_app_lost(self, AppLink link, int fault) except -1:
        return 0

    cdef int on_app_room(self) except -1:
        return 0

    cdef int on_app_stuck(self) except -1:
        return 0


@cython.final
cdef class AppLink(Wire):

    def __init__(self, AppPool pool not None):
        Wire.__init__(self, pool.hub)
        self.pool = pool
        self.carry = OutBuffer()
        self.fields = FieldList()
        self.state = IDLE

    cdef int on_open(self) except -1:
        self.pool.links.add(self)
        return 0

    cdef int begin(self, AppUser user, bint head_request) except -1:
        self.user = user
        self.state = HEAD
        self.head_request = head_request
        self.answered = False
        self.reusable = False
        self.upgrade = False
        self.handed_before = self.handed
        self.scan.at = 0
        self.carry.length = 0
        return 0

    cdef int release(self) except -1:
        self.user = None
        self.served += 1
        if self.state == DONE and self.reusable and not self.closing and self.transport is not None:
            self.state = IDLE
            self.start_reading()
            self.pool.put(self)
        else:
            self.state = IDLE
            self.close()
        return 0

    cdef int drop(self) except -1:
        self.user = None
        self.state = IDLE
        return self.abort()

    cdef int end_ours(self) except -1:
        self.ends = True
        return self.touch()

    cdef int flush(self) except -1:
        Wire.flush(self)
        if self.ends and self.transport is not None and not self.closing:
            self.ends = False
            self.transport.write_eof()
        if self.user is not None and not self.paused:
            self.user.on_app_room()
        return 0

    cdef int on_paused(self) except -1:
        if self.user is not None:
            self.user.on_app_stuck()
        return 0

    cdef int on_writable(self) except -1:
        if self.user is not None:
            self.user.on_app_room()
        return 0

    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef AppUser user = self.user
        if user is None:
            # Bytes without a request: the connection is out of step and cannot be used again.
            self.pool.forget(self)
            return self.abort()
        self.answered = True
        while n > 0 and self.user is user:
            if self.state == HEAD:
                self.read_head(&p, &n)
            elif self.state == DONE:
                self.reusable = False
                break
            else:
                self.read_body(&p, &n)
        if self.carry.length == 0 and self.carry.capacity > KEPT_CARRY:
            self.carry.clear()
        if self.user is user:
            user.on_answer_pause()
        return 0

    # Takes one head off the front of the bytes, or keeps them all when it is not whole yet. 100 is dropped: the router
    # answers Expect itself.
    cdef int read_head(self, const uint8_t** p, Py_ssize_t* n) except -1:
        cdef ResponseHead head
        cdef Py_ssize_t used = 0
        cdef bint bodiless
        if self.carry.length:
            self.carry.write(p[0], n[0])
            p[0] = self.carry.data
            n[0] = self.carry.length
            self.carry.length = 0
        if n[0] > ANSWER_HEAD or scan_head(&self.scan, p[0], n[0], True):
            self.fields.clear()
            used = parse_response(p[0], n[0], &answer_limits, &head, self.fields)
        if used == 0:
            self.keep(p[0], n[0])
            n[0] = 0
            return 0
        if used < 0 or head.status < 100 or head.status == 101 and not self.upgrade:
            self.bad = p[0][:min(n[0], BAD_SHOWN)]
            if used < 0:
                self.bad_why = (<bytes> head_error_reason(<int> used)).decode("ascii")
            else:
                self.bad_why = f"status {head.status}"
            return self.lose(APP_BAD_HEAD)
        p[0] += used
        n[0] -= used
        self.scan.at = 0
        if head.status == 101:
            self.state = UNTIL_CLOSE
            return self.user.on_answer(&head, self.fields, False)
        if head.status < 200:
            return self.user.on_interim(&head, self.fields) if head.status != 100 else 0
        bodiless = self.head_request or head.status == 204 or head.status == 304
        self.reusable = head.keep_alive
        if bodiless or (not head.chunked and head.content_length == 0):
            self.state = DONE
        elif head.chunked:
            self.state = CHUNKED
            memset(&self.chunks, 0, sizeof(ChunkReader))
        elif head.content_length > 0:
            self.state = LENGTH
            self.left = head.content_length
        else:
            self.state = UNTIL_CLOSE
            self.reusable = False
        return self.user.on_answer(&head, self.fields, self.state == DONE)

    cdef int read_body(self, const uint8_t** p, Py_ssize_t* n) except -1:
        cdef const uint8_t* body = NULL
        cdef Py_ssize_t length = 0
        cdef Py_ssize_t used = 0
        cdef int result
        if self.state == CHUNKED:
            result = read_chunked(&self.chunks, p[0], n[0], &body, &length, &used)
            if result < 0:
                return self.lose(APP_BAD_BODY)
            p[0] += used
            n[0] -= used
            if result == CHUNK_DATA:
                return self.user.on_answer_data(body, length, False)
            if result == CHUNK_END:
                self.state = DONE
                return self.user.on_answer_data(NULL, 0, True)
            n[0] = 0
            return 0
        body = p[0]
        length = n[0]
        if self.state == LENGTH:
            if length > self.left:
                length = <Py_ssize_t> self.left
            self.left -= length
            if self.left == 0:
                self.state = DONE
        p[0] += length
        n[0] -= length
        return self.user.on_answer_data(body, length, self.state == DONE)

    # Keeps bytes of an incomplete head; they may lie in the carry's own block.
    cdef int keep(self, const uint8_t* p, Py_ssize_t n) except -1:
        cdef uint8_t* block = self.carry.data
        if block != NULL and block <= p < block + self.carry.capacity:
            memmove(block, p, n)
            self.carry.length = n
            return 0
        return self.carry.write(p, n)

    cdef int on_eof(self) except -1:
        cdef AppUser user = self.user
        if user is None:
            self.pool.forget(self)
            return self.close()
        if self.state != UNTIL_CLOSE:
            sock = self.transport.get_extra_info("socket")
            if not self.answered and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return self.lose(APP_RESET)
            return self.lose(APP_CLOSED)
        self.state = DONE
        user.on_answer_data(NULL, 0, True)
        if self.user is user:
            user.on_answer_pause()
        return 0

    cdef int on_lost(self) except -1:
        self.pool.links.discard(self)
        self.pool.forget(self)
        if self.user is not None:
            self.lose(APP_RESET if self.was_reset else APP_CLOSED)
        return 0

    cdef str fault_text(self, int fault, bint begun):
        if fault == APP_BAD_HEAD:
            return f"application sent a bad answer head: {self.bad_why}"
        if fault == APP_BAD_BODY:
            return "application sent broken chunked framing"
        how = "reset" if fault == APP_RESET else "closed"
        return f"application {how} the connection {'within' if begun else 'before'} its answer"

    cdef int lose(self, int fault) except -1:
        cdef AppUser user = self.user
        self.user = None
        self.abort()
        if self.handed == self.handed_before:
            fault = APP_UNTOUCHED
        return user.on_app_lost(self, fault)


@cython.final
cdef class AppPool:

    def __init__(self, Hub hub not None, str host not None, int port, *, double connect_timeout, double idle_timeout):
        self.hub = hub
        self.host = host
        self.port = port
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.idle_limit = <int64_t> (idle_timeout * 1e9)
        self.idle = []
        self.links = set()
        self.dials = set()
        self.sweeper = None
        self.scratch = OutBuffer()

    cdef AppLink lend(self, AppUser user, bint fresh):
        cdef AppLink link
        while self.idle and not fresh:
            link = self.idle.pop()
            if not link.closing and link.transport is not None:
                return link
        task = self.hub.loop.create_task(self._dial(user))
        self.dials.add(task)
        task.add_done_callback(self.dials.discard)
        return None

    async def _dial(self, AppUser user):
        try:
            async with timeout(self.connect_timeout):
                _, link = await self.hub.loop.create_connection(self._link, self.host, self.port)
        except ConnectionRefusedError:
            user.on_no_link(True, f"{self.host}:{self.port} refuses connections")
        except TimeoutError:
            user.on_no_link(
                False, f"connect to {self.host}:{self.port} timed out after {self.connect_timeout:g} s"
            )
        except OSError as error:
            user.on_no_link(False, f"{self.host}:{self.port}: {error}")
        else:
            user.on_link(<AppLink> link)

    def _link(self):
        return AppLink(self)

    cdef int put(self, AppLink link) except -1:
        link.idle_since = self.hub.now
        self.idle.append(link)
        if self.sweeper is None:
            self.sweeper = self.hub.loop.call_later(self.idle_timeout, self._sweep)
        return 0

    # A link that is no longer fit to be lent.
    cdef int forget(self, AppLink link) except -1:
        if link in self.idle:
            self.idle.remove(link)
        return 0

    def _sweep(self):
        """Closes links that were idle for too long; repeats while any is idle."""
        cdef int64_t now = self.hub.tick()
        cdef AppLink link
        self.sweeper = None
        while self.idle:
            link = <AppLink> self.idle[0]
            if now - link.idle_since < self.idle_limit:
                due = (self.idle_limit - (now - link.idle_since)) / 1e9 + 0.001
                self.sweeper = self.hub.loop.call_later(due, self._sweep)
                return
            del self.idle[0]
            link.close()

    def close_idle(self):
        """Closes every idle connection."""
        cdef AppLink link
        for item in self.idle:
            link = <AppLink> item
            link.close()
        self.idle.clear()
        if self.http2 is not None:
            self.http2.close_idle()
        if self.sweeper is not None:
            self.sweeper.cancel()
            self.sweeper = None

    def abort(self):
        """Cuts every connection and stops making new ones."""
        cdef AppLink link
        for task in list(self.dials):
            task.cancel()
        for item in list(self.links):
            link = <AppLink> item
            link.abort()
        self.close_idle()
        if self.http2 is not None:
            self.http2.abort()

    @property
    def open(self):
        """Open connections, lent and idle."""
        return len(self.links)

    @property
    def idle_count(self):
        """Idle connections."""
        return len(self.idle)
