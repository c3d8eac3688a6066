"""What is in effect and where it came from: for --check, --print-config and the admin port. Secrets are masked."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from lambda_dispatch.config.options import OPTIONS, Option, RouterConfig, default_of, flag_of

MASK = "***"


class Effective(NamedTuple):
    option: Option
    flag: str
    value: Any  # MASK for a secret that is set
    source: str


def effective(config: RouterConfig) -> Iterator[Effective]:
    for attribute, option in OPTIONS.items():
        value = str(config.function) if attribute == "function_name" else getattr(config, attribute)
        shown = MASK if option.secret and value else option.kind.written(value)
        yield Effective(option, flag_of(attribute), shown, config.sources.get(attribute, "default"))


def document(config: RouterConfig) -> dict[str, Any]:
    """By option: value and source."""
    return {each.option.name: {"value": each.value, "source": each.source} for each in effective(config)}


def table(config: RouterConfig) -> str:
    """One aligned line per option: variable, flag, value, source."""
    rows = [(each.option.variable, each.flag, show(each.value), each.source) for each in effective(config)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join((*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3])) for row in rows)


def toml(config: RouterConfig) -> str:
    """A file that --config takes, with the source of each value. What it cannot say stands in it as a comment."""
    lines = []
    for option, _, value, source in effective(config):
        line = f"{option.name} = {_toml(value)}"
        takes = option.name != "Config" and value != MASK and (value != "" or default_of_option(option) == "")
        lines.append((line if takes else f"# {line}", source))
    width = max(len(line) for line, _ in lines if len(line) <= 60)
    return "\n".join(f"{line.ljust(width)}  # {source}" for line, source in lines)


def default_of_option(option: Option) -> Any:
    return next(default_of(attribute) for attribute, each in OPTIONS.items() if each is option)


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if not isinstance(value, str):
        return show(value)
    # JSON's escapes are TOML's, too.
    return json.dumps(value, ensure_ascii=False)


def show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value in ("", None) else str(value)
