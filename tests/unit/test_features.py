"""The list of words in x-lambda-dispatch-features."""

import pytest

from lambda_dispatch.dispatch.features import features

UPGRADE, GRPC = 1, 2


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"upgrade", UPGRADE),
        (b"grpc", GRPC),
        (b"upgrade,grpc", UPGRADE | GRPC),
        (b" Upgrade ,\tteleport ", UPGRADE),
        (b"teleport, upgrade2", 0),
        (b"", 0),
        (b",,,", 0),
        (b"upgrade teleport", 0),
    ],
)
def test_known_words_are_bits_and_others_count_for_nothing(value: bytes, found: int) -> None:
    assert features([(b"x-pool-id", b"default"), (b"x-lambda-dispatch-features", value)]) == found


def test_without_the_field_there_is_no_feature() -> None:
    assert features([(b"x-lambda-dispatch-extension", b"1"), (b"upgrade", b"upgrade")]) == 0


def test_what_is_read_of_a_list_is_bounded() -> None:
    assert features([(b"x-lambda-dispatch-features", b"x," * 15 + b"upgrade")]) == UPGRADE
    assert features([(b"x-lambda-dispatch-features", b"x," * 16 + b"upgrade")]) == 0
    assert features([(b"x-lambda-dispatch-features", b" " * 256 + b"upgrade")]) == 0
