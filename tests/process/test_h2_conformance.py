# ruff: noqa: F811 (fixtures are found by their names)
"""What RFC 9113 demands of a server, one test per demand: connections, frames, streams and flow control.

Every test runs twice: straight into a session, and over TCP against the small server of h2_server.py.
"""

import pytest

from tests.support.h2_fixtures import bare, port, wire  # noqa: F401
from tests.support.h2_server import BODY
from tests.support.h2_wire import (
    BOTH,
    END,
    POST,
    PREFACE,
    REQUEST,
    WHOLE,
    Code,
    Flag,
    Frame,
    Kind,
    Wire,
    block,
    continuation,
    data,
    frame,
    goaway,
    head,
    headers,
    ping,
    priority,
    rst,
    settings,
    u32,
    window,
)

INITIAL_WINDOW = 4
MAX_CONCURRENT = 3
HOLD = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/hold"), (b":authority", b"here")]
STREAMS = 512  # what our SETTINGS allow


# Section 3.4: the connection preface


def test_the_server_speaks_first_with_settings(bare: Wire) -> None:
    reply = bare.exchange(PREFACE, settings())
    assert reply.frames[0].kind == Kind.SETTINGS
    assert not reply.frames[0].flags & Flag.ACK


def test_a_wrong_preface_ends_the_connection(bare: Wire) -> None:
    assert bare.exchange(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").goaway == Code.PROTOCOL_ERROR


def test_a_preface_wrong_in_its_last_byte_ends_the_connection(bare: Wire) -> None:
    assert bare.exchange(PREFACE[:-1] + b"\r", settings()).goaway == Code.PROTOCOL_ERROR


def test_a_preface_must_be_followed_by_settings(bare: Wire) -> None:
    assert bare.exchange(PREFACE, ping()).goaway == Code.PROTOCOL_ERROR


def test_a_preface_must_be_followed_by_settings_that_are_no_acknowledgement(bare: Wire) -> None:
    assert bare.exchange(PREFACE, settings(flags=Flag.ACK)).goaway == Code.PROTOCOL_ERROR


def test_a_request_may_come_with_the_preface(bare: Wire) -> None:
    reply = bare.exchange(PREFACE, settings(), headers(1))
    assert reply.status(1) == b"200"
    assert reply.body(1) == BODY


# Section 4.1: frame format


def test_a_frame_of_an_unknown_type_is_ignored(wire: Wire) -> None:
    assert not wire.exchange(frame(0x16, 0, 0, bytes(8))).frames


def test_a_frame_of_an_unknown_type_on_a_stream_is_ignored(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), frame(0xFF, 0xFF, 1, b"what"), data(1, b"x"))
    assert reply.status(1) == b"200"


def test_undefined_flags_are_ignored(wire: Wire) -> None:
    reply = wire.exchange(frame(Kind.PING, 0x16, 0, b"8 octets"))
    assert reply.frames == [Frame(Kind.PING, Flag.ACK, 0, b"8 octets")]


def test_undefined_flags_of_headers_are_ignored(wire: Wire) -> None:
    assert wire.exchange(headers(1, flags=BOTH | 0x42)).status(1) == b"200"


def test_the_reserved_bit_of_a_stream_id_is_ignored(wire: Wire) -> None:
    ping_with_bit = head(8, Kind.PING, 0, 0x80000000) + b"reserved"
    assert wire.exchange(ping_with_bit).of(Kind.PING) == [Frame(Kind.PING, Flag.ACK, 0, b"reserved")]


# Section 4.2: frame size


def test_data_of_the_largest_size_is_taken(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), data(1, bytes(16384)))
    assert reply.status(1) == b"200"


def test_data_over_the_largest_size_is_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), data(1, bytes(16385))).goaway == Code.FRAME_SIZE_ERROR


def test_headers_over_the_largest_size_are_a_frame_size_error(wire: Wire) -> None:
    big = headers(1, [*REQUEST, (b"x", bytes(16384))])
    assert wire.exchange(big).goaway == Code.FRAME_SIZE_ERROR


def test_an_unknown_frame_over_the_largest_size_is_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(frame(0x20, 0, 0, bytes(16385))).goaway == Code.FRAME_SIZE_ERROR


def test_our_frames_keep_to_the_size_that_holds_before_settings(wire: Wire) -> None:
    reply = wire.exchange(headers(1))
    assert all(len(f.payload) <= 16384 for f in reply.frames)


