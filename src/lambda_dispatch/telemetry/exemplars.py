"""Exemplars: for each bucket of a function's histograms the last traced request that fell into it."""

from collections.abc import Mapping
from typing import NamedTuple

from lambda_dispatch_core.board import board as b
from lambda_dispatch_core.board.trace_ring import Span


class Exemplar(NamedTuple):
    trace: bytes
    span: bytes
    value: float  # s
    at: int  # ns since 1970


Buckets = Mapping[int, Exemplar]  # by bucket of the board


class Exemplars:
    """Bounded by functions, histograms and buckets; of a function that is gone keep_only() removes them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[int, Exemplar]] = {}

    def note(self, span: Span, function: str, offset: int) -> None:
        if not function:
            return
        at = span.ended + offset
        self._put("request_duration_seconds", function, span, span.ended - span.arrived, at)
        if span.sent:
            self._put("queue_wait_seconds", function, span, span.sent - span.asked, at)
            self._put("service_duration_seconds", function, span, span.ended - span.sent, at)

    def _put(self, family: str, function: str, span: Span, ns: int, at: int) -> None:
        buckets = self._found.get((family, function))
        if buckets is None:
            buckets = self._found[family, function] = {}
        buckets[b.bucket_of(max(ns, 0))] = Exemplar(span.trace, span.server, max(ns, 0) / 1e9, at)

    def of(self, family: str, function: str) -> Buckets:
        return self._found.get((family, function), {})

    def keep_only(self, functions: set[str]) -> None:
        """Forgets those of functions that are none of these."""
        for key in [key for key in self._found if key[1] not in functions]:
            del self._found[key]
