"""Builds the Cython extensions; everything that can be said declaratively stands in pyproject.toml.

No stale binary is ever used: a module is compiled again when anything that it is made from changes
(tools/fingerprints.py), time stamps are not asked.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))
import fingerprints  # noqa: E402  (a build backend does not put this folder on the path)
from fingerprints import ROOTS, TEST_ROOT  # noqa: E402

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


class BuildExt(build_ext):
    """build_ext that decides by fingerprint: first all that is stale becomes C, then the C is compiled in parallel."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count()
        self._stale: set[str] = set()

    def run(self) -> None:
        stale = [ext for ext in self.extensions if not fingerprints.is_current(self._target(ext), ROOT / ext.pyx)]
        self._stale = {ext.name for ext in stale}
        for ext in stale:
            fingerprints.stamp(self._target(ext)).unlink(missing_ok=True)
        cythonize(
            [Extension(ext.name, [ext.pyx]) for ext in stale],
            include_path=[*ROOTS, TEST_ROOT],
            compiler_directives=DIRECTIVES,
            force=True,
            nthreads=min(os.cpu_count() or 1, len(stale)) if len(stale) > 1 else 0,
        )
        super().run()
        for ext in stale:
            fingerprints.record(self._target(ext), ROOT / ext.pyx)

    def build_extension(self, ext: Extension) -> None:
        if ext.name in self._stale:
            print("compiling", ext.pyx)
            self.force = True
            super().build_extension(ext)

    def copy_extensions_to_source(self) -> None:
        everything = self.extensions
        self.extensions = [ext for ext in everything if ext.name in self._stale]
        super().copy_extensions_to_source()
        self.extensions = everything

    def _target(self, ext: Extension) -> Path:
        return Path(self.get_ext_fullpath(ext.name)).absolute()


class EditableWheel(editable_wheel):
    """`pip install -e .` puts the source roots on the path by a plain .pth file.

    Setuptools' own answer to several roots is an import hook, which each process would load before it starts.
    """

    def _select_strategy(self, *_: object) -> "SourceRoots":
        return SourceRoots()


class SourceRoots:
    """An editable strategy as setuptools calls it."""

    def __enter__(self) -> "SourceRoots":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, wheel: object, files: list[str], mapping: dict[str, str]) -> None:
        roots = [str(ROOT / root) for root in (*ROOTS, TEST_ROOT)]
        wheel.writestr("__editable__.lambda_dispatch.pth", "\n".join(roots) + "\n")  # type: ignore[attr-defined]


def extensions() -> list[Extension]:
    found = []
    for pyx in fingerprints.sources(in_place=not set(sys.argv).isdisjoint({"--inplace", "editable_wheel"})):
        path = pyx.relative_to(ROOT)
        ext = Extension(
            fingerprints.module_name(pyx),
            [str(path.with_suffix(".c"))],
            include_dirs=["cython_ext/lambda_dispatch_core"],
            extra_compile_args=[*FLAGS, *WARNINGS],
            extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
        )
        ext.pyx = str(path)
        found.append(ext)
    return found


def packages() -> list[str]:
    """Every package of the three roots, and the demo application, which is a folder of examples/ in the checkout."""
    return [*(name for root in ROOTS for name in find_packages(str(ROOT / root))), "lambda_dispatch.local.demo"]


# Python 3.14 starts cythonize's processes by importing this file.
if __name__ == "__main__":
    setup(
        packages=packages(),
        ext_modules=extensions(),
        cmdclass={"build_ext": BuildExt, "editable_wheel": EditableWheel},
    )
