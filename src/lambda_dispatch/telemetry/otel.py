"""What the OTEL_ variables ask for, as every OpenTelemetry SDK reads them: where metrics and traces go, and which
requests are traced. A value that cannot be meant is a ValueError that names the variable, and no value that may be a
secret."""

import re
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lambda_dispatch_core import __version__

MAX_ATTRIBUTES = 128  # of OTEL_RESOURCE_ATTRIBUTES and headers
DEFAULT_ENDPOINT = "http://localhost:4318"  # where an exporter was asked for and no endpoint named
PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi", "xray", "none")
# Name: whether a context that came decides for itself, and the share of the others where it is no argument.
SAMPLERS = {
    "always_on": (False, 1.0),
    "always_off": (False, 0.0),
    "traceidratio": (False, None),
    "parentbased_always_on": (True, 1.0),
    "parentbased_always_off": (True, 0.0),
    "parentbased_traceidratio": (True, None),
}
_RATIO = re.compile(r"[0-9]{0,9}\.?[0-9]{1,18}|[0-9]\.")

Signal = Literal["METRICS", "TRACES"]


@dataclass(frozen=True, slots=True)
class Settings:
    url: str
    headers: Mapping[str, str]
    resource: Mapping[str, str]
    interval: float  # s between two exports
    timeout: float  # s for one, from the connect to the end of the answer


@dataclass(frozen=True, slots=True)
class Tracing:
    export: Settings
    ratio: float  # of the traces that begin here, 0 to 1
    follows: bool  # a context that says whether it is sampled decides for itself
    propagators: tuple[str, ...]
    batch: int  # requests in one export
    waiting: int  # requests that may wait for the collector


def settings(environ: Mapping[str, str], signal: Signal = "METRICS") -> Settings | None:
    """Where this signal goes; None: nowhere."""
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return None
    if exporter not in ("", "otlp"):
        raise ValueError(f"OTEL_{signal}_EXPORTER is {exporter[:40]!r}; it must be otlp or none")
    url = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "")
    name = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "") or (DEFAULT_ENDPOINT if exporter else "")
    if not url and base:
        name, url = "OTEL_EXPORTER_OTLP_ENDPOINT", f"{base.rstrip('/')}/v1/{signal.lower()}"
    if not url:
        return None
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        raise ValueError(f"{name} is no URL that begins with http:// or https:// and names a host")
    for each in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(each, "http/protobuf") != "http/protobuf":
            raise ValueError(f"{each} is {environ[each]!r}; only http/protobuf is there")
    headers = _pairs(environ, "OTEL_EXPORTER_OTLP_HEADERS") | _pairs(environ, f"OTEL_EXPORTER_OTLP_{signal}_HEADERS")
    resource = {"service.name": "lambda-dispatch", "service.version": __version__, "host.name": socket.gethostname()}
    resource |= _pairs(environ, "OTEL_RESOURCE_ATTRIBUTES")
    if environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = environ["OTEL_SERVICE_NAME"]
    interval = ("OTEL_METRIC_EXPORT_INTERVAL", 60_000) if signal == "METRICS" else ("OTEL_BSP_SCHEDULE_DELAY", 5000)
    timeout = "OTEL_EXPORTER_OTLP_TIMEOUT"
    if environ.get(f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT"):
        timeout = f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT"
    return Settings(url, headers, resource, _milliseconds(environ, *interval), _milliseconds(environ, timeout, 10_000))


def tracing(environ: Mapping[str, str]) -> Tracing | None:
    """Which requests are traced, and where that goes; None: tracing is off."""
    export = settings(environ, "TRACES")
    if export is None:
        return None
    sampler = environ.get("OTEL_TRACES_SAMPLER", "") or "parentbased_always_on"
    if sampler not in SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
    follows, share = SAMPLERS[sampler]
    if share is None:
        text = environ.get("OTEL_TRACES_SAMPLER_ARG", "") or "1"
        if not _RATIO.fullmatch(text) or float(text) > 1:
            raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text[:40]!r}; it must be a number from 0 to 1")
        share = float(text)
    propagators = tuple(
        name.strip() for name in (environ.get("OTEL_PROPAGATORS", "") or "tracecontext,baggage").split(",")
    )
    for name in propagators:
        if name not in PROPAGATORS:
            raise ValueError(f"OTEL_PROPAGATORS has {name[:40]!r}; it must be some of {', '.join(PROPAGATORS)}")
    return Tracing(
        export,
        share,
        follows,
        tuple(dict.fromkeys(propagators)),
        _count(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
        _count(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 8192),
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


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) >= 1):
        raise ValueError(f"{name} is {text!r}; it must be a whole number from 1 to 99999")
    return int(text)
