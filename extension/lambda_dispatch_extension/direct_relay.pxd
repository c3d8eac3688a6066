"""One direct event's request to the application, and its streamed answer to the Runtime API.

An Exchange is the user of an AppLink as a Channel is. Its owner awaits head(), then either takes the body piece by
piece (more(), take()) or hands the rest of it over to an Upload, which writes it into a chunked POST as it comes:

    head() ──┬── more(), take() ... until `ended`
             └── stream() ── Upload: POST .../response ── last chunk, or the trailers that say why it broke off

At most one read of the application's socket beyond HELD_HIGH is held; while more is there, or while the Runtime API
does not take bytes, the application's socket is not read.
"""

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_extension.app_link cimport AppLink, AppPool, AppUser


cdef class Exchange(AppUser):
    cdef AppPool pool
    cdef bytes message          # the request as it goes on the wire; None once it cannot be needed again
    cdef bint head_request      # the answer has no body
    cdef bint repeatable        # the method is idempotent
    cdef bint retried           # a stale connection was replaced
    cdef AppLink link           # None while connecting, and at the end
    cdef object waiter          # the future that awaits the head or more of the body
    cdef object fault           # a NoAnswer: nothing more will come
    cdef readonly int status    # 0 until the head is there
    cdef readonly list fields   # (name in lower case, value) of the head, both bytes
    cdef readonly bint ended    # the answer is whole
    cdef OutBuffer held         # bytes of the body that are not taken yet
    cdef Upload upload          # what takes the body instead; None

    cdef int ask(self, bint fresh) except -1
    cdef int attach(self, AppLink link) except -1
    cdef int wake(self) except -1
    cdef int lose(self, object fault) except -1


cdef class Upload(AppUser):
    cdef Exchange exchange
    cdef AppLink link           # None while connecting, and at the end
    cdef bytes message          # head and first chunks
    cdef object done            # future: (status, body) of the Runtime API's answer
    cdef bint finished          # the request is written to its end
    cdef int status
    cdef bint answered          # its answer is whole
    cdef OutBuffer body

    cdef int attach(self, AppLink link) except -1
    # What the exchange holds goes out; the last chunk with it when the answer has ended.
    cdef int push(self) except -1
    # The application's answer is cut off: the trailers say why.
    cdef int break_off(self, str why) except -1
    cdef int settle(self, object error) except -1