# Section 4.3: field sections


def test_a_header_block_that_cannot_be_decoded_is_a_compression_error(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.HEADERS, BOTH, 1, b"\x80")).goaway == Code.COMPRESSION_ERROR


@pytest.mark.parametrize(
    "between",
    [
        data(1, b"x"),
        headers(1),
        headers(3),
        priority(1),
        rst(1),
        settings(),
        ping(),
        window(1, 1),
        window(0, 1),
        goaway(),
        frame(0x33, 0, 1, b"?"),
    ],
    ids=lambda f: f"type_{f[3]:#x}_on_{f[8]}",
)
def test_a_header_block_must_not_be_interrupted(wire: Wire, between: bytes) -> None:
    encoded = block(REQUEST)
    begun = frame(Kind.HEADERS, END, 1, encoded[:5])
    assert wire.exchange(begun, between, continuation(1, encoded[5:])).goaway == Code.PROTOCOL_ERROR


def test_the_table_survives_a_refused_header_block(wire: Wire) -> None:
    indexed = b"\x40\x03x-a\x011"
    reply = wire.exchange(
        frame(Kind.HEADERS, BOTH, 1, block([*REQUEST, (b"Upper", b"1")]) + indexed),
        frame(Kind.HEADERS, BOTH, 3, block(REQUEST) + b"\xbe"),
    )
    assert reply.resets == {1: Code.PROTOCOL_ERROR}
    assert reply.status(3) == b"200"


# Section 5.1: stream states


@pytest.mark.parametrize(
    "unexpected",
    [data(1, b"x"), rst(1), window(1, 100), continuation(1, b"")],
    ids=["data", "rst_stream", "window_update", "continuation"],
)
def test_an_idle_stream_takes_headers_or_priority_only(wire: Wire, unexpected: bytes) -> None:
    assert wire.exchange(unexpected).goaway == Code.PROTOCOL_ERROR


def test_an_idle_stream_takes_priority(wire: Wire) -> None:
    assert wire.exchange(priority(1), headers(1)).status(1) == b"200"


@pytest.mark.parametrize("unexpected", [data(1, b"x"), headers(1)], ids=["data", "headers"])
def test_a_half_closed_stream_takes_no_more_message(wire: Wire, unexpected: bytes) -> None:
    # the response cannot go out, so the stream stays half closed
    wire.exchange(settings((INITIAL_WINDOW, 0)))
    assert wire.exchange(headers(1), unexpected).resets == {1: Code.STREAM_CLOSED}


def test_a_half_closed_stream_takes_window_update_priority_and_rst(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 0)))
    reply = wire.exchange(headers(1), priority(1), window(1, 2))
    assert reply.body(1) == BODY[:2]
    assert not reply.resets
    assert not wire.exchange(rst(1)).frames


@pytest.mark.parametrize("unexpected", [data(1, b"x"), headers(1)], ids=["data", "headers"])
def test_a_stream_that_ended_on_both_sides_takes_no_more_message(wire: Wire, unexpected: bytes) -> None:
    assert wire.exchange(headers(1), unexpected).goaway == Code.STREAM_CLOSED


@pytest.mark.parametrize("late", [window(1, 1), rst(1), priority(1)], ids=["window_update", "rst_stream", "priority"])
def test_a_closed_stream_takes_what_may_come_late(wire: Wire, late: bytes) -> None:
    reply = wire.exchange(headers(1), late, headers(3))
    assert not reply.resets
    assert reply.status(3) == b"200"


@pytest.mark.parametrize("unexpected", [data(1, b"x"), headers(1)], ids=["data", "headers"])
def test_a_stream_that_the_peer_reset_takes_no_more_message(wire: Wire, unexpected: bytes) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), rst(1), unexpected).goaway == Code.STREAM_CLOSED


def test_what_was_under_way_on_a_stream_we_reset_is_dropped(wire: Wire) -> None:
    indexed = b"\x40\x03x-a\x011"
    reply = wire.exchange(
        headers(1, POST, WHOLE),
        window(1, 0),
        data(1, b"more", 0),
        frame(Kind.HEADERS, BOTH, 1, indexed),
        window(1, 1),
        rst(1),
        frame(Kind.HEADERS, BOTH, 3, block(REQUEST) + b"\xbe"),
    )
    assert reply.resets == {1: Code.PROTOCOL_ERROR}
    assert reply.status(3) == b"200"


