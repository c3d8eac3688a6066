"""The tools and the Python of another architecture, as tools/native.py has this machine's: Debian's packages and a
cross compiler.

    sysroot = Sysroot("arm64", folder)      # downloads and unpacks; a second run finds everything there

The packages come from where this machine's apt takes its own, of the release that it runs, into a folder: nothing is
installed and no architecture is added to the machine. Python must be Debian's, of the same version as the one that runs
this (3.11 on Debian 12, 3.13 on Debian 13), since the frozen code is written by the one and read by the other.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from native import ROOT, ToolError, run, static_ways

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Debian's name of the architecture → that of GNU.
GNU = {"arm64": "aarch64-linux-gnu", "amd64": "x86_64-linux-gnu"}
# Python and what it is linked with, to run and to link; the libc of the launcher.
PACKAGES = [f"libpython{VERSION}-{part}" for part in ("minimal", "stdlib", "dev")] + [f"libpython{VERSION}"]
PACKAGES += ["libc6", "libc6-dev", "linux-libc-dev", "libcrypt1", "libcrypt-dev", "libgcc-s1", "zlib1g", "zlib1g-dev"]
PACKAGES += ["libexpat1", "libexpat1-dev", "libbz2-1.0", "liblzma5", "libffi8", "libuuid1", "musl", "musl-dev"]
# What the extension loads of the package index when it is there, in the version that is installed here.
WHEELS = ("brotli",)
LIBSSL = ("libssl3", "libssl3t64")  # Debian 12, Debian 13


class Sysroot:
    def __init__(self, architecture: str, folder: Path) -> None:
        self.architecture = architecture
        self.gnu = GNU[architecture]
        self.root = folder / "root"
        gcc = f"{self.gnu}-gcc"
        if shutil.which(gcc) is None:
            raise ToolError(f"{gcc} is missing: apt-get install gcc-{self.gnu}")
        self.compiler = [gcc]
        self.objcopy, self.strip = f"{self.gnu}-objcopy", f"{self.gnu}-strip"
        include = self.root / "usr" / "include"
        self.includes = [f"--sysroot={self.root}", f"-I{include}/python{VERSION}"]
        self.includes.append(f"-I{include}/{self.gnu}/python{VERSION}")
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self._download(folder)
            self._wheels(folder / "packages")
            (folder / "complete").touch()
        self.python = self.root / "usr" / "lib" / f"python{VERSION}"
        self.site = self.root / "wheels"
        self.variables = self._variables()

    def _download(self, folder: Path) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise ToolError("the other architecture's packages are Debian's: run this on Debian or Ubuntu")
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        apt = ["apt-get", "-qq", "-o", f"APT::Architecture={self.architecture}"]
        apt += ["-o", f"APT::Architectures={self.architecture}", "-o", f"Dir::State={folder}"]
        apt += ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::State::status={folder}/status"]
        apt += ["-o", f"Dir::Cache={folder}/cache", "-o", "APT::Sandbox::User="]
        run(*apt, "update")
        packages = folder / "packages"
        try:
            run(*apt, "download", *PACKAGES, cwd=packages)
        except ToolError as error:
            raise ToolError(f"{error}\nPython {VERSION} must be the one of this Debian release") from None
        for name in LIBSSL:
            if subprocess.run([*apt, "download", name], cwd=packages, capture_output=True).returncode == 0:
                break
        else:
            raise ToolError(f"neither of {', '.join(LIBSSL)} can be downloaded for {self.architecture}")
        for package in sorted(packages.glob("*.deb")):
            run("dpkg-deb", "-x", package, self.root)

    def _wheels(self, packages: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--dest", packages]
        machine = self.gnu.partition("-")[0]
        for tag in ("manylinux2014", "manylinux_2_28", "manylinux_2_34"):
            pip += ["--platform", f"{tag}_{machine}"]
        for name in WHEELS:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                run(*pip, f"{name}=={importlib.metadata.version(name)}")
        for wheel in packages.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self.root / "wheels")

    def _variables(self) -> dict[str, Any]:
        """What sysconfig would say there."""
        found: dict[str, Any] = {}
        path = self.python / f"_sysconfigdata__{self.gnu}.py"
        exec(compile(path.read_text(), str(path), "exec"), found)
        return dict(found["build_time_vars"])

    def source(self, name: str, origin: Path, package: bool) -> Path:
        relative = Path(name.replace(".", "/"))
        relative = relative / "__init__.py" if package else relative.with_suffix(".py")
        for folder in (self.python, self.site):
            if (folder / relative).exists():
                return folder / relative
        raise ToolError(f"there is no module {name} for Python {VERSION} on {self.architecture}")

    def extension(self, name: str, origin: Path | None) -> Path | None:
        """Whether it is part of this machine's libpython says nothing of that one."""
        for folder in (self.python / "lib-dynload", self.site):
            for path in folder.glob(f"{name}.cpython-*.so"):
                return path
        return None

    def objects(self, names: Sequence[str], work: Path) -> Path:
        """Compiles what ./run build has made C of, several at once."""
        flags = ["-O2", "-g0", "-fno-plt", "-fno-semantic-interposition", "-w", f"-ffile-prefix-map={ROOT}=."]
        flags.append(f"-I{ROOT / 'cython_ext' / 'lambda_dispatch_core'}")

        def one(name: str) -> None:
            relative = Path(name.replace(".", "/"))
            sources = ((root, ROOT / root / relative.with_suffix(".c")) for root in ("extension", "cython_ext"))
            root, source = next(pair for pair in sources if pair[1].exists())
            target = work / "objects" / root / relative.with_suffix(".o")
            target.parent.mkdir(parents=True, exist_ok=True)
            run(*self.compiler, "-c", "-fPIC", *flags, *self.includes, "-o", target, source)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, names))
        return work / "objects"

    def libpythons(self) -> list[list[str]]:
        whole = static_ways(self.python / f"config-{VERSION}-{self.gnu}", VERSION, self.variables)
        shared = self.root / "usr" / "lib" / self.gnu / f"libpython{VERSION}.so.1.0"
        return [["-fPIE", "-pie", *way] for way in [*whole, [str(shared)]]]

    def launcher(self, source: Path, target: Path, flags: Sequence[str]) -> None:
        """Debian has musl's wrapper for gcc for the machine's own architecture only."""
        musl = f"{self.gnu.partition('-')[0]}-linux-musl"
        lib, include = self.root / "usr" / "lib" / musl, self.root / "usr" / "include" / musl
        run(
            *self.compiler, "-static", "-no-pie", "-fno-stack-protector", "-nostdinc", "-isystem", include, "-nostdlib",
            *flags, "-o", target, lib / "crt1.o", lib / "crti.o", source, "-Wl,--start-group", lib / "libc.a", "-lgcc",
            "-Wl,--end-group", lib / "crtn.o",
        )  # fmt: skip

    def needed(self, path: Path) -> dict[str, Path]:
        """By the files' own words: they cannot be run here."""
        found: dict[str, Path] = {}
        rest = [path]
        while rest:
            text = run("readelf", "-Wdl", rest.pop())
            names = re.findall(r"\(NEEDED\).*\[(.+)\]", text)
            names += [Path(name).name for name in re.findall(r"Requesting program interpreter: (\S+)\]", text)]
            for name in names:
                if name not in found:
                    found[name] = self._library(name)
                    rest.append(found[name])
        return found

    def _library(self, name: str) -> Path:
        for folder in ("lib", "usr/lib"):
            for place in (self.root / folder / self.gnu, self.root / folder):
                if (place / name).exists():
                    return place / name
        raise ToolError(f"{name} is in none of the packages for {self.architecture}: add its package to PACKAGES")
