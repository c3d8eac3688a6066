# ruff: noqa: F811 (fixtures are found by their names)
"""What RFC 9113 section 8 and RFC 7541 demand of a server, one test per demand: messages and header compression.

Every test runs twice: straight into a session, and over TCP against the small server of h2_server.py.
"""

import pytest

from tests.support.h2_fixtures import bare, port, wire  # noqa: F401
from tests.support.h2_wire import (
    BOTH,
    END,
    POST,
    REQUEST,
    WHOLE,
    Code,
    Kind,
    Wire,
    block,
    continuation,
    data,
    frame,
    headers,
    settings,
    string,
)

METHOD, SCHEME, PATH, AUTHORITY = REQUEST
CONNECT = (b":method", b"CONNECT")


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in REQUEST if pair[0] != name]


# Section 8.1: message framing


def test_a_request_may_have_trailers(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), data(1, b"x", 0), headers(1, [(b"x-sum", b"1")]))
    assert reply.status(1) == b"200"


def test_trailers_may_follow_the_head_at_once(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), headers(1, [(b"x-sum", b"1")])).status(1) == b"200"


def test_trailers_end_the_stream(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), headers(1, [(b"x-sum", b"1")], WHOLE))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}


def test_trailers_have_no_pseudo_header_fields(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), headers(1, [METHOD]))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}


def test_trailers_keep_to_the_rules_for_fields(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), headers(1, [(b"X-Sum", b"1")]))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}


# Section 8.1.1: malformed messages


@pytest.mark.parametrize("length", [b"0", b"3", b"5"])
def test_content_length_equals_the_body_of_one_frame(wire: Wire, length: bytes) -> None:
    reply = wire.exchange(headers(1, [*POST, (b"content-length", length)], WHOLE), data(1, b"body"))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("length", [b"7", b"9"])
def test_content_length_equals_the_body_of_many_frames(wire: Wire, length: bytes) -> None:
    request = headers(1, [*POST, (b"content-length", length)], WHOLE)
    assert wire.exchange(request, data(1, b"body", 0), data(1, b"body")).resets == {1: Code.PROTOCOL_ERROR}


def test_content_length_of_the_bodys_length_is_fine(wire: Wire) -> None:
    request = headers(1, [*POST, (b"content-length", b"8")], WHOLE)
    assert wire.exchange(request, data(1, b"body", 0), data(1, b"body")).status(1) == b"200"


def test_content_length_of_0_needs_no_body(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*POST, (b"content-length", b"0")])).status(1) == b"200"


def test_content_length_without_a_body_is_malformed(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*POST, (b"content-length", b"1")])).resets == {1: Code.PROTOCOL_ERROR}


def test_content_length_holds_when_trailers_end_the_body(wire: Wire) -> None:
    request = headers(1, [*POST, (b"content-length", b"8")], WHOLE)
    reply = wire.exchange(request, data(1, b"body", 0), headers(1, [(b"x-sum", b"1")]))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"0x1", b"1_0", b"1 0", b"1,1", b"9" * 19, b"9" * 30])
def test_content_length_is_one_plain_number(wire: Wire, value: bytes) -> None:
    assert wire.exchange(headers(1, [*POST, (b"content-length", value)], WHOLE)).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("second", [b"4", b"5"])
def test_content_length_comes_once(wire: Wire, second: bytes) -> None:
    pairs = [*POST, (b"content-length", b"4"), (b"content-length", second)]
    assert wire.exchange(headers(1, pairs, WHOLE)).resets == {1: Code.PROTOCOL_ERROR}


# Section 8.2: fields


@pytest.mark.parametrize("name", [b"X-Test", b"x-tesT", b"ACCEPT"])
def test_a_name_in_upper_case_is_malformed(wire: Wire, name: bytes) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (name, b"1")])).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize(
    "name", [b"", b"x y", b"x\t", b"x\x00", b"x\x1f", b"x\x7f", b"x\x80", b"x\xff", b"x:y", b"x(y", b'"x"', b"x\r\ny"]
)
def test_a_name_that_is_no_token_is_malformed(wire: Wire, name: bytes) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (name, b"1")])).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize(
    "value", [b"a\x00b", b"a\nb", b"a\rb", b"\r\n", b"a\r\nx: y", b"long enough to go by eights\n"]
)
def test_a_value_with_nul_cr_or_lf_is_malformed(wire: Wire, value: bytes) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"x", value)])).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("value", [b" a", b"a ", b"\ta", b"a\t", b" ", b"\t"])
def test_a_value_with_white_space_at_an_end_is_malformed(wire: Wire, value: bytes) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"x", value)])).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"\xc3\xa4\xff\x80", b"12345678\xe4 12345678"])
def test_other_values_are_fine(wire: Wire, value: bytes) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"x", value)])).status(1) == b"200"


