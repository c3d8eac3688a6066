"""The exit reasons and their order."""

import uuid
from itertools import combinations

import pytest

from lambda_dispatch_extension import exits
from lambda_dispatch_extension.invoke import random_uuid


def test_the_order_is_the_one_of_the_protocol() -> None:
    assert exits.WORST_FIRST == (
        "RouterLambdaInvokeInvalid",
        "RouterUnreachable",
        "RouterConnectionError",
        "ChannelErrorOther",
        "AppConnectionError",
        "AppConnectionClosed",
        "RouterStatus5xx",
        "RouterStatus4xx",
        "RouterStatusOther",
        "RouterGoAway",
        "SelfLastActive",
        "SelfDeadline",
        "SelfStaleRequest",
        "SelfInitOnly",
    )


def test_of_several_reasons_the_worst_wins_in_any_order() -> None:
    for better, worse in combinations(reversed(exits.WORST_FIRST), 2):
        assert exits.worst([better, worse]) == exits.worst([worse, better]) == worse


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "RouterStatus4xx"), (499, "RouterStatus4xx"), (503, "RouterStatus5xx"), (302, "RouterStatusOther")],
)
def test_a_status_of_the_router_has_its_reason(status: int, reason: str) -> None:
    assert exits.of_status(status) == reason


def test_a_channels_id_is_a_random_uuid() -> None:
    made = [uuid.UUID(random_uuid()) for _ in range(200)]
    assert {(one.version, one.variant) for one in made} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == 200
