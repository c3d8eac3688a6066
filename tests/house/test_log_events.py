"""Every event of the router's log stands in docs/logs.md, and every event there is written somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/logs.md").read_text()
LEVELS = ("debug", "info", "warning", "error")
# Functions that take an event and pass it on: their callers name it.
LISTED = set(re.findall(r"^\| `([^`]+)` \| (?:debug|info|warning|error|that)", PAGE, re.M))


def events() -> Iterator[tuple[str, str]]:
    """(event, place) of each call log.LEVEL("event", …) in the router."""
    for path in sorted((ROOT / "src/lambda_dispatch").rglob("*.py")):
        if "local" in path.relative_to(ROOT).parts:
            continue  # a tool for developers with an output of its own
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value), f"{path.relative_to(ROOT)}:{node.lineno}"
    for path in sorted((ROOT / "src/lambda_dispatch").rglob("*.pyx")):
        for found in re.finditer(rf'\blog\.(?:{"|".join(LEVELS)})\(\s*"([^"]+)"', path.read_text()):
            yield found[1], str(path.relative_to(ROOT))


def test_every_event_is_listed() -> None:
    found = dict(events())
    assert len(found) > 20
    assert {event: place for event, place in found.items() if event not in LISTED} == {}


def test_every_listed_event_is_written_somewhere() -> None:
    paths = [path for path in (ROOT / "src/lambda_dispatch").rglob("*") if path.suffix in (".py", ".pyx")]
    text = "\n".join(path.read_text() for path in paths)
    assert [event for event in sorted(LISTED) if f'"{event}"' not in text] == []


def test_an_event_is_a_noun_and_a_verb_without_values() -> None:
    assert [event for event in sorted(LISTED) if not re.fullmatch(r"[a-zA-Z][a-zA-Z -]{3,60}", event)] == []
