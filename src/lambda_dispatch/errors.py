"""What can go wrong, said the same way everywhere.

A fault knows its scope (how much of what is going on it spoils), who began it, and whether what it spoilt may be tried
again. Whoever catches one decides by these three, never by the text.
"""

from enum import StrEnum

EX_CONFIG = 78  # sysexits.h: something in the configuration; a supervisor must not restart into it


class Scope(StrEnum):
    REQUEST = "request"  # this exchange
    CHANNEL = "channel"  # one parked or busy channel
    CONNECTION = "connection"  # every stream of one connection
    INSTANCE = "instance"  # one invoke with all its channels
    PROCESS = "process"  # cannot go on at all


class Origin(StrEnum):
    US = "us"
    CLIENT = "client"
    LAMBDA = "lambda"  # the service, the network to it, or the extension
    APP = "app"


class Fault(Exception):
    """An error with a scope. `reason` is one word for logs and the x-lambda-dispatch-error header."""

    def __init__(self, reason: str, detail: str = "", *, scope: Scope, origin: Origin, retryable: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.scope = scope
        self.origin = origin
        self.retryable = retryable


class ConfigError(Fault):
    """The configuration cannot be used. Every problem found is listed, each with its way out."""

    exit_code = EX_CONFIG

    def __init__(self, problems: list[str], warnings: tuple[str, ...] = ()) -> None:
        super().__init__("configuration", "; ".join(problems), scope=Scope.PROCESS, origin=Origin.US)
        self.problems = problems
        self.warnings = warnings  # a name that is not known is often the cause of one that is not set
