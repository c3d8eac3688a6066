"""The scaler's steps on the board: the life of an instance slot, the index, pools, what it publishes."""

from libc.stdint cimport int64_t, uint32_t

from lambda_dispatch_core.board.worker cimport WorkerSteps


cdef class ScalerSteps(WorkerSteps):
    # A draining instance is released earlier than begin_drain() said; True when it was later before. The scaler's.
    cpdef bint hasten(self, int slot, uint32_t generation, int64_t goaway_at) noexcept
    cpdef bint close_instance(self, int slot, uint32_t generation, int64_t now) noexcept    # scaler
    cpdef bint free_instance(self, int slot, uint32_t generation) noexcept  # scaler; False while anything is held of it
    cdef void _index_remove(self, int slot) noexcept
