"""Header fields: known names as tokens, and a list that keeps its memory in hand."""

import re
from pathlib import Path

import pytest

from lambda_dispatch_core.bytes.fields import FieldList, token

PXD = Path(__file__).parents[2] / "cython_ext" / "lambda_dispatch_core" / "bytes" / "fields.pxd"
PSEUDO = {"METHOD", "SCHEME", "AUTHORITY", "PATH", "STATUS", "PROTOCOL"}
NAMES = {
    (":" if name in PSEUDO else "") + name.lower().replace("_", "-"): int(number)
    for name, number in re.findall(r"^    T_(\w+) = (\d+)$", PXD.read_text(), re.MULTILINE)
}


def test_every_token_of_the_enum_is_covered_here() -> None:
    assert sorted(NAMES.values()) == list(range(1, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_known_name_has_its_token_in_any_case(name: str) -> None:
    for spelled in (name, name.upper(), name.title(), name.swapcase()):
        assert token(spelled.encode()) == NAMES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_differs_in_one_byte_is_unknown(name: str) -> None:
    known = {other.encode() for other in NAMES}
    for at in range(len(name)):
        for byte in (0x00, 0x0D, 0x20, 0x2A, 0x3A, 0x40, 0x5B, 0x60, 0x78, 0x7B, 0xFF, ord(name[at]) ^ 0x40):
            spoilt = bytearray(name.encode())
            spoilt[at] = byte
            if bytes(spoilt).lower() not in known:
                assert token(bytes(spoilt)) == 0, bytes(spoilt)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_longer_or_shorter_is_unknown(name: str) -> None:
    for other in (name + "x", "x" + name, name[1:], name[:-1]):
        assert token(other.encode()) == NAMES.get(other, 0)


def test_an_empty_name_is_unknown() -> None:
    assert token(b"") == 0


def test_fields_come_back_in_order_with_their_flags() -> None:
    fields = FieldList()
    fields.append(b"A", b"1")
    fields.append(b"B", b"2", 1)
    fields.append(b"A", b"")
    assert fields.pairs() == [(b"A", b"1"), (b"B", b"2"), (b"A", b"")]
    assert fields.flags() == [0, 1, 0]
    assert (len(fields), fields.count) == (3, 3)


def test_fields_stay_what_they_are_when_the_list_and_its_arena_grow() -> None:
    fields = FieldList()
    expected = []
    for n in range(1000):
        expected.append((b"name-%d" % n, b"v" * (n % 97)))
        fields.append(*expected[-1])
    assert fields.pairs() == expected


def test_an_empty_field_is_a_field_also_where_nothing_was_kept_before() -> None:
    fields = FieldList()
    fields.append(b"", b"")
    fields.append(b"x" * 4096, b"")
    fields.append(b"y" * 9000, b"")
    assert fields.pairs() == [(b"", b""), (b"x" * 4096, b""), (b"y" * 9000, b"")]
