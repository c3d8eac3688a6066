"""HPACK, each job beside the same done with python-hyper hpack.

Ours runs LOOP times inside one call, so that what is measured is the C and not the call from Python; the figure printed
is of one such call: divide by 1,000. python-hyper's is of one block. Run:

    pytest benchmarks/micro/test_hpack.py --benchmark-only -o addopts=

`ns_per_block` in the table of extra information has both in the same unit (--benchmark-json shows it).
"""

from collections.abc import Callable

import hpack
import pytest

from lambda_dispatch_core.bytes.fields import FieldList
from lambda_dispatch_testing.hpack_face import Decoder, Encoder

LOOP = 1000

LAMBDA = b"3f1c5d0a-9a61-4c8e-8f57-0d6f7a5be2c1"
CHANNEL = b"b7c9e2d4-51f0-4b3a-a6d8-2e94c17f0a35"
DATE = (b"date", b"Sat, 21 Nov 2026 09:59:51 GMT")

# What a Lambda's extension sends to park a channel.
CHANNEL_POST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/api/chunked/request/" + LAMBDA + b"/" + CHANNEL),
    (b":authority", b"127.0.0.1:5003"),
    DATE,
    (b"host", b"127.0.0.1:5003"),
    (b"content-type", b"application/octet-stream"),
    (b"x-pool-id", b"default"),
    (b"x-lambda-id", LAMBDA),
    (b"x-channel-id", CHANNEL),
]
# A small answer to a client.
RESPONSE = [
    (b":status", b"200"),
    (b"content-type", b"text/plain"),
    (b"content-length", b"4"),
    DATE,
    (b"server", b"kestrel"),
]

HEADS = pytest.mark.parametrize("head", [CHANNEL_POST, RESPONSE], ids=["channel POST", "response"])

Pairs = list[tuple[bytes, bytes]]


def plain(head: Pairs) -> bytes:
    """Literals without indexing, names and all, no Huffman code: how .NET's HttpClient writes what is not static."""
    return b"".join(b"\x00" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in head)


def huffman(head: Pairs) -> bytes:
    encoder = Encoder()
    encoder.set_table_size(0)
    encoder.encode_block([])
    return encoder.encode_block(head)


def settled(head: Pairs) -> list[bytes]:
    """The blocks of one connection until every field is in the table; the last one is what follows for ever."""
    encoder = Encoder()
    return [encoder.encode_block(head) for _ in range(3)]


def field_list(head: Pairs) -> FieldList:
    fields = FieldList()
    for name, value in head:
        fields.append(name, value)
    return fields


def measure(benchmark: Callable[..., object], job: Callable[..., object], *args: object, blocks: int) -> None:
    benchmark(job, *args)
    stats = getattr(benchmark, "stats", None)
    if stats is not None:
        benchmark.extra_info["ns_per_block"] = round(stats["median"] * 1e9 / blocks, 1)  # type: ignore[attr-defined]


def decode_ours(benchmark: Callable[..., object], blocks: list[bytes]) -> None:
    decoder = Decoder()
    for block in blocks:
        decoder.decode_block(block)
    measure(benchmark, decoder.decode_times, blocks[-1], LOOP, blocks=LOOP)


def decode_theirs(benchmark: Callable[..., object], blocks: list[bytes]) -> None:
    decoder = hpack.Decoder()
    for block in blocks:
        decoder.decode(block, raw=True)
    measure(benchmark, decoder.decode, blocks[-1], True, blocks=1)


@HEADS
@pytest.mark.benchmark(group="decode, every field in a table")
def test_decode_indexed(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_ours(benchmark, settled(head))


@HEADS
@pytest.mark.benchmark(group="decode, every field in a table")
def test_decode_indexed_python_hyper(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_theirs(benchmark, settled(head))


@HEADS
@pytest.mark.benchmark(group="decode, Huffman literals")
def test_decode_huffman(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_ours(benchmark, [huffman(head)])


@HEADS
@pytest.mark.benchmark(group="decode, Huffman literals")
def test_decode_huffman_python_hyper(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_theirs(benchmark, [huffman(head)])


@HEADS
@pytest.mark.benchmark(group="decode, plain literals")
def test_decode_plain(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_ours(benchmark, [plain(head)])


@HEADS
@pytest.mark.benchmark(group="decode, plain literals")
def test_decode_plain_python_hyper(benchmark: Callable[..., object], head: Pairs) -> None:
    decode_theirs(benchmark, [plain(head)])


@HEADS
@pytest.mark.benchmark(group="encode, every field in a table")
def test_encode_indexed(benchmark: Callable[..., object], head: Pairs) -> None:
    encoder = Encoder()
    assert len(encoder.encode_times(field_list(head), 3)) == len(head)
    measure(benchmark, encoder.encode_times, field_list(head), LOOP, blocks=LOOP)


@HEADS
@pytest.mark.benchmark(group="encode, every field in a table")
def test_encode_indexed_python_hyper(benchmark: Callable[..., object], head: Pairs) -> None:
    encoder = hpack.Encoder()
    encoder.encode(head)
    measure(benchmark, encoder.encode, head, blocks=1)


@HEADS
@pytest.mark.benchmark(group="encode, Huffman literals")
def test_encode_huffman(benchmark: Callable[..., object], head: Pairs) -> None:
    encoder = Encoder()
    encoder.set_table_size(0)
    measure(benchmark, encoder.encode_times, field_list(head), LOOP, blocks=LOOP)


@HEADS
@pytest.mark.benchmark(group="encode, Huffman literals")
def test_encode_huffman_python_hyper(benchmark: Callable[..., object], head: Pairs) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    measure(benchmark, encoder.encode, head, blocks=1)
