"""RFC 7541, one test for each thing it requires that can be tested, in its order; then its appendix C."""

import pytest

from lambda_dispatch_testing.hpack_face import Decoder, Encoder, HpackError

Pairs = list[tuple[bytes, bytes]]

HTTP = b"\x86"  # :scheme http, static entry 6
FIRST_DYNAMIC = b"\xbe"  # index 62


def integer(value: int, prefix: int, pattern: int) -> bytes:
    """An integer of section 5.1."""
    top = (1 << prefix) - 1
    if value < top:
        return bytes([pattern | value])
    octets = [pattern | top]
    value -= top
    while value >= 128:
        octets.append(value % 128 | 128)
        value //= 128
    return bytes([*octets, value])


def text(octets: bytes) -> bytes:
    return integer(len(octets), 7, 0) + octets


def huffman(octets: bytes) -> bytes:
    return integer(len(octets), 7, 0x80) + octets


def indexed(name: bytes, value: bytes) -> bytes:
    return b"\x40" + text(name) + text(value)


def size_update(size: int) -> bytes:
    return integer(size, 5, 0x20)


def decoded(decoder: Decoder, block: bytes) -> Pairs:
    return [(name, value) for name, value, _ in decoder.decode_block(block)]


def refused(block: bytes, why: str, decoder: Decoder | None = None) -> None:
    with pytest.raises(HpackError, match=why):
        (decoder or Decoder()).decode_block(block)


# 2.2, 2.3: encoding and decoding primitives


def test_2_2_the_order_of_fields_is_kept() -> None:
    fields = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"a", b"2")]
    decoder, encoder = Decoder(), Encoder()
    for _ in range(3):
        assert decoded(decoder, encoder.encode_block(fields)) == fields


def test_2_2_each_direction_has_a_table_of_its_own() -> None:
    here, there = Decoder(), Decoder()
    here.decode_block(indexed(b"a", b"1"))
    refused(FIRST_DYNAMIC, "beyond the dynamic table", there)


def test_2_3_2_the_newest_entry_has_the_lowest_index() -> None:
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1") + indexed(b"b", b"2"))
    assert decoded(decoder, b"\xbe\xbf") == [(b"b", b"2"), (b"a", b"1")]


def test_2_3_2_duplicate_entries_are_not_an_error() -> None:
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1") + indexed(b"a", b"1"))
    assert decoder.table_entries() == [(b"a", b"1"), (b"a", b"1")]


def test_2_3_3_an_index_beyond_both_tables_is_an_error() -> None:
    refused(FIRST_DYNAMIC, "beyond the dynamic table")
    refused(integer(1000, 7, 0x80), "beyond the dynamic table")
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1"))
    refused(b"\xbf", "beyond the dynamic table", decoder)


@pytest.mark.parametrize("pattern, prefix", [(0x40, 6), (0x00, 4), (0x10, 4)])
def test_2_3_3_a_name_index_beyond_both_tables_is_an_error(pattern: int, prefix: int) -> None:
    refused(integer(62, prefix, pattern) + text(b"v"), "beyond the dynamic table")


def test_2_3_3_the_last_static_and_the_first_dynamic_index_meet_at_61_and_62() -> None:
    decoder = Decoder()
    assert decoded(decoder, b"\xbd") == [(b"www-authenticate", b"")]
    decoder.decode_block(indexed(b"a", b"1"))
    assert decoded(decoder, b"\xbe") == [(b"a", b"1")]


# 3.2, 4: the dynamic table


def test_4_1_an_entry_counts_32_bytes_more_than_its_octets() -> None:
    decoder = Decoder()
    decoder.decode_block(indexed(b"name", b"value"))
    assert decoder.table_used == 4 + 5 + 32


def test_4_1_the_size_counts_octets_before_huffman_coding() -> None:
    decoder = Decoder()
    decoder.decode_block(b"\x40" + huffman(bytes.fromhex("25a849e95ba97d7f")) + text(b""))
    assert decoder.table_used == len(b"custom-key") + 32


def test_4_2_the_table_begins_with_4096_bytes() -> None:
    decoder = Decoder()
    assert decoder.table_size == 4096
    decoder.decode_block(b"".join(indexed(b"%03d" % i, b"") for i in range(118)))
    assert len(decoder.table_entries()) == 4096 // 35


