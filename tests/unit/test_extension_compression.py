"""Which answers are gzipped (RFC 9110 section 12.5.3 and the original's rules)."""

import pytest

from lambda_dispatch_extension.compression import would_accept, would_compress, would_vary


@pytest.mark.parametrize(
    "value",
    [
        b"gzip",
        b"GZip",
        b"x-gzip",
        b"br, gzip, deflate",
        b"gzip;q=0.5",
        b"gzip ; Q=0.001",
        b"deflate;q=1.0,gzip;q=0.8",
        b"*",
        b"identity;q=0.5, *;q=0.7",
        b"gzip;q=1.000",
        b"gzip, identity",
        b", ,gzip",
    ],
)
def test_a_request_that_can_read_gzip_gets_it(value: bytes) -> None:
    assert would_accept([(b"host", b"x"), (b"Accept-Encoding", value)])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"br",
        b"gzipped",
        b"gzip;q=0",
        b"gzip;q=0.000",
        b"*;q=0",
        b"gzip;q=0, *",
        b"gzip;q=0.5, identity",
        b"gzip;q=2",
        b"gzip;q=-1",
        b"gzip;q=x",
        b"gzip;q=",
        b"gzip;level=9",
        b"identity",
        b"br;q=1.0, deflate",
    ],
)
def test_a_request_that_cannot_or_will_not_read_gzip_does_not_get_it(value: bytes) -> None:
    assert not would_accept([(b"accept-encoding", value)])


def test_a_request_that_says_nothing_does_not_get_gzip() -> None:
    assert not would_accept([(b"host", b"x"), (b"accept", b"gzip")])


def test_several_fields_count_as_one_list() -> None:
    assert would_accept([(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")])
    assert not would_accept([(b"accept-encoding", b"gzip;q=0.2"), (b"accept-encoding", b"identity;q=0.9")])


@pytest.mark.parametrize(
    "kind",
    [
        b"text/html",
        b"text/event-stream",
        b"TEXT/Plain; charset=utf-8",
        b"application/json",
        b"application/json;charset=utf-8",
        b"application/javascript",
        b"application/x-javascript",
        b"application/xml",
        b"application/xhtml+xml",
        b"image/svg+xml",
    ],
)
def test_text_is_compressed(kind: bytes) -> None:
    assert would_compress(200, [(b"content-type", kind)], length=1025)


@pytest.mark.parametrize(
    "kind", [b"image/png", b"application/octet-stream", b"application/jsonx", b"textual/x", b"video/mp4", b""]
)
def test_other_types_are_not(kind: bytes) -> None:
    assert not would_compress(200, [(b"content-type", kind)], length=100_000)


def test_an_answer_without_a_type_is_not() -> None:
    assert not would_compress(200, [], length=100_000)


def test_length_decides_unless_the_answer_is_streamed() -> None:
    text = [(b"content-type", b"text/plain")]
    assert not would_compress(200, text, length=1024)
    assert would_compress(200, text, length=1025)
    assert would_compress(200, text, chunked=True)
    assert would_compress(200, text)


@pytest.mark.parametrize("status", [204, 206, 304])
def test_these_statuses_are_never_compressed(status: int) -> None:
    assert not would_compress(status, [(b"content-type", b"text/plain")], length=5000)


@pytest.mark.parametrize(
    "field",
    [
        (b"content-encoding", b"br"),
        (b"Content-Encoding", b"identity"),
        (b"content-range", b"bytes 0-1/2"),
        (b"cache-control", b"public, no-transform"),
        (b"Cache-Control", b"No-Transform"),
    ],
)
def test_these_fields_forbid_it(field: tuple[bytes, bytes]) -> None:
    assert not would_compress(200, [(b"content-type", b"text/plain"), field], length=5000)


def test_an_answer_to_head_is_never_compressed() -> None:
    assert not would_compress(200, [(b"content-type", b"text/plain")], length=5000, head_request=True)


@pytest.mark.parametrize(
    ("value", "varies"),
    [(b"accept-encoding", True), (b"Origin, Accept-Encoding", True), (b"*", True), (b"origin", False), (b"", False)],
)
def test_vary_is_added_only_where_it_is_missing(value: bytes, varies: bool) -> None:
    assert would_vary([(b"vary", value)]) is varies
