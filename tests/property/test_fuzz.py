"""A second of random input for each decoder; python -m tests.support.fuzz gives them more."""

import pytest

from tests.support.fuzz import decoders, run


@pytest.mark.parametrize("name", decoders())
def test_random_input_breaks_nothing(name: str) -> None:
    assert run(name, 1.0, 1) > 0
