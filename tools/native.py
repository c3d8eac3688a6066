"""This machine's own tools and Python, for what is bundled: compiler, linker, libraries. tools/foreign.py has those of
another architecture behind the same interface, Machine.

What goes wrong is a ToolError that says what is missing and how to get it.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
MUSL_CC = os.environ.get("MUSL_CC", "musl-gcc")


class ToolError(Exception):
    """What is missing, and how to get it."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise ToolError(f"{' '.join(map(str, command[:8]))} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Machine(Protocol):
    compiler: Sequence[str]
    objcopy: str
    strip: str
    includes: list[str]  # of Python, for the compiler

    def objects(self, names: Sequence[str], work: Path) -> Path:
        """The folder with the object files of our compiled modules, below the roots' names."""

    def source(self, name: str, origin: Path, package: bool) -> Path:
        """Where a module that is not ours is. `origin`: of the Python that runs this."""

    def extension(self, name: str, origin: Path | None) -> Path | None:
        """A compiled module that is not ours; None: it is none, or part of libpython. `origin` likewise."""

    def libpythons(self) -> list[list[str]]:
        """The ways to link libpython, best first. The linker decides which one works."""

    def needed(self, path: Path) -> dict[str, Path]:
        """The shared libraries that a program or module needs, the dynamic loader with them, by file name."""

    def launcher(self, source: Path, target: Path, flags: Sequence[str]) -> None:
        """Compiles a static program with musl."""


def static_ways(folder: Path, version: str, variables: dict[str, Any]) -> list[list[str]]:
    """The flags for each static libpython in the folder: it needs no symbol search. It may be compiled for programs at
    a fixed address, or need libraries that are not installed. `variables`: those of sysconfig."""
    words = " ".join(variables.get(name) or "" for name in ("MODLIBS", "LIBS", "SYSLIBS")).split()
    tail = [word for word in words if not word.startswith(("-Wl,-rpath", "-L")) and not word.endswith(".a")]
    static = [path for name in ("-pic.a", ".a") if (path := folder / f"libpython{version}{name}").exists()]
    return [["-Wl,--whole-archive", str(path), "-Wl,--no-whole-archive", *tail] for path in static]


def link(machine: Machine, target: Path, *arguments: str | Path) -> None:
    """A program that holds Python, in the first way of linking libpython that works."""
    errors = []
    for way in machine.libpythons():
        try:
            run(
                *machine.compiler, "-O2", "-g0", *machine.includes, "-o", target, *arguments, *way, "-rdynamic",
                "-lpthread", "-ldl", "-lm", "-Wl,--build-id=none",
            )  # fmt: skip
            return
        except ToolError as error:
            errors.append(str(error)[-1500:])
    raise ToolError("\n".join(errors))


class Native:
    compiler = os.environ.get("CC", "gcc").split()
    objcopy = os.environ.get("OBJCOPY", "objcopy")
    strip = os.environ.get("STRIP", "strip")

    def __init__(self) -> None:
        self.includes = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]

    def objects(self, names: Sequence[str], work: Path) -> Path:
        """What ./run build has left."""
        return ROOT / "build" / f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"

    def source(self, name: str, origin: Path, package: bool) -> Path:
        return origin

    def extension(self, name: str, origin: Path | None) -> Path | None:
        return origin

    def libpythons(self) -> list[list[str]]:
        variables = sysconfig.get_config_vars()
        version = variables["LDVERSION"]
        folder, library = (Path(variables.get(name) or "/") for name in ("LIBPL", "LIBDIR"))
        shared = [
            path
            for name in (".so", ".so.1.0")
            for place in (library, folder)
            if (path := place / f"libpython{version}{name}").exists()
        ]
        whole = static_ways(folder, version, variables)
        found = [["-fPIE", "-pie", *way] for way in whole]
        found += [["-fPIE", "-pie", str(path)] for path in shared[:1]]
        found += [["-no-pie", *way] for way in whole]
        if not found:
            raise ToolError(
                f"{sys.executable} has no libpython{version} in {folder} or {library}: install python3-dev of the "
                "same version (Debian), or build Python with --enable-shared"
            )
        return found

    def needed(self, path: Path) -> dict[str, Path]:
        found = {}
        environment = {**os.environ, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR") or "/")}
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, env=environment)
        for line in done.stdout.splitlines():
            if "not found" in line:
                raise ToolError(f"{path}: {line.strip()}")
            if match := re.match(r"\s*(?:\S+ => )?(/\S+) \(0x", line):
                found[Path(match[1]).name] = Path(match[1])
        return found

    def launcher(self, source: Path, target: Path, flags: Sequence[str]) -> None:
        if shutil.which(MUSL_CC) is None:
            raise ToolError(f"{MUSL_CC} is missing: apt-get install musl-tools, or set MUSL_CC to a musl compiler")
        run(MUSL_CC, "-static", *flags, "-o", target, source)
