"""Heads that come through the tunnel, and the answers of applications."""

from typing import Any

import pytest

from lambda_dispatch_testing.http1_face import HeadRefused, phrase, read_request, read_response


def response(data: bytes, *, tunnel: bool = False, **limits: int) -> dict[str, Any]:
    parsed = read_response(data, tunnel=tunnel, **limits)
    assert parsed is not None
    assert parsed[0] == len(data)
    return parsed[1]


def fields(*lines: bytes, tunnel: bool = False, version: bytes = b"1.1") -> dict[str, Any]:
    return response(b"HTTP/" + version + b" 200 OK\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n", tunnel=tunnel)


def reason_for_refusing(data: bytes, *, tunnel: bool, request: bool = False) -> str:
    with pytest.raises(HeadRefused) as refused:
        (read_request if request else read_response)(data, tunnel=tunnel)
    return str(refused.value.reason)


@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.0 404 Not  Found\t\xff", 404, b"Not  Found\t\xff"),
        (b"HTTP/1.1 519", 519, b""),
        (b"HTTP/1.1 999 ", 999, b""),
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_status_line(line: bytes, status: int, reason: bytes, end: bytes, tunnel: bool) -> None:
    data = line + end + b"X: y" + end + end
    head = response(data, tunnel=tunnel)
    assert (head["status"], head["reason"]) == (status, reason)
    assert [read_response(data[:n], tunnel=tunnel) for n in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 99 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 099 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 1000 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 2x0 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 +20 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1  200 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1\t200 X\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 200\tOK\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", "bad_status_line"),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", "bad_line_end"),
        (b"HTTP/2 200 OK\r\n\r\n", "bad_version"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "unsupported_version"),
        (b"http/1.1 200 OK\r\n\r\n", "bad_version"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_version"),
        (b"ICY 200 OK\r\n\r\n", "bad_version"),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "bad_field_value"),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "bad_line_end"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "folded_field"),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "bad_field_name"),
        (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "bad_field_name"),
        (b"HTTP/1.1 200 OK\r\nX\r\n\r\n", "bad_field_name"),
        (b"HTTP/1.1 200 OK\nX\n\n", "bad_field_name"),
    ],
    ids=ascii,
)
def test_a_response_that_is_refused(data: bytes, reason: str, tunnel: bool) -> None:
    assert reason_for_refusing(data, tunnel=tunnel) == reason


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], -1),
        ([b"Content-Length: 5"], 5),
        ([b"Content-Length: 5", b"content-length: 5"], 5),
        ([b"Content-Length: 5 ,\t5"], 5),
        ([b"Content-Length: 5", b"Content-Length: 05,5"], 5),
    ],
)
def test_the_length_an_application_declares(lines: list[bytes], length: int) -> None:
    head = fields(*lines)
    assert (head["content_length"], head["chunked"]) == (length, False)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([b"Content-Length: 5", b"Content-Length: 6"], "bad_content_length"),
        ([b"Content-Length: 5, 6"], "bad_content_length"),
        ([b"Content-Length: 5,"], "bad_content_length"),
        ([b"Content-Length:"], "bad_content_length"),
        ([b"Content-Length: -1"], "bad_content_length"),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], "length_and_encoding"),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], "length_and_encoding"),
        ([b"Transfer-Encoding: gzip, chunked"], "bad_transfer_encoding"),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "bad_transfer_encoding"),
        ([b"Transfer-Encoding: identity"], "bad_transfer_encoding"),
    ],
)
def test_the_framing_an_application_may_not_declare(lines: list[bytes], reason: str) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    assert reason_for_refusing(data, tunnel=False) == reason


def test_an_application_of_http_1_0_cannot_send_chunks() -> None:
    data = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert reason_for_refusing(data, tunnel=False) == "bad_transfer_encoding"


