"""The client's side: what a server may send, and what makes its stream or the connection fail."""

import pytest

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_pair import Event, Pairs
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
    data,
    frame,
    goaway,
    headers,
    rst,
    settings,
    split,
    u32,
)

OK: Pairs = [(b":status", b"200")]
HEAD: Pairs = [(b":method", b"HEAD"), *REQUEST[1:]]


def client(*heads: Pairs, **limits: int) -> PlainSession:
    """A client past the prefaces, with a stream open for each head."""
    session = PlainSession(client=True, **limits)
    session.feed(settings() + settings(flags=Flag.ACK))
    for head in heads:
        session.open(head, head is not POST)
    session.take()
    return session


def sent(session: PlainSession) -> list[Frame]:
    frames, rest = split(session.take())
    assert not rest
    return frames


def faults(session: PlainSession, stream: bytes) -> int:
    """Feeds what must make stream 1 fail; the code. The connection lives."""
    events = session.feed(stream)
    assert not session.session.failed
    assert events[-1][0] == "reset"
    _, id, code, by_peer, refused = events[-1]
    assert (id, by_peer, refused) == (1, False, False)
    assert sent(session)[-1] == Frame(Kind.RST_STREAM, 0, 1, u32(code))
    assert isinstance(code, int)
    return code


def fails(session: PlainSession, stream: bytes) -> int:
    session.feed(stream)
    assert session.session.failed
    return session.session.error


def test_a_client_opens_with_the_preface_and_settings_that_forbid_push() -> None:
    first = PlainSession(client=True).take()
    assert first.startswith(PREFACE)
    frames, _ = split(first[len(PREFACE) :])
    assert frames[0].kind == Kind.SETTINGS
    assert b"\x00\x02\x00\x00\x00\x00" in frames[0].payload


def test_a_client_opens_streams_before_it_has_heard_anything() -> None:
    session = PlainSession(client=True)
    assert [session.open(REQUEST, True) for _ in range(3)] == [1, 3, 5]


def test_a_client_keeps_to_the_servers_limit_once_it_knows_it() -> None:
    session = client(REQUEST)
    session.feed(settings((3, 2)))
    assert session.open(REQUEST, True) == 3
    assert session.open(REQUEST, True) is None
    session.feed(headers(1, OK))
    assert session.open(REQUEST, True) == 5


def test_the_servers_first_frame_is_settings() -> None:
    assert fails(PlainSession(client=True), headers(1, OK)) == Code.PROTOCOL_ERROR


def test_a_server_does_not_open_streams() -> None:
    assert fails(client(REQUEST), headers(2, OK)) == Code.PROTOCOL_ERROR


def test_a_server_does_not_answer_what_was_not_asked() -> None:
    assert fails(client(REQUEST), headers(3, OK)) == Code.PROTOCOL_ERROR


def test_a_push_is_a_protocol_error() -> None:
    assert fails(client(REQUEST), frame(Kind.PUSH_PROMISE, WHOLE, 1, u32(2))) == Code.PROTOCOL_ERROR


def test_a_server_cannot_enable_push() -> None:
    assert fails(client(), settings((2, 1))) == Code.PROTOCOL_ERROR


def test_a_whole_response() -> None:
    session = client(REQUEST)
    stream = headers(1, [(b":status", b"103"), (b"link", b"</a>")], WHOLE) + headers(1, OK, WHOLE)
    stream += data(1, b"body", 0) + headers(1, [(b"x-sum", b"1")])
    assert session.feed(stream) == [
        ("informational", 1, [(b":status", b"103"), (b"link", b"</a>")]),
        ("head", 1, OK, False),
        ("data", 1, b"body", False),
        ("trailers", 1, [(b"x-sum", b"1")]),
    ]
    assert session.streams() == []


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"2x0")],
        [(b":status", b"099")],
        [(b":status", b"")],
        [(b":status", b"101")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b"x", b"1"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"transfer-encoding", b"chunked")],
        [(b":status", b"200"), (b"Upper", b"1")],
        [(b":status", b"200"), (b"content-length", b"x")],
        [(b":status", b"100")],
    ],
    ids=repr,
)
def test_a_malformed_response_resets_its_stream(pairs: Pairs) -> None:
    assert faults(client(REQUEST), headers(1, pairs)) == Code.PROTOCOL_ERROR


def test_data_before_the_head_resets_the_stream() -> None:
    assert faults(client(REQUEST), data(1, b"x", 0)) == Code.PROTOCOL_ERROR


def test_data_after_an_interim_response_only_resets_the_stream() -> None:
    session = client(REQUEST)
    session.feed(headers(1, [(b":status", b"100")], WHOLE))
    assert faults(session, data(1, b"x", 0)) == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("body", [b"", b"abc", b"abcde"])
