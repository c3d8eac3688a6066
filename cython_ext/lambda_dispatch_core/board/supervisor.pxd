"""The supervisor's steps on the board: giving worker slots to processes, and returning what a dead one held."""


from lambda_dispatch_core.board.scaler cimport ScalerSteps


cdef class SupervisorSteps(ScalerSteps):
    cdef bint _settle(self, int worker, int slot) noexcept
