"""The demo application by itself, route by route, and the clients that misbehave."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "examples" / "demo" / "app.py"
PORTS = range(18_000, 19_000)


@contextlib.contextmanager
def demo(**environment: str) -> Iterator[int]:
    """Runs the application on a port of its own; which is free is known when it listens."""
    port = PORTS.start + os.getpid() % len(PORTS)
    for candidate in range(port, port + 20):
        variables = {**os.environ, **environment, "LAMBDA_DISPATCH_PORT": str(candidate)}
        with subprocess.Popen(
            [sys.executable, str(APP)], env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("demo application on"):
                continue
            try:
                yield candidate
                return
            finally:
                process.terminate()
                assert process.wait(10) == 0
    raise AssertionError("no port")


def talk(port: int, *pieces: bytes) -> bytes:
    """Sends the pieces, returns everything until the application closes."""

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    return asyncio.run(main())


def ask(port: int, method: str, target: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """(status, head, body as sent) of one request."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n".encode() + length + b"\r\n"
    received = talk(port, head + (body or b""))
    answer_head, _, answer = received.partition(b"\r\n\r\n")
    return int(answer_head.split()[1]), answer_head.decode(), answer


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with demo() as listening:
        yield listening


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/health", 200, b"OK"),
        ("/health-quick", 200, b"OK"),
        ("/ping", 200, b"pong"),
        ("/delay?delay=1", 200, b"Delayed for 1 ms"),
        ("/delay?delay=1_0", 200, b"Delayed for 20 ms"),
        ("/odd-status", 519, b"I'm a teapot"),
        ("/nope", 404, b"no GET /nope here; GET / lists what there is\n"),
        ("/echo", 404, b"no GET /echo here; GET / lists what there is\n"),
    ],
)
def test_plain_routes_answer(port: int, target: str, status: int, body: bytes) -> None:
    got, _, answer = ask(port, "GET", target)
    assert (got, answer) == (status, body)


def test_the_list_names_every_route(port: int) -> None:
    listed = ask(port, "GET", "/")[2].decode()
    for path in ("/health", "/chunked-response", "/double-echo", "/public/image.png", "/sse"):
        assert path in listed


def test_a_chunked_response_comes_in_two_chunks(port: int) -> None:
    _, head, body = ask(port, "GET", "/chunked-response?delay=1")
    assert "transfer-encoding: chunked" in head
    assert body == b"19\r\nINITIAL PAYLOAD RESPONSE\n\r\n17\r\nFINAL PAYLOAD RESPONSE\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 7, 200_001])
def test_the_echoes_return_what_they_say(port: int, size: int) -> None:
    sent = bytes(range(256)) * (size // 256 + 1)
    sent = sent[:size]
    assert ask(port, "POST", "/echo", sent)[2] == sent
    assert ask(port, "POST", "/echo-slow", sent)[2] == sent
    assert ask(port, "POST", "/half-echo", sent)[2] == sent[1::2]
    doubled = ask(port, "POST", "/double-echo", sent)[2]
    assert len(doubled) == 2 * size
    if size < 10:
        assert doubled == sent * 2


def test_a_chunked_body_is_echoed_in_chunks(port: int) -> None:
    received = talk(
        port,
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        b"3\r\nabc\r\n",
        b"2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
    )
    assert b"".join(received.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2]).startswith(b"abcde")


def test_debug_shows_the_request_with_its_body(port: int) -> None:
    _, _, body = ask(port, "PATCH", "/debug?a=%20b", b"body")
    assert body.startswith(b"PATCH /debug?a=%20b HTTP/1.1\nhost: h\n")
    assert body.endswith(b"\n\nbody")


def test_the_image_is_a_whole_png(port: int) -> None:
    _, head, body = ask(port, "GET", "/public/image.png")
    assert "content-type: image/png" in head
    assert body.startswith(b"\x89PNG\r\n\x1a\n") and body.endswith(b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big"))


def test_events_come_one_by_one(port: int) -> None:
    _, head, body = ask(port, "GET", "/sse?count=2&interval=1")
    assert "content-type: text/event-stream" in head
    assert body.count(b"event: tick") == 2


def test_headers_over_sixty_kilobytes_pass(port: int) -> None:
    received = talk(port, b"GET /headers HTTP/1.1\r\nConnection: close\r\nX-Big: " + b"x" * 65_536 + b"\r\n\r\n")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["x-big"] == "x" * 65_536


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 600_000, b"431"),
    ],
)
def test_broken_requests_are_refused(port: int, request_head: bytes, status: bytes) -> None:
    try:
        assert talk(port, request_head).split()[1] == status
    except ConnectionError:
        assert status == b"431"  # it closed while we still sent


def test_a_client_that_waits_for_100_continue_gets_it_before_the_answer(port: int) -> None:
    head = b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    assert talk(port, head, b"ab").startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_one_connection_serves_many_requests_and_an_unread_body_is_skipped(port: int) -> None:
    one = b"POST /nope HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /ping HTTP/1.1\r\n\r\n"
    received = talk(port, one * 50 + b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert received.count(b"pong") == 51


def test_the_first_health_takes_the_init_delay_and_the_others_wait_for_it() -> None:
    with demo(INIT_DELAY="0.3") as port:
        began = os.times().elapsed
        assert ask(port, "GET", "/health")[0] == 200
        assert os.times().elapsed - began >= 0.29
        assert ask(port, "GET", "/health")[0] == 200


def test_it_stops_on_sigterm_with_a_request_in_flight() -> None:
    with demo() as port:
        pending = socket.create_connection(("127.0.0.1", port), 30)
        pending.sendall(b"GET /sse?count=1000&interval=10 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert pending.recv(12) == b"HTTP/1.1 200"
    pending.close()
