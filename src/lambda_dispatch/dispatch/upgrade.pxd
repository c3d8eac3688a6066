"""A tunnelled head that asks to go on as another protocol.

The two lines that say so, Connection and Upgrade, stand behind the request line and nowhere else: no client's own
fields of these names pass. An extension that has announced `upgrade` (features.pxd) asks the application, and its
answer of 101 makes the exchange bytes both ways. For any other extension the lines are taken out.
"""

from libc.stdint cimport uint8_t

from lambda_dispatch_core.bytes.fields cimport FieldList

cdef extern from *:
    """
    #define LD_UPGRADE_LINES "Connection: Upgrade\\r\\nUpgrade: "
    """
    # The protocol's name follows, and the end of the line.
    const char* UPGRADE_LINES "LD_UPGRADE_LINES"


# The protocol that the head asks for, its length in *n; NULL when it asks for none. Borrowed from the head.
cdef const uint8_t* protocol_of(const uint8_t* head, Py_ssize_t length, Py_ssize_t* n) noexcept nogil
# Takes the lines out; the length that is left.
cdef Py_ssize_t strip_upgrade(uint8_t* head, Py_ssize_t length) noexcept nogil
# Whether an answer of 101 with these fields goes on as what the head asks for.
cdef bint agrees(const uint8_t* head, Py_ssize_t length, FieldList fields) noexcept
