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

from lambda_dispatch.telemetry import otel
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.exemplars import Exemplars
from lambda_dispatch.telemetry.otlp import attributes
from lambda_dispatch.telemetry.sender import Sender
from lambda_dispatch.telemetry.span_encoder import Encoder, newest
from lambda_dispatch.telemetry.view import TraceView
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.trace_ring import TraceRing

TICK = 0.1  # s between two looks at the rings at most
PIECE = 256  # records that are encoded before the loop may do something else
SHARE = 4  # of a ring: a quarter of it may fill between two looks
LAST_WAIT = 0.7  # s that the collector gets for the last batch when the router ends


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
        self._oldest = 0.0  # when the first of those that the encoder holds was taken
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
            at = 0
            while at < len(found):
                if not self._encoder.count:
                    self._oldest = time.monotonic()
                pool, begin = found[at].pool, at
                function = functions.get(pool)
                if function is None:
                    function = functions[pool] = self._names(pool)
                at = self._encoder.add(found, at, self.wanted.batch - self._encoder.count, function, offset)
                for span in newest(found, begin, at):
                    self.exemplars.note(span, function, offset)
                if self._encoder.count >= self.wanted.batch:
                    self.flush()
        return more

    def flush(self) -> None:
        if count := self._encoder.count:
            resource, scope = self._frame
            self.sender.offer(pb.message(1, resource, pb.message(2, scope, self._encoder.take())), count)

    async def run(self) -> None:
        """Reads and sends for as long as it is not cancelled."""
        began, before = time.monotonic(), list(self._read)
        while True:
            more = self.take()
            now = time.monotonic()
            if self._encoder.count and now - self._oldest >= self.wanted.export.interval:
                self.flush()
            if more:
                await asyncio.sleep(0)
                continue
            most = max(last - first for first, last in zip(before, self._read, strict=True))
            await asyncio.sleep(pause(most, now - began, self.ring.records))
            began, before = now, list(self._read)

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


def pause(written: int, seconds: float, records: int) -> float:
    """s until the next look at the rings, one of which got so many records in so many seconds."""
    return min(TICK, max(0.001, seconds * records / SHARE / max(written, 1)))
