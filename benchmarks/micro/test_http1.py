"""HTTP/1.1 heads and chunked bodies, each job beside the same done with httptools and its callbacks.

Ours runs LOOP times inside one call, so that what is measured is the C and not the call from Python; the figure printed
is of one such call: divide by 1,000. httptools' is of one head. Run:

    pytest benchmarks/micro/test_http1.py --benchmark-only -o addopts=

`ns_each` in the table of extra information has both in the same unit (--benchmark-json shows it).
"""

from collections.abc import Callable
from typing import Any

import httptools
import pytest

from lambda_dispatch_testing.http1_face import ChunkedBody, parse_many

LOOP = 1000

BARE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BROWSER = (
    b"GET /shop/items?page=3&sort=price HTTP/1.1\r\n"
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua: "Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    b"Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-User: ?1\r\n"
    b"Sec-Fetch-Dest: document\r\n"
    b"Referer: https://www.example.com/shop\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=3f1c5d0a9a614c8e8f570d6f7a5be2c1; consent=all; theme=dark; "
    b"_ga=GA1.2.1234567890.1700000000; cart=b7c9e2d451f04b3aa6d82e94c17f0a35\r\n"
    b"\r\n"
)
TUNNELLED = (
    b"HTTP/1.1 200 OK\r\n"
    b"X-Lambda-Id: 3f1c5d0a-9a61-4c8e-8f57-0d6f7a5be2c1\r\n"
    b"X-Channel-Id: b7c9e2d4-51f0-4b3a-a6d8-2e94c17f0a35\r\n"
    b"content-type: application/json\r\n"
    b"content-length: 27\r\n"
    b"date: Sat, 21 Nov 2026 09:59:51 GMT\r\n"
    b"server: kestrel\r\n"
    b"\r\n"
)
CHUNKED = b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"


class Callbacks:
    """What a server must do with httptools to know a head: keep its fields."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_message_begin(self) -> None:
        self.target = b""
        self.fields = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)


def measure(benchmark: Any, job: Callable[[], object], times: int) -> None:
    benchmark(job)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_each"] = round(benchmark.stats.stats.median * 1e9 / times, 1)


@pytest.mark.parametrize("head", [BARE, BROWSER], ids=["bare", f"browser {len(BROWSER)} B"])
def test_request_ours(benchmark: Any, head: bytes) -> None:
    assert parse_many(head, "request", 1) == len(head)
    measure(benchmark, lambda: parse_many(head, "request", LOOP), LOOP)


@pytest.mark.parametrize("head", [BARE, BROWSER], ids=["bare", f"browser {len(BROWSER)} B"])
def test_request_httptools(benchmark: Any, head: bytes) -> None:
    def parse() -> None:
        httptools.HttpRequestParser(Callbacks()).feed_data(head)

    measure(benchmark, parse, 1)


@pytest.mark.parametrize("head", [BARE, BROWSER], ids=["bare", f"browser {len(BROWSER)} B"])
def test_request_httptools_on_a_connection_kept_alive(benchmark: Any, head: bytes) -> None:
    parser = httptools.HttpRequestParser(Callbacks())
    measure(benchmark, lambda: parser.feed_data(head), 1)


def test_tunnelled_response_ours(benchmark: Any) -> None:
    assert parse_many(TUNNELLED, "tunnel-response", 1) == len(TUNNELLED)
    measure(benchmark, lambda: parse_many(TUNNELLED, "tunnel-response", LOOP), LOOP)


def test_tunnelled_response_httptools(benchmark: Any) -> None:
    measure(benchmark, lambda: httptools.HttpResponseParser(Callbacks()).feed_data(TUNNELLED), 1)


def test_chunked_64_kib_ours(benchmark: Any) -> None:
    """With the two copies of the test face: in the product the bytes stay where they are."""

    def read() -> None:
        body = ChunkedBody()
        body.feed(CHUNKED)
        assert body.done

    measure(benchmark, read, 1)


def test_chunked_64_kib_httptools(benchmark: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def read() -> None:
        parser = httptools.HttpResponseParser(Callbacks())
        parser.feed_data(head)
        parser.feed_data(CHUNKED)

    measure(benchmark, read, 1)
