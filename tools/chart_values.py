"""The table of the chart's values: names and defaults from values.yaml, types from values.schema.json, descriptions
from the comments above the names; tools/gen_deploy.py writes it into the chart's README.md."""

import json
from collections.abc import Iterator
from typing import Any

import yaml


def table(values: str, schema: dict[str, Any]) -> str:
    lines = ["| value | type | default | description |", "| --- | --- | --- | --- |"]
    root = yaml.compose(values, Loader=yaml.SafeLoader)
    for path, default, comment in leaves(root, values.splitlines()):
        kind, described = look_up(schema, path)
        said = (comment or described).replace("|", "\\|")
        if not said:
            raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment above it; say what it is")
        shown = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{'.'.join(path)}` | {kind} | `{shown}` | {said} |")
    return "\n".join(lines)


def leaves(
    node: yaml.MappingNode, lines: list[str], path: tuple[str, ...] = (), above: str = ""
) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """(path, default, comment); a value without a comment of its own has that of what it is in."""
    for key, value in node.value:
        comment = comment_above(lines, key.start_mark.line) or above
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from leaves(value, lines, (*path, key.value), comment)
        else:
            yield (*path, key.value), plain(value), comment


def plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def comment_above(lines: list[str], at: int) -> str:
    found: list[str] = []
    while at > 0 and lines[at - 1].strip().startswith("# "):
        at -= 1
        said = lines[at].strip().removeprefix("# ")
        if said.startswith(("generated: ", "end of ")):
            break
        found.insert(0, said)
    return " ".join(found)


def look_up(schema: dict[str, Any], path: tuple[str, ...]) -> tuple[str, str]:
    """Type and description of a value."""
    it = schema
    for name in path:
        if it and "properties" not in it:
            return "any", ""  # Kubernetes' own object, whose fields the schema does not repeat
        it = it.get("properties", {}).get(name) or {}
        if "$ref" in it:
            it = {**schema["$defs"][it["$ref"].rpartition("/")[2]], **it}
    if not it:
        raise SystemExit(f"values.schema.json does not have {'.'.join(path)}")
    kind = it.get("type") or " or ".join(json.dumps(each) for each in it.get("enum", [])) or "any"
    return (kind if isinstance(kind, str) else " or ".join(kind)), it.get("description", "")