def test_a_cookie_may_come_in_pieces(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"cookie", b"a=1"), (b"cookie", b"b=2")])).status(1) == b"200"


# Section 8.2.2: connection-specific fields


@pytest.mark.parametrize(
    "pair",
    [
        (b"connection", b"keep-alive"),
        (b"connection", b"close"),
        (b"proxy-connection", b"keep-alive"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, deflate;q=0.5"),
        (b"te", b""),
    ],
    ids=lambda pair: b"_".join(pair).decode(),
)
def test_a_connection_specific_field_is_malformed(wire: Wire, pair: tuple[bytes, bytes]) -> None:
    assert wire.exchange(headers(1, [*REQUEST, pair])).resets == {1: Code.PROTOCOL_ERROR}


def test_te_may_say_trailers(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"te", b"trailers")])).status(1) == b"200"


# Section 8.3: control data


def test_an_unknown_pseudo_header_field_is_malformed(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b":test", b"1")])).resets == {1: Code.PROTOCOL_ERROR}


def test_a_bare_colon_is_malformed(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b":", b"1")])).resets == {1: Code.PROTOCOL_ERROR}


def test_a_response_pseudo_header_field_in_a_request_is_malformed(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b":status", b"200")])).resets == {1: Code.PROTOCOL_ERROR}


def test_protocol_is_malformed_where_extended_connect_was_not_offered(wire: Wire) -> None:
    pairs = [CONNECT, (b":protocol", b"websocket"), SCHEME, PATH, AUTHORITY]
    assert wire.exchange(headers(1, pairs)).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("at", range(4))
def test_a_pseudo_header_field_after_an_ordinary_one_is_malformed(wire: Wire, at: int) -> None:
    pairs = [*REQUEST[:at], (b"x", b"1"), *REQUEST[at:]]
    assert wire.exchange(headers(1, pairs)).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("pair", REQUEST, ids=lambda pair: pair[0].decode())
def test_a_pseudo_header_field_comes_once(wire: Wire, pair: tuple[bytes, bytes]) -> None:
    assert wire.exchange(headers(1, [*REQUEST, pair])).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path"])
def test_a_request_without_one_of_its_pseudo_header_fields_is_malformed(wire: Wire, name: bytes) -> None:
    assert wire.exchange(headers(1, without(name))).resets == {1: Code.PROTOCOL_ERROR}


def test_an_empty_header_block_is_malformed(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.HEADERS, BOTH, 1)).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize(
    "pair",
    [
        (b":path", b""),
        (b":path", b"no-slash"),
        (b":path", b"http://a/"),
        (b":path", b"/a b"),
        (b":path", b"/a\x00"),
        (b":path", b"*"),
        (b":scheme", b""),
        (b":scheme", b"ht tp"),
        (b":method", b""),
        (b":method", b"GE T"),
        (b":method", b"G\xc3\x89T"),
        (b":authority", b""),
        (b":authority", b"user:secret@here"),
        (b":authority", b"here/path"),
        (b":authority", b"he re"),
    ],
    ids=lambda pair: f"{pair[0].decode()[1:]}_{pair[1].decode('latin-1')!r}",
)
def test_a_pseudo_header_field_that_is_not_what_it_should_be_is_malformed(
    wire: Wire, pair: tuple[bytes, bytes]
) -> None:
    pairs = [pair if pair[0] == name else (name, value) for name, value in REQUEST]
    assert wire.exchange(headers(1, pairs)).resets == {1: Code.PROTOCOL_ERROR}


@pytest.mark.parametrize("path", [b"/", b"//", b"/a%25?b=+&b=[]", b"/\xc3\xa4\xff", b"/" + b"x" * 8000])
def test_other_paths_are_fine(wire: Wire, path: bytes) -> None:
    assert wire.exchange(headers(1, [METHOD, SCHEME, (b":path", path), AUTHORITY])).status(1) == b"200"


