"""Flow control both ways: credit that is returned, bytes that wait for it, turns that are taken."""

import pytest

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_pair import REQUEST, Event, Pair, body
from tests.support.h2_wire import PREFACE, Flag, Frame, Kind, data, frame, headers, settings, split, u32, window

OK = [(b":status", b"200")]


def server_with(*streams: int, peer_window: int = 65535, **limits: int) -> PlainSession:
    """A server with open streams, its own first words already taken."""
    session = PlainSession(**limits)
    session.feed(PREFACE + settings((4, peer_window)) + settings(flags=Flag.ACK))
    session.feed(b"".join(headers(stream, flags=Flag.END_HEADERS) for stream in streams))
    session.take()
    return session


def sent(session: PlainSession) -> list[Frame]:
    frames, rest = split(session.take())
    assert not rest
    return frames


def updates(session: PlainSession) -> dict[int, int]:
    return {f.stream: int.from_bytes(f.payload, "big") for f in sent(session) if f.kind == Kind.WINDOW_UPDATE}


def figure(session: PlainSession, stream: int, name: str) -> int:
    figures = session.stream(stream)
    assert figures is not None
    return figures[name]


# receiving


def test_nothing_is_announced_before_half_of_the_window_has_come_together() -> None:
    session = server_with(1, initial_window=100_000)
    session.feed(data(1, bytes(10_000), 0) * 4 + data(1, bytes(9_999), 0))
    session.consumed(1, 49_999)
    assert updates(session) == {}
    session.feed(data(1, b"x", 0))
    session.consumed(1, 1)
    assert updates(session) == {1: 50_000}


def test_a_peer_that_has_less_than_we_could_give_gets_it_before_half() -> None:
    session = server_with(1, initial_window=100_000)
    session.feed(data(1, bytes(16000), 0) * 6 + data(1, bytes(4000), 0))
    session.consumed(1, 10)
    assert updates(session) == {1: 10}


