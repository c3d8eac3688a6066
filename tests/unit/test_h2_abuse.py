"""Budgets: floods end with ENHANCE_YOUR_CALM in constant memory; honest peers are never cut, however long they stay."""

import pytest

from lambda_dispatch_testing.h2_plain import PlainSession
from tests.support.h2_wire import (
    BOTH,
    POST,
    PREFACE,
    WHOLE,
    Code,
    Flag,
    Kind,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    rst,
    settings,
    window,
)

OK = [(b":status", b"200")]
READ = 1 << 16


def server(**limits: int) -> PlainSession:
    session = PlainSession(**limits)
    session.feed(PREFACE + settings() + settings(flags=Flag.ACK))
    session.take()
    return session


def calm(session: PlainSession) -> bool:
    return session.session.failed and session.session.error == Code.ENHANCE_YOUR_CALM


def flood(session: PlainSession, stream: bytes, megabytes: int = 4) -> int:
    """Sends it in full reads, the answers taken each time, until the session fails; the bytes it took."""
    read = stream * (READ // len(stream) + 1)
    for i in range(megabytes * 16):
        session.feed(read)
        session.take()
        if session.session.failed:
            return i * len(read)
    raise AssertionError("a flood was never stopped")


@pytest.mark.parametrize(
    "stream",
    [
        ping(),
        ping(flags=Flag.ACK),
        settings(),
        settings(flags=Flag.ACK),
        settings((4, 1), (4, 2)),
        settings(*[(4, i) for i in range(2000)]),
        priority(1),
        window(0, 1),
        window(1, 1),
        data(1, b"", 0),
        data(1, b"\x05" + bytes(5), Flag.PADDED),
        frame(0x77, 0, 0, b""),
        frame(0x77, 0, 1, bytes(1000)),
        goaway(),
    ],
    ids=[
        "ping",
        "ping_ack",
        "settings",
        "settings_ack",
        "settings_with_values",
        "settings_full_of_values",
        "priority",
        "window_update",
        "window_update_of_a_stream",
        "empty_data",
        "padding",
        "unknown",
        "unknown_with_payload",
        "goaway",
    ],
)
def test_a_flood_of_frames_that_carry_nothing_is_stopped(stream: bytes) -> None:
    session = server()
    session.feed(headers(1, POST, WHOLE))
    flood(session, stream)
    assert calm(session)


def test_a_flood_of_late_resets_is_stopped() -> None:
    session = server()
    session.feed(headers(1))
    session.send_head(1, OK, True)
    flood(session, rst(1))
    assert calm(session)


def test_a_flood_of_streams_over_the_limit_is_stopped() -> None:
    session = server(max_concurrent_streams=1)
    session.feed(headers(1, POST, WHOLE))
    for base in range(3, 100_001, 1000):
        session.feed(b"".join(headers(i) for i in range(base, base + 1000, 2)))
        session.take()
        if session.session.failed:
            break
    assert calm(session)


def test_small_pieces_of_header_blocks_are_stopped() -> None:
    session = server()
    for i in range(1, 1001, 2):
        session.feed(frame(Kind.HEADERS, 0, i) + continuation(i, b"", 0) * 60 + continuation(i, b""))
        session.take()
        if session.session.failed:
            break
    assert calm(session)


def test_a_header_block_that_is_being_collected_has_a_bound() -> None:
    session = server(max_header_block=50_000)
    session.feed(frame(Kind.HEADERS, 0, 1, bytes(16384)))
    for _ in range(10):
        session.feed(continuation(1, bytes(16384), 0))
    assert calm(session)
    assert session.figures()["block_room"] <= 65536


def test_rapid_reset_is_stopped() -> None:
    session = server()
    served = 0
    for base in range(1, 100_001, 200):
        events = session.feed(b"".join(headers(i) + rst(i) for i in range(base, base + 200, 2)))
        served += sum(event[0] == "head" for event in events)
        session.take()
        if session.session.failed:
            break
    assert calm(session)
    assert served <= 1025


@pytest.mark.parametrize(
    "provoke",
    [
        lambda i: window(i, 0),
        lambda i: window(i, 2**31 - 1),
        lambda i: frame(Kind.PRIORITY, 0, i, b"1"),
        lambda i: data(i, b"x"),
        lambda i: headers(i),
    ],
    ids=["window_update_of_0", "window_overflow", "short_priority", "data_after_the_end", "headers_after_the_end"],
)
def test_resets_that_the_peer_provokes_count_like_its_own(provoke: object) -> None:
    assert callable(provoke)
    session = server()
    served = 0
    for base in range(1, 20_001, 200):
        events = session.feed(b"".join(headers(i) + provoke(i) for i in range(base, base + 200, 2)))
        served += sum(event[0] == "head" for event in events)
        session.take()
        if session.session.failed:
            break
    assert calm(session)
    assert served <= 1025


def test_malformed_requests_count_too() -> None:
    session = server()
    for i in range(1, 20_001, 2):
        session.feed(frame(Kind.HEADERS, BOTH, i, b"\x82"))
        session.take()
        if session.session.failed:
            break
    assert calm(session)


def test_answers_nobody_reads_are_bounded() -> None:
    session = server()
    session.block()
    written = 0
    for _ in range(100_000):
        session.feed(ping())
        written += len(session.take())
        if session.session.failed:
            break
    assert calm(session)
    assert written < 70_000


# honest peers


def test_pings_every_few_seconds_for_a_week_are_fine() -> None:
    session = server()
    for _ in range(7 * 24 * 3600 // 5):
        session.feed(ping())
        session.take()
    assert not session.session.failed


def test_a_client_may_cancel_what_it_has_begun_to_receive_for_ever() -> None:
    session = server()
    for i in range(1, 20_001, 2):
        session.feed(headers(i))
        session.send_head(i, OK)
        session.feed(rst(i))
        session.take()
    assert not session.session.failed


def test_a_client_may_cancel_half_of_its_requests_for_ever() -> None:
    session = server()
    for i in range(1, 40_001, 4):
        session.feed(headers(i) + headers(i + 2) + rst(i))
        session.send_head(i + 2, OK, True)
        session.take()
    assert not session.session.failed


def test_all_channels_of_an_instance_may_go_at_once() -> None:
    session = server()
    session.feed(b"".join(headers(i, POST, WHOLE) for i in range(1, 1001, 2)))
    session.feed(b"".join(rst(i) for i in range(1, 1001, 2)))
    assert not session.session.failed


@pytest.mark.parametrize("step", [1024, 4096, 16384])
def test_a_download_with_credit_in_small_steps_and_pings_is_fine(step: int) -> None:
    session = server()
    session.feed(headers(1))
    session.send_head(1, OK)
    for _ in range(300):
        session.send_data(1, bytes(65536))
        session.take()
        session.feed((window(1, step) + window(0, step)) * (65536 // step) + ping())
    assert not session.session.failed


def test_an_upload_with_pings_is_fine() -> None:
    session = server()
    session.feed(headers(1, POST, WHOLE))
    for _ in range(2000):
        session.feed(data(1, bytes(16384), 0) + ping() + data(1, bytes(16384), 0) + ping())
        session.consumed(1, 32768)
        session.take()
    assert not session.session.failed


def test_a_hundred_streams_with_priority_and_window_each_are_fine() -> None:
    session = server()
    for base in range(1, 4001, 200):
        session.feed(b"".join(headers(i) + priority(i) + window(i, 1000) for i in range(base, base + 200, 2)))
        for i in range(base, base + 200, 2):
            session.send_head(i, OK, True)
        session.take()
    assert not session.session.failed


def test_small_events_with_credit_for_each_are_fine() -> None:
    session = server()
    session.feed(headers(1))
    session.send_head(1, OK)
    for _ in range(20_000):
        session.send_data(1, b"data: tick\n\n")
        session.take()
        session.feed(window(1, 12) + window(0, 12))
    assert not session.session.failed
