"""Commands from inside events, events that raise, ends of streams and of connections."""

import gc
import weakref
from collections.abc import Callable

import pytest

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_pair import Event, Pair
from tests.support.h2_wire import (
    POST,
    PREFACE,
    REQUEST,
    WHOLE,
    Code,
    Flag,
    Frame,
    Kind,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    rst,
    settings,
    split,
    u32,
    window,
)

OK = [(b":status", b"200")]
HELLO = PREFACE + settings() + settings(flags=Flag.ACK)


def server(hook: Callable[[Event], None] | None = None, **limits: int) -> PlainSession:
    session = PlainSession(hook=hook, **limits)
    session.feed(HELLO)
    session.take()
    return session


def sent(session: PlainSession) -> list[Frame]:
    frames, rest = split(session.take())
    assert not rest
    return frames


# commands from inside events


def test_a_stream_is_there_during_its_last_event() -> None:
    known: list[bool] = []

    def on(event: Event) -> None:
        if event[0] in ("data", "trailers", "reset"):
            known.append(session.stream(event[1]) is not None)

    session = server(on)
    session.feed(headers(1, POST, WHOLE) + headers(3, POST, WHOLE) + headers(5, POST, WHOLE))
    for stream in (1, 3, 5):
        session.send_head(stream, OK, True)
    session.feed(data(1, b"x") + headers(3, [(b"x", b"1")]) + rst(5))
    assert known == [True, True, True]
    assert session.streams() == []


@pytest.mark.parametrize("kind", ["head", "data", "trailers"])
def test_a_stream_may_be_reset_in_each_of_its_events(kind: str) -> None:
    def on(event: Event) -> None:
        if event[:2] == (kind, 1):
            session.reset(event[1], Code.CANCEL)
            session.send_data(event[1], b"too late")

    session = server(on)
    events = session.feed(headers(1, POST, WHOLE) + data(1, b"x", 0) + headers(1, [(b"x", b"1")]) + headers(3))
    assert sent(session) == [Frame(Kind.RST_STREAM, 0, 1, u32(Code.CANCEL))]
    assert events[-2][:2] == (kind, 1)
    assert events[-1] == ("head", 3, REQUEST, True)
    assert session.streams() == [3]


def test_a_stream_reset_in_the_middle_of_a_frame_swallows_the_rest() -> None:
    session = server()
    whole = headers(1, POST, WHOLE) + data(1, b"0123456789", 0) + headers(3)
    cut = len(headers(1, POST, WHOLE)) + 9 + 4
    assert session.feed(whole[:cut])[-1] == ("data", 1, b"0123", False)
    session.reset(1, Code.CANCEL)
    assert session.feed(whole[cut:]) == [("head", 3, REQUEST, True)]


def test_another_stream_may_be_reset_from_an_event() -> None:
    def on(event: Event) -> None:
        if event[:2] == ("data", 3):
            session.reset(1, Code.CANCEL)

    session = server(on)
    session.feed(headers(1, POST, WHOLE) + headers(3, POST, WHOLE))
    assert session.feed(data(3, b"x", 0) + data(1, b"y", 0)) == [("data", 3, b"x", False)]
    assert session.streams() == [3]


def test_the_session_may_be_failed_from_an_event() -> None:
    def on(event: Event) -> None:
        if event[:2] == ("head", 1):
            session.fail(Code.INTERNAL_ERROR, "enough")

    session = server(on)
    assert session.feed(headers(1) + headers(3)) == [("head", 1, REQUEST, True)]
    assert sent(session) == [Frame(Kind.GOAWAY, 0, 0, u32(1) + u32(Code.INTERNAL_ERROR) + b"enough")]
    assert session.session.error_reason == "enough"


