"""What a line of the access log may hold, by name and in the order that is the default's."""

DEFAULT_FIELDS = (
    "time",
    "client",
    "request",
    "status",
    "bytes_in",
    "bytes_out",
    "wait_ms",
    "service_ms",
    "total_ms",
    "request_id",
    "trace_id",
    "instance",
    "fault",
    "grpc_status",
)
# A name's place is its number in access.pyx.
ALL_FIELDS = (*DEFAULT_FIELDS, "function", "host", "referer", "user_agent")
