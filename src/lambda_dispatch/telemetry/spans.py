"""Traces for an OpenTelemetry collector: the records that workers leave in their rings become spans, sent by the admin
process as OTLP over HTTP in protobuf.

    SERVER   the request at the router: from its head to the response's last byte
    CLIENT   the request at the instance: what the application's own span has as its parent; it links to
    CLIENT   the invoke that started the instance, a trace of its own, from the invoke to the first channel

An instance's id is a key to the control port, so its span's ids are a hash of it. The span of an invoke is sent once,
with the first recorded request that its instance served.
"""

import asyncio
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


@lru_cache(4096)
def text(key: str, value: str) -> bytes:
    """A KeyValue among a span's attributes. Cached: most values come again and again."""
    return pb.message(9, pb.text(1, key), pb.message(2, pb.text(1, value)))


@lru_cache(4096)
def whole(key: str, value: int) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(3, value)))


@lru_cache(8)
def truth(key: str, value: bool) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.number(2, value)))


def decimal(key: str, value: float) -> bytes:
    return pb.message(9, pb.text(1, key), pb.message(2, pb.double(4, value)))


def shown(raw: bytes) -> str:
    """Bytes of a client as text."""
    return raw.decode("utf-8", "replace")


def word_of(span: Span) -> str:
    return WORDS[span.word - 1] if 0 < span.word <= len(WORDS) else "other" if span.word else ""


def invoke_ids(instance: bytes) -> tuple[bytes, bytes]:
    """(trace, span) of the invoke that an instance came from."""
    digest = blake2b(instance, digest_size=24, person=b"lambda-dispatch").digest()
    return digest[:16], digest[16:]


@lru_cache(4096)
def host_and_port(host: bytes, scheme: str) -> bytes:
    """server.address and server.port, from Host."""
    name, colon, port = host.rpartition(b":")
    if not colon or not (port.isdigit() and len(port) < 6):
        name, port = host, b""
    if not name:
        return b""
    number = int(port) if port else SCHEME_PORTS[scheme]
    return text("server.address", shown(name.strip(b"[]"))) + whole("server.port", number)


class Encoder:
    """Records to spans. `offset`: what turns monotonic ns into ns since 1970."""

    def __init__(self, names: Callable[[int], str], region: str = "") -> None:
        self.names = names
        self.region = region
        self._told: dict[bytes, None] = {}  # instances whose invoke was sent, the longest known first

    def spans(self, span: Span, offset: int) -> bytes:
        """The spans of one request, each as a field of ScopeSpans."""
        function = self.names(span.pool)
        cold = span.opened > span.asked > 0 and span.sent > 0
        common = self._common(span)
        out = self._server(span, offset, common, function, cold)
        if span.sent:
            out += self._client(span, offset, common, function, cold)
            if any(span.instance) and span.opened and span.instance not in self._told:
                self._told[span.instance] = None
                if len(self._told) > INVOKES:
                    del self._told[next(iter(self._told))]
                out += self._invoke(span, offset, function)
        return out

    def _common(self, span: Span) -> bytes:
        method = span.method if span.method in METHODS else b""
        found = text("http.request.method", shown(method) if method else "_OTHER")
        if not method and span.method:
            found += text("http.request.method_original", shown(span.method))
        if span.status:
            found += whole("http.response.status_code", span.status)
        return found + host_and_port(span.host, "https" if span.flags & SPAN_TLS else "http")

    def _name(self, span: Span) -> str:
        return shown(span.method) if span.method in METHODS else "HTTP"

    def _server(self, span: Span, offset: int, common: bytes, function: str, cold: bool) -> bytes:
        word = word_of(span)
        failed = span.status >= 500
        parts = [
            pb.message(1, span.trace),
            pb.message(2, span.server),
            pb.message(4, span.parent) if any(span.parent) else b"",
            pb.text(5, self._name(span)),
            pb.number(6, SERVER),
            pb.fixed64(7, span.arrived + offset),
            pb.fixed64(8, span.ended + offset),
            common,
            text("url.scheme", "https" if span.flags & SPAN_TLS else "http"),
            pb.message(9, pb.text(1, "url.path"), pb.message(2, pb.text(1, shown(span.target)))),
            text("network.protocol.version", VERSIONS.get(span.version, "?")),
        ]
        if function:
            parts.append(text("lambda_dispatch.function", function))
        if span.asked:
            parts.append(decimal("lambda_dispatch.queue.wait_ms", ((span.sent or span.ended) - span.asked) / 1e6))
        if cold:
            parts.append(text("lambda_dispatch.decision", "cold"))
        elif span.sent:
            parts.append(text("lambda_dispatch.decision", "warm"))
        if word:
            parts.append(text("lambda_dispatch.fault", word))
        if failed:
            parts.append(text("error.type", word or str(span.status)))
            parts.append(pb.message(15, pb.number(3, ERROR)))
        remote = IS_REMOTE if span.flags & SPAN_REMOTE else 0
        parts.append(pb.fixed32(16, span.trace_flags | HAS_IS_REMOTE | remote))
        return pb.message(2, *parts)

    def _client(self, span: Span, offset: int, common: bytes, function: str, cold: bool) -> bytes:
        word = word_of(span)
        parts = [
            pb.message(1, span.trace),
            pb.message(2, span.client),
            pb.message(4, span.server),
            pb.text(5, self._name(span)),
            pb.number(6, CLIENT),
            pb.fixed64(7, span.sent + offset),
            pb.fixed64(8, span.ended + offset),
            common,
            self._faas(function),
            truth("faas.coldstart", cold),
        ]
        if any(span.instance):
            trace, invoke = invoke_ids(span.instance)
            parts.append(text("lambda_dispatch.instance.id", span.instance[:4].hex()))
            parts.append(pb.message(13, pb.message(1, trace), pb.message(2, invoke), pb.fixed32(6, 1)))
        if span.flags & SPAN_RESENT:
            parts.append(whole("http.request.resend_count", 1))
        if word or span.status >= 400:
            parts.append(text("error.type", word or str(span.status)))
            parts.append(pb.message(15, pb.number(3, ERROR)))
        parts.append(pb.fixed32(16, span.trace_flags | HAS_IS_REMOTE))
        return pb.message(2, *parts)

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
            self._faas(function),
            truth("faas.coldstart", True),
            text("lambda_dispatch.instance.id", span.instance[:4].hex()),
            pb.fixed32(16, 1 | HAS_IS_REMOTE),
        )

    def _faas(self, function: str) -> bytes:
        found = text("faas.invoked_name", function) + text("faas.invoked_provider", "aws")
        return found + (text("faas.invoked_region", self.region) if self.region else b"")


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
        self._encoder = Encoder(names, region)
        self._names = names
        self._read = [0 if from_start else ring.written(worker) for worker in range(ring.workers)]
        self._pieces: list[bytes] = []
        self._oldest = 0.0  # when the first of them was taken
        head = pb.message(1, attributes(1, wanted.export.resource))
        self._frame = (head, pb.message(1, pb.text(1, "lambda-dispatch"), pb.text(2, __version__)))

    def take(self) -> bool:
        """Reads a piece of each ring; True when there may be more."""
        more = False
        offset = time.time_ns() - time.monotonic_ns()
        for worker in range(self.ring.workers):
            found, self._read[worker], lost = self.ring.read(worker, self._read[worker], PIECE)
            self.lost += lost
            more = more or len(found) + lost >= PIECE
            for span in found:
                if not self._pieces:
                    self._oldest = time.monotonic()
                self._pieces.append(self._encoder.spans(span, offset))
                self.exemplars.note(span, self._names(span.pool), offset)
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
