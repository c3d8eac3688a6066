"""Direct events' way to the application and back; the theory stands in direct_relay.pxd."""

import binascii
import json

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_core.bytes.fields cimport Field, FieldList
from lambda_dispatch_core.http1.head cimport (
    HeadLimits, RequestHead, ResponseHead, head_error_reason, head_error_status, parse_request, reason_phrase,
    write_chunk, write_last_chunk,
)
from lambda_dispatch_extension.app_link cimport (
    APP_BAD_BODY, APP_BAD_HEAD, APP_RESET, APP_UNTOUCHED, AppLink, AppPool, AppUser,
)

from lambda_dispatch_extension.collect import NoAnswer

cdef enum:
    # The same as a dispatched request's.
    REQUEST_HEAD = 160 * 1024
    REQUEST_FIELDS = 512
    # Bytes of the answer's body from which on the application is not read until they are taken.
    HELD_HIGH = 64 * 1024
    # The Runtime API's answers are a line of JSON.
    API_ANSWER = 4096

cdef HeadLimits request_limits
request_limits.head = REQUEST_HEAD
request_limits.line = REQUEST_HEAD
request_limits.fields = REQUEST_FIELDS


@cython.final
cdef class Exchange(AppUser):

    def __init__(self, AppPool pool not None, bytes message not None, *, bint head_request, bint repeatable):
        self.pool = pool
        self.message = message
        self.head_request = head_request
        self.repeatable = repeatable
        self.held = OutBuffer()
        self.fields = []

    # What the owner calls ---------------------------------------------------------------------------------------------

    async def head(self):
        """Sends the request and waits for the answer's head: `status` and `fields`. NoAnswer when there is none."""
        self.ask(False)
        await self._wait()

    async def more(self):
        """Waits until there is something to take, or the answer has ended. NoAnswer when it is cut off."""
        if self.held.length == 0 and not self.ended:
            if self.link is not None:
                self.link.start_reading()
            await self._wait()

    def take(self):
        """What has come of the body since the last call."""
        return self.held.drain()

    async def stream(self, AppPool api not None, bytes message not None):
        """Sends `message`, then the rest of the answer in chunks; (status, body) of what the Runtime API answers.

        The end of the message is a whole chunk. NoAnswer when the Runtime API gives none; when the application breaks
        off, the trailers say so to the Runtime API, which still answers.
        """
        cdef Upload upload = Upload()
        cdef AppLink link
        upload.exchange = self
        upload.message = message
        upload.body = OutBuffer()
        upload.done = self.pool.hub.loop.create_future()
        self.upload = upload
        link = api.lend(upload, False)
        if link is not None:
            upload.attach(link)
        try:
            return await upload.done
        finally:
            upload.done = None
            link = upload.link
            upload.link = None
            upload.exchange = None
            self.upload = None
            if link is not None:
                link.drop()

    @property
    def broken(self):
        """Why a streamed answer was cut off; empty when it was not."""
        return "" if self.fault is None else str(self.fault)

    def close(self):
        """Ends the exchange; the application's connection is cut when its answer has not ended."""
        cdef AppLink link = self.link
        self.link = None
        self.waiter = None
        if self.fault is None:
            self.fault = NoAnswer("the exchange is over")
        if link is not None:
            link.drop()

    async def _wait(self):
        if self.fault is not None:
            raise self.fault
        self.waiter = self.pool.hub.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None
        if self.fault is not None:
            raise self.fault

    # Towards the application ------------------------------------------------------------------------------------------

    cdef int ask(self, bint fresh) except -1:
        cdef AppLink link = self.pool.lend(self, fresh)
        if link is not None:
            return self.attach(link)
        return 0

    cdef int attach(self, AppLink link) except -1:
        self.link = link
        link.begin(self, self.head_request)
        link.out.write_bytes(self.message)
        return link.touch()

    cdef int on_link(self, AppLink link) except -1:
        if self.fault is not None:
            return self.pool.put(link)
        return self.attach(link)

    cdef int on_no_link(self, bint refused, str why) except -1:
        return self.lose(NoAnswer(why, refused))

    cdef int wake(self) except -1:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return 0

    cdef int lose(self, object fault) except -1:
        if self.fault is None:
            self.fault = fault
        if self.upload is not None:
            return self.upload.break_off(str(fault))
        return self.wake()

    # The answer -------------------------------------------------------------------------------------------------------

    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        cdef Field* f
        cdef int i
        self.message = None
        self.status = head.status
        for i in range(fields.count):
            f = &fields.at[i]
            self.fields.append((f.name[:f.name_len].lower(), f.value[:f.value_len]))
        self.ended = end
        return 0

    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        self.held.write(p, n)
        self.ended = end
        return 0

    cdef int on_answer_pause(self) except -1:
        cdef AppLink link = self.link
        if self.status == 0:
            return 0
        if self.ended:
            self.link = None
            if link.paused:
                link.drop()     # it has answered before it read all of the request
            else:
                link.release()
        if self.upload is not None:
            return self.upload.push()
        if not self.ended and self.held.length >= HELD_HIGH:
            link.stop_reading()
        return self.wake()

    cdef int on_app_lost(self, AppLink link, int fault) except -1:
        self.link = None
        if not link.answered and link.served and not self.retried and (
                self.repeatable or fault == APP_RESET or fault == APP_UNTOUCHED):
            # The connection had waited in the pool and went stale before the application saw the request.
            self.retried = True
            return self.ask(True)
        if fault == APP_BAD_HEAD:
            return self.lose(NoAnswer(f"application sent a bad answer head: {link.bad_why}: {link.bad!r}"))
        if fault == APP_BAD_BODY:
            return self.lose(NoAnswer("application sent broken chunked framing"))
        how = "reset" if fault == APP_RESET else "closed"
        when = "within" if self.status else "before"
        return self.lose(NoAnswer(f"application {how} the connection {when} its answer"))


