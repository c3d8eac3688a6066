"""Traces for an OpenTelemetry collector: the records that workers leave in their rings become spans, sent by the admin
process as OTLP over HTTP in protobuf.

    SERVER   the request at the router: from its head to the response's last byte
    CLIENT   the request at the instance: what the application's own span has as its parent; it links to
    CLIENT   the invoke that started the instance, a trace of its own, from the invoke to the first channel

An instance's id is a key to the control port, so its span's ids are a hash of it. The span of an invoke is sent once,
with the first recorded request that its instance served.
"""

import asyncio
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from lambda_dispatch.error_words import ErrorWord
from lambda_dispatch.telemetry import otel
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.exemplars import Exemplars
from lambda_dispatch.telemetry.otlp import attributes
from lambda_dispatch.telemetry.sender import Sender
from lambda_dispatch.telemetry.view import TraceView
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.trace_ring import SPAN_REMOTE, SPAN_RESENT, SPAN_TLS, Span, TraceRing

TICK = 0.1  # s between two looks at the rings
PIECE = 256  # records that are encoded before the loop may do something else
INVOKES = 8192  # instances whose invoke was sent already that are remembered: twice what a board has
LAST_WAIT = 0.7  # s that the collector gets for the last batch when the router ends
SERVER, CLIENT = 2, 3  # Span.kind
ERROR = 2  # Status.code
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200  # Span.flags
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"QUERY"}
VERSIONS = {10: "1.0", 11: "1.1", 20: "2"}
SCHEME_PORTS = {"http": 80, "https": 443}
WORDS = tuple(map(str, ErrorWord))


# What is the same for many requests is written once and kept: a request costs the admin process a few microseconds.
_START_AND_END = struct.Struct("<BQBQ")  # fields 7 and 8 of a span, with their keys
_DOUBLE = struct.Struct("<d")
_TRACE, _SPAN, _PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # keys and lengths of fields 1, 2 and 4


def text(key: str, value: str) -> bytes:
    """A KeyValue among a span's attributes."""
    return pb.message(9, pb.text(1, key), pb.message(2, pb.text(1, value)))


def whole(key: str, value: int) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(3, value)))


def truth(key: str, value: bool) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(2, value)))


_WAIT = pb.message(9, pb.text(1, "lambda_dispatch.queue.wait_ms"), pb.message(2, pb.double(4, 0)))[:-8]


def shown(raw: bytes) -> str:
    """Bytes of a client as text."""
    return raw.decode("utf-8", "replace")


def word_of(number: int) -> str:
    return WORDS[number - 1] if 0 < number <= len(WORDS) else "other" if number else ""


@lru_cache(8192)
def invoke_ids(instance: bytes) -> tuple[bytes, bytes]:
    """(trace, span) of the invoke that an instance came from."""
    digest = blake2b(instance, digest_size=24, person=b"lambda-dispatch").digest()
    return digest[:16], digest[16:]


def host_and_port(host: bytes, scheme: str) -> bytes:
    """server.address and server.port, from Host."""
    name, colon, port = host.rpartition(b":")
    if not colon or not (port.isdigit() and len(port) < 6):
        name, port = host, b""
    if not name:
        return b""
    number = int(port) if port else SCHEME_PORTS[scheme]
    return text("server.address", shown(name.strip(b"[]"))) + whole("server.port", number)


@lru_cache(4096)
def path_of(target: bytes) -> bytes:
    return text("url.path", shown(target))


@lru_cache(1024)
def common(method: bytes, status: int, host: bytes, tls: bool) -> bytes:
    """Name and attributes of both spans."""
    known = method in METHODS
    found = pb.text(5, shown(method) if known else "HTTP")
    found += text("http.request.method", shown(method) if known else "_OTHER")
    if method and not known:
        found += text("http.request.method_original", shown(method))
    if status:
        found += whole("http.response.status_code", status)
    return found + host_and_port(host, "https" if tls else "http")


@lru_cache(1024)
def of_server(function: str, decision: str, status: int, number: int, version: int, tls: bool, flags: int) -> bytes:
    word = word_of(number)
    found = pb.number(6, SERVER) + text("url.scheme", "https" if tls else "http")
    found += text("network.protocol.version", VERSIONS.get(version, "?"))
    for key, value in (("function", function), ("decision", decision), ("fault", word)):
        if value:
            found += text(f"lambda_dispatch.{key}", value)
    if status >= 500:
        found += text("error.type", word or str(status)) + pb.message(15, pb.number(3, ERROR))
    return found + pb.fixed32(16, flags)


@lru_cache(4096)
def of_client(
    function: str, region: str, cold: bool, instance: bytes, status: int, number: int, resent: bool, flags: int
) -> bytes:
    word = word_of(number)
    found = pb.number(6, CLIENT) + faas(function, region) + truth("faas.coldstart", cold)
    if any(instance):
        trace, invoke = invoke_ids(instance)
        found += text("lambda_dispatch.instance.id", instance[:4].hex())
        found += pb.message(13, pb.message(1, trace), pb.message(2, invoke), pb.fixed32(6, 1))
    if resent:
        found += whole("http.request.resend_count", 1)
    if word or status >= 400:
        found += text("error.type", word or str(status)) + pb.message(15, pb.number(3, ERROR))
    return found + pb.fixed32(16, flags)


def faas(function: str, region: str) -> bytes:
    found = text("faas.invoked_name", function) + text("faas.invoked_provider", "aws")
    return found + (text("faas.invoked_region", region) if region else b"")


