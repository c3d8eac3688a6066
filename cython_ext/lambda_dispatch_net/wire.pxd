"""A socket's end in this process: bytes in as (pointer, length), bytes out once per loop turn.

A Wire is an asyncio BufferedProtocol. All wires of a process share their Hub's read block: what was read is worked off
before the next read, and an owner that needs it later keeps a copy. What a wire is to say collects in `out` and leaves
in one write when the loop turn ends: touch() puts the wire on the Hub's list.

What no peer waits for is said by mention(): while the process is busy it leaves with whatever the connection has to say
next, within PATIENCE, and so saves a write of its own.

What is in `out` goes to the socket directly, by one send(); only what the socket does not take is given to the
transport, which waits for room. Over TLS everything goes through the transport.

Reading goes the same way: a plain connection that has been heard twice is taken off the loop's hands and stands in an
epoll set of the Hub's, which the loop watches as one descriptor. All that is ready is read in one pass, without a
Python call per read. Connections come and go through the loop: their end the transport is left to find.

Subclasses override the on_ methods. An exception out of one of them aborts the connection and is logged; it never
reaches the loop.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_core.bytes.buffer cimport OutBuffer


cdef enum Reader:
    NEW = 0                     # the transport reads; nothing came yet
    HEARD = 1                   # the transport reads
    OURS = 2                    # the Hub reads
    THEIRS = 3                  # the transport reads, for good: TLS, or the connection ends


# One port's connections: how many are open, and how many may be. A wire has it from its listener.
cdef class Entrance:
    cdef readonly str name
    cdef public int limit           # connections at most; 0: as many as descriptors allow
    cdef public int reserve         # of the Hub's room, what is left to other ports
    cdef readonly int open
    cdef readonly uint64_t refused  # connections closed at once because there was no room


cdef class Hub:
    cdef readonly object loop
    cdef object _call_soon          # loop.call_soon
    cdef object _flush              # self.flush, bound once
    cdef list _touched              # wires with something to send or to finish, in the order they were touched
    cdef list _mentioned            # wires with something to send that may wait
    cdef int64_t _waited            # ns: since when the first of them waits
    cdef bint _busy                 # the last pass of this turn found many sockets ready
    cdef bint _scheduled            # flush() is on the loop's list
    cdef bytearray _block           # the shared read block
    cdef uint8_t* _at               # its first byte; the bytearray is never resized
    cdef int _epoll                 # the set of sockets the Hub reads; -1 before there is one
    cdef list _left                 # wires that left the set in this pass, events of theirs may be ahead; None between
    cdef object _log                # called with (text) when an on_ method raised
    cdef readonly int64_t now       # ns, monotonic: when the current read or tick began
    cdef readonly uint64_t bytes_in     # ever read
    cdef readonly uint64_t bytes_out    # ever written
    cdef public uint64_t look_at        # when bytes_in reaches this, `on_moved` is called
    cdef public object on_moved         # None, or called between two reads; it sets look_at again
    cdef readonly int wires         # open now
    cdef set _held                  # these: the epoll set borrows them, and uvloop drops a transport that does not read
    cdef public int pending         # accepted connections that have no wire yet (TLS)
    cdef public int room            # connections the descriptors are enough for; 0: not known
    cdef public object on_full      # None, or called (Entrance) to close idle connections; true when it did

    cdef int _moved(self) except -1
    cdef int64_t tick(self) noexcept    # reads the clock into `now`
    cdef int schedule(self, Wire wire) except -1
    cdef int schedule_later(self, Wire wire) except -1
    # Changes the wire's entry in the epoll set (EPOLL_CTL_*).
    cdef int watch(self, Wire wire, int operation) except -1
    cdef int _hurry(self, list touched) except -1
    # Whether there is no room for what has just come.
    cdef inline bint full(self, Entrance entrance) noexcept:
        return ((entrance.limit and entrance.open > entrance.limit)
                or (self.room and self.wires + self.pending > self.room - entrance.reserve))


cdef class Wire:
    cdef readonly Hub hub
    cdef readonly object transport  # None before connection_made and after connection_lost
    cdef OutBuffer out              # what goes out at the end of this turn
    cdef readonly uint64_t handed   # bytes given to the transport since the connection began
    cdef bint touched               # on the Hub's list
    cdef bint mentioned             # on the Hub's list of those that may wait
    cdef int _socket                # its descriptor, while sending to it directly is allowed; -1 otherwise
    cdef uint8_t _reader            # a Reader
    cdef public Entrance entrance   # the port it came in by; None where connections are not counted
    cdef bint _uncounted            # refused or dropped: no longer among the Hub's wires
    cdef bint _refused              # closed at once: on_open() and on_lost() are not called
    cdef readonly bint tls          # the transport encrypts: no half-closed connections
    cdef readonly bint paused       # the transport holds back something (TLS: more than WRITE_HIGH): do not add
    cdef readonly bint reading      # bytes are read as they come
    cdef readonly bint closing      # no more is read; the connection ends when what is in `out` has left
    cdef bint was_reset             # it ended with an error of the socket, such as a reset

    # Puts the wire on the Hub's list: `out` leaves at the end of this turn.
    cdef inline int touch(self) except -1:
        if not self.touched:
            self.hub.schedule(self)
        return 0

    # Something is in `out` that no peer waits for.
    cdef inline int mention(self) except -1:
        if not self.touched and not self.mentioned:
            self.hub.schedule_later(self)
        return 0

    cdef int stop_reading(self) except -1
    cdef int start_reading(self) except -1
    # Ends the connection once `out` has left; nothing more is read.
    cdef int close(self) except -1
    # Ends the connection now, with what is waiting dropped (a reset on TCP).
    cdef int abort(self) except -1
    # Ends an idle connection now, with a FIN. Its descriptor is free when this returns.
    cdef int drop(self) except -1
    cdef int _leave_count(self) except -1
    cdef int flush(self) except -1
    # One read of what the socket has.
    cdef int read(self) except -1
    # Leaves the epoll set and what is sent directly: only the transport deals with the socket from here on.
    cdef int let_go(self) except -1
    # The other wire's transport is this one's from now on.
    cdef int inherit(self, Wire other) except -1

    cdef int on_open(self) except -1
    cdef int on_bytes(self, const uint8_t* p, Py_ssize_t n) except -1
    # The other side has sent its last byte. The default closes.
    cdef int on_eof(self) except -1
    cdef int on_lost(self) except -1
    # The socket takes bytes again after on_paused().
    cdef int on_writable(self) except -1
    # The socket is full.
    cdef int on_paused(self) except -1