def test_4_2_a_peer_that_has_not_seen_our_smaller_setting_may_use_the_first_4096_bytes() -> None:
    decoder = Decoder(max_table_size=0)
    decoder.decode_block(indexed(b"a", b"1"))
    assert decoded(decoder, FIRST_DYNAMIC) == [(b"a", b"1")]
    assert decoded(decoder, size_update(0)) == []
    refused(FIRST_DYNAMIC, "beyond the dynamic table", decoder)


def test_4_2_a_size_update_may_begin_a_block() -> None:
    decoder = Decoder()
    assert decoded(decoder, size_update(100) + HTTP) == [(b":scheme", b"http")]
    assert decoder.table_size == 100


def test_4_2_two_size_updates_may_begin_a_block() -> None:
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1"))
    decoder.decode_block(size_update(0) + size_update(4096))
    assert decoder.table_entries() == []
    assert decoder.table_size == 4096


@pytest.mark.parametrize("field", [HTTP, indexed(b"a", b"1"), b"\x00" + text(b"a") + text(b"1")])
def test_4_2_a_size_update_after_a_field_is_an_error(field: bytes) -> None:
    refused(field + size_update(100), "not at the start")


def test_4_2_the_encoder_announces_a_smaller_table_at_the_start_of_the_next_block() -> None:
    encoder = Encoder()
    encoder.set_table_size(100)
    assert encoder.encode_block([(b":scheme", b"http")]) == size_update(100) + HTTP
    assert encoder.encode_block([(b":scheme", b"http")]) == HTTP


def test_4_2_the_encoder_announces_the_lowest_and_the_last_of_several_changes() -> None:
    encoder = Encoder()
    for size in (1000, 50, 2000, 700):
        encoder.set_table_size(size)
    assert encoder.encode_block([]) == size_update(50) + size_update(700)


def test_4_2_the_encoder_announces_one_size_where_the_lowest_is_the_last() -> None:
    encoder = Encoder()
    for size in (1000, 2000, 50):
        encoder.set_table_size(size)
    assert encoder.encode_block([]) == size_update(50)


def test_4_2_the_encoder_clears_its_table_where_the_size_went_to_0_and_back() -> None:
    encoder, decoder = Encoder(), Decoder()
    decoder.decode_block(encoder.encode_block([(b"server", b"s")]))
    encoder.set_table_size(0)
    encoder.set_table_size(4096)
    block = encoder.encode_block([])
    assert block == size_update(0) + size_update(4096)
    decoder.decode_block(block)
    assert encoder.table_entries() == decoder.table_entries() == []


def test_4_2_the_encoder_uses_no_more_than_its_own_limit_of_what_the_peer_allows() -> None:
    encoder = Encoder()
    encoder.set_table_size(65536)
    assert encoder.encode_block([(b":scheme", b"http")]) == HTTP
    assert encoder.table_size == 4096


def test_4_2_the_encoder_adds_nothing_to_a_table_of_size_0() -> None:
    encoder = Encoder()
    encoder.set_table_size(0)
    for _ in range(3):
        encoder.encode_block([(b"server", b"s"), (b"x-a", b"1")])
    assert encoder.table_entries() == []


def test_4_3_the_oldest_entries_are_evicted_when_the_size_shrinks() -> None:
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1") + indexed(b"b", b"2") + indexed(b"c", b"3"))
    decoder.decode_block(size_update(2 * 34))
    assert decoder.table_entries() == [(b"c", b"3"), (b"b", b"2")]
    decoder.decode_block(size_update(2 * 34 - 1))
    assert decoder.table_entries() == [(b"c", b"3")]


def test_4_4_the_oldest_entries_are_evicted_when_one_is_added() -> None:
    decoder = Decoder()
    decoder.decode_block(size_update(100) + indexed(b"a", b"1") + indexed(b"b", b"2"))
    decoder.decode_block(indexed(b"c", b"3"))
    assert decoder.table_entries() == [(b"c", b"3"), (b"b", b"2")]


