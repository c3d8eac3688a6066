"""An application instrumented with the OpenTelemetry SDK: each request is a SERVER span with one INTERNAL span inside.

python traced_app.py PORT COLLECTOR_URL
"""

import http.server
import sys
from typing import ClassVar

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

provider = TracerProvider(resource=Resource.create({"service.name": "application"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{sys.argv[2]}/v1/traces")))
tracer = provider.get_tracer("application")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"fine"
        if self.path != "/health":
            context = extract({name.lower(): value for name, value in self.headers.items()})
            with (
                tracer.start_as_current_span("handle", context, SpanKind.SERVER),
                tracer.start_as_current_span("work"),
            ):
                body = self.headers.get("baggage", "none").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
