"""Random and spoilt HTTP/1.1 for every parser of heads and for the chunk reader.

What must hold whatever comes: nothing crashes or reads beyond its input (a sanitizer sees a single byte); what comes
out lies in what went in; a cut anywhere changes nothing; and llhttp reads what we accept as we do.
"""

import random
import time
from typing import Any

from lambda_dispatch_testing.http1_face import ChunkedBody, HeadRefused, HeadScanner, read_request, read_response
from tests.property.test_http1_differential import check as check_against_llhttp
from tests.support.http1_inputs import BODIES, BYTES, a_connection

LIMITS = {"head": [0, 1, 20, 60, 65536, 65536], "line": [0, 5, 14, 30, 16384, 16384], "fields": [0, 1, 3, 128, 128]}


def verdict(read: Any, data: bytes, tunnel: bool, limits: dict[str, int]) -> Any:
    try:
        return read(data, tunnel=tunnel, **limits)
    except HeadRefused as refused:
        return refused.reason


def one_head(rng: random.Random) -> None:
    data = a_connection(rng) if rng.random() < 0.9 else rng.randbytes(rng.randrange(60))
    read = rng.choice([read_request, read_response])
    if read is read_response and rng.random() < 0.8:
        data = rng.choice([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404\n", b"HTTP/1.1 99"]) + data[data.find(b"\n") + 1 :]
    tunnel = rng.random() < 0.5
    limits = {name: rng.choice(values) for name, values in LIMITS.items()}
    final = verdict(read, data, tunnel, limits)
    early = verdict(read, data[: rng.randrange(len(data) + 1)], tunnel, limits)
    assert early is None or early == final
    if isinstance(final, tuple):
        used, _, fields = final
        assert used <= min(len(data), limits["head"])
        assert len(fields) <= limits["fields"]
        assert all(name and name in data and value in data for name, value in fields)
        if read is read_request:
            assert HeadScanner(lf=tunnel).feed(data) == used
    check_against_llhttp(data)


def one_body(rng: random.Random) -> None:
    data = bytearray(b"".join(rng.choice(BODIES) for _ in range(rng.randrange(4))))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(2)] = bytes([rng.choice(BYTES)])
    whole, pieces = ChunkedBody(), ChunkedBody()
    content, used = whole.feed(bytes(data))
    at = rng.randrange(len(data) + 1)
    first, took = pieces.feed(bytes(data[:at]))
    second, more = b"", 0
    if not (pieces.done or pieces.bad):
        second, more = pieces.feed(bytes(data[at:]))
    assert (first + second, took + more) == (content, used)
    assert (pieces.done, pieces.bad) == (whole.done, whole.bad)
    assert whole.done or whole.bad or used == len(data)


def run(seconds: float, seed: int) -> int:
    """Feeds heads and bodies for that long; returns how many. A failure names the seed of its case."""
    until = time.monotonic() + seconds
    cases = 0
    while time.monotonic() < until:
        for _ in range(100):
            rng = random.Random(seed + cases)
            try:
                one_head(rng) if cases % 3 else one_body(rng)
            except BaseException as error:
                error.add_note(f"fuzz_http1: seed {seed + cases}, case {cases % 3}")
                raise
            cases += 1
    return cases
