"""HPACK as its users see it: what is indexed and what is not, limits, and tables that stay in step."""

import uuid

import pytest

from lambda_dispatch_core.bytes.fields import FieldList, token
from lambda_dispatch_testing.hpack_face import Decoder, Encoder, HeaderListTooLarge, HpackError

Pairs = list[tuple[bytes, bytes]]

DATE = (b"date", b"Sat, 21 Nov 2026 09:59:51 GMT")
HEAD = [(b":status", b"200"), (b"content-type", b"text/plain"), DATE, (b"x-request-id", b"71f5")]


def pairs(fields: list[tuple[bytes, bytes, int]]) -> Pairs:
    return [(name, value) for name, value, _ in fields]


def park(instance: uuid.UUID, channel: uuid.UUID) -> Pairs:
    """The head of a channel's POST."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/api/chunked/request/%s/%s" % (str(instance).encode(), str(channel).encode())),
        (b":authority", b"127.0.0.1:5003"),
        (b"content-type", b"application/octet-stream"),
        (b"x-pool-id", b"default"),
        (b"x-lambda-id", str(instance).encode()),
        (b"x-channel-id", str(channel).encode()),
    ]


def ids(start: int, count: int) -> list[uuid.UUID]:
    return [uuid.uuid5(uuid.NAMESPACE_URL, str(i)) for i in range(start, start + count)]


# What is indexed


def test_fields_move_into_the_tables_until_each_is_one_octet() -> None:
    encoder, decoder = Encoder(), Decoder()
    sizes = []
    for _ in range(3):
        block = encoder.encode_block(HEAD)
        sizes.append(len(block))
        assert pairs(decoder.decode_block(block)) == HEAD
        assert decoder.table_entries() == encoder.table_entries()
    assert sizes[0] > sizes[1] > sizes[2] == len(HEAD)


@pytest.mark.parametrize("name", [b"content-type", b"server", b"user-agent", b"x-pool-id", b":authority", b"vary"])
def test_a_field_that_hardly_ever_changes_is_indexed_at_first_sight(name: bytes) -> None:
    encoder = Encoder()
    encoder.encode_block([(name, b"value")])
    assert encoder.table_entries() == [(name, b"value")]


@pytest.mark.parametrize(
    "name", [b"date", b":path", b"etag", b"content-length", b"x-channel-id", b"x-anything", b"referer"]
)
def test_any_other_field_is_indexed_at_second_sight(name: bytes) -> None:
    encoder = Encoder()
    encoder.encode_block([(name, b"value")])
    assert encoder.table_entries() == []
    encoder.encode_block([(name, b"value")])
    assert encoder.table_entries() == [(name, b"value")]
    assert len(encoder.encode_block([(name, b"value")])) == 1


def test_values_that_never_come_again_leave_the_table_alone() -> None:
    encoder = Encoder()
    encoder.encode_block([(b"server", b"s")])
    for i in range(1000):
        encoder.encode_block([(b":path", b"/orders/%d" % i), (b"etag", b'"%x"' % i), (b"x-request-id", b"%d" % i)])
    assert encoder.table_entries() == [(b"server", b"s")]
    assert len(encoder.encode_block([(b"server", b"s")])) == 1


@pytest.mark.parametrize("channels", [1, 5, 10, 16])
def test_the_heads_of_channels_that_fit_the_table_become_one_octet_a_field(channels: int) -> None:
    encoder, (instance, *names) = Encoder(), ids(0, channels + 1)
    for _ in range(40):
        sizes = [len(encoder.encode_block(park(instance, name))) for name in names]
    assert sizes == [8] * channels


def test_more_channels_than_fit_the_table_do_not_push_each_other_out_all_the_time() -> None:
    encoder, decoder, (instance, *names) = Encoder(), Decoder(), ids(100, 41)
    first = len(Encoder().encode_block(park(instance, names[0])))
    for _ in range(20):
        sizes = []
        for name in names:
            block = encoder.encode_block(park(instance, name))
            assert pairs(decoder.decode_block(block)) == park(instance, name)
            sizes.append(len(block))
    assert sum(sizes) < 0.5 * first * len(names)


def test_a_field_of_more_than_half_the_table_is_never_indexed() -> None:
    encoder = Encoder()
    for _ in range(4):
        encoder.encode_block([(b"server", b"s" * (2048 - 32 - 6 + 1))])
    assert encoder.table_entries() == []
    encoder.encode_block([(b"server", b"s" * (2048 - 32 - 6))])
    assert len(encoder.table_entries()) == 1


@pytest.mark.parametrize("name", [b"cookie", b"set-cookie"])
def test_cookies_below_20_octets_are_never_indexed_and_longer_ones_may_be(name: bytes) -> None:
    encoder, decoder = Encoder(), Decoder()
    for _ in range(3):
        assert decoder.decode_block(encoder.encode_block([(name, b"a" * 19)])) == [(name, b"a" * 19, 1)]
    assert encoder.table_entries() == []
    for _ in range(3):
        assert decoder.decode_block(encoder.encode_block([(name, b"a" * 20)])) == [(name, b"a" * 20, 0)]
    assert encoder.table_entries() == [(name, b"a" * 20)]


def test_an_empty_secret_is_not_taken_from_the_static_table() -> None:
    assert Encoder().encode_block([(b"authorization", b"")]) == b"\x1f\x08\x00"
    assert Encoder().encode_block([(b"referer", b"")]) == b"\xb3"


def test_a_name_in_the_table_stands_for_itself_with_another_value() -> None:
    encoder, decoder = Encoder(), Decoder()
    for _ in range(2):
        decoder.decode_block(encoder.encode_block([(b"x-request-id", b"1")]))
    block = encoder.encode_block([(b"x-request-id", b"2")])
    assert len(block) == 4
    assert pairs(decoder.decode_block(block)) == [(b"x-request-id", b"2")]


def test_two_names_of_one_length_are_told_apart() -> None:
    encoder, decoder = Encoder(), Decoder()
    fields = [(b"x-a", b"1"), (b"x-b", b"1"), (b"x-c", b"1")]
    for _ in range(3):
        assert pairs(decoder.decode_block(encoder.encode_block(fields))) == fields


def test_a_hundred_names_with_one_value_are_told_apart_and_found_again_in_crowded_buckets() -> None:
    encoder, decoder = Encoder(), Decoder()
    names = [b"x-%03d" % i for i in range(100)]
    for _ in range(40):
        for name in names:
            assert pairs(decoder.decode_block(encoder.encode_block([(name, b"1")]))) == [(name, b"1")]
    sizes = sorted(len(encoder.encode_block([(name, b"1")])) for name in names)
    assert sizes == [1] * 65 + [2] * 35
    for name in names:
        block = encoder.encode_block([(name, b"2")])
        assert len(block) <= 5
        assert pairs(decoder.decode_block(block)) == [(name, b"2")]


def test_huffman_coding_is_used_only_where_it_is_shorter() -> None:
    encoder = Encoder()
    assert encoder.encode_block([(b"x-a", b"@@@@")]) == b"\x00\x03x-a\x04@@@@"
    assert encoder.encode_block([(b"x-a", b"0000000")])[5] == 0x80 | 5


# status(), lower


@pytest.mark.parametrize("status, index", [(200, 8), (204, 9), (206, 10), (304, 11), (400, 12), (404, 13), (500, 14)])
def test_the_statuses_of_the_static_table_are_one_octet(status: int, index: int) -> None:
    assert Encoder().encode_status(status) == bytes([0x80 | index])


@pytest.mark.parametrize("status", [100, 201, 409, 503, 999])
def test_any_other_status_is_one_octet_from_the_second_time(status: int) -> None:
    encoder, decoder = Encoder(), Decoder()
    for size in (5, 1, 1):
        block = encoder.encode_status(status)
        assert len(block) <= size
        assert pairs(decoder.decode_block(block)) == [(b":status", b"%d" % status)]


@pytest.mark.parametrize(
    "name", [b"Content-Type", b"X-Pool-Id", b"X-REQUEST-ID", b"[X]@Z`", b"X" * 256, b"X-" + b"Y" * 300]
)
def test_names_are_lowered_where_asked_and_found_again(name: bytes) -> None:
    encoder, decoder = Encoder(), Decoder()
    for _ in range(3):
        block = encoder.encode_block([(name, b"v")], lower=True)
        assert pairs(decoder.decode_block(block)) == [(name.lower(), b"v")]
        assert encoder.table_entries() == decoder.table_entries()
    assert len(name) > 256 or len(encoder.encode_block([(name.lower(), b"v")])) == 1


def test_a_never_indexed_field_with_a_long_name_stays_one_when_lowered() -> None:
    block = Encoder().encode_block([(b"X" * 300, b"v", 1)], lower=True)
    assert Decoder().decode_block(block) == [(b"x" * 300, b"v", 1)]


# Tokens


def test_tokens_are_set_from_the_static_table_from_names_and_from_the_dynamic_table() -> None:
    names = [b":status", b"content-type", b"date", b"x-pool-id", b"x-unknown", b"www-authenticate"]
    fields = [(name, b"v") for name in names]
    encoder, decoder = Encoder(), Decoder()
    for _ in range(3):
        block = encoder.encode_block(fields)
        assert decoder.decode_tokens(block) == [token(name) for name in names]


def test_a_literal_whose_name_is_in_the_dynamic_table_has_the_token_of_the_name() -> None:
    decoder = Decoder()
    assert decoder.decode_tokens(b"\x40\x09x-pool-id\x01a" + b"\x0f\x2f\x01b") == [token(b"x-pool-id")] * 2


@pytest.mark.parametrize("index", range(1, 62))
def test_every_static_entry_has_the_token_of_its_name(index: int) -> None:
    name, _, _ = Decoder().decode_block(bytes([0x80 | index]))[0]
    assert Decoder().decode_tokens(bytes([0x80 | index])) == [token(name)]


@pytest.mark.parametrize("index", range(1, 62))
def test_the_encoder_finds_every_static_entry(index: int) -> None:
    name, value, _ = Decoder().decode_block(bytes([0x80 | index]))[0]
    encoder = Encoder()
    if name in (b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"):
        assert encoder.encode_block([(name, b"@")]) == b"\x1f" + bytes([index - 15]) + b"\x01@"
    else:
        assert encoder.encode_block([(name, value)]) == bytes([0x80 | index])


# Limits


@pytest.mark.parametrize(
    "last, size",
    [(b"\x00\x01b\x0222", 35), (b"\x83", 7 + 4 + 32), (b"\xbe", 3 + 1 + 32)],
    ids=["literal", "static", "dynamic"],
)
def test_a_list_may_have_as_many_bytes_as_allowed_and_not_one_more(last: bytes, size: int) -> None:
    block = b"\x40\x03x-a\x011" + last
    size += 3 + 1 + 32
    assert len(Decoder(max_list_size=size).decode_block(block)) == 2
    with pytest.raises(HeaderListTooLarge, match=f"{size - 1} bytes"):
        Decoder(max_list_size=size - 1).decode_block(block)


def test_a_list_may_have_as_many_fields_as_allowed_and_not_one_more() -> None:
    assert len(Decoder(max_fields=3).decode_block(b"\x82\x86\x84")) == 3
    with pytest.raises(HeaderListTooLarge, match="2 fields"):
        Decoder(max_fields=2).decode_block(b"\x82\x86\x84")


def test_a_list_that_is_too_large_keeps_the_table_in_step() -> None:
    encoder, decoder = Encoder(), Decoder(max_list_size=200)
    big = [(b"server", b"a" * 100), (b"via", b"b" * 100), (b"x-pool-id", b"p")]
    with pytest.raises(HeaderListTooLarge):
        decoder.decode_block(encoder.encode_block(big))
    assert decoder.table_entries() == encoder.table_entries()
    assert pairs(decoder.decode_block(encoder.encode_block(big[:1]))) == big[:1]


def test_a_list_that_is_too_large_and_wrong_is_wrong() -> None:
    with pytest.raises(HpackError, match="index 0"):
        Decoder(max_fields=0).decode_block(b"\x82\x80")


def test_thousands_of_references_to_a_large_entry_are_too_large_and_nothing_more() -> None:
    decoder = Decoder()
    block = b"\x40\x01a\x7f\x81\x1e" + b"v" * (127 + 1 + 30 * 128)
    assert len(decoder.decode_block(block)) == 1
    with pytest.raises(HeaderListTooLarge):
        decoder.decode_block(b"\xbe" * 16384)
    assert len(decoder.decode_block(b"\xbe" * 16)) == 16


def test_a_list_that_is_too_large_takes_no_memory_beyond_its_limit_and_one_string() -> None:
    literal = b"\x00\x01a\x7f\xe9\x06" + b"v" * 1000
    assert Decoder(max_list_size=2000).decode_room(literal * 1000) < 10_000
    entry = b"\x40\x01a\x7f\xe9\x06" + b"v" * 1000
    assert Decoder(max_list_size=2000).decode_room(entry + b"\xbe" * 10_000) < 10_000
    assert Decoder(max_list_size=2000).decode_room(b"\x82" * 10_000) < 10_000


def test_a_header_table_of_absurd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="header table of 16777217 bytes"):
        Decoder(max_table_size=(1 << 24) + 1)


def test_a_larger_table_is_used_once_the_peer_says_so() -> None:
    decoder = Decoder(max_table_size=1 << 16, max_fields=1500)
    assert decoder.table_size == 4096
    decoder.decode_block(b"\x3f\xe1\xff\x03" + b"".join(b"\x40\x04%04d\x00" % i for i in range(1500)))
    assert decoder.table_size == 1 << 16
    assert len(decoder.table_entries()) == 1500
    assert decoder.table_entries()[0] == (b"1499", b"")


def test_the_table_goes_round_its_store_many_times_and_stays_right() -> None:
    decoder = Decoder()
    expected: Pairs = []
    for i in range(2000):
        value = b"%04d" % i * (1 + i * 7 % 31)
        size = bytes([len(value)]) if len(value) < 127 else bytes([127, len(value) - 127])
        decoder.decode_block(b"\x40\x01n" + size + value)
        expected.insert(0, (b"n", value))
        while sum(33 + len(v) for _, v in expected) > 4096:
            expected.pop()
        assert decoder.table_entries() == expected


# Loops for the benchmarks


def test_the_loops_of_the_benchmarks_do_what_they_measure() -> None:
    fields = FieldList()
    for name, value in HEAD:
        fields.append(name, value)
    encoder, decoder = Encoder(), Decoder()
    for _ in range(3):
        decoder.decode_block(encoder.encode_block(HEAD))
    block = encoder.encode_times(fields, 10)
    assert pairs(decoder.decode_block(block)) == HEAD
    assert decoder.decode_times(block, 10) == 0