def test_options_may_ask_for_all(wire: Wire) -> None:
    pairs = [(b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY]
    assert wire.exchange(headers(1, pairs)).status(1) == b"200"


def test_host_may_stand_for_authority(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*without(b":authority"), (b"host", b"here")])).status(1) == b"200"


def test_host_may_repeat_authority(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"host", b"HERE")])).status(1) == b"200"


def test_host_that_differs_from_authority_is_malformed(wire: Wire) -> None:
    assert wire.exchange(headers(1, [*REQUEST, (b"host", b"there")])).resets == {1: Code.PROTOCOL_ERROR}


def test_host_twice_is_malformed(wire: Wire) -> None:
    pairs = [*without(b":authority"), (b"host", b"here"), (b"host", b"here")]
    assert wire.exchange(headers(1, pairs)).resets == {1: Code.PROTOCOL_ERROR}


# Section 8.5: CONNECT


def test_connect_has_an_authority_alone(wire: Wire) -> None:
    assert wire.exchange(headers(1, [CONNECT, AUTHORITY])).status(1) == b"200"


@pytest.mark.parametrize(
    "pairs",
    [[CONNECT], [CONNECT, AUTHORITY, PATH], [CONNECT, AUTHORITY, SCHEME]],
    ids=["bare", "with_path", "with_scheme"],
)
def test_connect_of_another_form_is_malformed(wire: Wire, pairs: list[tuple[bytes, bytes]]) -> None:
    assert wire.exchange(headers(1, pairs)).resets == {1: Code.PROTOCOL_ERROR}


# Section 10.5.1: limits on header blocks


def test_a_head_over_the_limit_is_answered_431(wire: Wire) -> None:
    big = [(b"x-%d" % i, bytes(16000).replace(b"\0", b"v")) for i in range(13)]
    encoded = block([*REQUEST, *big])
    pieces = [encoded[i : i + 16384] for i in range(0, len(encoded), 16384)]
    frames = [frame(Kind.HEADERS, END, 1, pieces[0]), *(continuation(1, piece, 0) for piece in pieces[1:-1])]
    reply = wire.exchange(*frames, continuation(1, pieces[-1]), headers(3))
    assert reply.status(1) == b"431"
    assert reply.status(3) == b"200"


def test_the_body_of_a_head_over_the_limit_is_swallowed(wire: Wire) -> None:
    many = [(b"x", b"")] * 300
    body = [data(1, bytes(16384), 0) for _ in range(20)]
    reply = wire.exchange(headers(1, [*POST, *many], WHOLE), *body, data(1, b"end"), headers(3))
    assert reply.status(1) == b"431"
    assert reply.of(Kind.WINDOW_UPDATE, 1)
    assert reply.status(3) == b"200"


def test_a_header_block_without_bounds_ends_the_connection(wire: Wire) -> None:
    pieces = [continuation(1, bytes(16384), 0) for _ in range(17)]
    assert wire.exchange(frame(Kind.HEADERS, END, 1), *pieces).goaway == Code.ENHANCE_YOUR_CALM


def test_continuation_frames_without_end_end_the_connection(wire: Wire) -> None:
    pieces = [continuation(1, b"", 0) for _ in range(100)]
    assert wire.exchange(frame(Kind.HEADERS, END, 1), *pieces).goaway == Code.ENHANCE_YOUR_CALM


# RFC 7541


def indexed(index: int) -> bytes:
    return bytes([0x80 | index])


def answered(wire: Wire, encoded: bytes, stream: int = 1) -> bool:
    return wire.exchange(frame(Kind.HEADERS, BOTH, stream, encoded)).status(stream) == b"200"


def refused(wire: Wire, encoded: bytes) -> bool:
    return wire.exchange(frame(Kind.HEADERS, BOTH, 1, encoded)).goaway == Code.COMPRESSION_ERROR


STATIC = b"\x82\x86\x84\x01" + string(b"here")  # GET, http, /, :authority: here


def test_fields_of_the_static_table_are_known(wire: Wire) -> None:
    assert answered(wire, STATIC)