# Section 5.1.1: stream identifiers


def test_a_client_opens_no_even_stream(wire: Wire) -> None:
    assert wire.exchange(headers(2)).goaway == Code.PROTOCOL_ERROR


def test_a_new_stream_has_a_higher_id_than_all_before(wire: Wire) -> None:
    assert wire.exchange(headers(5), headers(3)).goaway == Code.PROTOCOL_ERROR


def test_ids_may_be_skipped(wire: Wire) -> None:
    reply = wire.exchange(headers(1), headers(7), headers(2**31 - 1))
    assert reply.status(7) == reply.status(2**31 - 1) == b"200"


def test_a_skipped_id_is_closed(wire: Wire) -> None:
    assert wire.exchange(headers(5), data(3, b"x")).goaway == Code.STREAM_CLOSED


# Section 5.1.2: concurrency


def test_streams_over_the_limit_are_refused(wire: Wire) -> None:
    opened = [headers(1 + 2 * i, POST, WHOLE) for i in range(STREAMS + 2)]
    reply = wire.exchange(*opened)
    assert reply.resets == {1 + 2 * i: Code.REFUSED_STREAM for i in (STREAMS, STREAMS + 1)}


def test_a_stream_that_ends_makes_room_for_another(wire: Wire) -> None:
    opened = [headers(1 + 2 * i, POST, WHOLE) for i in range(STREAMS)]
    reply = wire.exchange(*opened, data(1, b""), headers(1 + 2 * STREAMS))
    assert not reply.resets
    assert reply.status(1 + 2 * STREAMS) == b"200"


# Section 5.4: error handling


def test_a_connection_error_is_a_goaway_with_the_last_stream_then_the_end(wire: Wire) -> None:
    reply = wire.exchange(headers(1), headers(3), data(0, b"x"))
    assert reply.closed
    last = reply.frames[-1]
    assert last.kind == Kind.GOAWAY
    assert last.payload[:4] == u32(3)


def test_a_stream_error_leaves_the_other_streams_alone(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), headers(3, POST, WHOLE), window(1, 0), data(3, b"x"))
    assert reply.resets == {1: Code.PROTOCOL_ERROR}
    assert reply.status(3) == b"200"


def test_a_reset_is_not_answered_with_a_reset(wire: Wire) -> None:
    assert not wire.exchange(headers(1, POST, WHOLE), rst(1), rst(1)).frames


# Section 6.1: DATA


def test_data_on_stream_0_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(data(0, b"x")).goaway == Code.PROTOCOL_ERROR


def test_padding_of_data_is_taken_off(wire: Wire) -> None:
    request = headers(1, [*POST, (b"content-length", b"4")], WHOLE)
    assert wire.exchange(request, data(1, b"\x06body" + bytes(6), END | Flag.PADDED)).status(1) == b"200"


def test_data_may_be_all_padding(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), data(1, b"\x06" + bytes(6), END | Flag.PADDED)).status(1) == b"200"


@pytest.mark.parametrize("pad", [5, 6, 255])
def test_data_with_more_padding_than_payload_is_a_protocol_error(wire: Wire, pad: int) -> None:
    padded = data(1, bytes([pad]) + b"body", END | Flag.PADDED)
    assert wire.exchange(headers(1, POST, WHOLE), padded).goaway == Code.PROTOCOL_ERROR


def test_padded_data_without_a_pad_length_is_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), data(1, b"", Flag.PADDED)).goaway == Code.FRAME_SIZE_ERROR


# Section 6.2: HEADERS


def test_headers_on_stream_0_are_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(headers(0)).goaway == Code.PROTOCOL_ERROR


def test_padding_and_priority_of_headers_are_taken_off(wire: Wire) -> None:
    payload = b"\x03" + u32(0) + b"\x10" + block(REQUEST) + bytes(3)
    flags = BOTH | Flag.PADDED | Flag.PRIORITY
    assert wire.exchange(frame(Kind.HEADERS, flags, 1, payload)).status(1) == b"200"


def test_headers_with_more_padding_than_payload_are_a_protocol_error(wire: Wire) -> None:
    payload = bytes([len(block(REQUEST)) + 1]) + block(REQUEST)
    assert wire.exchange(frame(Kind.HEADERS, BOTH | Flag.PADDED, 1, payload)).goaway == Code.PROTOCOL_ERROR


