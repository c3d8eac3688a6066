import pytest

from lambda_dispatch.scaler import capacity


@pytest.mark.parametrize(
    ("max_concurrent", "multiplier", "pending", "running", "expected"),
    [
        (10, 2, 0, 0, 0),
        (10, 2, 1, 1, 1),
        (1, 1, 1, 1, 2),
        (10, 5, 2, 2, 2),
        (20, 10, 5, 2, 2),
        (10, 2, 100, 2, 7),
        (20, 4, 1000, 110, 57),
        (10, 1, 10000, 0, 600),
        (10, 2, -5, -1, 0),
        (10, 2, -5, 1, 1),
    ],
)
def test_simple_is_the_originals(
    max_concurrent: int, multiplier: int, pending: int, running: int, expected: int
) -> None:
    assert capacity.simple(max_concurrent, multiplier, pending, running) == expected


@pytest.mark.parametrize(
    ("max_concurrent", "multiplier", "per_second", "mean_ms", "expected"),
    [
        (10, 2, 0, 0, 0),
        (10, 2, 1, 0, 1),
        (10, 2, 1, 1500, 1),
        (10, 2, 1, 59500, 15),
        (10, 2, 3000, 21, 16),
        (10, 2, 3000, 6, 5),
        (20, 4, 1000, 100, 24),
    ],
)
def test_ewma_is_the_originals(
    max_concurrent: int, multiplier: int, per_second: float, mean_ms: float, expected: int
) -> None:
    assert capacity.ewma(max_concurrent, multiplier, per_second, mean_ms) == expected


def test_ewma_does_not_move_by_one_downwards() -> None:
    assert capacity.ewma(10, 2, 3000, 21, current=17) == 17
    assert capacity.ewma(10, 2, 3000, 21, current=18) == 16
    assert capacity.ewma(10, 2, 3000, 21, current=15) == 16


@pytest.mark.parametrize(
    ("proposed", "current", "max_step", "out_ratio", "in_ratio", "expected"),
    [
        (0, 0, 0, 0.33, 0.33, 0),
        (10, 2, 0, 0.33, 0.33, 3),
        (10, 2, 5, 0.33, 0.33, 7),
        (10, 2, 1, 0.33, 0.33, 3),
        (20, 10, 5, 0.33, 0.33, 15),
        (13, 3, 5, 1.0, 0.33, 8),
        (2, 10, 0, 0.33, 0.33, 6),
        (13, 30, 5, 0.33, 0.33, 20),
        (0, 400, 5, 0.33, 0.33, 0),
        (0, 1, 5, 0.33, 0.33, 0),
        (10, 2, 100, 0.33, 0.33, 10),
        (7, 7, 5, 0.33, 0.33, 7),
    ],
)
def test_a_step_is_limited_as_the_originals(
    proposed: int, current: int, max_step: int, out_ratio: float, in_ratio: float, expected: int
) -> None:
    assert capacity.limit_step(proposed, current, max_step, out_ratio, in_ratio) == expected