def test_a_field_that_was_indexed_is_known_later(wire: Wire) -> None:
    assert answered(wire, b"\x82\x86\x84\x41" + string(b"here"))
    assert answered(wire, b"\x82\x86\x84\xbe", 3)


def test_literals_never_indexed_are_taken(wire: Wire) -> None:
    assert answered(wire, STATIC + b"\x10" + string(b"secret") + string(b"x"))


def test_huffman_coded_strings_are_taken(wire: Wire) -> None:
    assert answered(wire, b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff")


def test_index_0_is_an_error(wire: Wire) -> None:
    assert refused(wire, STATIC + b"\x80")


@pytest.mark.parametrize("reference", [b"\xbe", b"\xff\x80\x01", b"\x7e\x01x", b"\x0f\x2f\x01x"])
def test_an_index_beyond_both_tables_is_an_error(wire: Wire, reference: bytes) -> None:
    assert refused(wire, STATIC + reference)


@pytest.mark.parametrize("integer", [b"\xff\xff\xff\xff\xff\xff\x0f", b"\xff\x80\x80\x80\x80\x80\x80\x80\x01"])
def test_an_integer_without_bounds_is_an_error(wire: Wire, integer: bytes) -> None:
    assert refused(wire, STATIC + integer)


@pytest.mark.parametrize("cut", [b"\x00", b"\x00\x01", b"\x00\x01x", b"\x00\x01x\x05four", b"\xff", b"\x41"])
def test_a_block_that_ends_inside_a_field_is_an_error(wire: Wire, cut: bytes) -> None:
    assert refused(wire, STATIC + cut)


@pytest.mark.parametrize(
    "value",
    [b"\x82\xf3\xff", b"\x81\x18", b"\x84\xff\xff\xff\xff"],
    ids=["padding_of_a_whole_byte", "padding_of_zeroes", "the_eos_symbol"],
)
def test_wrong_huffman_code_is_an_error(wire: Wire, value: bytes) -> None:
    assert refused(wire, STATIC + b"\x00\x01x" + value)


def test_a_table_size_update_comes_at_the_beginning(wire: Wire) -> None:
    assert answered(wire, b"\x20" + STATIC)


def test_a_table_size_update_after_a_field_is_an_error(wire: Wire) -> None:
    assert refused(wire, STATIC + b"\x20")


def test_a_table_size_update_over_our_setting_is_an_error(wire: Wire) -> None:
    assert refused(wire, b"\x3f\xe2\x1f" + STATIC)


def test_a_table_size_update_to_our_setting_is_fine(wire: Wire) -> None:
    assert answered(wire, b"\x3f\xe1\x1f" + STATIC)


def test_a_table_size_of_0_forgets_every_entry(wire: Wire) -> None:
    assert answered(wire, b"\x82\x86\x84\x41" + string(b"here"))
    reply = wire.exchange(frame(Kind.HEADERS, BOTH, 3, b"\x20\x82\x86\x84\xbe"))
    assert reply.goaway == Code.COMPRESSION_ERROR


def test_an_entry_larger_than_the_table_empties_it(wire: Wire) -> None:
    assert answered(wire, b"\x82\x86\x84\x41" + string(b"here"))
    assert answered(wire, STATIC + b"\x40" + string(b"x-big") + string(b"v" * 5000), 3)
    reply = wire.exchange(frame(Kind.HEADERS, BOTH, 5, b"\x82\x86\x84\xbe"))
    assert reply.goaway == Code.COMPRESSION_ERROR


def test_our_blocks_begin_with_the_size_update_that_settings_ask_for(wire: Wire) -> None:
    reply = wire.exchange(settings((1, 0)), headers(1))
    assert reply.of(Kind.HEADERS, 1)[0].payload.startswith(b"\x20")
    reply = wire.exchange(settings((1, 4096)), headers(3))
    assert reply.of(Kind.HEADERS, 3)[0].payload[0] & 0xE0 == 0x20
    assert reply.status(3) == b"200"


def test_our_blocks_are_never_larger_than_the_peers_table(wire: Wire) -> None:
    wire.decoder.max_allowed_table_size = 64
    wire.decoder.header_table_size = 64
    reply = wire.exchange(settings((1, 64)), *(headers(i) for i in range(1, 19, 2)))
    assert [reply.status(i) for i in range(1, 19, 2)] == [b"200"] * 9