def test_padded_headers_without_a_pad_length_are_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.HEADERS, BOTH | Flag.PADDED, 1)).goaway == Code.FRAME_SIZE_ERROR


def test_headers_too_short_for_their_priority_are_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.HEADERS, BOTH | Flag.PRIORITY, 1, b"1234")).goaway == Code.FRAME_SIZE_ERROR


# Section 6.3: PRIORITY


def test_priority_on_stream_0_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(priority(0)).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [0, 4, 6])
def test_priority_of_another_length_resets_the_stream(wire: Wire, length: int) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), frame(Kind.PRIORITY, 0, 1, bytes(length)))
    assert reply.resets == {1: Code.FRAME_SIZE_ERROR}


def test_priority_changes_nothing_not_even_on_itself(wire: Wire) -> None:
    assert wire.exchange(priority(9), headers(9, POST, WHOLE), priority(9, on=9), data(9)).status(9) == b"200"


# Section 6.4: RST_STREAM


def test_rst_stream_on_stream_0_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(rst(0)).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [0, 3, 5])
def test_rst_stream_of_another_length_is_a_frame_size_error(wire: Wire, length: int) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), frame(Kind.RST_STREAM, 0, 1, bytes(length)))
    assert reply.goaway == Code.FRAME_SIZE_ERROR


def test_rst_stream_of_an_unknown_code_is_a_reset_like_any(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), rst(1, 0xFFFF), headers(3)).status(3) == b"200"


# Section 6.5: SETTINGS


def test_settings_are_acknowledged(wire: Wire) -> None:
    assert wire.exchange(settings((MAX_CONCURRENT, 9))).frames == [Frame(Kind.SETTINGS, Flag.ACK, 0, b"")]


def test_each_settings_frame_is_acknowledged_once(wire: Wire) -> None:
    assert len(wire.exchange(settings(), settings(), settings()).of(Kind.SETTINGS)) == 3


def test_an_acknowledgement_is_not_acknowledged(wire: Wire) -> None:
    assert not wire.exchange(settings(flags=Flag.ACK)).frames


def test_an_acknowledgement_with_a_payload_is_a_frame_size_error(wire: Wire) -> None:
    assert wire.exchange(settings((MAX_CONCURRENT, 9), flags=Flag.ACK)).goaway == Code.FRAME_SIZE_ERROR


def test_settings_on_a_stream_are_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(settings(stream=1)).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [1, 5, 7])
def test_settings_of_a_length_that_is_no_multiple_of_6_are_a_frame_size_error(wire: Wire, length: int) -> None:
    assert wire.exchange(frame(Kind.SETTINGS, 0, 0, bytes(length))).goaway == Code.FRAME_SIZE_ERROR


@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_enable_push_is_0_or_1(wire: Wire, value: int) -> None:
    assert wire.exchange(settings((2, value))).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("value", [2**31, 2**32 - 1])
def test_an_initial_window_over_31_bits_is_a_flow_control_error(wire: Wire, value: int) -> None:
    assert wire.exchange(settings((INITIAL_WINDOW, value))).goaway == Code.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("value", [0, 16383, 2**24, 2**32 - 1])
def test_a_max_frame_size_out_of_range_is_a_protocol_error(wire: Wire, value: int) -> None:
    assert wire.exchange(settings((5, value))).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("value", [16384, 2**24 - 1])
def test_a_max_frame_size_at_the_ends_of_the_range_is_taken(wire: Wire, value: int) -> None:
    assert wire.exchange(settings((5, value)), headers(1)).status(1) == b"200"


@pytest.mark.parametrize("value", [0, 2**31 - 1, 2**32 - 1])
def test_any_concurrency_limit_of_the_client_is_taken(wire: Wire, value: int) -> None:
    assert wire.exchange(settings((MAX_CONCURRENT, value)), headers(1)).status(1) == b"200"


@pytest.mark.parametrize("name", [0, 7, 0x10, 0xFFFF])
def test_unknown_settings_are_ignored_and_acknowledged(wire: Wire, name: int) -> None:
    assert wire.exchange(settings((name, 2**32 - 1))).frames == [Frame(Kind.SETTINGS, Flag.ACK, 0, b"")]


