"""Metrics for an OpenTelemetry collector: OTLP over HTTP in protobuf, sent by the admin process.

The variables are those that every OpenTelemetry SDK reads; without an endpoint nothing is sent. Values are cumulative,
so an export that fails loses nothing: the next one contains it. Nothing is kept for later: one body is on its way
and one may wait, further ones are dropped and counted. A thread does the sending; the loop never waits for it.
"""

import asyncio
import gzip
import queue
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry import protobuf as pb
from lambda_dispatch.telemetry.metrics import FAMILIES, Family
from lambda_dispatch.telemetry.prometheus import SCHEMA, ZERO, filled
from lambda_dispatch.telemetry.view import View
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board import board as b

CUMULATIVE = 2
UNITS = {"seconds": "s", "bytes": "By", "": "1"}
MAX_ANSWER = 64 * 1024  # bytes of a collector's answer that are read
MAX_ATTRIBUTES = 128  # of OTEL_RESOURCE_ATTRIBUTES and headers


@dataclass(frozen=True, slots=True)
class Settings:
    url: str
    headers: Mapping[str, str]
    resource: Mapping[str, str]
    interval: float  # s between two exports
    timeout: float  # s for each step of one


def settings(environ: Mapping[str, str]) -> Settings | None:
    """What the OTEL_ variables ask for; None: no export. Raises ValueError with the variable's name."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_METRICS_EXPORTER", "otlp") != "otlp":
        return None
    url = environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "")
    name = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    if not url and (base := environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")):
        name, url = "OTEL_EXPORTER_OTLP_ENDPOINT", base.rstrip("/") + "/v1/metrics"
    if not url:
        return None
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        raise ValueError(f"{name} is no URL that begins with http:// or https:// and names a host")
    for each in ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(each, "http/protobuf") != "http/protobuf":
            raise ValueError(f"{each} is {environ[each]!r}; only http/protobuf is there")
    headers = _pairs(environ, "OTEL_EXPORTER_OTLP_HEADERS") | _pairs(environ, "OTEL_EXPORTER_OTLP_METRICS_HEADERS")
    resource = {"service.name": "lambda-dispatch", "service.version": __version__, "host.name": socket.gethostname()}
    resource |= _pairs(environ, "OTEL_RESOURCE_ATTRIBUTES")
    if environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = environ["OTEL_SERVICE_NAME"]
    return Settings(
        url,
        headers,
        resource,
        _milliseconds(environ, "OTEL_METRIC_EXPORT_INTERVAL", 60_000),
        _milliseconds(environ, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
    )


def _pairs(environ: Mapping[str, str], name: str) -> dict[str, str]:
    found = {}
    for pair in filter(str.strip, environ.get(name, "").split(",")[:MAX_ATTRIBUTES]):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{name} must be key=value pairs, separated by commas")  # may hold a secret
        found[key.strip()] = urllib.parse.unquote(value.strip())
    return found


def _milliseconds(environ: Mapping[str, str], name: str, default: int) -> float:
    text = environ.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) >= 100):
        raise ValueError(f"{name} is {text!r}; it must be milliseconds, 100 or more")
    return int(text) / 1000


def encode(view: View, resource: Mapping[str, str], started: int) -> bytes:
    """ExportMetricsServiceRequest. `started`: ns since 1970, when the counters began."""
    at = view.taken_ms * 1_000_000
    scope = pb.message(1, pb.text(1, "lambda-dispatch"), pb.text(2, __version__))
    found = [pb.message(2, *_metric(family, view, started, at)) for family in FAMILIES]
    return pb.message(1, pb.message(1, _attributes(1, resource)), pb.message(2, scope, *found))


def _attributes(field: int, values: Mapping[str, str]) -> bytes:
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
            points.append(pb.message(1, _attributes(1, labels), times, *_exponential(value)))
        else:
            shown = pb.sfixed64(6, value) if isinstance(value, int) else pb.double(4, value)
            points.append(pb.message(1, _attributes(7, labels), times, shown))
    if family.kind == "counter":
        parts.append(pb.message(7, *points, pb.number(2, CUMULATIVE), pb.number(3, 1)))
    elif family.kind == "histogram":
        parts.append(pb.message(10, *points, pb.number(2, CUMULATIVE)))
    else:
        parts.append(pb.message(5, *points))
    return parts


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


class Exporter:
    def __init__(self, wanted: Settings) -> None:
        self.settings = wanted
        self.sent = 0
        self.failed = 0  # the collector was not there, or did not take it
        self.dropped = 0  # not even tried: an earlier one was still on its way
        self._bodies: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self._until = 0.0  # the collector asked for silence
        threading.Thread(target=self._work, name="otlp", daemon=True).start()

    def offer(self, body: bytes) -> None:
        """Never waits."""
        if time.monotonic() < self._until:
            self.dropped += 1
            return
        try:
            self._bodies.put_nowait(body)
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        while True:
            body = self._bodies.get()
            try:
                self._post(body)
                self.sent += 1
            except urllib.error.HTTPError as error:
                after = error.headers.get("retry-after", "") if error.code in (429, 502, 503, 504) else ""
                if after.isascii() and after.isdigit() and len(after) < 6:
                    self._until = time.monotonic() + int(after)
                self._lost(f"status {error.code}")
                error.close()
            except Exception as error:  # whatever a stranger's answer causes: the thread goes on
                self._lost(str(error) or type(error).__name__)

    def _post(self, body: bytes) -> None:
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "user-agent": f"lambda-dispatch/{__version__}",
            **self.settings.headers,
        }
        request = urllib.request.Request(self.settings.url, gzip.compress(body, 6), headers, method="POST")
        with urllib.request.urlopen(request, timeout=self.settings.timeout) as answer:
            answer.read(MAX_ANSWER)

    def _lost(self, why: str) -> None:
        self.failed += 1
        host = urllib.parse.urlsplit(self.settings.url).hostname  # the rest of it may be a secret
        log.limited(
            log.WARNING,
            "metrics export failed",
            host=host,
            error=why[:200],
            failed=self.failed,
            dropped=self.dropped,
        )


async def export(environ: Mapping[str, str], look: Callable[[], View], started: int) -> None:
    """Offers a view at every interval, for as long as it is not cancelled; returns where no export is wanted."""
    try:
        wanted = settings(environ)
    except ValueError as error:
        log.warning("metrics export not started", error=str(error))
        return
    if wanted is None:
        return
    exporter = Exporter(wanted)
    while True:
        await asyncio.sleep(wanted.interval)
        exporter.offer(encode(look(), wanted.resource, started))
