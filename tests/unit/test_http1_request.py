"""The strict dialect: what the front door takes from a client. What it refuses stands in test_http1_strictness.py."""

from typing import Any

import pytest

from lambda_dispatch_core.bytes.fields import FieldList
from lambda_dispatch_testing.http1_face import (
    HeadScanner,
    host_is_valid,
    is_named_by_connection,
    read_request,
    target_is_valid,
)

PLAIN = b"POST /a?b=%25&c=[+]//\xff HTTP/1.1\r\nHost: example.com:8080\r\nX-Empty:\r\nX-Text: \t one\ttwo\xe9 \r\n\r\n"


def head_of(data: bytes) -> dict[str, Any]:
    parsed = read_request(data)
    assert parsed is not None
    assert parsed[0] == len(data)
    return parsed[1]


def with_fields(*lines: bytes, version: bytes = b"1.1") -> dict[str, Any]:
    return head_of(
        b"POST / HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )


def test_a_whole_head_yields_its_parts_as_they_were_written() -> None:
    parsed = read_request(PLAIN + b"the body")
    assert parsed is not None
    length, head, fields = parsed
    assert length == len(PLAIN)
    assert head["method"] == b"POST"
    assert head["target"] == b"/a?b=%25&c=[+]//\xff"
    assert fields == [(b"Host", b"example.com:8080"), (b"X-Empty", b""), (b"X-Text", b"one\ttwo\xe9")]


def test_every_prefix_of_a_head_is_not_yet_a_head() -> None:
    assert [read_request(PLAIN[:n]) for n in range(len(PLAIN))] == [None] * len(PLAIN)


def test_up_to_four_empty_lines_before_a_request_are_skipped_and_counted() -> None:
    for lines in range(5):
        parsed = read_request(b"\r\n" * lines + PLAIN)
        assert parsed is not None
        assert parsed[0] == 2 * lines + len(PLAIN)
        assert parsed[1]["method"] == b"POST"


def test_the_second_of_two_pipelined_requests_is_left_alone() -> None:
    parsed = read_request(PLAIN + b"\0")
    assert parsed is not None
    assert parsed[0] == len(PLAIN)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/a+b",
        b"/%25",
        b"/%zz",
        b"/[raw]",
        b"/{}|\\^`",
        b"/?a=1&a=1",
        b"/\xff\x80",
        b"/a#b",
        b"/" + b"a" * 9000,
    ],
    ids=lambda target: ascii(target[:20]),
)
def test_a_path_is_delivered_byte_for_byte(target: bytes) -> None:
    assert head_of(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")["target"] == target


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        (b"GET", b"http://a.b/x?y", b"a.b"),
        (b"GET", b"HTTPS://A.b:443?y", b"a.B:443"),
        (b"GET", b"http://[::1]:80/", b"[::1]:80"),
        (b"OPTIONS", b"*", b"a"),
        (b"OPTIONS", b"/", b"a"),
        (b"CONNECT", b"a.b:443", b"a.b:443"),
        (b"CONNECT", b"[::1]:443", b"[::1]:443"),
        (b"M-SEARCH", b"/", b"a"),
        (b"!#$%&'*+-.^_`|~09azAZ", b"/", b"a"),
    ],
)
def test_each_form_of_target_passes_with_its_method(method: bytes, target: bytes, host: bytes) -> None:
    head = head_of(method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert (head["method"], head["target"]) == (method, target)


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"a.b.",
        b"A-b_c~!$&'()*+;=",
        b"a%20b",
        b"1.2.3.4",
        b"a:",
        b"a:0",
        b"a:65535",
        b"[::1]",
        b"[1:2::1.2.3.4]:80",
    ],
    ids=ascii,
)
def test_a_valid_host(host: bytes) -> None:
    assert host_is_valid(host)


@pytest.mark.parametrize(
    ("target", "valid"),
    [(b"/", True), (b"*", True), (b"/\xff[", True), (b"", False), (b"a", False), (b"/ ", False), (b"/a\x7f", False)]
    + [(b"/" + b"a" * n + b"\n", False) for n in range(17)],
)
def test_what_may_stand_as_the_path_of_an_http2_request(target: bytes, valid: bool) -> None:
    assert target_is_valid(target) is valid