def test_a_body_of_another_length_resets_the_stream(body: bytes) -> None:
    session = client(REQUEST)
    session.feed(headers(1, [*OK, (b"content-length", b"4")], WHOLE))
    assert faults(session, data(1, body)) == Code.PROTOCOL_ERROR


def test_content_length_without_a_body_resets_the_stream() -> None:
    assert faults(client(REQUEST), headers(1, [*OK, (b"content-length", b"4")])) == Code.PROTOCOL_ERROR


def test_a_response_to_head_has_a_length_and_no_body() -> None:
    session = client(HEAD)
    assert session.feed(headers(1, [*OK, (b"content-length", b"4")]))[0][0] == "head"
    assert session.streams() == []


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_responses_that_never_have_a_body_may_have_a_length(status: bytes) -> None:
    assert client(REQUEST).feed(headers(1, [(b":status", status), (b"content-length", b"4")]))[0][0] == "head"


def test_a_caller_may_know_better_than_content_length() -> None:
    session = client(REQUEST)
    session.expect_no_body(1)
    assert session.feed(headers(1, [*OK, (b"content-length", b"4")]))[0][0] == "head"


def test_a_head_over_the_limit_resets_its_stream() -> None:
    session = client(REQUEST, max_fields=2)
    assert faults(session, headers(1, [*OK, (b"a", b"1"), (b"b", b"2")])) == Code.ENHANCE_YOUR_CALM


def test_streams_above_a_goaway_are_refused_and_those_below_go_on() -> None:
    session = client(REQUEST, REQUEST, REQUEST)
    assert session.feed(goaway(3, Code.NO_ERROR)) == [
        ("reset", 5, Code.REFUSED_STREAM, True, True),
        ("goaway", 3, Code.NO_ERROR),
    ]
    assert session.open(REQUEST) is None
    assert session.feed(headers(3, OK) + headers(1, OK)) == [("head", 3, OK, True), ("head", 1, OK, True)]


def test_a_goaway_in_two_steps() -> None:
    session = client(REQUEST)
    assert session.feed(goaway(2**31 - 1)) == [("goaway", 2**31 - 1, 0)]
    assert session.session.peer_going_away
    assert session.feed(goaway(0)) == [("reset", 1, Code.REFUSED_STREAM, True, True), ("goaway", 0, 0)]


def test_a_goaway_with_an_error_is_remembered() -> None:
    session = client()
    session.feed(goaway(0, Code.ENHANCE_YOUR_CALM, b"slow down"))
    assert session.session.error == Code.ENHANCE_YOUR_CALM
    assert not session.session.failed


def test_a_refused_stream_can_be_told_from_one_that_failed() -> None:
    session = client(REQUEST, REQUEST)
    assert session.feed(rst(1, Code.REFUSED_STREAM) + rst(3, Code.INTERNAL_ERROR)) == [
        ("reset", 1, Code.REFUSED_STREAM, True, True),
        ("reset", 3, Code.INTERNAL_ERROR, True, False),
    ]


def test_a_response_may_come_before_the_request_has_ended() -> None:
    session = client(POST)
    assert session.feed(headers(1, OK)) == [("head", 1, OK, True)]
    session.send_data(1, b"still", True)
    assert sent(session) == [Frame(Kind.DATA, END, 1, b"still")]
    assert session.streams() == []


def test_a_server_may_stop_an_upload_after_its_answer() -> None:
    session = client(POST)
    assert session.feed(headers(1, OK) + rst(1, Code.NO_ERROR)) == [
        ("head", 1, OK, True),
        ("reset", 1, Code.NO_ERROR, True, False),
    ]


def test_a_late_response_to_a_stream_we_reset_keeps_the_table_in_step() -> None:
    session = client(REQUEST, REQUEST)
    session.reset(1, Code.CANCEL)
    stream = frame(Kind.HEADERS, WHOLE, 1, b"\x88\x40\x01x\x01y") + data(1, b"late")
    stream += frame(Kind.HEADERS, BOTH, 3, b"\x88\xbe")
    assert session.feed(stream) == [("head", 3, [*OK, (b"x", b"y")], True)]


def test_requests_go_out_again_when_streams_end() -> None:
    session = client()
    session.feed(settings((3, 1)))
    seen: list[Event] = []
    for stream in range(1, 20_001, 2):
        assert session.open(REQUEST, True) == stream
        seen += session.feed(headers(stream, OK))
        session.take()
    assert len(seen) == 10_000
    assert session.figures()["slots"] == 0
