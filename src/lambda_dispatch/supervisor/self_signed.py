"""A self-signed certificate, for routers that are given none: instances still call back over TLS.

Python's ssl can use a certificate but not sign one, and no dependency of ours can. So this is ECDSA on P-256 (FIPS
186-5) and the few DER rules that an X.509 certificate of version 3 takes (RFC 5280), in plain Python: one key and one
signature per start of the router, in milliseconds. Not for anything else: the arithmetic does not run in constant time.
"""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# P-256 (SEC 2, section 2.4.2): y^2 = x^3 - 3x + b over the integers modulo P; G generates a group of prime order N.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

VALID = timedelta(days=3650)  # a router that runs for longer makes a new one when it starts
SKEW = timedelta(days=1)  # clocks of instances may be behind ours

EC_PUBLIC_KEY = "1.2.840.10045.2.1"
PRIME256V1 = "1.2.840.10045.3.1.7"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"
COMMON_NAME = "2.5.4.3"
SUBJECT_ALT_NAME = "2.5.29.17"

Point = tuple[int, int] | None


class Made(NamedTuple):
    certificate: bytes  # PEM
    key: bytes  # PEM
    sha256: str  # of the certificate in DER, hex


def make(now: datetime | None = None) -> Made:
    """A new key and its certificate. Clients know it by its fingerprint; the name in it is localhost."""
    now = now or datetime.now(UTC)
    private = 1 + secrets.randbelow(N - 1)
    public = _multiply(private, G)
    assert public is not None
    point = b"\x04" + public[0].to_bytes(32) + public[1].to_bytes(32)
    algorithm = _sequence(_oid(ECDSA_SHA256))
    name = _sequence(_tlv(0x31, _sequence(_oid(COMMON_NAME), _tlv(0x0C, b"lambda-dispatch router"))))
    body = _sequence(
        _tlv(0xA0, _integer(2)),  # version 3
        _integer(1 + secrets.randbelow(2**127)),
        algorithm,
        name,
        _sequence(_time(now - SKEW), _time(now + VALID)),
        name,
        _sequence(_sequence(_oid(EC_PUBLIC_KEY), _oid(PRIME256V1)), _bits(point)),
        _tlv(0xA3, _sequence(_sequence(_oid(SUBJECT_ALT_NAME), _tlv(0x04, _sequence(_tlv(0x82, b"localhost")))))),
    )
    certificate = _sequence(body, algorithm, _bits(_sign(private, body)))
    # SEC 1, appendix C.4: ECPrivateKey.
    key = _sequence(
        _integer(1), _tlv(0x04, private.to_bytes(32)), _tlv(0xA0, _oid(PRIME256V1)), _tlv(0xA1, _bits(point))
    )
    return Made(_pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key), hashlib.sha256(certificate).hexdigest())


# the curve ------------------------------------------------------------------------------------------------------------


def _add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def _multiply(factor: int, point: Point) -> Point:
    total: Point = None
    while factor:
        if factor & 1:
            total = _add(total, point)
        point = _add(point, point)
        factor >>= 1
    return total


def _sign(private: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest())
    while True:
        once = 1 + secrets.randbelow(N - 1)
        point = _multiply(once, G)
        assert point is not None
        r = point[0] % N
        s = pow(once, -1, N) * (digest + r * private) % N
        if r and s:
            return _sequence(_integer(r), _integer(s))


# DER ------------------------------------------------------------------------------------------------------------------


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _bits(content: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + content)


def _oid(text: str) -> bytes:
    first, second, *rest = (int(arc) for arc in text.split("."))
    content = bytes((40 * first + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        content += bytes(reversed(groups))
    return _tlv(0x06, content)


def _time(when: datetime) -> bytes:
    # RFC 5280 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on.
    text = when.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
    return _tlv(0x17, text[2:].encode()) if when.year < 2050 else _tlv(0x18, text.encode())


def _pem(label: str, content: bytes) -> bytes:
    text = base64.b64encode(content).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
