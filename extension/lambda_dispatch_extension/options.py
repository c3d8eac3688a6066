"""What the environment may say about the extension. A bad value is noted and its default used, as in the original,
except where a default would weaken what was asked for (TLS)."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

T = TypeVar("T")
PREFIX = "LAMBDA_DISPATCH_"
Statuses = tuple[tuple[int, int], ...]


class OptionError(Exception):
    """An option without which going on would be unsafe."""


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
    margin_seconds: float = 15.0  # of the invocation's end that is kept free ...
    margin_share: float = 0.0  # ... or, when not 0, as a share of the whole
    app_idle: float = 4.0  # s; below the 5 s after which common servers close
    app_connect: float = 1.0  # s
    router_connect: float = 0.5  # s
    ca_file: str = ""
    fingerprint: bytes = b""  # SHA-256 of the router's certificate

    def margin(self, whole: float) -> float:
        """Seconds to keep free at the end of an invocation that lasts `whole` seconds."""
        return whole * self.margin_share if self.margin_share else self.margin_seconds

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


def margin(text: str) -> tuple[float, float]:
    """Seconds, or a share of the function's timeout: 15 or 10%"""
    if not text.endswith("%"):
        return seconds(text), 0.0
    share = seconds(text[:-1]) / 100
    if not 0 < share <= 0.5:
        raise ValueError("not more than 0% and at most 50%")
    return 0.0, share


def fingerprint(text: str) -> bytes:
    """SHA-256 in hex, with or without colons."""
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 32:
        raise ValueError("not the 64 hex digits of a SHA-256 fingerprint")
    return value


def ca_file(text: str) -> str:
    if not os.access(text, os.R_OK):
        raise ValueError("no such readable file")
    return text


def load(environ: Mapping[str, str], note: Callable[[str], object]) -> Options:
    known = Options()

    def read(name: str, convert: Callable[[str], T], default: T) -> T:
        text = environ.get(PREFIX + name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            note(f"{PREFIX}{name}={text!r} is ignored: {error}; the default is used")
            return default

    def demand(name: str, convert: Callable[[str], T], default: T) -> T:
        text = environ.get(PREFIX + name, "").strip()
        try:
            return convert(text) if text else default
        except ValueError as error:
            raise OptionError(
                f"{PREFIX}{name}={text!r}: {error}; correct it, or unset it to trust any router"
            ) from None

    if environ.get(PREFIX + "RUNTIME"):
        note(f"{PREFIX}RUNTIME is accepted and has no effect: there is one runtime here")
    margin_seconds, margin_share = read("DEADLINE_MARGIN", margin, (known.margin_seconds, known.margin_share))
    return Options(
        port=read("PORT", port, known.port),
        async_init=read("ASYNC_INIT", boolean, known.async_init),
        async_init_timeout=read("ASYNC_INIT_TIMEOUT", seconds, known.async_init_timeout),
        compression=read("ENABLE_COMPRESSION", boolean, known.compression),
        force_deadline=read("FORCE_DEADLINE", seconds, known.force_deadline),
        grace=read("LAST_ACTIVE_GRACE_PERIOD_MS", milliseconds, known.grace),
        health_path=read("HEALTH_CHECK_PATH", path, known.health_path),
        health_protocol=read("HEALTH_CHECK_PROTOCOL", protocol, known.health_protocol),
        healthy=read("HEALTHY_STATUSES", statuses, known.healthy),
        init_timeout=read("INIT_TIMEOUT", seconds, known.init_timeout),
        margin_seconds=margin_seconds,
        margin_share=margin_share,
        app_idle=read("APP_IDLE_TIMEOUT_MS", timeout, known.app_idle),
        app_connect=read("APP_CONNECT_TIMEOUT_MS", timeout, known.app_connect),
        router_connect=read("ROUTER_CONNECT_TIMEOUT_MS", timeout, known.router_connect),
        ca_file=demand("ROUTER_CA_FILE", ca_file, known.ca_file),
        fingerprint=demand("ROUTER_FINGERPRINT", fingerprint, known.fingerprint),
    )
