"""A stand-in for an OpenTelemetry collector: answers as it is told, and keeps what it got."""

import gzip
import http.server
import threading
from typing import ClassVar, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.first: list[tuple[int, dict[str, str], bytes]] = []  # answers before it, one for each export
        self.held = threading.Event()
        self.held.set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.held.wait()
                status, fields, text = collector.first.pop(0) if collector.first else collector.answer
                collector.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if status == 0:
                    self.wfile.write(b"\x00garbage\xff\r\n\r\n")
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**fields, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.held.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def bodies(self, path: str) -> list[bytes]:
        return [
            gzip.decompress(body) if fields.get("content-encoding") == "gzip" else body
            for where, fields, body in list(self.got)
            if where == path
        ]

    def spans(self) -> list[Span]:
        """Every span it was sent."""
        found = []
        for body in self.bodies("/v1/traces"):
            request = ExportTraceServiceRequest.FromString(body)
            found += [it for part in request.resource_spans for scope in part.scope_spans for it in scope.spans]
        return found
