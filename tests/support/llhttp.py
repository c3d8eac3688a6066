"""llhttp, by way of httptools, as the second opinion on HTTP/1.1."""

from dataclasses import dataclass, field

import httptools


@dataclass
class Request:
    method: bytes
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    keep_alive: bool
    body: bytes = b""
    complete: bool = False


@dataclass
class _Collector:
    """The callbacks of one connection; a request begins with its target."""

    requests: list[Request] = field(default_factory=list)
    target: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    parser: "httptools.HttpRequestParser | None" = None

    def on_message_begin(self) -> None:
        self.target, self.fields = b"", []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        version, keep = self.parser.get_http_version(), self.parser.should_keep_alive()
        self.requests.append(Request(self.parser.get_method(), self.target, version, self.fields, keep))
        self.fields = []

    def on_body(self, body: bytes) -> None:
        self.requests[-1].body += body

    def on_message_complete(self) -> None:
        self.requests[-1].complete = True


def read_requests(data: bytes) -> tuple[list[Request], str | None]:
    """The requests llhttp finds in these bytes, and what it found wrong, or None."""
    collector = _Collector()
    collector.parser = httptools.HttpRequestParser(collector)
    try:
        collector.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return collector.requests, None
    except httptools.HttpParserError as error:
        return collector.requests, str(error) or type(error).__name__
    return collector.requests, None
