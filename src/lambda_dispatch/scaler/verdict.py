"""How an invoke ended, and what that says about starting another one."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_dispatch.scaler.guard import Outcome

if TYPE_CHECKING:
    from lambda_dispatch.scaler.lambda_api import Reply  # its module loads botocore, which views have no use for

# The exit reasons of the protocol, worst first, then the ends that no extension reports. A name's place, counted from
# 1, is what stands on the board (PoolSlot.last_exit).
EXIT_NAMES = (
    "RouterLambdaInvokeInvalid",
    "RouterUnreachable",
    "RouterConnectionError",
    "ChannelErrorOther",
    "AppConnectionError",
    "AppConnectionClosed",
    "RouterStatus5xx",
    "RouterStatus4xx",
    "RouterStatusOther",
    "RouterGoAway",
    "SelfLastActive",
    "SelfDeadline",
    "SelfStaleRequest",
    "SelfInitOnly",
    "FunctionError",
    "Throttled",
    "Refused",
    "ServiceError",
    "NotSent",
    "Lost",
    "Unknown",
)
_NUMBERS = {name: number for number, name in enumerate(EXIT_NAMES, 1)}

# Of these, those that Lambda or the way to it answered with an error.
FAILED = frozenset({"FunctionError", "Throttled", "Refused", "ServiceError", "NotSent", "Lost"})

# s: an instance whose deadline ends it sooner has a function timeout that is useless to a router; the extension leaves
# 15 s before the deadline.
SHORT_LIFE = 5.0
SHORT_TIMEOUT = SHORT_LIFE + 15.0  # s: the same, of the function's timeout itself
SERVED_WELL = 10  # requests after which a crash says nothing about the next start
# What Lambda answers when the function's timeout has run out, in errorMessage.
_TIMED_OUT = re.compile(r"Task timed out after (\d{1,4}(?:\.\d{1,3})?) seconds")

ORDERLY = frozenset({"RouterGoAway", "SelfLastActive", "SelfDeadline", "SelfInitOnly"})
APP = frozenset({"AppConnectionError", "AppConnectionClosed"})
WAY_BACK = frozenset(
    {
        "RouterUnreachable",
        "RouterConnectionError",
        "ChannelErrorOther",
        "RouterStatus5xx",
        "RouterStatus4xx",
        "RouterStatusOther",
    }
)


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one invoke."""

    name: str  # one of EXIT_NAMES
    requests: int = 0  # that the extension says it relayed
    detail: str = ""  # for the log; never the function's own output
    timeout: float | None = None  # s: the function's timeout, where Lambda ended the invoke because of it

    @property
    def number(self) -> int:
        return _NUMBERS[self.name]


def exit_of(reply: "Reply") -> Exit:
    if reply.status == 429:
        return Exit("Throttled", detail=reply.error_type)
    if reply.status >= 500:
        return Exit("ServiceError", detail=reply.error_type or f"status {reply.status}")
    if reply.status >= 300:
        return Exit("Refused", detail=reply.error_type or f"status {reply.status}")
    payload = _object(reply.payload)
    if reply.function_error:
        kind, text = payload.get("errorType"), payload.get("errorMessage")
        told = _TIMED_OUT.search(text) if isinstance(text, str) else None
        return Exit(
            "FunctionError",
            detail=kind[:100] if isinstance(kind, str) else reply.function_error,
            timeout=float(told[1]) if told else None,
        )
    name, requests = payload.get("ExitReason"), payload.get("RequestCount")
    return Exit(
        name if isinstance(name, str) and name in _NUMBERS else "Unknown",
        requests if isinstance(requests, int) else 0,
    )


def _object(payload: bytes) -> dict[str, object]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def outcome_of(ended: Exit, *, opened: bool, proved: bool, asked: bool, lived: float) -> Outcome:
    """What the guard makes of it. asked: we ended it; proved: judged to be good before; lived: s since it opened."""
    if lived < SHORT_LIFE and not asked and ended.name == "SelfDeadline":
        return Outcome.SHORT_LIFE
    match ended.name:
        case "Throttled":
            return Outcome.THROTTLED
        case "Refused":
            return Outcome.REFUSED
        case "ServiceError" | "NotSent" | "Lost":
            return Outcome.SERVICE
        case "FunctionError" if ended.timeout is not None and ended.timeout < SHORT_TIMEOUT:
            return Outcome.SHORT_LIFE
        case "FunctionError" if opened and (
            ended.timeout is not None or (proved and ended.requests > 1) or ended.requests >= SERVED_WELL
        ):
            # Its time was over, or it had served well: that says nothing about the next start. There are extensions
            # that crash on one client's odd request, and that request is among those counted.
            return Outcome.NEUTRAL
        case "FunctionError":
            return Outcome.FUNCTION_ERROR
        case name if name in APP or name in WAY_BACK:
            # Trouble of an instance that has worked says nothing about the next one's start. There are extensions that
            # end so whenever one client gives up in the middle of an answer.
            if proved or (opened and (asked or ended.requests > 0)):
                return Outcome.NEUTRAL
            return Outcome.FUNCTION_ERROR if name in APP else Outcome.UNREACHABLE
        case name if opened and name in ORDERLY:
            return Outcome.GOOD if ended.requests > 0 else Outcome.NEUTRAL
    if asked or opened:
        return Outcome.NEUTRAL
    return Outcome.NOT_OPENED
