"""The payload of the router's invoke, and of its response."""

import re
from typing import Any, NamedTuple, TypeGuard

MAX_CHANNELS = 255
# More connections than a router has workers are of no use, and no router has more workers than this.
MAX_CONNECTIONS = 64
DIGEST = re.compile(r"[0-9A-Fa-f]{64}\Z")
# Base64url, whatever its length: the router compares it, we only carry it.
SECRET = re.compile(r"[A-Za-z0-9_=-]{1,128}\Z")
MAX_IDLE_GRACE_MS = 24 * 3600 * 1000  # no invocation lasts nearly as long
DEFAULT_POOL = "default"

URL = re.compile(r"(https?)://(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?(?:[/?#].*)?\Z")
# Ids stand in paths and in HTTP/1.1 lines: nothing may end a line or a path segment.
ID = re.compile(r"[A-Za-z0-9._~:@$-]{1,256}\Z")


class InvalidInvoke(Exception):
    """The payload cannot be served. What could be read of its ids is echoed."""

    def __init__(self, why: str, pool_id: str = DEFAULT_POOL, lambda_id: str = "") -> None:
        super().__init__(why)
        self.pool_id = pool_id
        self.lambda_id = lambda_id


class Invocation(NamedTuple):
    pool_id: str
    lambda_id: str
    scheme: str
    host: str
    port: int
    channels: int
    connections: int
    sent: float  # seconds since the epoch
    init_only: bool
    idle_grace: float  # s without traffic for which the router keeps this instance; 0: not given
    secret: str = ""  # to be presented on every call; only our own router gives one
    certificate: bytes = b""  # SHA-256 of the router's certificate; empty: not given

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(payload: object) -> Invocation:
    if not isinstance(payload, dict):
        raise InvalidInvoke(f"the payload is a JSON {type(payload).__name__}, not an object")
    pool_id = text(payload.get("PoolId")) or DEFAULT_POOL
    lambda_id = text(payload.get("Id"))

    def invalid(why: str) -> InvalidInvoke:
        return InvalidInvoke(why, pool_id, lambda_id)

    for name, value in (("PoolId", pool_id), ("Id", lambda_id)):
        if not ID.match(value):
            raise invalid(f"{name} {value!r} is not 1 to 256 characters of A-Z a-z 0-9 . _ ~ : @ $ -")
    sent = instant(payload.get("SentTime"))
    if sent is None:
        raise invalid(f"SentTime {payload.get('SentTime')!r} is not an RFC 3339 time with offset")
    channels = payload.get("NumberOfChannels")
    if not whole(channels) or not 0 <= channels <= MAX_CHANNELS:
        raise invalid(f"NumberOfChannels {channels!r} is not a number from 0 to {MAX_CHANNELS}")
    connections = payload.get("NumberOfConnections", 1)
    if not whole(connections):
        connections = 1
    idle_grace = payload.get("IdleGraceMs", 0)
    if not whole(idle_grace):
        idle_grace = 0
    secret = payload.get("Secret", "")
    if not isinstance(secret, str) or (secret and not SECRET.match(secret)):
        raise invalid("Secret is not 1 to 128 characters of base64url")
    certificate = payload.get("CertificateSha256", "")
    if not isinstance(certificate, str) or (certificate and not DIGEST.match(certificate)):
        raise invalid(f"CertificateSha256 {certificate!r} is not 64 hex digits")
    url = text(payload.get("DispatcherUrl"))
    found = URL.match(url)
    port = int(found[4] or {"http": 80, "https": 443}[found[1]]) if found else 0
    if not found or not 1 <= port <= 65535:
        raise invalid(
            f"DispatcherUrl {payload.get('DispatcherUrl')!r} is not SCHEME://HOST:PORT/... with scheme http or https"
        )
    return Invocation(
        pool_id,
        lambda_id,
        found[1],
        found[2] or found[3],
        port,
        channels,
        max(1, min(connections, MAX_CONNECTIONS, channels)),
        sent,
        payload.get("InitOnly") is True,
        max(0, min(idle_grace, MAX_IDLE_GRACE_MS)) / 1000,
        secret,
        bytes.fromhex(certificate),
    )


def answer(pool_id: str, lambda_id: str, requests: int, milliseconds: int, reason: str) -> dict[str, Any]:
    return {
        "PoolId": pool_id,
        "Id": lambda_id,
        "RequestCount": requests,
        "InvokeDuration": milliseconds,
        "ExitReason": reason,
    }


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def instant(value: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None."""
    from datetime import datetime

    if not isinstance(value, str) or len(value) < 20 or value[10] not in "Tt ":
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return when.timestamp() if when.tzinfo is not None else None