def test_the_connection_may_be_lost_in_an_event() -> None:
    def on(event: Event) -> None:
        if event[0] == "data":
            session.lost()

    session = server(on)
    session.feed(headers(1, POST, WHOLE) + headers(3, POST, WHOLE))
    events = session.feed(data(1, b"x", 0) + ping())
    assert events == [
        ("data", 1, b"x", False),
        ("reset", 1, Code.CANCEL, True, False),
        ("reset", 3, Code.CANCEL, True, False),
    ]
    assert session.streams() == []
    assert session.take() == b""


def test_all_streams_may_be_reset_while_the_ring_is_served() -> None:
    def on(event: Event) -> None:
        if event[0] == "drained":
            for stream in session.streams():
                session.reset(stream, Code.CANCEL)

    session = server(on)
    session.feed(settings((4, 0)) + b"".join(headers(i, POST, WHOLE) for i in (1, 3, 5)))
    for stream in (1, 3, 5):
        session.send_data(stream, b"four")
    session.feed(window(1, 4) + window(3, 4) + window(5, 4))
    assert session.streams() == []
    assert [f.stream for f in sent(session) if f.kind == Kind.DATA] == [1]
    assert not session.figures()["ready"]


def test_a_drained_stream_may_send_more_from_its_event() -> None:
    left = [b"b", b"c"]

    def on(event: Event) -> None:
        if event[0] == "drained" and left:
            session.send_data(1, left.pop(0), not left)

    session = server(on)
    session.feed(settings((4, 0)) + headers(1))
    session.take()
    session.send_data(1, b"a")
    session.feed(window(1, 10))
    assert b"".join(f.payload for f in sent(session)) == b"abc"
    assert session.streams() == []


def test_a_session_can_be_blocked_while_the_ring_is_served() -> None:
    def on(event: Event) -> None:
        if event == ("drained", 1):
            session.block()

    session = server(on)
    session.feed(settings((4, 0)) + headers(1) + headers(3))
    session.take()
    session.send_data(1, b"a", True)
    session.send_data(3, b"b", True)
    session.feed(window(1, 1) + window(3, 1))
    assert [f.stream for f in sent(session)] == [1]
    session.unblock(100)
    assert [f.stream for f in sent(session)] == [3]


def test_receive_cannot_be_entered_twice() -> None:
    def on(event: Event) -> None:
        if event[0] == "head":
            session.feed(ping())

    session = server(on)
    with pytest.raises(RuntimeError, match="from inside an event"):
        session.feed(headers(1))


# events that raise


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        ("head", headers(1)),
        ("head", headers(1, POST, 0) + continuation(1, b"")),
        ("data", headers(1, POST, WHOLE) + data(1, b"x")),
        ("trailers", headers(1, POST, WHOLE) + headers(1, [(b"x", b"1")])),
        ("reset", headers(1, POST, WHOLE) + rst(1)),
        ("settings", headers(1) + settings()),
        ("goaway", headers(1) + goaway()),
        ("ping_ack", ping(flags=Flag.ACK)),
    ],
    ids=["head", "head_in_pieces", "data", "trailers", "reset", "settings", "goaway", "ping_ack"],
)
def test_an_event_that_raises_fails_the_connection_and_leaves_nothing_behind(kind: str, stream: bytes) -> None:
    armed = False

    def on(event: Event) -> None:
        if armed and event[0] == kind:
            raise ZeroDivisionError("of ours")

    session = server(on)
    armed = True
    with pytest.raises(ZeroDivisionError):
        session.feed(stream)
    assert session.session.failed
    assert session.session.error == Code.INTERNAL_ERROR
    assert [f.kind for f in sent(session)][-1] == Kind.GOAWAY
    armed = False
    session.events()
    assert session.feed(headers(3)) == []
    session.lost()
    assert session.figures()["slots"] == 0


def test_an_event_that_raises_while_unblocking_fails_the_connection() -> None:
    def on(event: Event) -> None:
        if event[0] == "drained":
            raise ZeroDivisionError("of ours")

    session = server(on)
    session.feed(headers(1))
    session.block()
    session.send_data(1, b"x", True)
    with pytest.raises(ZeroDivisionError):
        session.unblock(100)
    assert session.session.failed
    session.lost()
    assert session.figures()["slots"] == 0


