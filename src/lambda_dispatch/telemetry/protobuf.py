"""The wire format of Protocol Buffers, as far as metrics need it. A message is the bytes of its fields, one by one."""

import struct
from collections.abc import Iterable

VARINT, FIXED64, LENGTH = 0, 1, 2


def varint(value: int) -> bytes:
    """Of a number from 0 to 2^64 - 1."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """How sint32 and sint64 are written: small numbers of either sign stay short."""
    return value << 1 if value >= 0 else -value * 2 - 1


def number(field: int, value: int) -> bytes:
    """uint32, uint64, enum, bool."""
    return varint(field << 3 | VARINT) + varint(value)


def signed(field: int, value: int) -> bytes:
    """sint32, sint64."""
    return number(field, zigzag(value))


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | FIXED64) + struct.pack("<d", value)


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | FIXED64) + struct.pack("<Q", value)


def sfixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | FIXED64) + struct.pack("<q", value)


def message(field: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return varint(field << 3 | LENGTH) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())


def packed(field: int, values: Iterable[int]) -> bytes:
    """A repeated varint field; sint values through zigzag()."""
    return message(field, *map(varint, values))
