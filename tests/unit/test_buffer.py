"""Bytes on their way out."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch_core.bytes.buffer import OutBuffer


def test_an_empty_buffer_gives_empty_bytes() -> None:
    out = OutBuffer()
    assert (out.drain(), len(out), out.length) == (b"", 0, 0)


def test_what_was_taken_is_not_touched_by_what_comes_after() -> None:
    out = OutBuffer()
    out.append(b"first")
    first = out.drain()
    out.append(b"second and longer")
    assert (first, out.drain(), out.drain()) == (b"first", b"second and longer", b"")


def test_nothing_can_be_appended_to_nothing() -> None:
    out = OutBuffer()
    out.append(b"")
    assert out.drain() == b""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=20))
def test_it_gives_back_what_was_appended_whatever_the_sizes(steps: list[tuple[int, bool]]) -> None:
    out = OutBuffer()
    expected = b""
    for n, (size, drain) in enumerate(steps):
        piece = bytes([n]) * size
        out.append(piece)
        expected += piece
        assert len(out) == len(expected)
        if drain:
            assert out.drain() == expected
            expected = b""
    assert out.drain() == expected


def test_sizes_around_the_first_block_are_exact() -> None:
    for size in (2047, 2048, 2049, 4096, 1 << 20):
        out = OutBuffer()
        out.append(b"x" * size)
        assert out.drain() == b"x" * size
