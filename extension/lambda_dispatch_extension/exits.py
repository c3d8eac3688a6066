"""Why an invoke ended. The router keys its back-off on the name, so the worst reason wins."""

from collections.abc import Iterable

INVOKE_INVALID = "RouterLambdaInvokeInvalid"
ROUTER_UNREACHABLE = "RouterUnreachable"
ROUTER_CONNECTION_ERROR = "RouterConnectionError"
CHANNEL_ERROR_OTHER = "ChannelErrorOther"
APP_CONNECTION_ERROR = "AppConnectionError"
APP_CONNECTION_CLOSED = "AppConnectionClosed"
ROUTER_STATUS_5XX = "RouterStatus5xx"
ROUTER_STATUS_4XX = "RouterStatus4xx"
ROUTER_STATUS_OTHER = "RouterStatusOther"
ROUTER_GO_AWAY = "RouterGoAway"
SELF_LAST_ACTIVE = "SelfLastActive"
SELF_DEADLINE = "SelfDeadline"
SELF_STALE_REQUEST = "SelfStaleRequest"
SELF_INIT_ONLY = "SelfInitOnly"

WORST_FIRST = (
    INVOKE_INVALID,
    ROUTER_UNREACHABLE,
    ROUTER_CONNECTION_ERROR,
    CHANNEL_ERROR_OTHER,
    APP_CONNECTION_ERROR,
    APP_CONNECTION_CLOSED,
    ROUTER_STATUS_5XX,
    ROUTER_STATUS_4XX,
    ROUTER_STATUS_OTHER,
    ROUTER_GO_AWAY,
    SELF_LAST_ACTIVE,
    SELF_DEADLINE,
    SELF_STALE_REQUEST,
    SELF_INIT_ONLY,
)


def worst(reasons: Iterable[str]) -> str:
    """The worst of at least one reason."""
    return min(reasons, key=WORST_FIRST.index)


def of_status(status: int) -> str:
    """The reason that a status of the router other than 200 and 409 is."""
    if 400 <= status < 500:
        return ROUTER_STATUS_4XX
    if 500 <= status < 600:
        return ROUTER_STATUS_5XX
    return ROUTER_STATUS_OTHER
