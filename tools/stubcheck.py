"""Compares each hand-written .pyi with the module that was compiled, by mypy's stubtest.

A module that is compared must have its stub.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("cython_ext", "src", "extension", "tests/compiled")
# What Cython adds to every module that exports C functions.
OF_CYTHON = r".*\.__pyx_(capi|vtable)__"


def main() -> int:
    modules = [
        ".".join(pyx.relative_to(ROOT / root).with_suffix("").parts)
        for root in ROOTS
        for pyx in sorted((ROOT / root).rglob("*.pyx"))
    ]
    allowed = ROOT / "build" / "stubcheck-allowed"
    allowed.parent.mkdir(exist_ok=True)
    allowed.write_text(OF_CYTHON + "\n")
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", "--mypy-config-file", "pyproject.toml"]
    command += ["--allowlist", str(allowed), "--ignore-unused-allowlist"]
    # Every extension type is a "disjoint base"; saying so in a stub needs a newer typing than Python 3.11 has.
    usage = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT).stdout
    if "--ignore-disjoint-bases" in usage:
        command.append("--ignore-disjoint-bases")
    return subprocess.run([*command, *modules], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
