"""Every route of the demo application through the router, the extension and the embedded Lambda."""

import concurrent.futures
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.support.dev_run import DevRun, dev_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dev() -> Iterator[DevRun]:
    with dev_run("--workers", "2") as run:
        run.wait_for_line("the first environment is ready")
        yield run


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/health-quick", 200, b"OK"),
        ("/ping", 200, b"pong"),
        ("/delay?delay=30", 200, b"Delayed for 30 ms"),
        ("/odd-status", 519, b"I'm a teapot"),
        ("/nope", 404, b"no GET /nope here; GET / lists what there is\n"),
        ("/chunked-response?delay=30", 200, b"INITIAL PAYLOAD RESPONSE\nFINAL PAYLOAD RESPONSE\n"),
    ],
)
def test_plain_routes(dev: DevRun, target: str, status: int, body: bytes) -> None:
    response, got = dev.ask("GET", target)
    assert (response.status, got) == (status, body)


def test_health_is_the_routers_own(dev: DevRun) -> None:
    response, body = dev.ask("GET", "/health")
    assert (response.status, body.strip()) == (200, b"OK")


def test_the_list(dev: DevRun) -> None:
    assert b"/double-echo" in dev.ask("GET", "/")[1]


def test_headers_arrive_with_the_ones_a_load_balancer_adds(dev: DevRun) -> None:
    _, body = dev.ask("GET", "/headers", headers={"X-Mine": "1"})
    headers = json.loads(body)
    assert headers["x-mine"] == "1"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_001])
def test_the_echoes(dev: DevRun, size: int) -> None:
    sent = (bytes(range(256)) * (size // 256 + 1))[:size]
    kind = {"content-type": "application/octet-stream"}
    assert dev.ask("POST", "/echo", sent, kind)[1] == sent
    assert dev.ask("POST", "/echo-slow", sent, kind)[1] == sent
    assert dev.ask("POST", "/half-echo", sent, kind)[1] == sent[1::2]
    assert len(dev.ask("POST", "/double-echo", sent, kind)[1]) == 2 * size


def test_an_echo_larger_than_lambda_allows(dev: DevRun) -> None:
    sent = bytes(20 * 1024 * 1024)
    assert dev.ask("POST", "/echo", sent, {"content-type": "application/octet-stream"})[1] == sent


def test_a_chunked_body_is_echoed(dev: DevRun) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", dev.port("router"), timeout=60)
    connection.request("POST", "/echo", iter([b"abc", b"de"]), {"transfer-encoding": "chunked"}, encode_chunked=True)
    assert connection.getresponse().read() == b"abcde"
    connection.close()


def test_debug_shows_path_and_query_as_they_were_written(dev: DevRun) -> None:
    _, body = dev.ask("PATCH", "/debug?a=%20b&a=[1]&%25", b"body")
    assert body.startswith(b"PATCH /debug?a=%20b&a=[1]&%25 HTTP/1.1\n")
    assert body.endswith(b"\n\nbody")


def test_the_image(dev: DevRun) -> None:
    response, body = dev.ask("GET", "/public/image.png")
    assert response.headers["content-type"] == "image/png"
    assert body.startswith(b"\x89PNG\r\n\x1a\n") and len(body) == int(response.headers["content-length"])


def test_the_first_chunk_and_the_first_event_come_before_the_last(dev: DevRun) -> None:
    for target, first in (("/chunked-response?delay=60000", b"INITIAL"), ("/sse?interval=60000", b"id: 0")):
        connection = http.client.HTTPConnection("127.0.0.1", dev.port("router"), timeout=60)
        connection.request("GET", target)
        assert connection.getresponse().read1(1000).startswith(first)
        connection.close()


def test_two_hundred_requests_at_once_are_all_answered(dev: DevRun) -> None:
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: dev.ask("GET", "/delay?delay=20"), range(200)))
    assert {(response.status, body) for response, body in answers} == {(200, b"Delayed for 20 ms")}


def test_many_requests_share_few_environments(dev: DevRun) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: json.loads(dev.ask("GET", "/instance")[1])["pid"], range(80))
    assert len(set(answers)) <= 6