def test_settings_are_worked_off_in_their_order(wire: Wire) -> None:
    reply = wire.exchange(settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)), headers(1))
    assert reply.body(1) == BODY[:1]


def test_a_header_table_size_of_0_is_obeyed(wire: Wire) -> None:
    reply = wire.exchange(settings((1, 0)), headers(1))
    assert reply.of(Kind.HEADERS, 1)[0].payload[:1] == b"\x20"
    assert wire.exchange(headers(3)).status(3) == b"200"


# Section 6.6: PUSH_PROMISE


def test_a_client_cannot_push(wire: Wire) -> None:
    promise = frame(Kind.PUSH_PROMISE, WHOLE, 1, u32(2) + block(REQUEST))
    assert wire.exchange(headers(1, POST, WHOLE), promise).goaway == Code.PROTOCOL_ERROR


# Section 6.7: PING


def test_a_ping_is_answered_with_its_payload(wire: Wire) -> None:
    assert wire.exchange(ping(b"\0\1\2\3\4\5\6\7")).frames == [Frame(Kind.PING, Flag.ACK, 0, b"\0\1\2\3\4\5\6\7")]


def test_an_answer_to_a_ping_is_not_answered(wire: Wire) -> None:
    assert not wire.exchange(ping(b"unwanted", Flag.ACK)).frames


def test_a_ping_on_a_stream_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.PING, 0, 1, bytes(8))).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_ping_of_another_length_is_a_frame_size_error(wire: Wire, length: int) -> None:
    assert wire.exchange(frame(Kind.PING, 0, 0, bytes(length))).goaway == Code.FRAME_SIZE_ERROR


# Section 6.8: GOAWAY


def test_a_goaway_on_a_stream_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(frame(Kind.GOAWAY, 0, 1, bytes(8))).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [0, 7])
def test_a_goaway_that_is_too_short_is_a_frame_size_error(wire: Wire, length: int) -> None:
    assert wire.exchange(frame(Kind.GOAWAY, 0, 0, bytes(length))).goaway == Code.FRAME_SIZE_ERROR


def test_streams_under_way_finish_after_a_goaway_of_the_client(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), goaway(0, 0, b"bye"), data(1, b"x"))
    assert reply.status(1) == b"200"


# Section 6.9: WINDOW_UPDATE and flow control


def test_a_window_update_of_0_resets_its_stream(wire: Wire) -> None:
    assert wire.exchange(headers(1, POST, WHOLE), window(1, 0)).resets == {1: Code.PROTOCOL_ERROR}


def test_a_window_update_of_0_on_the_connection_is_a_protocol_error(wire: Wire) -> None:
    assert wire.exchange(window(0, 0)).goaway == Code.PROTOCOL_ERROR


def test_the_reserved_bit_of_a_window_update_is_ignored(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 0)))
    assert wire.exchange(headers(1), window(1, 0x80000003)).body(1) == BODY[:3]


@pytest.mark.parametrize("length", [0, 3, 5])
@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_update_of_another_length_is_a_frame_size_error(wire: Wire, length: int, stream: int) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), frame(Kind.WINDOW_UPDATE, 0, stream, bytes(length)))
    assert reply.goaway == Code.FRAME_SIZE_ERROR


def test_a_window_over_31_bits_resets_its_stream(wire: Wire) -> None:
    reply = wire.exchange(headers(1, POST, WHOLE), window(1, 2**31 - 1))
    assert reply.resets == {1: Code.FLOW_CONTROL_ERROR}


def test_a_connection_window_over_31_bits_is_a_flow_control_error(wire: Wire) -> None:
    assert wire.exchange(window(0, 2**31 - 1)).goaway == Code.FLOW_CONTROL_ERROR


def test_data_keeps_to_the_streams_window(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 2)))
    reply = wire.exchange(headers(1))
    assert reply.body(1) == BODY[:2]
    reply = wire.exchange(window(1, 1))
    assert reply.body(1) == BODY[2:3]
    reply = wire.exchange(window(1, 100))
    assert reply.body(1) == BODY[3:]
    assert reply.ended(1)


