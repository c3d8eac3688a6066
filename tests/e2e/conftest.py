"""What tests of the whole router share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import image_root


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder at the same path for the test and for the router, also where that runs out of its image's root."""
    with image_root.scratch() as name:
        yield Path(name)