def test_the_framing_a_request_declares() -> None:
    plain = with_fields()
    assert (plain["content_length"], plain["chunked"]) == (-1, False)
    sized = with_fields(b"Content-Length: \t0042 ")
    assert (sized["content_length"], sized["chunked"]) == (42, False)
    assert with_fields(b"content-length:9223372036854775807")["content_length"] == 2**63 - 1
    chunked = with_fields(b"transfer-encoding: CHUNKED")
    assert (chunked["content_length"], chunked["chunked"]) == (-1, True)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"CLOSE", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b",, x ,\tclose ,", False),
        (b"1.1", b"closed", True),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.0", b"keep-alive2", False),
    ],
)
def test_whether_the_connection_is_used_again(version: bytes, connection: bytes, kept: bool) -> None:
    assert with_fields(b"Connection: " + connection, version=version)["keep_alive"] is kept


def test_connection_options_of_two_fields_add_up() -> None:
    head = with_fields(b"Connection: keep-alive", b"X: y", b"connection: close")
    assert not head["keep_alive"]


def test_options_beyond_the_three_known_ones_are_pointed_out() -> None:
    assert not with_fields(b"Connection: keep-alive, Upgrade, close")["connection_options"]
    assert with_fields(b"Connection: keep-alive, X-Secret")["connection_options"]


def test_a_field_is_found_by_the_connection_option_that_names_it() -> None:
    fields = FieldList()
    for name, value in ((b"X", b"a"), (b"Connection", b"close,\tx-one , X-TWO"), (b"connection", b"x-three;bad, y")):
        fields.append(name, value)
    for name in (b"close", b"X-One", b"x-two", b"y"):
        assert is_named_by_connection(fields, name)
    for name in (b"x", b"", b"x-on", b"x-ones", b"a"):
        assert not is_named_by_connection(fields, name)


def test_an_upgrade_needs_both_its_fields_and_version_1_1() -> None:
    assert with_fields(b"Connection: Upgrade", b"Upgrade: websocket")["upgrade"]
    assert not with_fields(b"Upgrade: websocket")["upgrade"]
    assert not with_fields(b"Connection: Upgrade")["upgrade"]
    assert not with_fields(b"Connection: Upgrade", b"Upgrade: websocket", version=b"1.0")["upgrade"]


def test_an_expectation_is_ignored_on_http_1_0() -> None:
    assert with_fields(b"Expect: 100-Continue")["expect_continue"]
    assert not with_fields(b"Expect: 100-continue", version=b"1.0")["expect_continue"]
    assert not with_fields()["expect_continue"]


def test_the_method_head_is_not_confused_with_similar_ones() -> None:
    assert head_of(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")["is_head"]
    for method in (b"head", b"HEADS", b"HEA", b"GET"):
        assert not head_of(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")["is_head"]


def test_http_1_0_needs_no_host() -> None:
    assert head_of(b"GET / HTTP/1.0\r\n\r\n")["minor"] == 0


def test_a_value_may_hold_tabs_and_any_byte_above_127_anywhere_in_a_word() -> None:
    for at in range(20):
        value = b"v" * at + b"\t\x80\xff" + b"v" * 20
        parsed = read_request(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n")
        assert parsed is not None
        assert parsed[2][1] == (b"X", value.strip(b"\t"))


def test_the_scanner_finds_the_end_a_byte_at_a_time_where_the_parser_does() -> None:
    for data in (PLAIN, b"\r\n\r\n" + PLAIN, b"GET / HTTP/1.0\r\n\r\n"):
        scanner = HeadScanner()
        assert [scanner.feed(data[n : n + 1]) for n in range(len(data))] == [0] * (len(data) - 1) + [len(data)]


def test_the_scanner_stops_where_the_parser_has_something_to_refuse() -> None:
    for data in (b"GET / HTTP/1.1\n", b"\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\r\n" * 5):
        scanner = HeadScanner()
        assert [scanner.feed(data[n : n + 1]) for n in range(len(data))] == [0] * (len(data) - 1) + [len(data)]


def test_the_scanner_takes_bare_line_feeds_for_ends_where_asked() -> None:
    for data in (b"\n", b"\r\n", b"a\n\n", b"a\r\n\n", b"a\n\r\n", b"a\r\nb: c\r\n\r\n"):
        scanner = HeadScanner(lf=True)
        assert [scanner.feed(data[n : n + 1]) for n in range(len(data))] == [0] * (len(data) - 1) + [len(data)]
