"""Builds the Cython extensions; everything that can be said declaratively stands in pyproject.toml.

Nobody may ever run a stale binary: each module carries a fingerprint of everything it was compiled from (its own .pyx,
every .pxd it cimports directly or not, every .h, this file, the interpreter and the flags), and is compiled again when
that changes. Time stamps are not asked.
"""

import hashlib
import json
import os
import re
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
ROOTS = ("cython_ext", "src", "extension")
TEST_ROOT = "tests/compiled"  # what tests and benchmarks see the core through; built in place only, in no wheel
FLAGS = os.environ.get("LAMBDA_DISPATCH_CFLAGS", "-O2 -fno-plt -fno-semantic-interposition").split()
SANITIZE = os.environ.get("LAMBDA_DISPATCH_SANITIZE") == "1"
WARNINGS = ["-Wall", "-Wno-unused-function", "-Wno-unused-variable", "-Wno-unreachable-code"]
if SANITIZE:
    FLAGS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "auto_pickle": False,
    "autotestdict": False,
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sources() -> list[Path]:
    roots = (*ROOTS, TEST_ROOT) if "--inplace" in sys.argv else ROOTS
    return sorted(p for root in roots for p in (ROOT / root).rglob("*.pyx"))


CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport|cimport\s+([\w.]+))", re.MULTILINE)


def cimported(path: Path, seen: set[Path]) -> set[Path]:
    """The .pxd files of this tree that the file at path is compiled with, its own included."""
    names = [first or second for first, second in CIMPORT.findall(path.read_text())]
    found = [path.with_suffix(".pxd")]
    found += [ROOT / root / (name.replace(".", "/") + ".pxd") for root in ROOTS for name in names]
    for pxd in found:
        if pxd not in seen and pxd.exists():
            seen.add(pxd)
            cimported(pxd, seen)
    return seen


def fingerprint(pyx: Path) -> str:
    digest = hashlib.sha256()
    digest.update(repr((sys.version, sysconfig.get_platform(), FLAGS, WARNINGS, sorted(DIRECTIVES.items()))).encode())
    headers = sorted(p for root in ROOTS for p in (ROOT / root).rglob("*.h"))
    for path in [ROOT / "setup.py", *headers, *sorted(cimported(pyx, set())), pyx]:
        digest.update(relative(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class BuildExt(build_ext):
    """build_ext that decides by fingerprint: first all that is stale becomes C, then the C is compiled in parallel."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count()
        self._prints: dict[str, dict[str, str]] = {}

    def run(self) -> None:
        stale = []
        for ext in self.extensions:
            target = Path(self.get_ext_fullpath(ext.name)).absolute()
            want = {"target": str(target), "fingerprint": fingerprint(ROOT / ext.pyx)}
            stamp = self._stamp(ext)
            if not (target.exists() and stamp.exists() and json.loads(stamp.read_text()) == want):
                stamp.unlink(missing_ok=True)
                self._prints[ext.name] = want
                stale.append(ext)
        cythonize(
            [Extension(ext.name, [ext.pyx]) for ext in stale],
            include_path=[*ROOTS, TEST_ROOT],
            compiler_directives=DIRECTIVES,
            force=True,
            quiet=True,
            nthreads=min(os.cpu_count() or 1, len(stale)) if len(stale) > 1 else 0,
        )
        super().run()

    def build_extension(self, ext: Extension) -> None:
        want = self._prints.get(ext.name)
        if want is None:
            return
        self.force = True
        super().build_extension(ext)
        stamp = self._stamp(ext)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps(want))

    def _stamp(self, ext: Extension) -> Path:
        return ROOT / "build" / "fingerprints" / f"{Path(self.get_ext_filename(ext.name)).name}.json"


def extensions() -> list[Extension]:
    found = []
    for path in sources():
        root = next(r for r in (*ROOTS, TEST_ROOT) if path.is_relative_to(ROOT / r))
        name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
        ext = Extension(
            name,
            [relative(path.with_suffix(".c"))],
            include_dirs=["cython_ext/lambda_dispatch_core"],
            extra_compile_args=[*FLAGS, *WARNINGS],
            extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
        )
        ext.pyx = relative(path)
        found.append(ext)
    return found


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt})
