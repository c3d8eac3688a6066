"""Our HPACK against python-hyper's, both ways: the same lists, the same tables, the same blocks refused."""

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_dispatch_testing.hpack_face import Decoder, Encoder, HpackError

Pairs = list[tuple[bytes, bytes]]

NO_LIMIT = 1 << 30

# A busy machine makes single examples slow; the per-test timeout is limit enough.
patiently = settings(deadline=None)

# Names from a small set, so that they meet again; known, static, secret and foreign ones among them.
NAMES = st.sampled_from(
    [b":status", b":path", b"date", b"cookie", b"set-cookie", b"authorization", b"x-lambda-id", b"accept-language"]
    + [b"content-length", b"x-a", b"x-b", b"x-" + b"n" * 300, b""]
)
# Values: repeated ones, ordinary text, any octets, and some that fill or burst a table.
VALUES = st.one_of(
    st.sampled_from([b"", b"1", b"200", b"gzip, deflate", b"a-value-longer-than-twenty-octets"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-/=;, ", max_size=60).map(str.encode),
    st.binary(max_size=40),
    st.builds(lambda octet, n: bytes([octet]) * n, st.integers(0, 255), st.sampled_from([500, 2000, 2040, 4100])),
)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
# None: the next block; a number: the table's size changes.
SIZES = st.one_of(st.none(), st.sampled_from([0, 1, 40, 100, 300, 4000, 4096, 65536]))
SCRIPTS = st.lists(st.tuples(SIZES, LISTS), min_size=1, max_size=8)


def ours(decoder: Decoder, block: bytes) -> Pairs:
    return [(name, value) for name, value, _ in decoder.decode_block(block)]


def oracle() -> hpack.Decoder:
    return hpack.Decoder(max_header_list_size=NO_LIMIT)


def theirs(decoder: hpack.Decoder, block: bytes) -> Pairs:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


def their_table(coder: hpack.Decoder | hpack.Encoder) -> Pairs:
    return [(bytes(name), bytes(value)) for name, value in coder.header_table.dynamic_entries]


def our_decoder(max_table_size: int = 4096) -> Decoder:
    return Decoder(max_table_size, max_list_size=NO_LIMIT, max_fields=NO_LIMIT)


@patiently
@given(SCRIPTS)
def test_what_we_encode_both_decode_to_the_same_fields_and_tables(script: list[tuple[int | None, Pairs]]) -> None:
    encoder, decoder, other = Encoder(), our_decoder(), oracle()
    for size, fields in script:
        if size is not None:
            encoder.set_table_size(size)
        block = encoder.encode_block(fields)
        assert ours(decoder, block) == fields
        assert theirs(other, block) == fields
        assert encoder.table_entries() == decoder.table_entries() == their_table(other)


@patiently
@given(SCRIPTS, st.booleans())
def test_what_python_hyper_encodes_we_decode_to_the_same_table(
    script: list[tuple[int | None, Pairs]], huffman: bool
) -> None:
    encoder, decoder = hpack.Encoder(), our_decoder(65536)
    for size, fields in script:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        assert ours(decoder, block) == fields
        assert decoder.table_entries() == their_table(encoder)


@patiently
@given(SCRIPTS)
def test_our_blocks_are_never_larger_than_plain_literals(script: list[tuple[int | None, Pairs]]) -> None:
    encoder = Encoder()
    for _, fields in script:
        plain = sum(len(name) + len(value) + 7 for name, value in fields)
        assert len(encoder.encode_block(fields)) <= plain


def integers_are_short(block: bytes) -> bool:
    """False where an integer may have more than five octets after its prefix: we refuse that, python-hyper later."""
    run = 0
    for octet in block:
        run = run + 1 if octet >= 0x80 else 0
        if run >= 5:
            return False
    return True


def agree(blocks: list[bytes]) -> None:
    """Feeds the blocks to both; they accept the same ones, up to the first that is refused, and read the same."""
    decoder, other = our_decoder(), oracle()
    for block in blocks:
        try:
            expected = theirs(other, block)
        except hpack.HPACKError:
            try:
                ours(decoder, block)
            except HpackError:
                return
            raise AssertionError("we accept what python-hyper refuses") from None
        try:
            assert ours(decoder, block) == expected
        except HpackError as error:
            # the one thing we are stricter in (RFC 7541 5.1: limits on value and octet length)
            assert "cut short or too large" in str(error) or "table size update" in str(error)
            assert not integers_are_short(block)
            return
        assert decoder.table_entries() == their_table(other)


@st.composite
def mutated(draw: st.DrawFn) -> list[bytes]:
    encoder = hpack.Encoder()
    encoder.header_table_size = draw(st.sampled_from([4096, 4096, 100, 0]))
    blocks = [
        bytearray(encoder.encode(fields, huffman=draw(st.booleans())))
        for fields in draw(st.lists(LISTS, min_size=1, max_size=4))
    ]
    for _ in range(draw(st.integers(1, 3))):
        block = draw(st.sampled_from(blocks))
        at = draw(st.integers(0, len(block)))
        match draw(st.sampled_from(["replace", "insert", "cut", "flip"])):
            case "insert":
                block[at:at] = draw(st.binary(min_size=1, max_size=6))
            case "cut":
                del block[at : at + draw(st.integers(1, 4))]
            case "replace":
                block[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "flip" if at < len(block):
                block[at] ^= 1 << draw(st.integers(0, 7))
    return [bytes(block) for block in blocks]


@patiently
@given(mutated())
def test_spoilt_blocks_are_read_alike_or_refused_by_both(blocks: list[bytes]) -> None:
    agree(blocks)


@patiently
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_blocks_are_read_alike_or_refused_by_both(blocks: list[bytes]) -> None:
    agree(blocks)


# Single strings, so that Huffman coding is reached more often than by chance.
@patiently
@given(st.binary(max_size=40))
def test_random_huffman_strings_are_read_alike_or_refused_by_both(octets: bytes) -> None:
    agree([b"\x00\x01a" + bytes([0x80 | len(octets)]) + octets])


# Few zeros in the octets: long codes, and eos.
@patiently
@given(st.lists(st.sampled_from([0xFF, 0xFE, 0xFC, 0xF8, 0xF0, 0xE0, 0x7F, 0x3F, 0x1F, 0xEA]), max_size=30).map(bytes))
def test_long_huffman_codes_are_read_alike_or_refused_by_both(octets: bytes) -> None:
    agree([b"\x00\x01a" + bytes([0x80 | len(octets)]) + octets])
