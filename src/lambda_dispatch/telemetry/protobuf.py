"""The wire format of Protocol Buffers, as far as metrics and traces need it.

A message is the bytes of its fields, one by one.
"""

import struct
from collections.abc import Iterable

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


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


def fixed32(field: int, value: int) -> bytes:
    return varint(field << 3 | FIXED32) + struct.pack("<I", value)


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


def first(data: bytes, field: int) -> int | bytes | None:
    """The first field of this number in a message: a number, or the bytes of a message; None where there is none, or
    the bytes are no message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key < 0:
            return None
        kind = key & 7
        if kind == VARINT:
            value, end = _read_varint(data, at)
            if value < 0:
                return None
            if key >> 3 == field:
                return value
        elif kind == LENGTH:
            length, at = _read_varint(data, at)
            end = at + length
            if length < 0 or end > len(data):
                return None
            if key >> 3 == field:
                return data[at:end]
        elif kind in (FIXED64, FIXED32):
            end = at + (8 if kind == FIXED64 else 4)
        else:
            return None
        at = end
    return None


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends); -1 where there is none."""
    value = 0
    for place in range(10):
        if at + place >= len(data):
            break
        value |= (data[at + place] & 0x7F) << 7 * place
        if data[at + place] < 0x80:
            return value, at + place + 1
    return -1, len(data)