def test_what_is_owed_consumed_and_free_is_always_the_window() -> None:
    session = server_with(1, initial_window=100_000)
    for n in (1, 1000, 16384, 0, 777, 16384, 16384):
        session.feed(data(1, bytes(n), 0))
        session.consumed(1, n // 3)
        now = session.stream(1)
        assert now is not None
        assert now["recv_window"] + now["owed"] + now["unreturned"] == 100_000


def test_nobody_can_consume_more_than_was_delivered() -> None:
    session = server_with(1, initial_window=100_000)
    session.feed(data(1, bytes(100), 0))
    session.consumed(1, 1 << 40)
    session.consumed(1, -5)
    assert figure(session, 1, "recv_window") == 100_000 - 100
    assert figure(session, 1, "unreturned") == 100


def test_no_credit_is_announced_for_a_stream_whose_peer_has_ended() -> None:
    session = server_with(1, initial_window=70_000)
    session.feed(data(1, bytes(16384), 0) * 3 + data(1, bytes(16384)))
    session.consumed(1, 65536)
    assert updates(session) == {}


def test_padding_is_returned_by_the_session_itself() -> None:
    session = server_with(1, initial_window=1000)
    session.feed(settings(flags=Flag.ACK) + data(1, bytes([255]) + bytes(255), Flag.PADDED))
    session.feed(data(1, bytes([255]) + bytes(255), Flag.PADDED))
    assert updates(session) == {1: 512}


def test_a_window_smaller_than_the_default_holds_once_it_is_acknowledged() -> None:
    session = PlainSession(initial_window=10)
    session.feed(PREFACE + settings() + headers(1, flags=Flag.END_HEADERS) + data(1, bytes(60_000)[:16384], 0))
    assert figure(session, 1, "recv_window") == 65535 - 16384
    session.feed(settings(flags=Flag.ACK))
    assert figure(session, 1, "recv_window") == 10 - 16384
    session.take()
    session.consumed(1, 16384)
    assert updates(session) == {1: 16384}
    assert figure(session, 1, "recv_window") == 10


def test_connection_credit_is_returned_on_arrival() -> None:
    session = server_with(1, connection_window=70_000, initial_window=1 << 20)
    session.feed(data(1, bytes(16384), 0) * 3)
    assert updates(session) == {0: 3 * 16384}


def test_connection_credit_is_returned_by_consumption_when_it_is_not_shared() -> None:
    session = PlainSession(connection_window=70_000, initial_window=1 << 20, share_connection_credit=False)
    session.feed(PREFACE + settings() + settings(flags=Flag.ACK) + headers(1, flags=Flag.END_HEADERS))
    session.feed(data(1, bytes(16384), 0) * 4)
    session.take()
    session.consumed(1, 20_000)
    assert updates(session) == {0: 20_000}


@pytest.mark.parametrize("end", ["reset by us", "reset by the peer", "lost interest"])
def test_unshared_connection_credit_of_a_stream_that_is_over_comes_back(end: str) -> None:
    session = PlainSession(connection_window=70_000, initial_window=1 << 20, share_connection_credit=False)
    session.feed(PREFACE + settings() + settings(flags=Flag.ACK) + headers(1, flags=Flag.END_HEADERS))
    session.feed(data(1, bytes(16384), 0) * 2)
    if end == "reset by us":
        session.reset(1, 8)
        session.feed(data(1, bytes(10_000), 0))
    elif end == "reset by the peer":
        session.feed(frame(Kind.RST_STREAM, 0, 1, u32(8)))
    else:
        session.feed(data(1))
        session.send_head(1, OK, True)
    now = session.figures()
    assert now["recv_window"] + now["unreturned"] == 70_000


def test_data_of_a_stream_we_reset_counts_against_the_connection() -> None:
    session = server_with(1, connection_window=70_000)
    session.reset(1, 8)
    session.feed(data(1, bytes(16384), 0) * 2)
    now = session.figures()
    assert now["recv_window"] + now["unreturned"] == 70_000
    assert now["unreturned"] in (0, 2 * 16384)
    assert session.events() == []


# sending


def test_data_within_credit_goes_out_at_once_in_frames_of_16_kib() -> None:
    session = server_with(1)
    session.send_data(1, bytes(40_000))
    assert [len(f.payload) for f in sent(session)] == [16384, 16384, 40_000 - 2 * 16384]


def test_our_frames_stay_at_16_kib_when_the_peer_allows_more() -> None:
    session = server_with(1)
    session.feed(settings((5, 1 << 20)))
    session.take()
    session.send_data(1, bytes(40_000))
    assert max(len(f.payload) for f in sent(session)) == 16384


def test_what_has_no_credit_waits_and_goes_when_credit_comes() -> None:
    session = server_with(1, peer_window=10)
    session.send_data(1, b"0123456789abcdef", True)
    assert [f.payload for f in sent(session)] == [b"0123456789"]
    assert figure(session, 1, "pending") == 6
    assert session.feed(window(1, 2)) == []
    assert [f.payload for f in sent(session)] == [b"ab"]
    assert session.feed(window(1, 100)) == [("drained", 1)]
    assert sent(session) == [Frame(Kind.DATA, Flag.END_STREAM, 1, b"cdef")]


def test_drained_is_not_told_from_inside_send_data() -> None:
    session = server_with(1)
    session.send_data(1, bytes(1000))
    assert session.events() == []


def test_the_same_bytes_arrive_however_small_the_pieces_and_the_credit() -> None:
    session = server_with(1, peer_window=0)
    text = bytes(range(256)) * 300
    for at in range(0, len(text), 999):
        session.send_data(1, text[at : at + 999], at + 999 >= len(text))
    got, given = b"", 0
    while given < len(text):
        session.feed(window(1, 7777) + window(0, 7777))
        given += 7777
        got += b"".join(f.payload for f in sent(session) if f.kind == Kind.DATA)
    assert got == text


def test_streams_take_turns_of_one_frame() -> None:
    session = server_with(1, 3, 5, peer_window=1 << 20)
    session.block()
    for stream in (1, 3, 5):
        session.send_data(stream, bytes(20_000 if stream == 3 else 40_000))
    assert not session.unblock(1 << 20)
    order = [f.stream for f in sent(session)]
    assert order == [1, 3, 5, 1]  # what the connection's first window allows: the rest waits
    session.feed(window(0, 1 << 20))
    order += [f.stream for f in sent(session)]
    assert order == [1, 3, 5, 1, 3, 5, 1, 5]


def test_a_turn_is_not_lost_when_the_connections_credit_runs_out() -> None:
    session = server_with(1, 3, peer_window=1 << 20)
    session.send_data(1, bytes(65535))
    session.send_data(1, bytes(50_000))
    session.send_data(3, bytes(50_000))
    session.take()
    order = []
    for _ in range(6):
        session.feed(window(0, 16384))
        order += [f.stream for f in sent(session)]
    assert order == [1, 3, 1, 3, 1, 3]


def test_a_stream_without_credit_does_not_hold_up_the_others() -> None:
    session = server_with(1, 3, peer_window=100)
    session.send_data(1, bytes(1000))
    session.send_data(3, bytes(50), True)
    assert [(f.stream, len(f.payload)) for f in sent(session)] == [(1, 100), (3, 50)]


def test_a_newcomer_does_not_overtake_those_who_wait_for_the_connection() -> None:
    session = server_with(1, 3, peer_window=1 << 20)
    session.send_data(1, bytes(65535))
    session.send_data(1, b"waits")
    session.take()
    session.send_data(3, b"new")
    session.feed(window(0, 6))
    assert [(f.stream, f.payload) for f in sent(session)] == [(1, b"waits"), (3, b"n")]


def test_data_waits_while_the_socket_is_blocked_and_frames_do_not() -> None:
    session = server_with(1, 3)
    session.block()
    session.send_head(1, OK)
    session.send_data(1, b"body", True)
    session.send_head(3, OK)
    session.send_data(3, b"", True)
    session.ping(7)
    assert [f.kind for f in sent(session)] == [Kind.HEADERS, Kind.HEADERS, Kind.DATA, Kind.PING]
    assert not session.unblock(65536)
    assert sent(session) == [Frame(Kind.DATA, Flag.END_STREAM, 1, b"body")]
    assert session.events() == [("drained", 1)]


def test_credit_that_comes_while_blocked_is_used_when_unblocked() -> None:
    session = server_with(1, peer_window=0)
    session.send_data(1, b"body")
    session.block()
    session.feed(window(1, 4))
    assert sent(session) == []
    session.unblock(65536)
    assert [f.payload for f in sent(session)] == [b"body"]


def test_unblocking_serves_no_more_than_its_budget_and_says_so() -> None:
    session = server_with(1, 3)
    session.block()
    session.send_data(1, bytes(30_000))
    session.send_data(3, bytes(30_000))
    assert session.unblock(20_000)
    assert session.session.blocked
    assert [(f.stream, len(f.payload)) for f in sent(session)] == [(1, 16384), (3, 20_000 - 16384)]
    assert not session.unblock(1 << 20)
    assert not session.session.blocked
    assert sum(len(f.payload) for f in sent(session)) == 40_000


def test_what_a_drained_stream_sends_keeps_to_the_budget() -> None:
    def refill(event: Event) -> None:
        if event[0] == "drained":
            session.send_data(1, bytes(10_000))

    session = PlainSession(hook=refill)
    session.feed(PREFACE + settings() + headers(1, flags=Flag.END_HEADERS))
    session.take()
    session.block()
    session.send_data(1, bytes(10_000))
    assert session.unblock(25_000)
    assert sum(len(f.payload) for f in sent(session)) == 25_000
    assert figure(session, 1, "pending") == 5_000


def test_trailers_wait_behind_the_body() -> None:
    pair = Pair()
    stream = pair.client.open(REQUEST)
    assert stream is not None
    pair.pump()
    pair.server.send_head(stream, OK)
    pair.server.send_data(stream, bytes(300_000))
    pair.server.send_head(stream, [(b"x-sum", b"1")], True)
    got = b""
    seen: list[Event] = []
    while not seen or seen[-1][0] != "trailers":
        seen, _ = pair.pump()
        piece = body(seen, stream)
        assert piece
        got += piece
        pair.client.consumed(stream, len(piece))
    assert len(got) == 300_000
    assert seen[-1] == ("trailers", stream, [(b"x-sum", b"1")])
    pair.close()


def test_nothing_follows_the_end() -> None:
    session = server_with(1, peer_window=2)
    session.send_data(1, b"abcd", True)
    session.send_data(1, b"more")
    session.send_head(1, [(b"x", b"1")], True)
    session.feed(window(1, 100))
    assert b"".join(f.payload for f in sent(session)) == b"abcd"


def test_a_reset_drops_what_waits() -> None:
    session = server_with(1, 3, peer_window=0)
    session.send_data(1, bytes(100))
    session.send_data(3, b"x")
    session.reset(1, 8)
    session.feed(window(1, 1000) + window(3, 1000))
    assert [(f.kind, f.stream) for f in sent(session)] == [(Kind.RST_STREAM, 1), (Kind.DATA, 3)]
    assert session.streams() == [3]


def test_a_smaller_initial_window_takes_a_stream_out_of_turn_and_a_larger_one_back() -> None:
    session = server_with(1, 3, peer_window=100_000)
    session.block()
    session.send_data(1, bytes(1000))
    session.send_data(3, bytes(1000))
    session.feed(window(3, 10) + settings((4, 0)))
    assert not session.stream(1)["in_ring"]  # type: ignore[index]
    session.unblock(65536)
    assert [(f.stream, len(f.payload)) for f in sent(session) if f.kind == Kind.DATA] == [(3, 10)]
    session.feed(settings((4, 5)))
    assert [(f.stream, len(f.payload)) for f in sent(session) if f.kind == Kind.DATA] == [(1, 5), (3, 5)]


def test_a_smaller_window_holds_once_it_is_acknowledged_and_for_streams_that_are_open() -> None:
    session = server_with(1, initial_window=100_000)
    assert session.offer_window(20_000)
    assert [f.payload for f in sent(session) if f.kind == Kind.SETTINGS] == [settings((4, 20_000))[9:]]
    assert not session.offer_window(30_000), "one at a time"
    session.feed(data(1, bytes(16_000), 0) * 6)
    assert figure(session, 1, "recv_window") == 4_000, "the peer need not know yet"
    session.feed(settings(flags=Flag.ACK) + headers(3, flags=Flag.END_HEADERS))
    assert figure(session, 1, "recv_window") == 4_000 - 80_000
    assert figure(session, 3, "recv_window") == 20_000
    session.consumed(1, 96_000)
    assert updates(session) == {1: 96_000}
    session.feed(data(3, bytes(16_000), 0) + data(3, bytes(4_001), 0))
    assert sent(session)[-1].kind == Kind.RST_STREAM


def test_a_larger_window_comes_back_the_same_way() -> None:
    session = server_with(1, initial_window=20_000)
    assert session.offer_window(100_000)
    session.feed(settings(flags=Flag.ACK) + data(1, bytes(16_000), 0) * 6)
    assert figure(session, 1, "recv_window") == 4_000


@pytest.mark.parametrize("cut", [0, 9, 10, 5_000])
def test_credit_of_the_connection_that_was_kept_back_is_returned_when_it_is_shared_again(cut: int) -> None:
    """Also where a DATA frame has come in part: it was taken off the window whole."""
    session = server_with(1, connection_window=70_000, initial_window=1 << 20)
    session.session.share_connection_credit = False
    session.feed(data(1, bytes(16_000), 0) * 3)
    more = frame(Kind.DATA, Flag.PADDED, 1, bytes([9]) + bytes(6_000) + bytes(9))
    session.feed(more[:cut])
    assert 0 not in updates(session)
    session.share_credit()
    assert free(session) == 70_000
    session.feed(more[cut:] + data(1, bytes(16_000), 0) * 3)
    session.consumed(1, 102_000)
    assert free(session) == 70_000


def free(session: PlainSession) -> int:
    """What the peer may send on the whole connection once it is told everything."""
    figures = session.figures()
    return figures["recv_window"] + figures["unreturned"]
