"""Every option of the router is read somewhere, and described on its page."""

import re
from pathlib import Path

from lambda_dispatch.config import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "src/lambda_dispatch/config"


def test_every_option_is_read_somewhere() -> None:
    paths = [path for path in (ROOT / "src/lambda_dispatch").rglob("*") if path.suffix in (".py", ".pyx")]
    text = "\n".join(path.read_text() for path in paths if CONFIG not in path.parents)
    # The table and what derives values read some only to derive others.
    derived = re.sub(r'option\(\s*"[^"]*"', "", "\n".join(path.read_text() for path in CONFIG.glob("*.py")))
    unread = [
        name
        for name in OPTIONS
        if not re.search(rf"\.{name}\b", text) and not re.search(rf'\.{name}\b|(?:values\[|get\()"{name}"', derived)
    ]
    assert unread == []


def test_every_option_is_described() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert [option.name for option in OPTIONS.values() if f"`{option.name}`" not in page] == []
