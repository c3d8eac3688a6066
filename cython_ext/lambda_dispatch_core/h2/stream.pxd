"""The life of a stream (RFC 9113 section 5.1) as one table. Header-only.

Seen from one endpoint a stream has two directions, each of which begins with the first HEADERS and ends with
END_STREAM; RST_STREAM ends both. That gives the four living states. Pushed streams do not exist here: a server of ours
never pushes and a client of ours forbids it, so the two "reserved" states of the RFC have no rows.

A stream that is over is forgotten, but the peer may not know yet. What may still arrive depends on how it ended, so
"closed" has two rows:

    RESET    we sent RST_STREAM while the peer might still have been sending. Whatever it had under way is dropped in
             silence, after header compression and the connection's window have been kept in step.
    CLOSED   the peer itself ended its side, or reset the stream. It cannot send DATA or HEADERS on it any more
             (STREAM_CLOSED); late WINDOW_UPDATE and RST_STREAM are harmless.

A frame with END_STREAM is two inputs: what it is, and RECV_END once its last byte has been seen. Commands of ours are
inputs as well: what a state does not allow does nothing, because a caller cannot know what the peer has just done.

Every cell is defined; a cell is either the next state or a Verdict. Errors name their scope: the stream's, which is
then reset, or the connection's. PRIORITY changes nothing in any state (RFC 9113 5.3.2), and unknown frames never get
here.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free


cdef enum StreamState:
    IDLE = 0                # not opened yet
    OPEN = 1
    HALF_LOCAL = 2          # we have ended our side
    HALF_REMOTE = 3         # the peer has ended its side
    RESET = 4
    CLOSED = 5
    STATES = 6


cdef enum StreamInput:
    RECV_HEAD = 0
    RECV_DATA = 1
    RECV_END = 2
    RECV_RESET = 3
    RECV_WINDOW = 4
    RECV_PRIORITY = 5
    SEND_HEAD = 6
    SEND_DATA = 7
    SEND_END = 8
    SEND_RESET = 9
    INPUTS = 10


cdef enum Verdict:
    DROP = 16               # a frame that came too late: keep compression and windows in step, say nothing
    NOTHING = 17            # a command that came too late: does nothing
    STREAM_CLOSED_STREAM = 18   # stream error STREAM_CLOSED
    STREAM_CLOSED_ALL = 19      # connection error STREAM_CLOSED
    PROTOCOL_ERROR_ALL = 20     # connection error PROTOCOL_ERROR


cdef extern from *:
    """
    #define ROW(a, b, c, d, e, f, g, h, i, j) \\
        { L_##a, L_##b, L_##c, L_##d, L_##e, L_##f, L_##g, L_##h, L_##i, L_##j }
    enum { L_IDLE = 0, L_OPEN = 1, L_HLOC = 2, L_HREM = 3, L_RST = 4, L_CLO = 5,
           L_DROP = 16, L_NONE = 17, L_SCS = 18, L_SCA = 19, L_PEA = 20 };
    static const unsigned char ld_stream_table[6][10] = {
    /*  RECV                                  SEND */
    /*  HEAD  DATA  END   RST   WIN   PRIO    HEAD  DATA  END   RST */
    ROW(OPEN, PEA,  PEA,  PEA,  PEA,  IDLE,   OPEN, NONE, NONE, NONE), /* IDLE */
    ROW(OPEN, OPEN, HREM, CLO,  OPEN, OPEN,   OPEN, OPEN, HLOC, RST),  /* OPEN */
    ROW(HLOC, HLOC, CLO,  CLO,  HLOC, HLOC,   NONE, NONE, NONE, RST),  /* HALF_LOCAL */
    ROW(SCS,  SCS,  SCS,  CLO,  HREM, HREM,   HREM, HREM, CLO,  CLO),  /* HALF_REMOTE */
    ROW(DROP, DROP, DROP, DROP, DROP, RST,    NONE, NONE, NONE, NONE), /* RESET */
    ROW(SCA,  SCA,  SCA,  DROP, DROP, CLO,    NONE, NONE, NONE, NONE), /* CLOSED */
    };
    #undef ROW
    """
    const uint8_t ld_stream_table[6][10]


# The cell of the table: a StreamState or a Verdict.
cdef inline uint8_t after(uint8_t state, uint8_t what) noexcept nogil:
    return ld_stream_table[state][what]


cdef inline bint may_send(uint8_t state) noexcept nogil:
    return state == OPEN or state == HALF_REMOTE


cdef inline bint may_receive(uint8_t state) noexcept nogil:
    return state == OPEN or state == HALF_LOCAL


cdef inline bint is_over(uint8_t state) noexcept nogil:
    return state >= RESET


# The living streams of a connection by id: open addressing, at most half full, so that a look-up is a probe or two.
# Ids come in arithmetic progression and some live long; multiplying spreads them. The table only keeps the pointers.
cdef struct Slot:
    uint32_t id             # 0: empty
    void* stream


cdef struct Slots:
    Slot* at                # mask + 1 of them; NULL before the first stream
    uint32_t mask
    uint32_t shift          # 32 - log2(mask + 1)
    uint32_t count


cdef inline uint32_t slot_home(const Slots* slots, uint32_t id) noexcept nogil:
    return (id * <uint32_t> 2654435769) >> slots.shift


cdef inline void* slots_find(const Slots* slots, uint32_t id) noexcept nogil:
    cdef uint32_t i
    if slots.count == 0:
        return NULL
    i = slot_home(slots, id)
    while slots.at[i].id:
        if slots.at[i].id == id:
            return slots.at[i].stream
        i = (i + 1) & slots.mask
    return NULL


# Room for one more. -1 when memory is out.
cdef inline int slots_grow(Slots* slots) noexcept nogil:
    cdef Slots wider
    cdef uint32_t i, to
    cdef uint32_t room = 16 if slots.at == NULL else 2 * (slots.mask + 1)
    wider.at = <Slot*> calloc(room, sizeof(Slot))
    if wider.at == NULL:
        return -1
    wider.mask = room - 1
    wider.shift = 28 if slots.at == NULL else slots.shift - 1
    wider.count = slots.count
    if slots.at != NULL:
        for i in range(slots.mask + 1):
            if slots.at[i].id:
                to = slot_home(&wider, slots.at[i].id)
                while wider.at[to].id:
                    to = (to + 1) & wider.mask
                wider.at[to] = slots.at[i]
        free(slots.at)
    slots[0] = wider
    return 0


# The id must not be in the table. -1 when memory is out.
cdef inline int slots_put(Slots* slots, uint32_t id, void* stream) noexcept nogil:
    cdef uint32_t i
    if slots.at == NULL or 2 * (slots.count + 1) > slots.mask + 1:
        if slots_grow(slots) < 0:
            return -1
    i = slot_home(slots, id)
    while slots.at[i].id:
        i = (i + 1) & slots.mask
    slots.at[i].id = id
    slots.at[i].stream = stream
    slots.count += 1
    return 0


# Takes the id out and moves back what a probe would otherwise miss. Does nothing when it is not there.
cdef inline void slots_remove(Slots* slots, uint32_t id) noexcept nogil:
    cdef uint32_t hole, i
    if slots.count == 0:
        return
    hole = slot_home(slots, id)
    while slots.at[hole].id != id:
        if slots.at[hole].id == 0:
            return
        hole = (hole + 1) & slots.mask
    i = (hole + 1) & slots.mask
    while slots.at[i].id:
        if ((i - slot_home(slots, slots.at[i].id)) & slots.mask) >= ((i - hole) & slots.mask):
            slots.at[hole] = slots.at[i]
            hole = i
        i = (i + 1) & slots.mask
    slots.at[hole].id = 0
    slots.at[hole].stream = NULL
    slots.count -= 1
