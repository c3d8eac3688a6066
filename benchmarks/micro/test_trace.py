"""What tracing adds to a request, a thousand at a time: the decision and the fields for the instance, the record, and
in the admin process its spans and their compression.

A recorded request costs test_recorded less test_bare; the time of the loop around is in both.
"""

import gzip
import random
from collections.abc import Iterator

import pytest

from lambda_dispatch.front.trace import Tracer
from lambda_dispatch.telemetry.sender import LEVEL
from lambda_dispatch.telemetry.span_encoder import Encoder
from lambda_dispatch_core.board.board import Board
from lambda_dispatch_core.board.trace_ring import TraceRing
from lambda_dispatch_core.bytes.fields import FieldList
from lambda_dispatch_testing.trace_face import decide, exchanges, record

TIMES = 1000
HEAD = b"GET /4 HTTP/1.1\r\nHost: 127.0.0.1\r\nuser-agent: benchmark\r\n\r\n"
CONTEXT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"


@pytest.fixture
def ring() -> Iterator[tuple[TraceRing, Board]]:
    board = Board.create(2, instances=64, pools=4)
    whole = TraceRing.create(1)
    writer = TraceRing.attach(whole.fd, 0)
    yield writer, board
    writer.close()
    whole.close()
    board.close()


def fields(context: bytes = b"") -> FieldList:
    found = FieldList()
    for name in (b"host", b"user-agent", b"accept", b"accept-encoding", b"cookie", b"referer", b"x-forwarded-for"):
        found.append(name, b"value")
    if context:
        found.append(b"traceparent", context)
    return found


@pytest.mark.parametrize(
    ("ratio", "context"),
    [(0.0, b""), (1.0, b""), (1.0, CONTEXT + b"00"), (1.0, CONTEXT + b"01")],
    ids=["root-unsampled", "root-sampled", "context-unsampled", "context-sampled"],
)
def test_decision(benchmark, ring, ratio, context) -> None:  # type: ignore[no-untyped-def]
    tracer = Tracer(*ring, ratio, True, ("tracecontext", "baggage"))
    benchmark(decide, tracer, fields(context), TIMES)


def test_bare(benchmark) -> None:  # type: ignore[no-untyped-def]
    benchmark(exchanges, HEAD, TIMES)


def test_recorded(benchmark, ring) -> None:  # type: ignore[no-untyped-def]
    tracer = Tracer(*ring, 1.0, True, ("tracecontext", "baggage"))
    benchmark(exchanges, HEAD, TIMES, tracer, fields(CONTEXT + b"01"))


def spans(ring: TraceRing, encoder: Encoder) -> bytes:
    """Of a thousand requests at eight instances."""
    chance = random.Random(1)
    for number in range(TIMES):
        ids = {"trace": chance.randbytes(16), "server": chance.randbytes(8), "client": chance.randbytes(8)}
        times = {"arrived": number + 1, "asked": number + 1, "sent": number + 2, "ended": number + 1_000_000}
        more = {"instance": bytes([number % 8 + 1]) * 16, "invoked": 1, "opened": 2, "status": 200, "version": 11}
        record(ring, **ids, **times, **more, method=b"GET", host=b"127.0.0.1:8080", target=b"/4", trace_flags=1)
    found, _, _ = ring.read(0, 0, TIMES)
    encoder.add(found, 0, TIMES, "web", 0)
    return encoder.take()


def test_spans(benchmark, ring) -> None:  # type: ignore[no-untyped-def]
    writer, _ = ring
    encoder = Encoder()
    spans(writer, encoder)

    def encode() -> None:
        found, _, _ = writer.read(0, 0, TIMES)
        encoder.add(found, 0, TIMES, "web", 0)
        encoder.take()

    benchmark(encode)


def test_compressed(benchmark, ring) -> None:  # type: ignore[no-untyped-def]
    benchmark(gzip.compress, spans(ring[0], Encoder()), LEVEL)
