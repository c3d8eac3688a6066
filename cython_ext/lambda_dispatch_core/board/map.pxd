"""A process's view of the board: the mapping, pointers to its sections, and everything that only reads.

What changes the board is in board.pyx.
"""

from libc.stdint cimport int16_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from lambda_dispatch_core.board.layout cimport (
    DecisionSlot, Header, InstanceSlot, LifeSlot, OverrideSlot, PoolNumbers, PoolSlot, ScalerSlot, WorkerPool,
    WorkerSlot,
)


# As much of it as fits, without half a character at the end; the rest is zeros.
cdef inline int put_text(uint8_t* field, size_t size, str text) except -1:
    cdef bytes data = text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()
    memset(field, 0, size)
    memcpy(field, <const uint8_t*> data, len(data))
    return 0


cdef class BoardMap:
    cdef readonly int fd            # the memfd; closed by close() when the board made or was given it
    cdef readonly int workers       # slots of each kind
    cdef readonly int instances
    cdef readonly int pools
    cdef readonly int worker        # the worker slot of this process, or -1
    cdef readonly bint readonly     # mapped for reading: every step that writes is refused by the hardware
    cdef size_t size
    cdef uint8_t* base              # the mapping; NULL once closed
    cdef Header* header
    cdef ScalerSlot* scaler
    cdef PoolSlot* pool_slots
    cdef WorkerSlot* worker_slots
    cdef WorkerPool* worker_pools   # [worker * pools + pool]
    cdef PoolNumbers* pool_numbers  # [worker * (pools + 1) + pool]; the last: requests that no function got
    cdef InstanceSlot* slots
    cdef int16_t* in_flight         # [instance]: requests at it, over all workers
    cdef int16_t* limits            # [instance]: packed copy of the slots' limits
    cdef int16_t* reserved          # [worker * instances + instance]: that worker's part of in_flight
    cdef int16_t* idle              # [worker * instances + instance]: free channels that worker holds
    cdef DecisionSlot* ring         # [decisions]: what the scaler decided lately
    cdef LifeSlot* life_ring        # [lives]: the instances that ended lately
    cdef OverrideSlot* overrides    # [pool * OVERRIDES + kind]; after the last pool's: the router's
    cdef uint32_t* index            # [2 * instances]: fingerprint << 16 | slot + 1, by id; 0 empty, 0xFFFF no more

    # This process's own; NULL unless attached as a worker.
    cdef WorkerSlot* me
    cdef WorkerPool* my_pools       # [pool]
    cdef PoolNumbers* my_numbers    # [pool]
    cdef int16_t* my_reserved       # [instance]
    cdef int16_t* my_idle           # [instance]

    cdef int _map(self, int fd, bint readonly) except -1
    cdef int _bind(self) except -1
    cdef int _lay_out(self, int workers, int instances, int pools) except -1
    cdef WorkerSlot* _worker_slot(self, int worker) except NULL
    cdef InstanceSlot* _instance_slot(self, int slot) except NULL
    cdef OverrideSlot* _override_slot(self, int pool, int kind) except NULL
