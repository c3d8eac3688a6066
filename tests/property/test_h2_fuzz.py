"""A second of what benchmarks and nights run for longer."""

from tests.support import fuzz_h2


def test_random_frames_break_nothing() -> None:
    assert fuzz_h2.run(1.0, seed=20_000) > 10