def test_data_keeps_to_the_connections_window(wire: Wire) -> None:
    full, rest = divmod(65535, len(BODY))
    reply = wire.exchange(settings((INITIAL_WINDOW, 2**31 - 1)))
    sent = 0
    for base in range(0, full + 1, 200):
        reply = wire.exchange(*(headers(1 + 2 * i) for i in range(base, min(base + 200, full + 1))))
        sent += sum(len(f.payload) for f in reply.of(Kind.DATA))
    assert sent == 65535
    assert reply.body(1 + 2 * full) == BODY[:rest]
    assert wire.exchange(window(0, 100)).body(1 + 2 * full) == BODY[rest:]


def test_a_new_initial_window_moves_the_windows_of_open_streams(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 1)))
    assert wire.exchange(headers(1)).body(1) == BODY[:1]
    assert wire.exchange(settings((INITIAL_WINDOW, 3))).body(1) == BODY[1:3]


def test_a_window_may_become_negative(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 3)))
    assert wire.exchange(headers(1)).body(1) == BODY[:3]
    reply = wire.exchange(settings((INITIAL_WINDOW, 1)), window(1, 2))
    assert not reply.of(Kind.DATA)
    assert wire.exchange(window(1, 1)).body(1) == BODY[3:4]


def test_an_initial_window_that_makes_a_window_overflow_is_a_flow_control_error(wire: Wire) -> None:
    wire.exchange(headers(1, POST, WHOLE), window(1, 2**31 - 1 - 65535))
    assert wire.exchange(settings((INITIAL_WINDOW, 65536))).goaway == Code.FLOW_CONTROL_ERROR


def test_headers_and_the_empty_end_need_no_window(wire: Wire) -> None:
    wire.exchange(settings((INITIAL_WINDOW, 0)))
    assert wire.exchange(headers(1)).status(1) == b"200"


def test_data_beyond_our_window_is_a_flow_control_error(wire: Wire) -> None:
    full = [data(1, bytes(16384), 0) for _ in range(12)]
    assert not wire.exchange(headers(1, HOLD, WHOLE), *full).frames
    assert wire.exchange(data(1, b"x", 0)).resets == {1: Code.FLOW_CONTROL_ERROR}


def test_what_is_consumed_is_announced(wire: Wire) -> None:
    half = [data(1, bytes(16384), 0) for _ in range(6)]
    reply = wire.exchange(headers(1, POST, WHOLE), *half)
    assert reply.of(Kind.WINDOW_UPDATE, 1) == [Frame(Kind.WINDOW_UPDATE, 0, 1, u32(6 * 16384))]


# Section 6.10: CONTINUATION


def test_a_header_block_may_come_in_many_pieces(wire: Wire) -> None:
    encoded = block(REQUEST)
    pieces = [encoded[i : i + 5] for i in range(0, len(encoded), 5)]
    frames = [frame(Kind.HEADERS, END, 1, pieces[0])]
    frames += [continuation(1, piece, 0) for piece in pieces[1:-1]]
    assert wire.exchange(*frames, continuation(1, pieces[-1])).status(1) == b"200"


def test_a_piece_of_a_header_block_may_be_empty(wire: Wire) -> None:
    frames = [frame(Kind.HEADERS, END, 1), continuation(1, block(REQUEST), 0), continuation(1, b"")]
    assert wire.exchange(*frames).status(1) == b"200"


def test_a_continuation_on_stream_0_is_a_protocol_error(wire: Wire) -> None:
    begun = frame(Kind.HEADERS, END, 1, b"")
    assert wire.exchange(begun, continuation(0, block(REQUEST))).goaway == Code.PROTOCOL_ERROR


def test_a_continuation_of_another_stream_is_a_protocol_error(wire: Wire) -> None:
    begun = frame(Kind.HEADERS, END, 1, b"")
    assert wire.exchange(begun, continuation(3, block(REQUEST))).goaway == Code.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "before",
    [headers(1, POST, WHOLE), headers(1, POST, WHOLE) + data(1, b"x", 0), ping()],
    ids=["headers", "data", "ping"],
)
def test_a_continuation_without_an_open_block_is_a_protocol_error(wire: Wire, before: bytes) -> None:
    assert wire.exchange(before, continuation(1, block(REQUEST))).goaway == Code.PROTOCOL_ERROR


def test_a_continuation_after_the_end_of_the_block_is_a_protocol_error(wire: Wire) -> None:
    frames = [frame(Kind.HEADERS, END, 1), continuation(1, block(REQUEST)), continuation(1, b"")]
    assert wire.exchange(*frames).goaway == Code.PROTOCOL_ERROR