def test_4_4_an_entry_as_large_as_the_table_fits() -> None:
    decoder = Decoder()
    decoder.decode_block(size_update(40) + indexed(b"abcd", b"1234"))
    assert decoder.table_entries() == [(b"abcd", b"1234")]


def test_4_4_an_entry_larger_than_the_table_empties_it_and_is_no_error() -> None:
    decoder = Decoder()
    block = size_update(40) + indexed(b"a", b"1") + indexed(b"abcd", b"12345")
    assert decoded(decoder, block) == [(b"a", b"1"), (b"abcd", b"12345")]
    assert decoder.table_entries() == []
    assert decoder.table_used == 0


def test_4_4_a_new_entry_may_take_its_name_from_the_entry_it_evicts() -> None:
    decoder = Decoder()
    decoder.decode_block(size_update(50) + indexed(b"name", b"1"))
    assert decoded(decoder, b"\x7e" + text(b"other")) == [(b"name", b"other")]
    assert decoder.table_entries() == [(b"name", b"other")]


# 5.1: integers


@pytest.mark.parametrize("zeros", range(4))
def test_5_1_an_integer_may_be_padded_with_a_few_zeros(zeros: int) -> None:
    block = b"\x7f\x80" + b"\x80" * zeros + b"\x00" + text(b"v")  # name index 63, as 63 + 0
    decoder = Decoder()
    decoder.decode_block(indexed(b"a", b"1") + indexed(b"b", b"2"))
    assert decoded(decoder, block) == [(b"a", b"v")]


@pytest.mark.parametrize("zeros", [5, 6, 100])
def test_5_1_an_integer_padded_with_many_zeros_is_an_error(zeros: int) -> None:
    refused(b"\xff" + b"\x80" * zeros + b"\x00", "cut short or too large")
    refused(b"\x00\x7f" + b"\x80" * zeros + b"\x00", "cut short or too large")
    refused(b"\x3f" + b"\x80" * zeros + b"\x00", "table size update")


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
def test_5_1_an_integer_of_more_than_32_bits_is_an_error(octets: bytes) -> None:
    refused(b"\xff" + octets, "cut short or too large")
    refused(b"\x40" + b"\x7f" + octets + b"a", "cut short or too large")


@pytest.mark.parametrize(
    "block", [b"\xff", b"\xff\x80", b"\x7f", b"\x0f", b"\x1f\xff", b"\x40\x7f", b"\x40\x01a\x7f\x80"]
)
def test_5_1_an_integer_that_is_cut_short_is_an_error(block: bytes) -> None:
    refused(block, "cut short or too large")


def test_5_1_a_size_update_that_is_cut_short_is_an_error() -> None:
    refused(b"\x3f", "table size update")
    refused(b"\x3f\x80", "table size update")


# 5.2: strings


@pytest.mark.parametrize("block", [b"\x40", b"\x40\x01a", b"\x00", b"\x10\x00", b"\x41"])
def test_5_2_a_block_that_ends_where_a_string_should_begin_is_an_error(block: bytes) -> None:
    refused(block, "ends where a string should begin")


@pytest.mark.parametrize("block", [b"\x40\x01", b"\x40\x02a", b"\x41\x0aabc", b"\x40\x82\x1f"])
def test_5_2_a_string_longer_than_its_block_is_an_error(block: bytes) -> None:
    refused(block, "longer than its header block")


def test_5_2_an_empty_string_may_be_huffman_coded() -> None:
    assert decoded(Decoder(), b"\x00" + text(b"a") + huffman(b"")) == [(b"a", b"")]


