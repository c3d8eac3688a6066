"""Loops for benchmarks/micro: a server's side of channel exchanges, as a worker drives its session."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Events, H2Limits, H2Session, H2Stream, default_limits, new_session


cdef class Parking(H2Events):
    """Parks every channel and sends one request down it at once."""
    cdef H2Session session
    cdef const uint8_t* request
    cdef Py_ssize_t request_len
    cdef Py_ssize_t answered        # bytes of responses

    cdef int on_head(self, H2Stream stream, FieldList head, bint end) except -1:
        self.session.send_status(stream, 200, False)
        return self.session.send_data(stream, self.request, self.request_len, True)

    cdef int on_data(self, H2Stream stream, const uint8_t* p, Py_ssize_t n, bint end) except -1:
        self.answered += n
        return self.session.consumed(stream, n)


def serve(bytes opening not None, list posts not None, list answers not None, bytes request not None):
    """Serves one connection: for each i receives posts[i], flushes, receives answers[i], flushes."""
    cdef H2Limits limits
    cdef Parking events = Parking.__new__(Parking)
    cdef H2Session session
    cdef bytes post, answer
    cdef int result = 0
    default_limits(&limits)
    session = new_session(False, &limits)
    events.session = session
    events.request = <const uint8_t*> PyBytes_AS_STRING(request)
    events.request_len = PyBytes_GET_SIZE(request)
    session.events = events
    session.receive(<const uint8_t*> PyBytes_AS_STRING(opening), PyBytes_GET_SIZE(opening))
    for post, answer in zip(posts, answers):
        result |= session.receive(<const uint8_t*> PyBytes_AS_STRING(post), PyBytes_GET_SIZE(post))
        session.out.take()
        result |= session.receive(<const uint8_t*> PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer))
        session.out.take()
    if result or session.open_streams:
        raise RuntimeError(f"the exchanges went wrong: {session.error_reason}, {session.open_streams} streams left")
    session.lost()
    session.events = None
    return events.answered


def receive_all(bytes opening not None, bytes head not None, bytes frames not None):
    """One stream, then `frames` in one read: DATA delivered and consumed. Bytes of them."""
    cdef H2Limits limits
    cdef Parking events = Parking.__new__(Parking)
    cdef H2Session session
    default_limits(&limits)
    session = new_session(False, &limits)
    events.session = session
    session.events = events
    session.receive(<const uint8_t*> PyBytes_AS_STRING(opening), PyBytes_GET_SIZE(opening))
    session.receive(<const uint8_t*> PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
    session.receive(<const uint8_t*> PyBytes_AS_STRING(frames), PyBytes_GET_SIZE(frames))
    if session.failed:
        raise RuntimeError(f"the frames were refused: {session.error_reason}")
    session.lost()
    session.events = None
    return events.answered
