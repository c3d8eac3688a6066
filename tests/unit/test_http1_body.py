"""Chunked bodies as they should be, and everything that is written. Bad ones stand in test_http1_strictness.py."""

import pytest

from lambda_dispatch_testing.http1_face import (
    ChunkedBody,
    chunk,
    decimal_text,
    field_text,
    last_chunk,
    size,
    status_text,
)

GOOD: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"0\r\n\r\n", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two chunks": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "digits in both cases": (b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", b"01234567890123456789a"),
    "a size of sixteen digits": (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "several zeros at the end": (b"5\r\nhello\r\n0000\r\n\r\n", b"hello"),
    "line ends in the content": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "extensions": (b'5;a;b=c;d="e\\"\t;\xff"\r\nhello\r\n0;z\r\n\r\n', b"hello"),
    "extensions of 251 bytes": (b"5;" + b"a" * 251 + b"\r\nhello\r\n0\r\n\r\n", b"hello"),
    "trailers": (b"5\r\nhello\r\n0\r\nX: y\r\nContent-Length:  9\t\r\nZ:\r\n\r\n", b"hello"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_chunked_body_at_every_split(name: str) -> None:
    data, content = GOOD[name]
    for split in range(len(data)):
        body = ChunkedBody()
        first, used = body.feed(data[:split])
        assert (used, body.done, body.bad) == (split, False, False)
        second, used = body.feed(data[split:] + b"GET /")
        assert first + second == content
        assert (used, body.done, body.bad) == (len(data) - split, True, False)


def test_content_after_the_end_is_never_taken() -> None:
    body = ChunkedBody()
    body.feed(b"0\r\n\r\n")
    assert body.feed(b"0\r\n\r\n") == (b"", 0)
    assert body.done


def test_each_size_line_may_have_256_bytes_before_its_line_feed_and_no_more() -> None:
    body = ChunkedBody()
    for _ in range(100):
        assert body.feed(b"1;" + b"a" * 253 + b"\r\nx\r\n")[0] == b"x"
    assert not body.bad
    body.feed(b"1;" + b"a" * 254 + b"\r\n")
    assert body.bad


def test_a_chunk_of_2_to_the_63_less_one_is_no_overflow() -> None:
    body = ChunkedBody()
    assert body.feed(b"7fffffffffffffff\r\nabc") == (b"abc", 21)
    assert not body.bad


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"00", 0),
        (b"9223372036854775807", 2**63 - 1),
        (b"09223372036854775807", 2**63 - 1),
        (b"9223372036854775808", -1),
        (b"99999999999999999999", -1),
        (b"", -1),
        (b"+1", -1),
        (b"-1", -1),
        (b" 1", -1),
        (b"1 ", -1),
        (b"1_0", -1),
        (b"0x1", -1),
        (b"1\0", -1),
        (b"\xb2", -1),
    ],
    ids=ascii,
)
def test_a_size(text: bytes, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("n", [1, 9, 15, 16, 255, 256, 4095, 4096, 65536, 1 << 20])
def test_a_chunk_is_its_size_its_bytes_and_a_line_end(n: int) -> None:
    assert chunk(b"x" * n) == b"%x\r\n%s\r\n" % (n, b"x" * n)


def test_an_empty_chunk_is_not_written_for_it_would_be_the_last() -> None:
    with pytest.raises(ValueError, match="would end the body"):
        chunk(b"")
    assert last_chunk() == b"0\r\n\r\n"


@pytest.mark.parametrize("number", [0, 7, 10, 99, 100, 2**31, 2**63 - 1])
def test_a_number_is_written_as_python_writes_it(number: int) -> None:
    assert decimal_text(number) == str(number).encode()


def test_a_negative_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        decimal_text(-1)


def test_a_status_line_takes_the_standard_reason_where_none_is_given() -> None:
    assert status_text(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_text(200, b"Fine") == b"HTTP/1.1 200 Fine\r\n"
    assert status_text(519) == b"HTTP/1.1 519 \r\n"


@pytest.mark.parametrize("status", [-1, 0, 99, 1000])
def test_a_status_that_is_none_is_not_written(status: int) -> None:
    with pytest.raises(ValueError, match=f"no HTTP status: {status}"):
        status_text(status)


def test_a_field_line() -> None:
    assert field_text(b"X-Name", b"a value") == b"X-Name: a value\r\n"
    assert field_text(b"X", b"") == b"X: \r\n"