def test_every_stream_hears_of_the_end_although_one_raises() -> None:
    def on(event: Event) -> None:
        if event[:2] == ("reset", 1):
            raise ZeroDivisionError("of ours")

    session = server(on)
    session.feed(headers(1) + headers(3))
    session.events()
    with pytest.raises(ZeroDivisionError):
        session.lost()
    assert session.events() == [
        ("reset", 1, Code.CANCEL, True, False),
        ("reset", 3, Code.CANCEL, True, False),
    ]
    assert session.figures()["slots"] == 0


def test_a_session_without_events_refuses_to_receive() -> None:
    session = PlainSession()
    session.session.events = None  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="events must be set"):
        session.feed(PREFACE)


# ends


def test_what_is_lost_holds_nothing() -> None:
    class Owner:
        pass

    session = server()
    session.feed(headers(1) + headers(3, POST, WHOLE) + data(3, bytes(1000), 0))
    session.send_data(1, bytes(1 << 20))
    owners = [Owner(), Owner()]
    refs = [weakref.ref(owner) for owner in owners]
    for stream, owner in zip((1, 3), owners, strict=True):
        session.own(stream, owner)
    del owners, owner
    session.lost()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    assert session.session.open_streams == 0


def test_commands_after_the_end_do_nothing() -> None:
    session = server()
    session.feed(headers(1))
    session.fail(Code.NO_ERROR, "done")
    session.take()
    session.send_head(1, OK)
    session.send_status(1, 200)
    session.send_data(1, b"x")
    session.reset(1, 8)
    session.ping(1)
    session.begin_shutdown()
    session.finish_shutdown()
    session.fail(Code.CANCEL, "again")
    assert not session.send_head_by_field(1, OK)
    assert session.open(REQUEST) is None
    assert session.take() == b""
    session.lost()
    session.lost()
    assert session.events() == [("reset", 1, Code.CANCEL, True, False)]


def test_shutdown_goes_in_two_steps() -> None:
    session = server()
    session.feed(headers(1, POST, WHOLE))
    session.begin_shutdown()
    assert sent(session) == [Frame(Kind.GOAWAY, 0, 0, u32(2**31 - 1) + u32(0))]
    assert session.feed(headers(3, POST, WHOLE))[0][:2] == ("head", 3)
    session.finish_shutdown()
    assert sent(session) == [Frame(Kind.GOAWAY, 0, 0, u32(3) + u32(0))]
    assert session.feed(headers(5)) == []
    assert sent(session) == [Frame(Kind.RST_STREAM, 0, 5, u32(Code.REFUSED_STREAM))]
    session.send_head(1, OK, True)
    session.send_head(3, OK, True)
    session.feed(data(1) + data(3))
    assert session.streams() == []
    assert not session.session.failed


def test_a_fault_after_shutdown_takes_nothing_back() -> None:
    session = server()
    session.feed(headers(1))
    session.finish_shutdown()
    session.feed(headers(3) + ping(b"x"))
    goaways = [f.payload[:8] for f in sent(session) if f.kind == Kind.GOAWAY]
    assert goaways == [u32(1) + u32(Code.NO_ERROR), u32(1) + u32(Code.FRAME_SIZE_ERROR)]


def test_a_reset_of_the_peer_is_told_with_its_code() -> None:
    session = server()
    session.feed(headers(1) + headers(3))
    assert session.feed(rst(1, Code.INTERNAL_ERROR) + rst(3, Code.REFUSED_STREAM)) == [
        ("reset", 1, Code.INTERNAL_ERROR, True, False),
        ("reset", 3, Code.REFUSED_STREAM, True, True),
    ]


