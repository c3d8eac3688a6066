"""Where the bytes are cut must not matter: to heads, to the scanner that waits for them, to chunked bodies."""

from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch_testing.http1_face import ChunkedBody, HeadRefused, HeadScanner, read_request, read_response
from tests.support.http1_inputs import BODIES, BYTES, a_connection

SEEDS = st.integers(0, 2**63)


def verdict(read: Callable[..., Any], data: bytes, tunnel: bool) -> object:
    try:
        return read(data, tunnel=tunnel)
    except HeadRefused as refused:
        return refused.reason


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
def test_a_prefix_of_a_request_is_waited_for_until_the_final_verdict_falls(seed: int, tunnel: bool) -> None:
    data = a_connection(Random(seed))
    final = verdict(read_request, data, tunnel)
    verdicts = [verdict(read_request, data[:n], tunnel) for n in range(len(data))]
    waits = len([v for v in verdicts if v is None])
    assert verdicts == [None] * waits + [final] * (len(data) - waits)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
def test_a_prefix_of_a_response_is_waited_for_until_the_final_verdict_falls(seed: int, tunnel: bool) -> None:
    request = a_connection(Random(seed))
    data = b"HTTP/1.1 200 OK\r\n" + request[request.find(b"\n") + 1 :]
    final = verdict(read_response, data, tunnel)
    verdicts = [verdict(read_response, data[:n], tunnel) for n in range(len(data))]
    waits = len([v for v in verdicts if v is None])
    assert verdicts == [None] * waits + [final] * (len(data) - waits)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
def test_the_scanner_says_stop_only_when_the_parser_has_its_verdict_and_always_when_a_head_is_whole(
    seed: int, tunnel: bool
) -> None:
    data = a_connection(Random(seed))
    scanner = HeadScanner(lf=tunnel)
    for n in range(1, len(data) + 1):
        end = scanner.feed(data[n - 1 : n])
        said = verdict(read_request, data[:n], tunnel)
        if end:
            assert end == n
            assert said is not None
            return
        assert not isinstance(said, tuple)


@settings(max_examples=100, deadline=None)
@given(SEEDS, SEEDS)
def test_the_scanner_finds_the_same_end_however_the_bytes_are_cut(seed: int, cuts: int) -> None:
    data = a_connection(Random(seed))
    whole, pieces = HeadScanner(), HeadScanner()
    end = whole.feed(data)
    found = 0
    for piece in cut(data, Random(cuts)):
        found = pieces.feed(piece)
        if found:
            break
    assert found == end


def cut(data: bytes, random: Random) -> list[bytes]:
    pieces = []
    while data:
        n = random.choice([1, 1, 2, 3, 7, 40])
        pieces.append(data[:n])
        data = data[n:]
    return pieces


@settings(max_examples=200, deadline=None)
@given(SEEDS, SEEDS)
def test_a_chunked_body_yields_the_same_however_it_is_cut(seed: int, cuts: int) -> None:
    random = Random(seed)
    data = bytearray(b"".join(random.choice(BODIES) for _ in range(2)))
    if data and random.random() < 0.5:
        data[random.randrange(len(data))] = random.choice(BYTES)
    whole, pieces = ChunkedBody(), ChunkedBody()
    content, used = whole.feed(bytes(data))
    got, took = b"", 0
    for piece in cut(bytes(data), Random(cuts)):
        part, n = pieces.feed(piece)
        got, took = got + part, took + n
        if pieces.done or pieces.bad:
            break
    assert (got, took, pieces.done, pieces.bad) == (content, used, whole.done, whole.bad)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), SEEDS)
def test_what_is_written_in_chunks_is_read_again(parts: list[bytes], cuts: int) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    body = ChunkedBody()
    assert b"".join(body.feed(piece)[0] for piece in cut(data, Random(cuts))) == b"".join(parts)
    assert body.done
