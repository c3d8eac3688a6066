"""One request whose whole answer is wanted at once: Lambda's own endpoints and the application's health check.

A Collect is the user of an AppLink as a Channel is, and keeps what comes until the answer has ended.
"""

from lambda_dispatch_core.bytes.buffer cimport OutBuffer
from lambda_dispatch_extension.app_link cimport AppLink, AppPool, AppUser


cdef class Collect(AppUser):
    cdef AppPool pool
    cdef bytes message          # the request as it goes on the wire
    cdef object done            # the future that gets the answer; None once the waiter is gone
    cdef AppLink link           # None while connecting, and at the end
    cdef bint retried
    cdef bint head_only         # the answer's head is all that is wanted
    cdef bint ended             # the answer is whole
    cdef int status
    cdef dict headers           # str to str, names in lower case; of a repeated field the last
    cdef OutBuffer body
    cdef Py_ssize_t limit       # bytes of body

    cdef int ask(self, bint fresh) except -1
    cdef int attach(self, AppLink link) except -1
    cdef int settle(self, object error) except -1