@pytest.mark.parametrize("padding", range(8))
def test_5_2_padding_of_up_to_7_bits_of_eos_is_accepted(padding: int) -> None:
    # octets whose codes leave `padding` bits of the last octet free
    ends = {0: b"&", 1: b":", 2: b" ", 3: b"0", 4: b"  ", 5: b"'", 6: b"!", 7: b"' "}
    bits = {b"&": "11111000", b":": "1011100", b" ": "010100", b"0": "00000", b"'": "11111111010", b"!": "1111111000"}
    code = "".join(bits[bytes([octet])] for octet in ends[padding])
    free = -len(code) % 8
    assert free == padding
    octets = int(code + "1" * free, 2).to_bytes((len(code) + free) // 8, "big")
    assert decoded(Decoder(), b"\x00" + text(b"a") + huffman(octets)) == [(b"a", ends[padding])]


@pytest.mark.parametrize(
    "octets", [b"\xff", b"\x07\xff", b"\x1f\xff", b"\x53\xff", b"\x1f\xff\xff", b"\x1f\xff\xff\xff"]
)
def test_5_2_padding_of_more_than_7_bits_is_an_error(octets: bytes) -> None:
    refused(b"\x00" + text(b"a") + huffman(octets), "EOS or wrong padding")


@pytest.mark.parametrize("octets", [b"\x18", b"\x1e", b"\x1b", b"\x00\x00\x1e", b"\xf8\x1e", b"\x00" * 10 + b"\x06"])
def test_5_2_padding_that_is_not_the_front_of_eos_is_an_error(octets: bytes) -> None:
    refused(b"\x00" + text(b"a") + huffman(octets), "EOS or wrong padding")


@pytest.mark.parametrize("before", [b"", b"\xf8", b"\xf8" * 20])
@pytest.mark.parametrize("after", [b"\xff", b"\xfc\x7f", b"\xff" * 20])
def test_5_2_a_string_that_contains_eos_is_an_error(before: bytes, after: bytes) -> None:
    octets = before + b"\xff\xff\xff" + after
    refused(b"\x00" + text(b"a") + huffman(octets), "EOS or wrong padding")
    refused(b"\x00" + huffman(octets) + text(b"a"), "EOS or wrong padding")


@pytest.mark.parametrize("octet", range(256))
def test_5_2_every_octet_goes_through_huffman_coding(octet: int) -> None:
    # the zeros around it are short enough for the coded form to be chosen
    for value in (b"0" * 40 + bytes([octet]) + b"0" * 40, b"0" * 80 + bytes([octet]), bytes([octet]) + b"0" * 81):
        block = Encoder().encode_block([(b"a", value)])
        assert len(block) < len(value)
        assert decoded(Decoder(), block) == [(b"a", value)]


# 6: representations


def test_6_1_index_0_is_an_error() -> None:
    refused(b"\x80", "index 0")


def test_6_2_1_a_literal_with_indexing_joins_the_table() -> None:
    decoder = Decoder()
    assert decoded(decoder, b"\x41" + text(b"example.com")) == [(b":authority", b"example.com")]
    assert decoder.table_entries() == [(b":authority", b"example.com")]


@pytest.mark.parametrize("pattern", [0x00, 0x10])
def test_6_2_2_a_literal_without_indexing_does_not_join_the_table(pattern: int) -> None:
    decoder = Decoder()
    assert decoded(decoder, bytes([pattern | 1]) + text(b"example.com")) == [(b":authority", b"example.com")]
    assert decoder.table_entries() == []


def test_6_2_3_a_never_indexed_literal_stays_one_when_it_is_passed_on() -> None:
    fields = Decoder().decode_block(b"\x10" + text(b"password") + text(b"secret"))
    assert fields == [(b"password", b"secret", 1)]
    encoder = Encoder()
    for _ in range(4):
        block = encoder.encode_block(fields)
        assert block[0] & 0xF0 == 0x10
        assert Decoder().decode_block(block) == fields
    assert encoder.table_entries() == []


def test_6_3_a_size_update_above_our_setting_is_an_error() -> None:
    assert Decoder(max_table_size=5000).decode_block(size_update(5000)) == []
    refused(size_update(5001), "above what SETTINGS allow", Decoder(max_table_size=5000))
    refused(size_update(1), "above what SETTINGS allow", Decoder(max_table_size=0))


@pytest.mark.parametrize("name", [b"authorization", b"proxy-authorization", b"x-lambda-dispatch-secret", b"cookie"])
def test_7_1_3_secrets_are_never_indexed(name: bytes) -> None:
    encoder = Encoder()
    for _ in range(4):
        block = encoder.encode_block([(name, b"c2VjcmV0")])
        assert Decoder().decode_block(block) == [(name, b"c2VjcmV0", 1)]
    assert encoder.table_entries() == []


# Appendix C


def test_c_1_1_10_with_a_5_bit_prefix_is_one_octet() -> None:
    encoder = Encoder()
    encoder.set_table_size(10)
    assert encoder.encode_block([]) == bytes([0b00101010])
    decoder = Decoder()
    decoder.decode_block(bytes([0b00101010]))
    assert decoder.table_size == 10


def test_c_1_2_1337_with_a_5_bit_prefix_is_three_octets() -> None:
    octets = bytes([0b00111111, 0b10011010, 0b00001010])
    encoder = Encoder()
    encoder.set_table_size(1337)
    assert encoder.encode_block([]) == octets
    decoder = Decoder()
    decoder.decode_block(octets)
    assert decoder.table_size == 1337


def test_c_2_1_literal_with_indexing() -> None:
    decoder = Decoder()
    block = bytes.fromhex("400a637573746f6d2d6b65790d637573746f6d2d686561646572")
    assert decoder.decode_block(block) == [(b"custom-key", b"custom-header", 0)]
    assert decoder.table_entries() == [(b"custom-key", b"custom-header")]
    assert decoder.table_used == 55


def test_c_2_2_literal_without_indexing() -> None:
    decoder = Decoder()
    assert decoder.decode_block(bytes.fromhex("040c2f73616d706c652f70617468")) == [(b":path", b"/sample/path", 0)]
    assert decoder.table_entries() == []


def test_c_2_3_literal_never_indexed() -> None:
    decoder = Decoder()
    assert decoder.decode_block(bytes.fromhex("100870617373776f726406736563726574")) == [(b"password", b"secret", 1)]
    assert decoder.table_entries() == []


def test_c_2_4_indexed_field() -> None:
    decoder = Decoder()
    assert decoder.decode_block(b"\x82") == [(b":method", b"GET", 0)]
    assert decoder.table_entries() == []


REQUEST: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
REQUESTS = [
    (REQUEST, [(b":authority", b"www.example.com")], 57),
    (
        [*REQUEST, (b"cache-control", b"no-cache")],
        [(b"cache-control", b"no-cache"), (b":authority", b"www.example.com")],
        110,
    ),
    (
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", b"/index.html"),
            (b":authority", b"www.example.com"),
            (b"custom-key", b"custom-value"),
        ],
        [(b"custom-key", b"custom-value"), (b"cache-control", b"no-cache"), (b":authority", b"www.example.com")],
        164,
    ),
]


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            id="C.3 without Huffman coding",
        ),
        pytest.param(
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            id="C.4 with Huffman coding",
        ),
    ],
)
def test_c_3_and_c_4_three_requests_on_one_connection(blocks: list[str]) -> None:
    decoder = Decoder()
    for block, (fields, table, used) in zip(blocks, REQUESTS, strict=True):
        assert decoded(decoder, bytes.fromhex(block)) == fields
        assert decoder.table_entries() == table
        assert decoder.table_used == used


