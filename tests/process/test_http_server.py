"""The HTTP/1.1 server under the embedded Lambda, byte by byte."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from lambda_dispatch_net.http_server import MAX_HEAD, HttpServer, Request, Response

LIMIT = 100


async def echo(request: Request) -> Response:
    if request.path == "/fail":
        raise RuntimeError("on purpose")
    body = b"too large" if request.too_large else request.body
    said = f"{request.method} {request.target} {request.header('x-trailer') or ''} "
    return Response(200, said.encode() + body)


def talk(sent: list[bytes], handler: Callable[[Request], Awaitable[Response]] = echo) -> bytes:
    """Sends the pieces, ends the sending side, returns all that comes back."""

    async def main() -> bytes:
        failures: list[BaseException] = []
        server = HttpServer(handler, max_body=LIMIT, failed=failures.append)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in sent:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            await server.close()

    return asyncio.run(main())


CLOSE = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"


def test_requests_sent_ahead_are_answered_in_order() -> None:
    received = talk([b"GET /1 HTTP/1.1\r\n\r\n" * 40 + CLOSE])
    assert received.count(b"HTTP/1.1 200 OK") == 41
    assert received.endswith(b"GET /last  ")


def test_a_request_in_single_bytes_is_the_same_request() -> None:
    request = b"POST /a?b HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    assert talk([bytes([byte]) for byte in request]) == talk([request])


def test_a_chunked_body_with_trailers_is_whole() -> None:
    received = talk(
        [
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            b"2\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: yes\r\n\r\n",
        ]
    )
    assert received.endswith(b"POST / yes abc")


def test_a_body_over_the_limit_is_read_to_its_end_and_the_handler_knows() -> None:
    body = b"x" * (LIMIT + 1)
    head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    assert talk([head, body]).endswith(b"POST /  too large")


def test_a_client_that_expects_100_continue_gets_it() -> None:
    request = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"
    received = talk([request])
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_a_head_over_the_limit_is_431() -> None:
    assert talk([b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD]).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "trailer", [b"x-t: %s\r\n" % (b"a" * 1000), b"a" * 1000], ids=["many", "one that does not end"]
)
def test_trailers_over_the_limit_are_431(trailer: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: "
    with contextlib.suppress(ConnectionError):  # bytes that are on their way then are answered with a reset
        received = talk([head, *[trailer] * (8 * MAX_HEAD // 1000)])
        assert received.startswith(b"HTTP/1.1 431 "), received[:100]


def test_a_body_in_chunks_of_one_byte_is_no_trailer() -> None:
    body = b"1\r\na\r\n" * (MAX_HEAD // 3)
    received = talk(
        [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", body + b"0\r\n\r\n"]
    )
    assert received.endswith(b"POST /  too large")


def test_many_small_requests_in_one_piece_are_no_large_head() -> None:
    many = b"GET / HTTP/1.1\r\n\r\n" * (MAX_HEAD // 10)
    assert talk([many + CLOSE]).count(b"HTTP/1.1 200 OK") == MAX_HEAD // 10 + 1


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELLO\r\n\r\n"])
def test_what_is_no_http_is_400(junk: bytes) -> None:
    assert talk([junk]).startswith(b"HTTP/1.1 400 ")


def test_a_handler_that_fails_is_500_and_the_connection_goes_on() -> None:
    received = talk([b"GET /fail HTTP/1.1\r\n\r\n" + CLOSE])
    assert received.startswith(b"HTTP/1.1 500 ")
    assert b"on purpose" not in received
    assert received.endswith(b"GET /last  ")


def test_a_head_request_gets_no_body() -> None:
    received = talk([b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n"])
    assert b"content-length: 8" in received
    assert received.endswith(b"\r\n\r\n")


def test_a_handler_is_cancelled_when_its_client_leaves() -> None:
    async def main() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def handler(request: Request) -> Response:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            raise AssertionError

        server = HttpServer(handler, max_body=LIMIT)
        port = await server.start("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await entered.wait()
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(left.wait(), 10)
        await server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Host: 127.0.0.1:5051", 200),
        ("Host: [::1]:5051", 200),
        ("Host: localhost", 200),
        ("Host: lambda.localhost:5051", 200),
        ("Host: lambda:5051", 200),  # a container's name
        ("Host: rebound.example:5051", 403),
        ("Host: localhost.example", 403),
        ("Host:", 403),
        ("Host: localhost\r\nOrigin: http://localhost", 200),
        ("Host: localhost\r\nOrigin: http://localhost:3000", 403),
        ("Host: localhost\r\nOrigin: https://page.example", 403),
        ("Host: localhost\r\nOrigin: null", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost\r\nSec-Fetch-Site: none", 200),
    ],
)
def test_what_a_web_page_sends_on_its_own_is_refused(fields: str, status: int) -> None:
    received = talk([f"POST / HTTP/1.1\r\n{fields}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()])
    assert received.startswith(f"HTTP/1.1 {status} ".encode()), received
