import json

import pytest

from lambda_dispatch.scaler.guard import Outcome
from lambda_dispatch.scaler.lambda_api import Reply
from lambda_dispatch.scaler.verdict import EXIT_NAMES, Exit, exit_of, outcome_of


def reply(status: int = 200, function_error: str = "", error_type: str = "", payload: object = None) -> Reply:
    return Reply(status, function_error, error_type, json.dumps(payload).encode())


@pytest.mark.parametrize("name", EXIT_NAMES[:14])
def test_every_exit_reason_of_the_protocol_is_read(name: str) -> None:
    ended = exit_of(reply(payload={"ExitReason": name, "RequestCount": 7}))
    assert (ended.name, ended.requests) == (name, 7)
    assert EXIT_NAMES[ended.number - 1] == name


@pytest.mark.parametrize(
    ("answer", "name", "detail"),
    [
        (reply(429, error_type="TooManyRequestsException"), "Throttled", "TooManyRequestsException"),
        (reply(404, error_type="ResourceNotFoundException"), "Refused", "ResourceNotFoundException"),
        (reply(403), "Refused", "status 403"),
        (reply(302), "Refused", "status 302"),
        (reply(500, error_type="ServiceException"), "ServiceError", "ServiceException"),
        (reply(200, "Unhandled", payload={"errorType": "Runtime.ExitError"}), "FunctionError", "Runtime.ExitError"),
        (reply(200, "Unhandled", payload=["what"]), "FunctionError", "Unhandled"),
        (reply(200, payload="hello"), "Unknown", ""),
        (reply(200, payload={"ExitReason": 5, "RequestCount": "many"}), "Unknown", ""),
        (Reply(200, "", "", b"\xff not json"), "Unknown", ""),
        (Reply(200, "", "", b"[" * 60000), "Unknown", ""),
    ],
)
def test_ends_that_no_extension_reports(answer: Reply, name: str, detail: str) -> None:
    ended = exit_of(answer)
    assert (ended.name, ended.detail) == (name, detail)


@pytest.mark.parametrize(
    ("name", "requests", "opened", "proved", "asked", "expected"),
    [
        ("Throttled", 0, False, False, False, Outcome.THROTTLED),
        ("Refused", 0, False, False, False, Outcome.REFUSED),
        ("NotSent", 0, False, False, False, Outcome.SERVICE),
        ("Lost", 0, False, False, True, Outcome.SERVICE),
        ("FunctionError", 0, False, False, False, Outcome.FUNCTION_ERROR),
        ("FunctionError", 0, True, True, False, Outcome.FUNCTION_ERROR),
        # The request that it died of is among those counted.
        ("FunctionError", 1, True, True, False, Outcome.FUNCTION_ERROR),
        ("FunctionError", 9, True, False, False, Outcome.FUNCTION_ERROR),
        ("FunctionError", 9, True, True, False, Outcome.NEUTRAL),
        ("FunctionError", 10, True, False, False, Outcome.NEUTRAL),
        ("AppConnectionError", 0, True, False, False, Outcome.FUNCTION_ERROR),
        ("AppConnectionError", 1, True, False, False, Outcome.NEUTRAL),
        ("RouterUnreachable", 0, False, False, False, Outcome.UNREACHABLE),
        ("RouterConnectionError", 0, True, False, False, Outcome.UNREACHABLE),
        ("RouterConnectionError", 5, True, False, False, Outcome.NEUTRAL),
        ("RouterConnectionError", 5, True, True, False, Outcome.NEUTRAL),
        ("RouterConnectionError", 0, True, False, True, Outcome.NEUTRAL),
        ("SelfDeadline", 9, True, True, False, Outcome.GOOD),
        ("SelfLastActive", 1, True, False, False, Outcome.GOOD),
        ("SelfLastActive", 0, True, False, False, Outcome.NEUTRAL),
        ("RouterGoAway", 0, False, False, True, Outcome.NEUTRAL),
        ("RouterGoAway", 0, False, False, False, Outcome.NOT_OPENED),
        ("SelfStaleRequest", 0, False, False, False, Outcome.NOT_OPENED),
        ("RouterLambdaInvokeInvalid", 0, False, False, False, Outcome.NOT_OPENED),
        ("Unknown", 0, False, False, False, Outcome.NOT_OPENED),
        ("Unknown", 0, True, False, False, Outcome.NEUTRAL),
    ],
)
def test_what_an_end_says_about_the_next_start(
    name: str, requests: int, opened: bool, proved: bool, asked: bool, expected: Outcome
) -> None:
    assert outcome_of(Exit(name, requests), opened=opened, proved=proved, asked=asked, lived=60) is expected


def test_a_life_that_the_functions_timeout_cuts_short_is_a_failed_start() -> None:
    """With a timeout of a few seconds each instance leaves as it comes; a new one for each would never end."""
    for requests in (0, 3):
        ended = Exit("SelfDeadline", requests)
        assert outcome_of(ended, opened=True, proved=True, asked=False, lived=0.2) is Outcome.SHORT_LIFE
    assert outcome_of(Exit("SelfDeadline"), opened=True, proved=True, asked=True, lived=0.2) is Outcome.NEUTRAL


def timed_out(seconds: str) -> Exit:
    text = f"2026-01-01T00:00:00Z 1b2c Task timed out after {seconds} seconds"
    return exit_of(reply(200, "Unhandled", payload={"errorType": "Sandbox.Timedout", "errorMessage": text}))


def test_a_function_timeout_is_read_from_lambdas_answer() -> None:
    assert timed_out("3.00").timeout == 3.0
    assert timed_out("many").timeout is None
    assert exit_of(reply(200, "Unhandled", payload={"errorMessage": 3})).timeout is None


def test_a_short_function_timeout_is_a_failed_start_and_a_long_one_is_not() -> None:
    for opened in (True, False):
        assert outcome_of(timed_out("3.00"), opened=opened, proved=True, asked=False, lived=3) is Outcome.SHORT_LIFE
    assert outcome_of(timed_out("900.00"), opened=True, proved=True, asked=False, lived=899) is Outcome.NEUTRAL
    assert outcome_of(timed_out("30.00"), opened=False, proved=False, asked=False, lived=30) is Outcome.FUNCTION_ERROR
