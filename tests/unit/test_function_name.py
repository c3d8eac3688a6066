import pytest

from lambda_dispatch.function_name import FunctionName, parse

ARN = "arn:aws:lambda:us-east-2:123456789012:function:app"


@pytest.mark.parametrize(
    ("text", "name", "qualifier"),
    [
        ("app", "app", None),
        ("a" * 64, "a" * 64, None),
        ("my_app-1:live", "my_app-1", "live"),
        ("app:$LATEST", "app", "$LATEST"),
        ("app:7", "app", "7"),
        (ARN, ARN, None),
        (ARN + ":live", ARN, "live"),
        (ARN + ":$LATEST", ARN, "$LATEST"),
        (ARN.replace("aws", "aws-cn", 1), ARN.replace("aws", "aws-cn", 1), None),
        (ARN.replace("aws", "aws-us-gov", 1) + ":2", ARN.replace("aws", "aws-us-gov", 1), "2"),
    ],
)
def test_a_name_is_split_from_its_qualifier(text: str, name: str, qualifier: str | None) -> None:
    assert parse(text) == FunctionName(name, qualifier)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "a" * 65, "two words", "app:", ":live", "app:a:b", "app\n", "app:live\n", "app:$latest", "café"]
    + [ARN + ":", ARN + ":a:b", ARN.replace("123456789012", "12345678901"), ARN.replace("lambda", "s3"), ARN + "\n"],
)
def test_anything_else_names_no_function(text: str) -> None:
    assert parse(text) is None
