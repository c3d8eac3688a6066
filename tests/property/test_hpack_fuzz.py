"""One second of the HPACK fuzzer; longer: python -m tests.support.fuzz_hpack SECONDS."""

import random

from tests.support.fuzz_hpack import run


def test_a_second_of_spoilt_header_blocks_breaks_nothing() -> None:
    assert run(1.0, random.randrange(1 << 32)) > 0
