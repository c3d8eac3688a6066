"""The bundle, built once per run, and file systems to start it in."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
STATIC_APP = ROOT / "tests" / "support" / "apps" / "static_app.c"
MUSL = shutil.which(os.environ.get("MUSL_CC", "musl-gcc"))


def need_musl() -> str:
    if MUSL is None:
        pytest.skip("no musl-gcc: apt-get install musl-tools")
    return MUSL


def build(output: Path, **environ: str) -> Path:
    """Runs the bundle's build; its tree."""
    need_musl()
    done = subprocess.run(
        [sys.executable, "tools/bundle.py", "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, **environ},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return output / f"bundle-{ARCH}"


def compile_app(target: Path, *flags: str) -> Path:
    subprocess.run([need_musl(), "-O1", *flags, "-o", str(target), str(STATIC_APP)], check=True)
    return target


def empty_root(tree: Path, root: Path) -> Path:
    """Only /opt, /dev and /proc."""
    shutil.copytree(tree, root, dirs_exist_ok=True)
    for name in ("dev", "proc"):
        (root / name).mkdir()
    return root


def musl_root(tree: Path, root: Path) -> Path:
    """As empty_root(), with the loader of musl, which is its libc, where Alpine has it."""
    loader = f"ld-musl-{platform.machine()}.so.1"
    found = [folder / loader for folder in (Path("/lib"), Path("/usr/lib")) if (folder / loader).exists()]
    if not found:
        pytest.skip(f"no /lib/{loader}: apt-get install musl")
    empty_root(tree, root)
    (root / "lib").mkdir()
    shutil.copy(found[0].resolve(), root / "lib" / loader)
    return root


def inside(root: Path, *command: str, read_only: bool = False) -> list[str]:
    """The command line that runs a command with root as its file system, as the same process."""
    mount = 'mount --rbind "$0" "$0" && mount -t proc proc "$0/proc" 2>/dev/null || mount --rbind /proc "$0/proc"; '
    mount += 'mount --rbind /dev "$0/dev"; '
    if read_only:
        mount += 'mount -o remount,bind,ro "$0" && '
    return ["unshare", "-r", "-m", "sh", "-c", mount + 'cd "$0" && exec chroot "$0" "$@"', str(root), *command]


def need_namespaces() -> None:
    done = subprocess.run(["unshare", "-r", "-m", "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no user and mount namespaces here: {done.stderr.strip()}")


def elf_needs(path: Path) -> Sequence[str]:
    """What readelf says that the file needs."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf: apt-get install binutils")
    return subprocess.run(["readelf", "-Wd", str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
