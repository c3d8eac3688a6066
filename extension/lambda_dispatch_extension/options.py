"""The extension's options, which are environment variables: each one has a row in TABLE.

A bad value is logged and the default used, as in the original, except where a default would weaken what was asked for
(TLS): there the process does not start.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREFIX = "LAMBDA_DISPATCH_"
Statuses = tuple[tuple[int, int], ...]


class OptionError(Exception):
    """An option without which going on would be unsafe."""


class Margin(NamedTuple):
    """What is kept free at the end of an invocation: seconds, or, where share is not 0, a share of its length."""

    seconds: float
    share: float = 0.0


class Options(NamedTuple):
    port: int = 3001  # the application's
    async_init: bool = False
    async_init_timeout: float = 10.0  # s, inside the first invoke
    compression: bool = True
    force_deadline: float | None = None  # s from the start of each invoke
    grace: float = 0.25  # s without traffic after which the instance asks to be closed
    health_path: str = "/health"
    health_protocol: str = "http"
    healthy: Statuses = ((200, 200),)
    init_timeout: float = 120.0  # s, when init is not asynchronous; 0: wait for ever
    deadline_margin: Margin = Margin(15.0)
    app_idle: float = 4.0  # s; below the 5 s after which common servers close
    app_connect: float = 1.0  # s
    router_connect: float = 0.5  # s
    ca_file: str = ""
    fingerprint: bytes = b""  # SHA-256 of the router's certificate
    client_certificate: str = ""  # PEM file, shown to the router
    client_key: str = ""  # PEM file; empty: the certificate's file has it too
    pass_ids: bool = False  # x-pool-id, x-lambda-id and x-channel-id reach the application
    runtime: str = ""  # of the original; without effect

    def margin(self, whole: float) -> float:
        """Seconds to keep free at the end of an invocation that lasts `whole` seconds."""
        seconds, share = self.deadline_margin
        return whole * share if share else seconds

    def is_healthy(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.healthy)


def boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise ValueError("not true or false")


def port(text: str) -> int:
    value = digits(text)
    if not 1 <= value <= 65535:
        raise ValueError("not a port from 1 to 65535")
    return value


def digits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("not a number")
    return int(text)


def seconds(text: str) -> float:
    whole, _, part = text.partition(".")
    return digits(whole) + (digits(part) / 10 ** len(part) if part else 0.0)


def milliseconds(text: str) -> float:
    return digits(text) / 1000


def timeout(text: str) -> float:
    value = milliseconds(text)
    if value == 0:
        raise ValueError("must be more than 0")
    return value


def path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("not a path that starts with /")
    return text


def protocol(text: str) -> str:
    if text.lower() not in ("http", "tcp"):
        raise ValueError("not http or tcp")
    return text.lower()


def statuses(text: str) -> Statuses:
    """Statuses and ranges of them: 200,204,300-399"""
    ranges = []
    for item in text.split(","):
        low, dash, high = item.strip().partition("-")
        bounds = digits(low.strip()), digits(high.strip() if dash else low.strip())
        if not 100 <= bounds[0] <= bounds[1] <= 599:
            raise ValueError(f"{item.strip()!r} is not a status or a range of statuses")
        ranges.append(bounds)
    return tuple(ranges)


def margin(text: str) -> Margin:
    """Seconds, or a share of the function's timeout: 15 or 10%"""
    if not text.endswith("%"):
        return Margin(seconds(text))
    share = seconds(text[:-1]) / 100
    if not 0 < share <= 0.5:
        raise ValueError("not more than 0% and at most 50%")
    return Margin(0.0, share)


def fingerprint(text: str) -> bytes:
    """SHA-256 in hex, with or without colons."""
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 32:
        raise ValueError("not the 64 hex digits of a SHA-256 fingerprint")
    return value


def readable(text: str) -> str:
    if not os.path.isfile(text) or not os.access(text, os.R_OK):
        raise ValueError("no such readable file")
    return text


class Option(NamedTuple):
    name: str  # after the prefix
    field: str  # of Options
    convert: Callable[[str], Any]
    otherwise: str = ""  # what unsetting it would mean; with this a bad value is an error and no default is used


ANY_ROUTER = "unset it to accept any router"
TABLE = (
    Option("PORT", "port", port),
    Option("ASYNC_INIT", "async_init", boolean),
    Option("ASYNC_INIT_TIMEOUT", "async_init_timeout", seconds),
    Option("INIT_TIMEOUT", "init_timeout", seconds),
    Option("HEALTH_CHECK_PATH", "health_path", path),
    Option("HEALTH_CHECK_PROTOCOL", "health_protocol", protocol),
    Option("HEALTHY_STATUSES", "healthy", statuses),
    Option("ENABLE_COMPRESSION", "compression", boolean),
    Option("LAST_ACTIVE_GRACE_PERIOD_MS", "grace", milliseconds),
    Option("DEADLINE_MARGIN", "deadline_margin", margin),
    Option("FORCE_DEADLINE", "force_deadline", seconds),
    Option("APP_IDLE_TIMEOUT_MS", "app_idle", timeout),
    Option("APP_CONNECT_TIMEOUT_MS", "app_connect", timeout),
    Option("ROUTER_CONNECT_TIMEOUT_MS", "router_connect", timeout),
    Option("PASS_IDS", "pass_ids", boolean),
    Option("ROUTER_CA_FILE", "ca_file", readable, ANY_ROUTER),
    Option("ROUTER_FINGERPRINT", "fingerprint", fingerprint, ANY_ROUTER),
    Option("CLIENT_CERTIFICATE", "client_certificate", readable, "unset it to show the router no certificate"),
    Option("CLIENT_KEY", "client_key", readable, "unset it where the certificate's file has the key too"),
    Option("RUNTIME", "runtime", str),
)
# Set by the launcher for the program that it starts; no options.
EXTENSION_ID = PREFIX + "EXTENSION_ID"  # registered already, under this identifier
APP_PID = PREFIX + "APP_PID"  # the application runs already, as this child of ours
# Every variable of the extension's, without the prefix: the router does not warn about these.
NAMES = (*(option.name for option in TABLE), "EXTENSION_ID", "APP_PID")


def load(environ: Mapping[str, str], note: Callable[..., object]) -> Options:
    """The options of this environment. note(event, **fields) takes what is worth a log line."""
    values: dict[str, Any] = {}
    for option in TABLE:
        name = PREFIX + option.name
        text = environ.get(name, "").strip()
        if not text and option.field == "port":
            # What most platforms and frameworks call it.
            name, text = "PORT", environ.get("PORT", "").strip()
        if not text:
            continue
        try:
            values[option.field] = option.convert(text)
        except ValueError as error:
            if option.otherwise:
                raise OptionError(f"{name}={text!r}: {error}; correct it, or {option.otherwise}") from None
            note("option ignored", variable=name, value=text, cause=error, default=default_text(option.field))
    if values.get("runtime"):
        note("option ignored", variable=PREFIX + "RUNTIME", value=values.pop("runtime"), cause="has no effect here")
    if values.get("client_key") and not values.get("client_certificate"):
        raise OptionError(f"{PREFIX}CLIENT_KEY is set without {PREFIX}CLIENT_CERTIFICATE; set both")
    return Options(**values)


def default_text(field: str) -> str:
    value = Options._field_defaults[field]
    if isinstance(value, Margin):
        return f"{value.seconds:g}"
    if field == "healthy":
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
