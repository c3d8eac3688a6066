"""Compiles the Cython modules in place when anything they are made from has changed; otherwise returns at once.

One digest over all sources decides whether setup.py is started at all (it decides per module), so that a run with
nothing to do costs a few milliseconds.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("cython_ext", "src", "extension", "tests/compiled")
STAMP = ROOT / "build" / "in-place"


def digest() -> str:
    total = hashlib.sha256(sys.version.encode())
    for name in ("LAMBDA_DISPATCH_CFLAGS", "LAMBDA_DISPATCH_SANITIZE"):
        total.update(f"{name}={os.environ.get(name)}".encode())
    files = [ROOT / "setup.py"]
    for root in ROOTS:
        for suffix in ("*.pyx", "*.pxd", "*.h"):
            files += sorted((ROOT / root).rglob(suffix))
    for path in files:
        total.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def binaries() -> bool:
    suffix = f".cpython-{sys.version_info[0]}{sys.version_info[1]}"
    return all(
        any(pyx.parent.glob(f"{pyx.stem}{suffix}*.so")) for root in ROOTS for pyx in (ROOT / root).rglob("*.pyx")
    )


def what_went_wrong(text: str) -> str:
    """The compilers' own words, without the tracebacks around them."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if "Error compiling" in line or ": error" in line), None)
    return "\n".join(lines[-40:] if first is None else lines[first : first + 40])


def main() -> int:
    want = digest()
    if STAMP.exists() and STAMP.read_text() == want and binaries():
        return 0
    print("run: building", file=sys.stderr)
    STAMP.unlink(missing_ok=True)
    log = ROOT / "build" / "log.txt"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
    if done.returncode:
        print(what_went_wrong(log.read_text()), file=sys.stderr)
        print(f"run: the build failed; all of its output is in {log}", file=sys.stderr)
        return 1
    STAMP.write_text(want)
    return 0


if __name__ == "__main__":
    sys.exit(main())
