"""Whole answers; the theory stands in collect.pxd."""

cimport cython
from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport Field, FieldList
from lambda_dispatch_core.http1.head cimport ResponseHead
from lambda_dispatch_extension.app_link cimport APP_BAD_BODY, APP_BAD_HEAD, APP_RESET, AppLink, AppPool, AppUser

MAX_BODY = 16 << 20    # bytes; Lambda's payloads end at 6 MB, as JSON text


class NoAnswer(Exception):
    """The request got no whole answer. refused: nothing listens on that port."""

    def __init__(self, why, refused=False):
        super().__init__(why)
        self.refused = refused


@cython.final
cdef class Collect(AppUser):
    cdef int ask(self, bint fresh) except -1:
        cdef AppLink link = self.pool.lend(self, fresh)
        if link is not None:
            return self.attach(link)
        return 0

    cdef int attach(self, AppLink link) except -1:
        if not self.message:
            link.drop()
            return self.settle(None)
        self.link = link
        link.begin(self, False)
        link.out.write_bytes(self.message)
        return link.touch()

    cdef int settle(self, object error) except -1:
        done = self.done
        self.done = None
        if done is None or done.done():
            return 0
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result((self.status, self.headers, self.body.drain()))
        return 0

    cdef int on_link(self, AppLink link) except -1:
        if self.done is None:
            return self.pool.put(link)
        return self.attach(link)

    cdef int on_no_link(self, bint refused, str why) except -1:
        return self.settle(NoAnswer(why, refused))

    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        cdef AppLink link
        cdef Field* f
        cdef int i
        self.status = head.status
        for i in range(fields.count):
            f = &fields.at[i]
            self.headers[f.name[:f.name_len].decode("latin-1").lower()] = f.value[:f.value_len].decode("latin-1")
        self.ended = end
        if self.head_only:
            link = self.link
            self.link = None
            link.drop()
            return self.settle(None)
        return 0

    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        cdef AppLink link = self.link
        if self.body.length + n > self.limit:
            self.link = None
            link.drop()
            return self.settle(NoAnswer(f"the answer's body is longer than {self.limit} bytes"))
        self.body.write(p, n)
        self.ended = end
        return 0

    cdef int on_answer_pause(self) except -1:
        cdef AppLink link = self.link
        if not self.ended:
            return 0
        self.link = None
        link.release()
        return self.settle(None)

    cdef int on_app_lost(self, AppLink link, int fault) except -1:
        self.link = None
        if self.done is None:
            return 0
        if not link.answered and link.served and not self.retried:
            # It had waited in the pool and the other side had closed it meanwhile.
            self.retried = True
            return self.ask(True)
        if fault == APP_BAD_HEAD:
            return self.settle(NoAnswer(f"not an HTTP/1.1 answer ({link.bad_why}): {link.bad!r}"))
        if fault == APP_BAD_BODY:
            return self.settle(NoAnswer("the answer's chunked framing is broken"))
        how = "reset" if fault == APP_RESET else "closed"
        return self.settle(NoAnswer(f"connection {how} before the end of the answer"))


async def request(AppPool pool not None, bytes message not None, *, Py_ssize_t limit=MAX_BODY, bint head_only=False):
    """Sends a whole HTTP/1.1 request; (status, fields, body) of its answer, or NoAnswer.

    Without a message it only connects. head_only: the body is not read."""
    cdef Collect collect = Collect()
    cdef AppLink link
    done = pool.hub.loop.create_future()
    collect.pool = pool
    collect.message = message
    collect.done = done
    collect.headers = {}
    collect.body = OutBuffer()
    collect.limit = limit
    collect.head_only = head_only
    try:
        collect.ask(head_only or not message)
        return await done
    finally:
        collect.done = None
        link = collect.link
        collect.link = None
        if link is not None:
            link.drop()
