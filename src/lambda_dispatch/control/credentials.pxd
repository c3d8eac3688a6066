"""What a control call must present to speak for an instance.

Each invoke carries a secret in its payload, beside the instance's id; our extension presents it on every call. The
original extension knows none. So a call without it is accepted while no call has presented it for that instance, unless
ControlSecret says `required`; from the first call with it on, every call must have it. A wrong one is never accepted.
"""

from libc.stdint cimport uint32_t

from lambda_dispatch_core.board.board cimport Board
from lambda_dispatch_core.bytes.fields cimport FieldList


cdef enum:
    SECRET_TEXT = 22            # characters of 16 bytes in base64url, without padding


cdef enum Proof:
    WRONG = 0                   # refuse the call
    NOT_PRESENTED = 1           # acceptable, and proves nothing
    PROVEN = 2


# What the call's head presents for the instance. Takes the same time whatever the wrong secret is.
cdef int proof_of(Board board, int slot, uint32_t generation, FieldList head, bint required) noexcept