PRIVATE = (b"cache-control", b"private")
LOCATION = (b"location", b"https://www.example.com")
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
GZIP = (b"content-encoding", b"gzip")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
RESPONSES = [
    (
        [(b":status", b"302"), PRIVATE, DATE_21, LOCATION],
        [LOCATION, DATE_21, PRIVATE, (b":status", b"302")],
        222,
    ),
    (
        [(b":status", b"307"), PRIVATE, DATE_21, LOCATION],
        [(b":status", b"307"), LOCATION, DATE_21, PRIVATE],
        222,
    ),
    ([(b":status", b"200"), PRIVATE, DATE_22, LOCATION, GZIP, COOKIE], [COOKIE, GZIP, DATE_22], 215),
]


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
                "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20"
                "76657273696f6e3d31",
            ],
            id="C.5 without Huffman coding",
        ),
        pytest.param(
            [
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
                "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af"
                "27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
            id="C.6 with Huffman coding",
        ),
    ],
)
def test_c_5_and_c_6_three_responses_with_a_table_of_256_bytes(blocks: list[str]) -> None:
    decoder = Decoder()
    decoder.decode_block(size_update(256))
    for block, (fields, table, used) in zip(blocks, RESPONSES, strict=True):
        assert decoded(decoder, bytes.fromhex(block)) == fields
        assert decoder.table_entries() == table
        assert decoder.table_used == used
