"""Prints the part of CHANGELOG.md that is about one version:  python3 tools/release_notes.py 1.2.3"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def notes(text: str, version: str) -> str | None:
    """What stands under the heading of the version; None where there is none."""
    heading = re.search(rf"^## \[?v?{re.escape(version)}\]?(?=[\s(,]|$)[^\n]*\n", text, re.M)
    if heading is None:
        return None
    rest = text[heading.end() :]
    following = re.search(r"^## ", rest, re.M)
    return (rest[: following.start()] if following else rest).strip() + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: release_notes.py VERSION")
    found = notes(CHANGELOG.read_text(), sys.argv[1])
    if not found or not found.strip():
        sys.exit(f"CHANGELOG.md says nothing of {sys.argv[1]}: add a heading `## {sys.argv[1]}` with what changed")
    print(found, end="")
