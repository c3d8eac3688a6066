"""The board: one memfd that the supervisor, every worker and the scaler map, and through which alone they speak.

docs/shared-memory.md is the format by byte offset and says who writes what; board/layout.pxd is the same in C,
board/map what only reads, and the steps are in one module per actor: worker, scaler, supervisor, and shared by all.
Every word has one writer wherever that is possible; the others are changed by atomic steps.
No process ever waits for another, so a process killed at any instruction leaves a board that the others can go on
with.

Times are monotonic nanoseconds (CLOCK_MONOTONIC is one clock for all processes of a machine) unless the name says wall.
An instance is named by (slot, generation): the generation rises each time the slot is taken, and every step that could
come late carries it, so what was meant for a slot's last tenant never touches the next.
"""

cimport cython

from lambda_dispatch_core.board.layout cimport (
    GRPC_STATUSES, INSTANCE_DRAINING, INSTANCE_FREE, INSTANCE_OPEN, PoolNumbers, REASONS, WORDS, WorkerPool,
    WorkerSlot, observe,
)
from lambda_dispatch_core.board.supervisor cimport SupervisorSteps


@cython.final
cdef class Board(SupervisorSteps):
    pass


# Writes 1 to the eventfd: "look at the board". False when that failed because no process listens any more.
cdef bint ring_bell(int fd) noexcept