class Encoder:
    """Records to spans. `offset`: what turns monotonic ns into ns since 1970."""

    def __init__(self, region: str = "") -> None:
        self.region = region
        self._told: dict[bytes, None] = {}  # instances whose invoke was sent, the longest known first

    def spans(self, span: Span, function: str, offset: int) -> bytes:
        """The spans of one request, each as a field of ScopeSpans."""
        sent, flags, ended = span.sent, span.flags, span.ended + offset
        cold = span.opened > span.asked > 0 and sent > 0
        tls = bool(flags & SPAN_TLS)
        both = common(span.method, span.status, span.host, tls)
        decision = "cold" if cold else "warm" if sent else ""
        told = span.trace_flags | HAS_IS_REMOTE
        remote = IS_REMOTE if flags & SPAN_REMOTE else 0
        body = b"".join(
            (
                _TRACE,
                span.trace,
                _SPAN,
                span.server,
                _PARENT + span.parent if any(span.parent) else b"",
                _START_AND_END.pack(0x39, span.arrived + offset, 0x41, ended),
                both,
                path_of(span.target),
                of_server(function, decision, span.status, span.word, span.version, tls, told | remote),
                _WAIT + _DOUBLE.pack(((sent or span.ended) - span.asked) / 1e6) if span.asked else b"",
            )
        )
        out = b"\x12" + pb.varint(len(body)) + body
        if not sent:
            return out
        resent = bool(flags & SPAN_RESENT)
        body = b"".join(
            (
                _TRACE,
                span.trace,
                _SPAN,
                span.client,
                _PARENT,
                span.server,
                _START_AND_END.pack(0x39, sent + offset, 0x41, ended),
                both,
                of_client(function, self.region, cold, span.instance, span.status, span.word, resent, told),
            )
        )
        out += b"\x12" + pb.varint(len(body)) + body
        if span.instance not in self._told and span.opened and any(span.instance):
            self._told[span.instance] = None
            if len(self._told) > INVOKES:
                del self._told[next(iter(self._told))]
            out += self._invoke(span, offset, function)
        return out

    def _invoke(self, span: Span, offset: int, function: str) -> bytes:
        trace, invoke = invoke_ids(span.instance)
        return pb.message(
            2,
            pb.message(1, trace),
            pb.message(2, invoke),
            pb.text(5, f"invoke {function}"),
            pb.number(6, CLIENT),
            pb.fixed64(7, span.invoked + offset),
            pb.fixed64(8, span.opened + offset),
            faas(function, self.region),
            truth("faas.coldstart", True),
            text("lambda_dispatch.instance.id", span.instance[:4].hex()),
            pb.fixed32(16, 1 | HAS_IS_REMOTE),
        )


class SpanExporter:
    """`names`: a pool's function by its place on the board. `from_start`: also what was written before."""

    def __init__(
        self,
        ring: TraceRing,
        wanted: otel.Tracing,
        names: Callable[[int], str],
        region: str = "",
        from_start: bool = True,
    ) -> None:
        self.ring = ring
        self.wanted = wanted
        self.lost = 0  # overwritten before they were read
        self.exemplars = Exemplars()
        self.sender = Sender(
            wanted.export, "trace export failed", max(1, wanted.waiting // wanted.batch), tries_again=True
        )
        self._encoder = Encoder(region)
        self._names = names
        self._read = [0 if from_start else ring.written(worker) for worker in range(ring.workers)]
        self._pieces: list[bytes] = []
        self._oldest = 0.0  # when the first of them was taken
        head = pb.message(1, attributes(1, wanted.export.resource))
        self._frame = (head, pb.message(1, pb.text(1, "lambda-dispatch"), pb.text(2, __version__)))

    def take(self) -> bool:
        """Reads a piece of each ring; True when there may be more."""
        more = False
        functions: dict[int, str] = {}
        offset = time.time_ns() - time.monotonic_ns()
        for worker in range(self.ring.workers):
            found, self._read[worker], lost = self.ring.read(worker, self._read[worker], PIECE)
            self.lost += lost
            more = more or len(found) + lost >= PIECE
            for span in found:
                if not self._pieces:
                    self._oldest = time.monotonic()
                function = functions.get(span.pool)
                if function is None:
                    function = functions[span.pool] = self._names(span.pool)
                self._pieces.append(self._encoder.spans(span, function, offset))
                self.exemplars.note(span, function, offset)
                if len(self._pieces) >= self.wanted.batch:
                    self.flush()
        return more

    def flush(self) -> None:
        if self._pieces:
            resource, scope = self._frame
            body = pb.message(1, resource, pb.message(2, scope, *self._pieces))
            self.sender.offer(body, len(self._pieces))
            self._pieces = []

    async def run(self) -> None:
        """Reads and sends for as long as it is not cancelled."""
        while True:
            more = self.take()
            if self._pieces and time.monotonic() - self._oldest >= self.wanted.export.interval:
                self.flush()
            await asyncio.sleep(0 if more else TICK)

    def finish(self) -> None:
        """What is left, when the router ends."""
        while self.take():
            pass
        self.flush()
        self.sender.finish(LAST_WAIT)

    def shown(self, functions: set[str]) -> TraceView:
        """For the metrics."""
        self.exemplars.keep_only(functions)
        sender = self.sender
        return TraceView(sender.sent, self.lost, sender.dropped, sender.failed, self.exemplars)
