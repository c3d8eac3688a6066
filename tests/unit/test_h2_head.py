"""Header blocks as messages: each fault by its name, in each kind of message."""

import pytest

from lambda_dispatch_testing.head_face import check, faults
from tests.support.h2_pair import Pairs

REQUEST: Pairs = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a"), (b":authority", b"here:443")]
RESPONSE: Pairs = [(b":status", b"200")]


def test_good_heads_are_fine() -> None:
    assert check("request", [*REQUEST, (b"content-length", b"0012")]) == (None, 12, 0)
    assert check("response", [*RESPONSE, (b"content-length", b"9223372036854775807")]) == (None, 2**63 - 1, 200)
    assert check("trailers", [(b"x-sum", b"1")])[0] is None
    assert check("trailers", [])[0] is None


@pytest.mark.parametrize(
    ("fault", "kind", "pairs"),
    [
        ("an empty field name", "request", [*REQUEST, (b"", b"x")]),
        ("a field name that is not a lower-case token", "request", [*REQUEST, (b"a b", b"x")]),
        ("a field name that is not a lower-case token", "response", [*RESPONSE, (b"A", b"x")]),
        ("a field name that is not a lower-case token", "trailers", [(b"Host", b"x")]),
        ("a control character in a field value", "request", [*REQUEST, (b"a", b"1234567\x7f12345678")]),
        ("a control character in a field value", "request", [*REQUEST, (b"a", b"12345678\x1f")]),
        ("white space at an end of a field value", "response", [*RESPONSE, (b"a", b"x ")]),
        ("a pseudo-header field after an ordinary one", "request", [*REQUEST[:3], (b"a", b""), REQUEST[3]]),
        ("a pseudo-header field after an ordinary one", "response", [(b"a", b""), *RESPONSE]),
        ("a pseudo-header field twice", "request", [*REQUEST, REQUEST[0]]),
        ("a pseudo-header field twice", "response", RESPONSE * 2),
        ("a pseudo-header field that has no meaning here", "request", [*REQUEST, (b":status", b"200")]),
        ("a pseudo-header field that has no meaning here", "response", [*RESPONSE, (b":method", b"GET")]),
        ("a pseudo-header field that has no meaning here", "request", [*REQUEST, (b":x", b"")]),
        ("a pseudo-header field is missing", "request", REQUEST[1:]),
        ("a pseudo-header field is missing", "response", []),
        ("a pseudo-header field in trailers", "trailers", [(b":status", b"200")]),
        ("a connection-specific field", "trailers", [(b"connection", b"close")]),
        ("te other than trailers", "request", [*REQUEST, (b"te", b"gzip")]),
        ("a method that is not a token", "request", [(b":method", b"G T"), *REQUEST[1:]]),
        ("a scheme that is none", "request", [REQUEST[0], (b":scheme", b"ht/tp"), *REQUEST[2:]]),
        ("an empty path", "request", [*REQUEST[:2], (b":path", b""), REQUEST[3]]),
        ("a path that is none", "request", [*REQUEST[:2], (b":path", b"a"), REQUEST[3]]),
        ("an authority that is none", "request", [*REQUEST[:3], (b":authority", b"a@b")]),
        ("an authority that is none", "request", [*REQUEST[:3], (b":authority", b"a\\b")]),
        ("host and authority differ", "request", [*REQUEST, (b"host", b"there")]),
        ("CONNECT needs an authority and nothing else", "request", [(b":method", b"CONNECT"), *REQUEST[1:]]),
        ("a status that is none", "response", [(b":status", b"+20")]),
        ("a content-length that is not one number", "request", [*REQUEST, (b"content-length", b"9223372036854775808")]),
        ("a content-length that is not one number", "trailers", [(b"content-length", b"1")] * 2),
    ],
)
def test_each_fault_has_its_name(fault: str, kind: str, pairs: Pairs) -> None:
    assert check(kind, pairs)[0] == fault


def test_a_host_may_differ_from_the_authority_where_that_is_allowed_but_not_stand_twice() -> None:
    elsewhere = (b"host", b"there")
    assert check("request", [*REQUEST, elsewhere], any_host=True)[0] is None
    assert check("request", [*REQUEST, elsewhere, elsewhere], any_host=True)[0] == "host and authority differ"


def test_every_byte_of_a_value_is_looked_at() -> None:
    for at in range(20):
        for byte in range(256):
            value = bytearray(b"x" * 20)
            value[at] = byte
            bad = byte < 0x20 and byte != 9 or byte == 0x7F
            space = byte in (9, 0x20) and at in (0, 19)
            assert bool(check("response", [*RESPONSE, (b"a", bytes(value))])[0]) == (bad or space)


def test_every_byte_of_a_name_is_looked_at() -> None:
    good = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
    for at in (1, 5):
        for byte in range(256):
            name = bytearray(b"abcdef")
            name[at] = byte
            assert (check("response", [*RESPONSE, (bytes(name), b"1")])[0] is None) == (byte in good)


def test_there_is_no_fault_without_words() -> None:
    assert len(set(faults())) == len(faults()) == 21


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'query' is none of"):
        check("query", [])


@pytest.mark.parametrize(
    "name", [b"te", b"accept", b"location", b"user-agent", b"accept-encoding", b"x-lambda-dispatch-debug"]
)
def test_a_known_name_with_one_capital_is_refused_wherever_it_stands(name: bytes) -> None:
    for at, letter in enumerate(name):
        if letter != ord("-"):
            spelled = name[:at] + name[at : at + 1].upper() + name[at + 1 :]
            assert check("trailers", [(spelled, b"trailers")])[0] == "a field name that is not a lower-case token"


def test_a_byte_that_no_path_has_is_found_wherever_it_stands() -> None:
    for at in range(1, 20):
        for byte in (b"\0", b" ", b"\x7f"):
            path = b"/" + b"a" * (at - 1) + byte + b"b" * (19 - at)
            assert check("request", [*REQUEST[:2], (b":path", path), REQUEST[3]])[0] == "a path that is none"
        path = b"/" + b"a" * (at - 1) + b"!~\x80\xff" + b"b" * (19 - at)
        assert check("request", [*REQUEST[:2], (b":path", path), REQUEST[3]])[0] is None