def test_whether_an_applications_connection_is_used_again() -> None:
    assert fields()["keep_alive"]
    assert not fields(b"Connection: Close")["keep_alive"]
    assert not fields(version=b"1.0")["keep_alive"]
    assert fields(b"connection: keep-alive", version=b"1.0")["keep_alive"]
    nonsense = fields(b"Connection: keep-alive; timeout=5")
    assert not nonsense["keep_alive"] and nonsense["connection_options"]


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        ([b"Content-Length: 5"], 5, False),
        ([b"Content-Length: 5", b"Content-Length: 5"], -1, False),
        ([b"Content-Length: 5", b"Content-Length: 6"], -1, False),
        ([b"Content-Length: 5, 5"], -1, False),
        ([b"Content-Length: x"], -1, False),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], -1, True),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], -1, True),
        ([b"Transfer-Encoding: gzip", b"Content-Length: 5"], -1, False),
    ],
)
def test_the_tunnel_believes_only_one_plain_length(lines: list[bytes], length: int, chunked: bool) -> None:
    head = fields(*lines, tunnel=True)
    assert (head["content_length"], head["chunked"]) == (length, chunked)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_tunnelled_request_is_taken_without_a_host_and_with_any_target(end: bytes) -> None:
    data = b"GET //a?b=[\xff] HTTP/1.1" + end + b"X: \xe9" + end + b"Expect: a-miracle" + end + end
    parsed = read_request(data, tunnel=True)
    assert parsed is not None
    assert (parsed[0], parsed[1]["target"], parsed[2][0]) == (len(data), b"//a?b=[\xff]", (b"X", b"\xe9"))
    assert [read_request(data[:n], tunnel=True) for n in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\r\nGET / HTTP/1.1\r\n\r\n", "bad_request_line"),
        (b"\nGET / HTTP/1.1\n\n", "bad_request_line"),
        (b"GET /\n\n", "bad_request_line"),
        (b"GET / HTTP/2.0\n\n", "unsupported_version"),
        (b"GET /a\0 HTTP/1.1\n\n", "bad_target"),
        (b"GET / HTTP/1.1\rX: y\n\n", "bad_line_end"),
        (b"GET / HTTP/1.1\nX: a\rb\n\n", "bad_line_end"),
        (b"GET / HTTP/1.1\nX: a\0b\n\n", "bad_field_value"),
        (b"GET / HTTP/1.1\nX : a\n\n", "bad_field_name"),
        (b"GET / HTTP/1.1\n: a\n\n", "bad_field_name"),
        (b"GET / HTTP/1.1\nX\n\n", "bad_field_name"),
        (b"GET / HTTP/1.1\nX: a\n b\n\n", "folded_field"),
    ],
    ids=ascii,
)
def test_a_tunnelled_request_that_is_refused(data: bytes, reason: str) -> None:
    assert reason_for_refusing(data, tunnel=True, request=True) == reason


@pytest.mark.parametrize("tunnel", [False, True])
def test_four_fields_of_31_kib_and_one_of_64_kib_pass_where_the_limits_let_them(tunnel: bool) -> None:
    four = b"".join(b"X-%d: %s\r\n" % (n, b"v" * 31 * 1024) for n in range(4))
    one = b"X: " + b"v" * 64 * 1024 + b"\r\n"
    for lines in (four, one):
        assert response(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", tunnel=tunnel, head=192 * 1024)["status"] == 200


def test_a_status_line_over_its_limit_is_refused_with_and_without_its_end() -> None:
    for data in (b"HTTP/1.1 200 " + b"x" * 30 + b"\n\n", b"HTTP/1.1 200 " + b"x" * 60):
        with pytest.raises(HeadRefused) as refused:
            read_response(data, tunnel=True, line=42)
        assert refused.value.reason == "line_too_long"
    assert response(b"HTTP/1.1 200 " + b"x" * 29 + b"\n\n", tunnel=True, line=42)["status"] == 200


def test_reason_phrases() -> None:
    assert [phrase(status) for status in (200, 404, 431, 504)] == [
        "OK",
        "Not Found",
        "Request Header Fields Too Large",
        "Gateway Timeout",
    ]
    assert [phrase(status) for status in (-1, 0, 519, 599, 600, 100000)] == [""] * 6
