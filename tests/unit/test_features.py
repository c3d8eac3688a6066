"""The list of words in x-lambda-dispatch-features."""

import pytest

from lambda_dispatch.dispatch.features import features

UPGRADE, TRAILERS, HINTS = 1, 2, 4


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"upgrade", UPGRADE),
        (b"upgrade,trailers,hints", UPGRADE | TRAILERS | HINTS),
        (b" Upgrade ,\ttrailers ", UPGRADE | TRAILERS),
        (b"teleport, hints, upgrade2", HINTS),
        (b"", 0),
        (b",,,", 0),
        (b"upgrade trailers", 0),
    ],
)
def test_known_words_are_bits_and_others_count_for_nothing(value: bytes, found: int) -> None:
    assert features([(b"x-pool-id", b"default"), (b"x-lambda-dispatch-features", value)]) == found


def test_without_the_field_there_is_no_feature() -> None:
    assert features([(b"x-lambda-dispatch-extension", b"1"), (b"upgrade", b"upgrade")]) == 0


def test_what_is_read_of_a_list_is_bounded() -> None:
    assert features([(b"x-lambda-dispatch-features", b"x," * 15 + b"hints")]) == HINTS
    assert features([(b"x-lambda-dispatch-features", b"x," * 16 + b"hints")]) == 0
    assert features([(b"x-lambda-dispatch-features", b" " * 256 + b"hints")]) == 0
