"""Every option of the router is read somewhere, described on its page, and live unless config/live.py names it."""

import re
from pathlib import Path

from lambda_dispatch.config import OPTIONS
from lambda_dispatch.config.live import RESTART, ROLLING, TLS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "src/lambda_dispatch/config"
# Only looked at when the configuration is read.
CHECKED_ONLY = {"admin_read_only"}
# Where a process takes a new configuration, and files that read its options at each use.
APPLIED = (
    ("front/door.pyx", "def apply"),
    ("front/uploads.pyx", "def apply"),
    ("dispatch/tunnel.pyx", "def apply"),
    ("control/control.py", "def apply"),
    ("worker/reload.py", "def apply"),
    ("scaler/loop.py", "def apply"),
    ("scaler/configured.py", "def limits_of"),
    ("scaler/configured.py", "def schedule_of"),
    ("scaler/loop.py", "def rate_of"),
    ("scaler/loop.py", "def budget_of"),
    ("admin/server.py", "def apply"),
    ("supervisor/supervisor.py", "def reload"),
)
READ_AT_USE = {
    "admin/access.py": r"\bconfig\.(\w+)",  # made again by the admin process's apply()
    "front/function_header.py": r"\bconfig\.(\w+)",  # made again by the worker's apply()
    "worker/drain.py": r"\bself\.worker\.config\.(\w+)",
    "worker/process.py": r"\bself\.control\.probe\(int\(self\.config\.(\w+) \* 1e9\), int\(self\.config\.(\w+)",
    "scaler/loop.py": r"\bself\._config\.(\w+)",
}


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


def body(text: str, start: str) -> str:
    found = re.search(rf"^( *){start}\b.*?(?=^\1\S|^ {{0,3}}\S|\Z)", text, re.M | re.S)
    assert found is not None, start
    return found[0]


def test_every_option_is_live_or_named_with_the_reason() -> None:
    assert set(ROLLING) | set(RESTART) | set(TLS) <= set(OPTIONS)
    assert not set(ROLLING) & set(RESTART)
    assert all(ROLLING.values()) and all(RESTART.values())
    read: set[str] = set()
    for name, start in APPLIED:
        read |= set(re.findall(r"\bconfig\.(\w+)", body((ROOT / "src/lambda_dispatch" / name).read_text(), start)))
    for name, pattern in READ_AT_USE.items():
        for found in re.findall(pattern, (ROOT / "src/lambda_dispatch" / name).read_text()):
            read |= {found} if isinstance(found, str) else set(found)
    live = set(OPTIONS) - set(ROLLING) - set(RESTART) - set(TLS) - CHECKED_ONLY
    assert len(live) > 30
    assert sorted(live - read) == [], "no process takes these: read them in its apply(), or name them in config/live.py"
