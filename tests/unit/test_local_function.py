"""Names, settings and knobs of the embedded Lambda."""

from random import Random
from typing import Any

import pytest

from lambda_dispatch.local.function import Function, FunctionConfigError, parse_function_name
from lambda_dispatch.local.knobs import Delay, KnobError, Knobs
from lambda_dispatch.local.service.service_error import ServiceError


@pytest.mark.parametrize(
    ("given", "qualifier", "parsed"),
    [
        ("f", None, ("f", None)),
        ("f:live", None, ("f", "live")),
        ("f", "live", ("f", "live")),
        ("f:live", "live", ("f", "live")),
        ("f%3Alive", None, ("f", "live")),
        ("f:$LATEST", None, ("f", "$LATEST")),
        ("123456789012:function:f", None, ("f", None)),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", None, ("f", None)),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f:5", None, ("f", "5")),
        ("arn%3Aaws-cn%3Alambda%3Acn-north-1%3A123456789012%3Afunction%3Af", None, ("f", None)),
        ("arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f:live", None, ("f", "live")),
    ],
)
def test_every_form_of_a_function_name_is_understood(
    given: str, qualifier: str | None, parsed: tuple[str, str | None]
) -> None:
    assert parse_function_name(given, qualifier) == parsed


@pytest.mark.parametrize("given", ["", "a b", "a/b", "f:", "f:live:more", "x" * 65, "arn:aws:sqs:eu-west-1:1:f", "ä"])
def test_what_is_no_function_name_is_a_validation_error(given: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_function_name(given, None)
    assert caught.value.kind == "ValidationException"
    assert "functionName" in caught.value.message


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"name": "a b"}, "'a b'"),
        ({"command": ()}, "no command"),
        ({"runtime": "python3.12"}, "python3.12"),
        ({"timeout": 901}, "901"),
        ({"timeout": 0}, "timeout 0"),
        ({"memory": 64}, "64"),
        ({"init_timeout": 0}, "init timeout"),
        ({"concurrency": -1}, "-1"),
        ({"environment": {"AWS_LAMBDA_RUNTIME_API": "x"}}, "AWS_LAMBDA_RUNTIME_API"),
        ({"aliases": {"a b": "1"}}, "'a b'"),
    ],
)
def test_a_function_that_cannot_be_says_which_setting(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(FunctionConfigError, match=said):
        Function(**{"name": "f", "command": ("x",), **setting})


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2.5", 2.5, 2.5),
        ("uniform:2-4", 2, 4),
        ("normal:3,0.5", 0, 6),
        ("lognormal:2,0.4", 0.2, 20),
        ("normal:0,5", 0, 60),
    ],
)
def test_delays_are_drawn_from_what_they_say(text: str, low: float, high: float) -> None:
    delay, source = Delay.parse(text), Random(1)
    drawn = [delay.draw(source) for _ in range(200)]
    assert low <= min(drawn) and max(drawn) <= high
    assert (len(set(drawn)) == 1) == (":" not in text)


@pytest.mark.parametrize(
    "text", ["", "fast", "uniform:4-2", "uniform:1", "normal:1", "lognormal:0,1", "-1", "601", "nan", "poisson:3"]
)
def test_a_delay_that_is_none_says_what_there_is(text: str) -> None:
    with pytest.raises(KnobError, match="uniform:2-4"):
        Delay.parse(text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("crash_rate", 1.5, "between 0 and 1"),
        ("throttle_rate", "x", "between 0 and 1"),
        ("concurrency", "1_0", "whole number"),
        ("burst", 0, "at least 1"),
        ("idle_timeout", "nan", "seconds"),
        ("freeze", "maybe", "on or off"),
        ("warp", 9, "there are: cold_start"),
    ],
)
def test_a_knob_refuses_what_it_cannot_take(name: str, value: object, said: str) -> None:
    with pytest.raises(KnobError, match=said):
        Knobs().set(name, value)


def test_knobs_say_what_they_are_set_to() -> None:
    knobs = Knobs()
    for name, value in knobs.as_dict().items():
        knobs.set(name, value)
    knobs.set("freeze", "off")
    assert knobs.as_dict()["freeze"] is False
