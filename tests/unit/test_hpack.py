"""HPACK as its users see it: what comes out, what is indexed, what is kept in step."""

import pytest

from lambda_dispatch_core.hpack import Decoder, Encoder, HeaderListTooLarge, HpackError

HEAD = [
    (b":status", b"200"),
    (b"content-type", b"text/plain"),
    (b"date", b"Sat, 21 Nov 2026 09:59:51 GMT"),
    (b"x-request-id", b"71f5"),
]


def pairs(fields: list[tuple[bytes, bytes, int]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value, _ in fields]


def test_what_is_encoded_is_decoded_while_fields_move_into_the_tables() -> None:
    encoder, decoder = Encoder(), Decoder()
    sizes = []
    for _ in range(3):
        block = encoder.encode_block(HEAD)
        sizes.append(len(block))
        assert pairs(decoder.decode_block(block)) == HEAD
        assert decoder.table_entries() == encoder.table_entries()
    assert sizes[0] > sizes[1] > sizes[2] == len(HEAD)


def test_a_list_that_is_too_large_keeps_the_table_in_step() -> None:
    encoder, decoder = Encoder(), Decoder(max_list_size=200)
    big = [(b"server", b"a" * 100), (b"via", b"b" * 100)]
    block = encoder.encode_block(big)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode_block(block)
    assert decoder.table_entries() == encoder.table_entries()
    assert pairs(decoder.decode_block(encoder.encode_block(big[:1]))) == big[:1]


def test_index_0_is_an_error() -> None:
    with pytest.raises(HpackError, match="index 0"):
        Decoder().decode_block(b"\x80")