def test_a_fault_of_the_peer_is_told_and_named() -> None:
    session = server()
    session.feed(headers(1, [*POST, (b"content-length", b"3")], WHOLE))
    assert session.feed(data(1, b"four")) == [("reset", 1, Code.PROTOCOL_ERROR, False, False)]
    assert session.session.stream_fault == "the body is not as long as content-length says"


def test_a_ping_of_ours_is_acknowledged() -> None:
    session = server()
    session.ping(0x0102030405060708)
    assert sent(session) == [Frame(Kind.PING, 0, 0, bytes(range(1, 9)))]
    assert session.feed(ping(bytes(range(1, 9)), Flag.ACK)) == [("ping_ack", 0x0102030405060708)]


# heads


def parked(**limits: int) -> Pair:
    """A client with one open request, and its server."""
    pair = Pair(client=PlainSession(client=True, **limits))
    pair.client.open(POST)
    pair.pump()
    return pair


def test_a_large_head_is_cut_into_continuation_frames() -> None:
    pair = parked(max_header_list=1 << 20, max_header_block=1 << 20)
    head = [*OK, *((b"x-%d" % i, b"value \x7e" * 2000) for i in range(5))]
    pair.server.send_head(1, head)
    whole = pair.server.take()
    blocks, _ = split(whole)
    assert [f.kind for f in blocks] == [Kind.HEADERS, *[Kind.CONTINUATION] * (len(blocks) - 1)]
    assert len(blocks) > 2
    assert {len(f.payload) for f in blocks[:-1]} == {16384}
    assert [f.flags for f in blocks] == [0] * (len(blocks) - 1) + [Flag.END_HEADERS]
    assert pair.client.feed(whole) == [("head", 1, head, False)]
    pair.close()


@pytest.mark.parametrize("length", [*range(16384 - 12, 16384 + 4), 16384 * 2, 16384 * 2 + 1])
def test_a_head_about_the_size_of_a_frame_arrives_whole(length: int) -> None:
    pair = parked()
    head = [*OK, (b"x", b"\xf3" * length)]
    assert pair.server.send_head_by_field(1, head, True)
    assert pair.client.feed(pair.server.take()) == [("head", 1, head, True)]
    pair.close()


def test_an_interim_response_goes_before_the_final_one() -> None:
    pair = parked()
    pair.server.send_head(1, [(b":status", b"103"), (b"link", b"</a.css>")])
    pair.server.send_status(1, 100)
    pair.server.send_status(1, 204, True)
    assert [e[0] for e in pair.client.feed(pair.server.take())] == ["informational", "informational", "head"]
    pair.close()


def test_the_default_answer_to_a_head_too_large_is_a_reset() -> None:
    session = server(max_fields=3)
    session.default_too_large()
    session.feed(headers(1))
    assert sent(session) == [Frame(Kind.RST_STREAM, 0, 1, u32(Code.ENHANCE_YOUR_CALM))]
    assert session.streams() == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_frame_size": 100}, "max_frame_size 100"),
        ({"max_frame_size": 1 << 24}, "max_frame_size 16777216"),
        ({"initial_window": 1 << 31}, "2\\*\\*31 - 1"),
        ({"connection_window": 1 << 31}, "2\\*\\*31 - 1"),
    ],
)
def test_limits_the_protocol_cannot_say_are_refused(limits: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlainSession(**limits)


def test_an_unknown_limit_is_refused() -> None:
    with pytest.raises(TypeError, match="max_things"):
        PlainSession(max_things=1)


def test_a_frame_cut_anywhere_is_put_together() -> None:
    session = server()
    for byte in headers(1, POST, WHOLE) + ping() + data(1, b"\x02xy" + bytes(2), Flag.PADDED | Flag.END_STREAM):
        session.feed(bytes([byte]))
    assert frame(Kind.PING, Flag.ACK, 0, b"8 bytes!") in session.take()
    assert session.streams() == [1]
