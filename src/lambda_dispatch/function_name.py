"""Names of Lambda functions: `name`, `name:qualifier`, or a full ARN with or without a qualifier, of any partition."""

import re
from typing import NamedTuple

_NAME = r"[A-Za-z0-9_-]{1,64}"
_QUALIFIER = r"[A-Za-z0-9_-]{1,128}|\$LATEST"
_PLAIN = re.compile(rf"({_NAME})(?::({_QUALIFIER}))?")
_ARN = re.compile(rf"(arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{{12}}:function:{_NAME})(?::({_QUALIFIER}))?")


class FunctionName(NamedTuple):
    """The two arguments of an invoke: a name or an ARN without its qualifier, and the qualifier."""

    name: str
    qualifier: str | None

    def __str__(self) -> str:
        return self.name if self.qualifier is None else f"{self.name}:{self.qualifier}"


def parse(text: str) -> FunctionName | None:
    """None when the text names no function."""
    match = _PLAIN.fullmatch(text) or _ARN.fullmatch(text)
    return FunctionName(match[1], match[2]) if match else None
