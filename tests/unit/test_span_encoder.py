"""Spans are what the records say, whatever the encoder found again of earlier ones; exemplars are the newest."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from lambda_dispatch.telemetry.exemplars import Exemplars
from lambda_dispatch.telemetry.span_encoder import Encoder, newest
from lambda_dispatch.telemetry.span_parts import WORDS, invoke_ids
from lambda_dispatch.telemetry.spans import TICK, pause
from lambda_dispatch_core.board.trace_ring import SPAN_REMOTE, SPAN_RESENT, SPAN_TLS, TraceRing
from lambda_dispatch_testing.trace_face import record

OFFSET = 1_700_000_000_000_000_000
RECORDS = 8192
INSTANCES = [bytes(16), *(bytes([n]) * 16 for n in range(1, 40))]


@pytest.fixture
def ring() -> Iterator[TraceRing]:
    whole = TraceRing.create(1, RECORDS)
    writer = TraceRing.attach(whole.fd, 0)
    yield writer
    writer.close()
    whole.close()


def some_record(chance: random.Random) -> dict[str, Any]:
    arrived = chance.randrange(1, 1 << 50)
    asked = chance.choice([0, arrived + 5])
    sent = chance.choice([0, arrived + chance.randrange(5, 1 << 34)]) if asked else 0
    opened = chance.choice([1, arrived + 6]) if sent else 0
    return {
        "trace": chance.randbytes(16),
        "parent": chance.choice([bytes(8), chance.randbytes(8)]),
        "server": chance.randbytes(8),
        "client": chance.randbytes(8),
        "arrived": arrived,
        "asked": asked,
        "sent": sent,
        "ended": (sent or arrived) + chance.randrange(1 << 34),
        "instance": chance.choice(INSTANCES) if sent else bytes(16),
        "invoked": max(0, opened - 1),
        "opened": opened,
        "status": chance.choice([0, 200, 204, 404, 502, 504]),
        "flags": chance.choice([0, SPAN_REMOTE]) | chance.choice([0, SPAN_RESENT]) | chance.choice([0, SPAN_TLS]),
        "word": chance.choice([0, 0, 1, 3]),
        "version": chance.choice([10, 11, 20]),
        "trace_flags": chance.choice([1, 3]),
        "method": chance.choice([b"GET", b"POST", b"BREW", b""]),
        "host": chance.choice([b"", b"a.test", b"a.test:8080", b"[::1]:81", b"h" * 72]),
        "target": b"/" + b"x" * chance.randrange(6) + str(chance.randrange(9000)).encode(),
    }


def attributes(span: Span) -> dict[str, object]:
    return {it.key: getattr(it.value, str(it.value.WhichOneof("value"))) for it in span.attributes}


def both(it: dict[str, Any]) -> dict[str, object]:
    known = it["method"] in (b"GET", b"POST")
    found: dict[str, object] = {"http.request.method": it["method"].decode() if known else "_OTHER"}
    if it["method"] and not known:
        found["http.request.method_original"] = it["method"].decode()
    if it["status"]:
        found["http.response.status_code"] = it["status"]
    if it["host"]:
        name, port = {
            b"a.test": ("a.test", 443 if it["flags"] & SPAN_TLS else 80),
            b"a.test:8080": ("a.test", 8080),
            b"[::1]:81": ("::1", 81),
            b"h" * 72: ("h" * 72, 443 if it["flags"] & SPAN_TLS else 80),
        }[it["host"]]
        found |= {"server.address": name, "server.port": port}
    return found


def cold(it: dict[str, Any]) -> bool:
    return bool(it["opened"] > it["asked"] > 0 and it["sent"])


def of_server(it: dict[str, Any], function: str) -> dict[str, object]:
    found = both(it) | {
        "url.path": it["target"].decode(),
        "url.scheme": "https" if it["flags"] & SPAN_TLS else "http",
        "network.protocol.version": {10: "1.0", 11: "1.1", 20: "2"}[it["version"]],
    }
    if function:
        found["lambda_dispatch.function"] = function
    if it["sent"]:
        found["lambda_dispatch.decision"] = "cold" if cold(it) else "warm"
    if it["word"]:
        found["lambda_dispatch.fault"] = WORDS[it["word"] - 1]
    if it["status"] >= 500:
        found["error.type"] = WORDS[it["word"] - 1] if it["word"] else str(it["status"])
    if it["asked"]:
        found["lambda_dispatch.queue.wait_ms"] = ((it["sent"] or it["ended"]) - it["asked"]) / 1e6
    return found


def of_client(it: dict[str, Any], function: str) -> dict[str, object]:
    found = both(it) | {
        "faas.invoked_name": function,
        "faas.invoked_provider": "aws",
        "faas.invoked_region": "eu-west-1",
        "faas.coldstart": cold(it),
    }
    if any(it["instance"]):
        found["lambda_dispatch.instance.id"] = it["instance"][:4].hex()
    if it["flags"] & SPAN_RESENT:
        found["http.request.resend_count"] = 1
    if it["word"] or it["status"] >= 400:
        found["error.type"] = WORDS[it["word"] - 1] if it["word"] else str(it["status"])
    return found


def check(spans: list[Span], it: dict[str, Any], function: str, told: set[bytes]) -> None:
    server = spans.pop(0)
    assert (server.trace_id, server.span_id, server.kind) == (it["trace"], it["server"], Span.SPAN_KIND_SERVER)
    assert server.parent_span_id == (it["parent"] if any(it["parent"]) else b"")
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (it["arrived"] + OFFSET, it["ended"] + OFFSET)
    assert server.flags == it["trace_flags"] | 0x100 | (0x200 if it["flags"] & SPAN_REMOTE else 0)
    assert server.status.code == (2 if it["status"] >= 500 else 0)
    assert attributes(server) == of_server(it, function)
    if not it["sent"]:
        return
    client = spans.pop(0)
    assert (client.trace_id, client.span_id, client.kind) == (it["trace"], it["client"], Span.SPAN_KIND_CLIENT)
    assert client.parent_span_id == it["server"] and client.flags == it["trace_flags"] | 0x100
    assert (client.start_time_unix_nano, client.end_time_unix_nano) == (it["sent"] + OFFSET, it["ended"] + OFFSET)
    assert attributes(client) == of_client(it, function)
    if any(it["instance"]):
        (link,) = client.links
        assert (link.trace_id, link.span_id) == invoke_ids(it["instance"])
        if it["instance"] not in told:
            told.add(it["instance"])
            invoke = spans.pop(0)
            assert (invoke.trace_id, invoke.span_id) == invoke_ids(it["instance"])
            assert invoke.end_time_unix_nano == it["opened"] + OFFSET


def test_spans_are_what_was_recorded_whatever_was_found_again(ring: TraceRing) -> None:
    chance = random.Random(17)
    given = [some_record(chance) for _ in range(RECORDS)]  # more paths and instances than are kept
    functions = ["web", "", "other"]
    for number, it in enumerate(given):
        record(ring, **it, pool=number // 100 % 3)
    found, _, lost = ring.read(0, 0, RECORDS)
    assert (len(found), lost) == (RECORDS, 0)
    encoder = Encoder("eu-west-1")
    told: set[bytes] = set()
    at = 0
    while at < RECORDS:
        function = functions[found[at].pool]
        end = encoder.add(found, at, 70, function, OFFSET)
        assert end - at == encoder.count and end in (at + 70, (at // 100 + 1) * 100, RECORDS)
        spans = list(ScopeSpans.FromString(encoder.take()).spans)
        for it in given[at:end]:
            check(spans, it, function, told)
        assert spans == [] and encoder.count == 0
        at = end
    assert told == set(INSTANCES[1:])


def test_the_newest_of_each_bucket_are_those_that_noting_all_would_leave(ring: TraceRing) -> None:
    chance = random.Random(18)
    for _ in range(500):
        record(ring, **some_record(chance))
    found, _, _ = ring.read(0, 0, 500)
    few, every = Exemplars(), Exemplars()
    picked = newest(found, 100, 400)
    for span in picked:
        few.note(span, "web", OFFSET)
    for span in found[100:400]:
        every.note(span, "web", OFFSET)
    for family in ("request_duration_seconds", "queue_wait_seconds", "service_duration_seconds"):
        assert few.of(family, "web") == every.of(family, "web") != {}
    assert len(picked) < 200


def test_a_ring_is_looked_at_before_it_can_run_over() -> None:
    assert pause(0, 0.1, 2048) == pause(1, 0.1, 2048) == TICK
    assert pause(2048, 0.1, 2048) == 0.025  # it filled in 0.1 s: a quarter of it in a quarter of that
    assert pause(512, 0.025, 2048) == 0.025
    assert pause(10_000_000, 0.1, 2048) == 0.001
