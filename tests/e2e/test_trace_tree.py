"""One trace over all that a request passes: a client with the OpenTelemetry SDK, router, extension, and an application
with the SDK, all real processes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.dev_run import dev_run
from tests.support.local_lambda import wait_for

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed (extra dev)")
pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="opentelemetry-exporter-otlp-proto-http is missing"
)

from opentelemetry import baggage
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, set_span_in_context

pytestmark = pytest.mark.slow

APP = Path(__file__).parents[1] / "support/apps/traced_app.py"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


def test_client_router_and_application_are_one_tree(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "client"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    serve = f"exec {sys.executable} {APP} $PORT {collector.url}"
    with dev_run("--workers", "2", "--", "sh", "-c", serve) as run:
        run.wait_for_line("the first environment is ready")
        fields: dict[str, str] = {}
        with provider.get_tracer("client").start_as_current_span("ask", kind=SpanKind.CLIENT) as asked:
            inject(fields, baggage.set_baggage("tenant", "blue", set_span_in_context(asked)))
            response, body = run.ask("GET", "/page", headers=fields)
            assert (response.status, body) == (200, b"tenant=blue")
        provider.shutdown()
        wait_for(
            lambda: len([span for span in collector.spans() if span.name in ("GET", "ask", "handle", "work")]) == 5
        )
        trace = asked.get_span_context().trace_id.to_bytes(16, "big")
        # From the leaf to the root: the application's two spans, the router's two, the client's.
        ours = {span.span_id: span for span in collector.spans() if span.trace_id == trace}
        (at,) = [span for span in ours.values() if span.name == "work"]
        path = [at]
        while at.parent_span_id:
            at = ours[at.parent_span_id]
            path.append(at)
        assert [(span.name, span.kind) for span in path] == [
            ("work", 1),
            ("handle", 2),
            ("GET", 3),
            ("GET", 2),
            ("ask", 3),
        ]
        assert len(ours) == 5
        for inner, outer in zip(path, path[1:], strict=False):
            assert outer.start_time_unix_nano <= inner.start_time_unix_nano
        # The invoke that the request's instance came from is a trace of its own, and the request links to it.
        (link,) = path[2].links
        (invoke,) = [span for span in collector.spans() if span.name.startswith("invoke ")]
        assert (link.trace_id, link.span_id) == (invoke.trace_id, invoke.span_id) and invoke.trace_id != trace
