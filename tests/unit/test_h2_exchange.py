"""Whole exchanges between two sessions of ours."""

from tests.support.h2_pair import REQUEST, Pair, body

OK = [(b":status", b"200")]


def test_a_channel_parks_gets_its_request_and_answers() -> None:
    pair = Pair()
    channel = pair.client.open(REQUEST)
    assert channel == 1
    _, seen = pair.pump()
    assert seen[-1] == ("head", 1, REQUEST, False)
    pair.server.send_status(1, 200)
    seen, _ = pair.pump()
    assert seen == [("head", 1, OK, False)]
    pair.server.send_data(1, b"GET / HTTP/1.1\r\n\r\n", True)
    seen, _ = pair.pump()
    assert seen == [("data", 1, b"GET / HTTP/1.1\r\n\r\n", True)]
    pair.client.send_data(1, b"HTTP/1.1 200 OK\r\n\r\nhi", True)
    _, seen = pair.pump()
    assert seen == [("data", 1, b"HTTP/1.1 200 OK\r\n\r\nhi", True)]
    assert pair.server.streams() == pair.client.streams() == []
    pair.close()


def test_a_body_of_many_windows_passes_when_the_reader_consumes() -> None:
    pair = Pair()
    pair.client.open(REQUEST)
    pair.client.send_data(1, bytes(1_000_000), True)
    got = 0
    while got < 1_000_000:
        _, seen = pair.pump()
        piece = len(body(seen, 1))
        assert piece, f"stalled after {got} bytes"
        got += piece
        pair.server.consumed(1, piece)
    assert pair.client.events() == [] and pair.client.stream(1)["pending"] == 0  # type: ignore[index]
    pair.close()
