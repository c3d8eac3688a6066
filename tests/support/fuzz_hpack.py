"""Random and spoilt header blocks for the HPACK decoder:  python -m tests.support.fuzz_hpack [SECONDS [SEED]]

No oracle, only what must hold whatever comes: nothing crashes, the table's account is right and within its limit, no
more fields than allowed come out, and a decoder that drops lists for their size keeps its table as one that does not.
"""

import random
import sys
import time

from lambda_dispatch_testing.hpack_face import Decoder, Encoder, HeaderListTooLarge, HpackError

ENTRY_OVERHEAD = 32
BLOCKS_PER_CONNECTION = 12

NAMES = [b":path", b":status", b"cookie", b"date", b"server", b"x-a", b"x-request-id", b""]


def random_list(rng: random.Random) -> list[tuple[bytes, bytes]]:
    def value() -> bytes:
        if rng.random() < 0.5:
            return b"v%d" % rng.randrange(8)
        return rng.randbytes(rng.choice([0, 3, 20, 20, 60, 300, 1900]))

    return [(rng.choice(NAMES), value()) for _ in range(rng.randrange(10))]


def spoil(rng: random.Random, block: bytes) -> bytes:
    spoilt = bytearray(block)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(spoilt) + 1)
        match rng.randrange(5):
            case 0:
                spoilt[at : at + 1] = rng.randbytes(1)
            case 1:
                spoilt[at:at] = rng.randbytes(rng.randrange(1, 6))
            case 2:
                del spoilt[at : at + rng.randrange(1, 6)]
            case 3:
                spoilt[at:at] = rng.choice(
                    [b"\xff", b"\x7f", b"\x3f\xe1\x1f", b"\x20", b"\xbe", b"\xff\x80\x80\x80\x00"]
                )
            case _:
                other = rng.randrange(len(spoilt) + 1)
                spoilt[at:at] = spoilt[other : other + rng.randrange(40)]
    return bytes(spoilt)


def check(decoder: Decoder) -> None:
    entries = decoder.table_entries()
    used = sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in entries)
    assert decoder.table_used == used <= decoder.table_size <= max(4096, decoder.max_table_size)


def one_connection(rng: random.Random) -> int:
    table = rng.choice([0, 100, 4096, 4096, 10000])
    wide = Decoder(table, max_list_size=1 << 30, max_fields=1 << 30)
    narrow = Decoder(table, max_list_size=rng.choice([0, 100, 1000]), max_fields=rng.choice([0, 3, 30]))
    encoder = Encoder()
    encoder.set_table_size(table)
    for cases in range(1, BLOCKS_PER_CONNECTION + 1):
        match rng.randrange(3):
            case 0:
                block = rng.randbytes(rng.randrange(80))
            case 1:
                block = encoder.encode_block(random_list(rng))
            case _:
                block = spoil(rng, encoder.encode_block(random_list(rng)))
        fields = dropped = None
        try:
            fields = wide.decode_block(block)
        except HpackError:
            pass
        try:
            kept = narrow.decode_block(block)
            assert kept == fields
            assert len(kept) <= narrow.max_fields
            assert sum(len(n) + len(v) + ENTRY_OVERHEAD for n, v, _ in kept) <= narrow.max_list_size
        except HeaderListTooLarge:
            dropped = True
        except HpackError:
            assert fields is None
        check(wide)
        check(narrow)
        assert wide.table_entries() == narrow.table_entries()
        if fields is None:
            assert not dropped
            return cases
    return BLOCKS_PER_CONNECTION


def run(seconds: float, seed: int) -> int:
    """Feeds blocks for that long; returns how many. A failure names the seed of its connection."""
    until = time.monotonic() + seconds
    cases = 0
    while time.monotonic() < until:
        try:
            cases += one_connection(random.Random(seed))
        except BaseException as error:
            error.add_note(f"fuzz_hpack: seed {seed}")
            raise
        seed += 1
    return cases


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {seed}: {run(seconds, seed)} header blocks")
