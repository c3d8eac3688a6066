"""What each compiled module is made from, as one digest: setup.py compiles a module again when its digest changes.

A fingerprint covers the module's .pyx, every .pxd that it cimports (directly or not), every .h, setup.py, the
interpreter, the platform and the compiler flags. Time stamps are not used. `tools/build.py` asks the same question
before it starts setup.py, so that a run with nothing to compile costs milliseconds.
"""

import hashlib
import json
import os
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOTS = ("cython_ext", "src", "extension")
TEST_ROOT = "tests/compiled"  # what tests and benchmarks see the core through; built in place only, in no wheel
STAMPS = ROOT / "build" / "fingerprints"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
FLAG_VARIABLES = ("LAMBDA_DISPATCH_CFLAGS", "LAMBDA_DISPATCH_SANITIZE")

CIMPORT = re.compile(rb"^\s*(?:from\s+([\w.]+)\s+cimport\s+(\([^)]*\)|[\w, ]+)|cimport\s+([\w.]+))", re.MULTILINE)


def sources(*, in_place: bool) -> list[Path]:
    roots = (*ROOTS, TEST_ROOT) if in_place else ROOTS
    return sorted(pyx for root in roots for pyx in (ROOT / root).rglob("*.pyx"))


def module_name(pyx: Path) -> str:
    root = next(r for r in (*ROOTS, TEST_ROOT) if pyx.is_relative_to(ROOT / r))
    return ".".join(pyx.relative_to(ROOT / root).with_suffix("").parts)


@cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes()).digest()


@cache
def _exists(path: Path) -> bool:
    return path.exists()


@cache
def _cimports(path: Path) -> tuple[Path, ...]:
    names: set[str] = set()
    for package, members, module in CIMPORT.findall(path.read_bytes()):
        name = (package or module).decode()
        names.add(name)
        listed = members.decode().strip("()").split(",")
        names.update(f"{name}.{member.split()[0]}" for member in listed if member.split())
    paths = [path.with_suffix(".pxd")]
    paths += [ROOT / root / (name.replace(".", "/") + ".pxd") for root in (*ROOTS, TEST_ROOT) for name in names]
    return tuple(pxd for pxd in paths if _exists(pxd))


def _closure(pyx: Path) -> set[Path]:
    found: set[Path] = {pyx}
    waiting = [pyx]
    while waiting:
        for pxd in _cimports(waiting.pop()):
            if pxd not in found:
                found.add(pxd)
                waiting.append(pxd)
    return found


@cache
def _common() -> bytes:
    total = hashlib.sha256(repr((sys.version, sysconfig.get_platform())).encode())
    for name in FLAG_VARIABLES:
        total.update(f"{name}={os.environ.get(name)}".encode())
    headers = sorted(path for root in ROOTS for path in (ROOT / root).rglob("*.h"))
    for path in (ROOT / "setup.py", *headers):
        total.update(_digest(path))
    return total.digest()


def fingerprint(pyx: Path) -> str:
    total = hashlib.sha256(_common())
    for path in sorted(_closure(pyx)):
        total.update(_digest(path))
    return total.hexdigest()


def stamp(target: Path) -> Path:
    """Where the fingerprint of a compiled module is kept, by the path of the binary."""
    return STAMPS / f"{hashlib.sha256(str(target).encode()).hexdigest()[:16]}-{target.name}.json"


def is_current(target: Path, pyx: Path) -> bool:
    try:
        return target.exists() and bool(json.loads(stamp(target).read_text()) == fingerprint(pyx))
    except (OSError, ValueError):
        return False


def record(target: Path, pyx: Path) -> None:
    path = stamp(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fingerprint(pyx)))


def stale_in_place() -> list[Path]:
    """The modules of this tree whose binary beside the source is absent or made from something else."""
    return [pyx for pyx in sources(in_place=True) if not is_current(pyx.with_name(pyx.stem + SUFFIX), pyx)]
