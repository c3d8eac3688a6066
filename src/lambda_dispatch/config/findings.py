"""What has been read so far: values, where they came from, and everything that is wrong with them."""

from typing import Any

from lambda_dispatch.config.options import OPTIONS
from lambda_dispatch.config.values import Kind


class Findings:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def take(self, attribute: str, kind: Kind, value: str, source: str) -> None:
        try:
            self.values[attribute] = kind.parse(value.strip())
        except ValueError:
            shown = "a value that is not shown" if OPTIONS[attribute].secret else repr(value)
            self.problems.append(f"{source} is {shown}; it must be {kind.allowed}")
        else:
            self.sources[attribute] = source

    def name_of(self, attribute: str) -> str:
        return self.sources.get(attribute, OPTIONS[attribute].variable)
