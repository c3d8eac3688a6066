"""HTTP/2 without sockets, beside python-hyper h2 doing the same job.

A full exchange: a channel's POST in, 200 out, a request's DATA out, the response's DATA in with END_STREAM, closed.
Time per round is what the table shows divided by ROUNDS.
"""

import uuid

import h2.config
import h2.connection
import h2.events
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lambda_dispatch_testing.h2_bench import receive_all, serve
from lambda_dispatch_testing.h2_plain import PlainSession

ROUNDS = 1000
CHANNELS = 20
FRAMES = 1000
REQUEST = (
    b"GET /orders/4711?expand=lines HTTP/1.1\r\nhost: shop.example.com\r\naccept: application/json\r\n"
    b"user-agent: benchmark/1.0\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n\r\n"
)
RESPONSE = b"HTTP/1.1 200 OK\r\nX-Lambda-Id: 1\r\nX-Channel-Id: 2\r\ncontent-length: 4\r\n\r\npong"


def exchanges() -> tuple[bytes, list[bytes], list[bytes]]:
    """What a client of ours sends: its opening, and per round the POST of a channel and the response."""
    client, server = PlainSession(client=True), PlainSession()
    instance = str(uuid.uuid4()).encode()
    ids = [str(uuid.uuid4()).encode() for _ in range(CHANNELS)]
    opening = client.take()
    server.feed(opening)
    client.feed(server.take())
    opening += client.take()
    posts, answers = [], []
    for i in range(ROUNDS):
        stream = client.open(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", b"/api/chunked/request/" + instance + b"/" + ids[i % CHANNELS]),
                (b":authority", b"10.0.0.1:5003"),
                (b"date", b"Sat, 21 Nov 2026 09:00:%02d GMT" % (i // 500)),
                (b"content-type", b"application/octet-stream"),
                (b"x-pool-id", b"default"),
                (b"x-lambda-id", instance),
                (b"x-channel-id", ids[i % CHANNELS]),
            ]
        )
        assert stream is not None
        posts.append(client.take())
        server.feed(posts[-1])
        server.send_status(stream, 200)
        server.send_data(stream, REQUEST, True)
        client.feed(server.take())
        client.send_data(stream, RESPONSE, True)
        answers.append(client.take())
        server.feed(answers[-1])
    return opening, posts, answers


def hyper_serve(opening: bytes, posts: list[bytes], answers: list[bytes], request: bytes) -> int:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    connection.receive_data(opening)
    answered = 0
    for post, answer in zip(posts, answers, strict=True):
        for read in (post, answer):
            for event in connection.receive_data(read):
                if isinstance(event, h2.events.RequestReceived):
                    connection.send_headers(event.stream_id, [(b":status", b"200")])
                    connection.send_data(event.stream_id, request, end_stream=True)
                elif isinstance(event, h2.events.DataReceived):
                    answered += len(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            connection.data_to_send()
    return answered


@pytest.mark.benchmark(group="h2: full exchange")
def test_full_exchange(benchmark: BenchmarkFixture) -> None:
    opening, posts, answers = exchanges()
    assert benchmark(serve, opening, posts, answers, REQUEST) == ROUNDS * len(RESPONSE)


@pytest.mark.benchmark(group="h2: full exchange")
def test_full_exchange_hyper(benchmark: BenchmarkFixture) -> None:
    opening, posts, answers = exchanges()
    done = benchmark.pedantic(hyper_serve, args=(opening, posts, answers, REQUEST), rounds=5)
    assert done == ROUNDS * len(RESPONSE)


def frames(size: int) -> tuple[bytes, bytes, bytes]:
    """A client's opening, the head of a POST, and FRAMES frames of DATA within one window."""
    client = PlainSession(client=True)
    server = PlainSession()
    server.feed(client.take())
    client.feed(server.take())
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    client.open([(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")])
    head = client.take()[9:]
    one = size.to_bytes(3, "big") + b"\0\0\0\0\0\1" + bytes(size)
    return opening, head, one * FRAMES


def hyper_receive_all(opening: bytes, head: bytes, body: bytes) -> int:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    connection.receive_data(opening)
    got = 0
    for read in (head, body):
        for event in connection.receive_data(read):
            if isinstance(event, h2.events.DataReceived):
                got += len(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    return got


@pytest.mark.benchmark(group="h2: 1000 small DATA frames in one read")
def test_frame_decode(benchmark: BenchmarkFixture) -> None:
    assert benchmark(receive_all, *frames(16)) == FRAMES * 16


@pytest.mark.benchmark(group="h2: 1000 small DATA frames in one read")
def test_frame_decode_hyper(benchmark: BenchmarkFixture) -> None:
    assert benchmark.pedantic(hyper_receive_all, args=frames(16), rounds=5) == FRAMES * 16
