"""Which trailers pass; the theory stands in trailers.pxd."""

from lambda_dispatch_core.bytes.fields cimport (
    LAST_HOP, T_CONTENT_LENGTH, T_EXPECT, T_HOST, T_X_LAMBDA_DISPATCH_SECRET, T_X_POOL_ID, UNKNOWN,
    Field, FieldList,
)
from lambda_dispatch_core.bytes.literal cimport begins_lit

cdef FieldList some = FieldList()


cdef inline bint passes(const Field* f) noexcept:
    if f.token == UNKNOWN:
        return not begins_lit(f.name, f.name_len, b"x-lambda-dispatch-")
    return not (f.token <= LAST_HOP or f.token == T_HOST or f.token == T_CONTENT_LENGTH or f.token == T_EXPECT
                or T_X_POOL_ID <= f.token <= T_X_LAMBDA_DISPATCH_SECRET)


cdef FieldList passing(FieldList trailers):
    cdef int i
    cdef int good = 0
    cdef Field* f
    for i in range(trailers.count):
        good += passes(&trailers.at[i])
    if good == trailers.count:
        return trailers
    some.clear()
    for i in range(trailers.count):
        f = &trailers.at[i]
        if passes(f):
            some.add(f.name, f.name_len, f.value, f.value_len, f.token, f.flags)
    return some


cdef FieldList copied(FieldList trailers):
    cdef FieldList copy = FieldList()
    cdef int i
    cdef Field* f
    for i in range(trailers.count):
        f = &trailers.at[i]
        copy.add_copy(f.name, f.name_len, f.value, f.value_len, f.token, f.flags)
    return copy
