"""The metrics of metrics.py as Prometheus takes them: text 0.0.4, OpenMetrics 1.0, and protobuf with native histograms.

A histogram is written as the board counts it. Classic buckets are its powers of two; a native histogram has schema 2,
which are the board's own buckets, so no form is converted from another and all of them are exact.
"""

import math
from collections.abc import Iterator, Mapping

from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.exemplars import Buckets, Exemplar
from lambda_dispatch.telemetry.metrics import FAMILIES, PREFIX
from lambda_dispatch.telemetry.view import View
from lambda_dispatch_core.board import board as b

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
CONTENT_TYPE = TEXT

SCHEMA = 2  # bounds are powers of 2^(1/4)
ZERO = 64  # board bucket n is native bucket n - 64; bucket 0 is the zero bucket
_BOUNDS = b.bucket_bounds()
_CLASSIC = [(n, bound) for n, bound in enumerate(_BOUNDS) if bound is not None and math.frexp(bound)[0] == 0.5]
_TYPES = {"counter": 0, "gauge": 1, "histogram": 4}
_MAX_FORMS = 32  # of an Accept field that are looked at


def negotiate(accept: str) -> str:
    """The content type to answer with: what `accept` likes best of those we have; text where it has no wish."""
    best, found = 0.0, TEXT
    for part in accept.split(",")[:_MAX_FORMS]:
        form, *rest = (piece.strip().lower() for piece in part.split(";"))
        fields = dict(piece.split("=", 1) for piece in rest if "=" in piece)
        try:
            liking = float(fields.get("q", "1"))
        except ValueError:
            continue
        ours = {"application/openmetrics-text": OPENMETRICS, "text/plain": TEXT, "*/*": TEXT, "text/*": TEXT}.get(form)
        if form == "application/vnd.google.protobuf" and fields.get("proto") == "io.prometheus.client.metricfamily":
            ours = PROTOBUF if fields.get("encoding") == "delimited" else None
        if ours is not None and liking > best:
            best, found = liking, ours
    return found


def encode(view: View, form: str) -> bytes:
    if form == PROTOBUF:
        return protobuf(view)
    return render(view, openmetrics=form == OPENMETRICS).encode()


def render(view: View, openmetrics: bool = False) -> str:
    lines: list[str] = []
    for family in FAMILIES:
        name = PREFIX + family.name if openmetrics else family.full
        lines.append(f"# HELP {name} {_line(family.help, openmetrics)}")
        lines.append(f"# TYPE {name} {family.kind}")
        if openmetrics and family.unit:
            lines.append(f"# UNIT {name} {family.unit}")
        for labels, value in family.samples(view):
            if isinstance(value, b.Times):
                found = view.traces.exemplars.of(family.name, labels.get("function", "")) if openmetrics else {}
                lines.extend(_histogram(family.full, labels, value, found))
            else:
                lines.append(f"{family.full}{_labels(labels)} {value}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""])


def _histogram(full: str, labels: Mapping[str, str], times: b.Times, exemplars: Buckets) -> Iterator[str]:
    seen, at = 0, 0
    for n, bound in _CLASSIC:
        seen += sum(times.counts[at : n + 1])
        yield f"{full}_bucket{_labels({**labels, 'le': repr(bound)})} {seen}{_exemplar(exemplars, at, n + 1)}"
        at = n + 1
    seen += sum(times.counts[at:])
    yield f"{full}_bucket{_labels({**labels, 'le': '+Inf'})} {seen}{_exemplar(exemplars, at, len(times.counts))}"
    yield f"{full}_sum{_labels(labels)} {seconds(times.sum_ns)}"
    yield f"{full}_count{_labels(labels)} {seen}"


def _exemplar(exemplars: Buckets, first: int, end: int) -> str:
    """The newest of these buckets, as it stands behind a sample."""
    it = latest(exemplars, first, end)
    if it is None:
        return ""
    return f' # {{trace_id="{it.trace.hex()}",span_id="{it.span.hex()}"}} {it.value!r} {it.at / 1e9:.3f}'


def latest(exemplars: Buckets, first: int, end: int) -> Exemplar | None:
    found = [exemplars[n] for n in range(first, end) if n in exemplars] if exemplars else []
    return max(found, key=lambda it: it.at, default=None)


def seconds(ns: int) -> str:
    """Exact."""
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"


def _line(text: str, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_line(value, quotes=True)}"' for name, value in labels.items()) + "}"


def protobuf(view: View) -> bytes:
    """io.prometheus.client.MetricFamily, each after its length."""
    out = []
    for family in FAMILIES:
        parts = [pb.text(1, family.full), pb.text(2, family.help), pb.number(3, _TYPES[family.kind])]
        for labels, value in family.samples(view):
            pairs = b"".join(pb.message(1, pb.text(1, name), pb.text(2, text)) for name, text in labels.items())
            if isinstance(value, b.Times):
                found = view.traces.exemplars.of(family.name, labels.get("function", ""))
                parts.append(pb.message(4, pairs, pb.message(7, *_native(value, found))))
            else:
                place = 3 if family.kind == "counter" else 2
                parts.append(pb.message(4, pairs, pb.message(place, pb.double(1, value))))
        if family.unit:
            parts.append(pb.text(5, family.unit))
        body = b"".join(parts)
        out.append(pb.varint(len(body)) + body)
    return b"".join(out)


def _native(times: b.Times, exemplars: Buckets) -> Iterator[bytes]:
    yield pb.number(1, sum(times.counts))
    yield pb.double(2, times.sum_ns / 1e9)
    seen, at = 0, 0
    for n, bound in _CLASSIC:
        seen += sum(times.counts[at : n + 1])
        it = latest(exemplars, at, n + 1)
        at = n + 1
        shown = [pb.message(3, *_exemplar_parts(it))] if it is not None else []
        yield pb.message(3, pb.number(1, seen), pb.double(2, bound), *shown)
    yield pb.signed(5, SCHEMA)
    yield pb.double(6, _BOUNDS[0] or 0.0)
    yield pb.number(7, times.counts[0])
    first, counts = filled(times)
    # A histogram without a span would be taken for a classic one.
    yield pb.message(12, pb.signed(1, first - ZERO), pb.number(2, len(counts)))
    before = 0
    for count in counts:
        yield pb.signed(13, count - before)
        before = count
    for it in exemplars.values():
        yield pb.message(16, *_exemplar_parts(it))


def _exemplar_parts(it: Exemplar) -> Iterator[bytes]:
    for name, id in (("trace_id", it.trace), ("span_id", it.span)):
        yield pb.message(1, pb.text(1, name), pb.text(2, id.hex()))
    yield pb.double(2, it.value)
    yield pb.message(3, pb.number(1, it.at // 1_000_000_000), pb.number(2, it.at % 1_000_000_000))


def filled(times: b.Times) -> tuple[int, tuple[int, ...]]:
    """The buckets from the first to the last that counted something, the zero bucket left out, and where they begin."""
    places = [n for n, count in enumerate(times.counts) if n and count]
    return (places[0], times.counts[places[0] : places[-1] + 1]) if places else (ZERO, ())
