"""Metrics for an OpenTelemetry collector: OTLP over HTTP in protobuf, sent by the admin process.

The variables are those that every OpenTelemetry SDK reads; without an endpoint nothing is sent. Values are cumulative,
so an export that fails loses nothing: the next one contains it. Nothing is kept for later: one body is on its way
and one may wait, older ones are dropped and counted (sender.py).
"""

import asyncio
from collections.abc import Callable, Mapping

from lambda_dispatch.telemetry import log, otel
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.exemplars import Buckets
from lambda_dispatch.telemetry.metrics import FAMILIES, Family
from lambda_dispatch.telemetry.prometheus import SCHEMA, ZERO, filled
from lambda_dispatch.telemetry.sender import Sender
from lambda_dispatch.telemetry.view import View
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board import board as b

CUMULATIVE = 2
UNITS = {"seconds": "s", "bytes": "By", "usd": "{USD}", "": "1"}


def encode(view: View, resource: Mapping[str, str], started: int) -> bytes:
    """ExportMetricsServiceRequest. `started`: ns since 1970, when the counters began."""
    at = view.taken_ms * 1_000_000
    scope = pb.message(1, pb.text(1, "lambda-dispatch"), pb.text(2, __version__))
    found = [pb.message(2, *_metric(family, view, started, at)) for family in FAMILIES]
    return pb.message(1, pb.message(1, attributes(1, resource)), pb.message(2, scope, *found))


def attributes(field: int, values: Mapping[str, str]) -> bytes:
    """KeyValues of text."""
    return b"".join(
        pb.message(field, pb.text(1, name), pb.message(2, pb.text(1, text))) for name, text in values.items()
    )


def _metric(family: Family, view: View, started: int, at: int) -> list[bytes]:
    name = "lambda_dispatch." + (family.name.removesuffix("_" + family.unit) if family.unit else family.name)
    parts = [pb.text(1, name), pb.text(2, family.help), pb.text(3, UNITS[family.unit])]
    times = pb.fixed64(2, started) + pb.fixed64(3, at)
    points = []
    for labels, value in family.samples(view):
        if isinstance(value, b.Times):
            points.append(
                pb.message(
                    1,
                    attributes(1, labels),
                    times,
                    *_exponential(value),
                    *exemplars(view.traces.exemplars.of(family.name, labels.get("function", ""))),
                )
            )
        else:
            shown = pb.sfixed64(6, value) if isinstance(value, int) else pb.double(4, value)
            points.append(pb.message(1, attributes(7, labels), times, shown))
    if family.kind == "counter":
        parts.append(pb.message(7, *points, pb.number(2, CUMULATIVE), pb.number(3, 1)))
    elif family.kind == "histogram":
        parts.append(pb.message(10, *points, pb.number(2, CUMULATIVE)))
    else:
        parts.append(pb.message(5, *points))
    return parts


def exemplars(found: Buckets) -> list[bytes]:
    return [
        pb.message(11, pb.fixed64(2, it.at), pb.double(3, it.value), pb.message(4, it.span), pb.message(5, it.trace))
        for it in found.values()
    ]


def _exponential(times: b.Times) -> list[bytes]:
    # Index i of OTLP is what ends at 2^((i + 1) / 4): one less than in a native histogram.
    first, counts = filled(times)
    return [
        pb.fixed64(4, sum(times.counts)),
        pb.double(5, times.sum_ns / 1e9),
        pb.signed(6, SCHEMA),
        pb.fixed64(7, times.counts[0]),
        pb.message(8, pb.signed(1, first - ZERO - 1), pb.packed(2, counts)),
        pb.double(14, b.bucket_bounds()[0] or 0.0),
    ]


async def export(environ: Mapping[str, str], look: Callable[[], View], started: int) -> None:
    """Offers a view at every interval, for as long as it is not cancelled; returns where no export is wanted."""
    try:
        wanted = otel.settings(environ)
    except ValueError as error:
        log.warning("metrics export not started", error=str(error))
        return
    if wanted is None:
        return
    sender = Sender(wanted, "metrics export failed")
    while True:
        await asyncio.sleep(wanted.interval)
        sender.offer(encode(look(), wanted.resource, started))
