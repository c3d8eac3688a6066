"""One HTTP/2 connection to the router, and what every user of its streams shares.

    RouterLink   the connection; its streams belong to Channels (channel.pxd) and Calls
    Call         a ping or a close: an ordinary request whose status somebody waits for
    Ledger       what all channels of one invoke have done; its owner gets the rare events
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lambda_dispatch_net.h2_wire cimport H2Wire
from lambda_dispatch_core.bytes.fields cimport FieldList
from lambda_dispatch_core.h2.session cimport H2Stream
from lambda_dispatch_extension.app_link cimport AppUser


cdef class Ledger:
    cdef readonly object owner      # the invoke; router_link.pyi lists what is called on it under _Owner
    cdef public int channels      # channels that are not OFF
    cdef public int in_flight     # requests being relayed
    cdef public uint64_t requests     # relayed to their end
    cdef public uint64_t aborted      # ended early by either side
    cdef public int64_t last_active   # ns, monotonic: a request began or ended, or a channel was parked
    cdef public bint parking        # a channel that is free parks again


cdef class RouterLink(H2Wire):
    cdef readonly bint down         # lost, or about to be: nothing may be opened on it
    cdef readonly Ledger ledger
    cdef readonly bytes worker      # the worker of the router it reached, as that says; None before the first answer
    cdef readonly bytes authority
    cdef readonly bytes scheme
    cdef readonly tuple announced   # (name, value) fields that every call carries: what we are, and the invoke's secret
    cdef readonly bint ours         # the router has shown that it is ours: 1xx and upgrades may travel on the channels
    cdef FieldList request_fields   # the request head being read; used within one call only
    cdef char date_text[32]         # the date header, as of date_at
    cdef Py_ssize_t date_len
    cdef int64_t date_at            # ns, the Hub's clock; 0 before the first use

    # Brings date_text up to date.
    cdef int refresh_date(self) except -1
    # Commands were given to the session: what they wrote leaves at the end of this turn.
    cdef int spoken(self) except -1


# Who owns a stream of a RouterLink. A channel is both this and the user of an application's connection.
cdef class StreamUser(AppUser):
    cdef int on_status(self, int status, bint end) except -1
    cdef int on_request_data(self, const uint8_t* p, Py_ssize_t n, bint end) except -1
    # The request ends, with trailers.
    cdef int on_request_trailers(self, FieldList trailers) except -1
    # The stream is gone. refused: the router cannot have acted on it.
    cdef int on_reset(self, bint refused) except -1
    cdef int on_drained(self) except -1


cdef class Call(StreamUser):
    cdef object done                # called once, with the status or 0 when there was none; None afterwards
    cdef int status
    cdef RouterLink link
    cdef H2Stream stream
    cdef int finish(self, int status) except -1