@cython.final
cdef class Upload(AppUser):
    cdef int attach(self, AppLink link) except -1:
        self.link = link
        link.begin(self, False)
        link.out.write_bytes(self.message)
        if self.exchange.fault is not None:
            return self.break_off(str(self.exchange.fault))
        return self.push()

    cdef int on_link(self, AppLink link) except -1:
        if self.done is None:
            return link.pool.put(link)
        return self.attach(link)

    cdef int on_no_link(self, bint refused, str why) except -1:
        return self.settle(NoAnswer(why, refused))

    cdef int push(self) except -1:
        cdef OutBuffer held = self.exchange.held
        cdef AppLink app = self.exchange.link
        if self.link is None or self.finished:
            if app is not None and held.length >= HELD_HIGH:
                app.stop_reading()
            return 0
        if held.length:
            write_chunk(self.link.out, held.data, held.length)
            held.clear()
        if self.exchange.ended:
            self.finished = True
            write_last_chunk(self.link.out)
        elif app is not None:
            if self.link.paused:
                app.stop_reading()
            else:
                app.start_reading()
        return self.link.touch()

    cdef int break_off(self, str why) except -1:
        if self.link is None or self.finished:
            return 0
        self.push()
        self.finished = True
        fault = json.dumps({"errorType": "Runtime.StreamError", "errorMessage": why}, separators=(",", ":"))
        self.link.out.write_bytes(
            b"0\r\nLambda-Runtime-Function-Error-Type: Runtime.StreamError\r\nLambda-Runtime-Function-Error-Body: "
            + binascii.b2a_base64(fault.encode(), newline=False) + b"\r\n\r\n"
        )
        return self.link.touch()

    cdef int settle(self, object error) except -1:
        done = self.done
        if done is None or done.done():
            return 0
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result((self.status, self.body.drain()))
        return 0

    cdef int on_app_stuck(self) except -1:
        if self.exchange is not None and self.exchange.link is not None:
            return self.exchange.link.stop_reading()
        return 0

    cdef int on_app_room(self) except -1:
        if self.exchange is not None and self.exchange.link is not None:
            return self.exchange.link.start_reading()
        return 0

    cdef int on_answer(self, const ResponseHead* head, FieldList fields, bint end) except -1:
        self.status = head.status
        self.answered = end
        return 0

    cdef int on_answer_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        if self.body.length + n <= API_ANSWER:
            self.body.write(p, n)
        self.answered = end
        return 0

    cdef int on_answer_pause(self) except -1:
        cdef AppLink link = self.link
        if not self.answered:
            return 0
        self.link = None
        if self.finished and not link.paused:
            link.release()
        else:
            link.drop()         # it wants no more of it
        return self.settle(None)

    cdef int on_app_lost(self, AppLink link, int fault) except -1:
        self.link = None
        how = "reset" if fault == APP_RESET else "closed"
        return self.settle(NoAnswer(f"the Runtime API {how} the connection within a streamed response"))


def head_fault(bytes head not None):
    """(status, reason) when the front door would refuse this request head, None when it is fine."""
    cdef RequestHead parsed
    cdef FieldList fields = FieldList()
    cdef Py_ssize_t used = parse_request(
        <const uint8_t*> PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head), &request_limits, &parsed, fields
    )
    if used == PyBytes_GET_SIZE(head):
        return None
    if used >= 0:
        return 400, "a line end within the head"
    return head_error_status(<int> used), (<bytes> head_error_reason(<int> used)).decode("ascii")


def reason_of(int status):
    """The reason phrase of a status; empty when it has none."""
    return (<bytes> reason_phrase(status)).decode("ascii")


def chunk(bytes data not None):
    """The data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (PyBytes_GET_SIZE(data), data)
