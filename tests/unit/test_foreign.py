"""What an extension that has not announced itself is sent: only what a http::Uri and httparse take."""

import pytest

from lambda_dispatch.dispatch.foreign import encoded, refusal


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/", b"/"),
        (b'/?a="b"', b"/?a=%22b%22"),
        (b"/a`b", b"/a%60b"),
        (b"/a?`", b"/a?`"),
        (b"/<x>?<y>", b"/%3Cx%3E?%3Cy%3E"),
        (b"/\xff?\xc3\xa9", b"/%FF?%C3%A9"),
        (b"/a#b?c#d", b"/a%23b?c%23d"),
        (b"/%25%2f", b"/%25%2f"),
        (b"/a[0]={x}|y^\\~", b"/a[0]={x}|y^\\~"),
        (b"/??", b"/??"),
        (b'/"', b"/%22"),
        (b"/\x7f", b"/%7F"),
    ],
)
def test_bytes_that_a_uri_may_not_contain_are_percent_encoded(target: bytes, sent: bytes) -> None:
    rest = b' HTTP/1.1\r\nHost: a\r\nx: "<`\xff\r\n\r\nbody "<'
    assert encoded(b"GET " + target + rest) == b"GET " + sent + rest


def test_a_head_without_a_target_stays_as_it_is() -> None:
    for head in (b"", b"GET", b"GET ", b"GET /\xff"):
        assert encoded(head) == head


def head(fields: int, body: bytes = b"") -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(fields)) + b"\r\n" + body


def test_more_than_64_fields_are_refused() -> None:
    assert refusal(head(64, b"a\r\nb\r\n" * 64)) is None
    assert refusal(head(65)) == (431, "too_many_fields")
    assert refusal(head(65), fields=64) is None, "fields counts them already"
    assert refusal(head(0)) is None


def test_asterisk_form_is_refused() -> None:
    assert refusal(b"OPTIONS * HTTP/1.1\r\n\r\n") == (501, "asterisk_not_supported")
    assert refusal(b"OPTIONS /* HTTP/1.1\r\n\r\n") is None


def test_a_target_that_is_too_long_once_encoded_is_refused() -> None:
    assert refusal(b"GET /" + b'"' * 21_000 + b" HTTP/1.1\r\n\r\n") is None
    assert refusal(b"GET /" + b'"' * 22_000 + b" HTTP/1.1\r\n\r\n") == (414, "target_too_long")
    assert refusal(b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n") is None
