"""Writes the router as a root file system, for an image FROM scratch:  ./run router-root [--output DIR]

    DIR/router-ARCH/opt/lambda-dispatch/lambda-dispatch    the launcher, static: also the container's health check
    DIR/router-ARCH/opt/lambda-dispatch/python             Python and our command (extension/launcher/router.c)
    DIR/router-ARCH/opt/lambda-dispatch/lib/               loader, libc and every library; pythonX.Y/: modules, compiled
    DIR/router-ARCH/{bin,lib,lib64}                        links: names and the loader are where they are expected
    DIR/router-ARCH/etc/                                   passwd with the user 65532, nsswitch.conf, CA certificates
    DIR/lambda-dispatch-router-ARCH.tar                    the same, for `FROM scratch` and `ADD`

No shell, no package manager, nothing of the builder but what the router needs. Of boto3's data only the services stay
that the router or its credentials call. It is made of what tools/bundle.py makes the extension of.
"""

import argparse
import compileall
import importlib.metadata
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import bundle
from bundle import ARCH, TIME, say
from native import ROOT, Native, ToolError, link, run

PACKAGES = {"lambda_dispatch": ROOT / "src", "lambda_dispatch_core": ROOT / "cython_ext",
            "lambda_dispatch_net": ROOT / "cython_ext", "lambda_dispatch_extension": ROOT / "extension"}  # fmt: skip
# The router's own dependencies; theirs follow. httptools and the embedded Lambda are for development.
DISTRIBUTIONS = ("uvloop", "httptools", "boto3", "orjson", "setproctitle")
# Invokes; roles by web identity (EKS), profiles of single sign-on, sign-in by the browser.
SERVICES = {"lambda", "sts", "sso", "sso-oidc", "signin"}
# Of the standard library: what no server needs.
WITHOUT = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "distutils", "venv"}
WITHOUT |= {"site-packages", "dist-packages", "curses", "dbm", "sqlite3", "wsgiref", "unittest"}
WITHOUT_MODULES = re.compile(r"_test|_tkinter|_curses|_dbm|_gdbm|_sqlite3|xxlimited|_xxtest|_ctypes_test|nis|ossaudio")
# Our own code that is written in other forms beside what runs.
OURS = (".py", ".so", ".toml", ".js", ".css", ".html", ".svg", ".txt", ".json", ".ico", ".png", ".proto", ".mjs")
# Started by its path, not imported: the embedded Lambda's guard.
STARTED = "local/environment/guard.py"
USER = 65532


def requirements() -> list[str]:
    """The distributions that are needed, each once; markers that do not hold here are left out."""
    found: list[str] = []
    rest = list(DISTRIBUTIONS)
    while rest:
        name = rest.pop(0)
        if name in found:
            continue
        found.append(name)
        for line in importlib.metadata.requires(name) or []:
            if ";" not in line or ("extra" not in line and "python_version" not in line):
                rest.append(re.split(r"[ <>=!~;\[(]", line, maxsplit=1)[0].lower())
    return found


def copy_distribution(name: str, target: Path) -> None:
    files = importlib.metadata.files(name)
    if files is None:
        raise ToolError(f"{name} was installed without a list of its files: install it with pip")
    for file in files:
        parts = file.parts
        if parts[0] == ".." or "__pycache__" in parts or parts[-1].endswith((".pyi", ".pyx", ".pxd", ".c", ".h")):
            continue
        if parts[0] in ("uvloop", "httptools") and "vendor" in parts:
            continue
        if parts[0] == "boto3" and "data" in parts or parts[0] == "boto3" and "examples" in parts:
            continue
        if parts[0] == "botocore" and "data" in parts and len(parts) > 3 and parts[2] not in SERVICES:
            continue
        if parts[0].endswith(".dist-info") and parts[-1] not in ("METADATA", "LICENSE", "entry_points.txt"):
            continue
        source = Path(str(file.locate()))
        if source.is_file():
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


def copy_library(target: Path) -> None:
    source = Path(sysconfig.get_path("stdlib"))

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == source
        dynamic = Path(folder).name == "lib-dynload"
        return {
            name
            for name in names
            if name == "__pycache__"
            or (top and (name in WITHOUT or name.startswith("config-")))
            or (dynamic and WITHOUT_MODULES.search(name))
            or name.endswith((".exe", ".a"))
        }

    shutil.copytree(source, target, ignore=ignored)


def settings(tree: Path) -> None:
    etc = tree / "etc"
    (etc / "ssl" / "certs").mkdir(parents=True)
    (etc / "passwd").write_text(f"root:x:0:0:root:/:/\nrouter:x:{USER}:{USER}:router:/:/\n")
    (etc / "group").write_text(f"root:x:0:\nrouter:x:{USER}:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.is_file():
        shutil.copyfile(authorities, etc / "ssl/certs/ca-certificates.crt")
        (tree / "usr/lib/ssl").mkdir(parents=True)
        (tree / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    for name in ("dev", "proc", "sys", "tmp"):
        (tree / name).mkdir()


def build(output: Path) -> Path:
    tree = output / f"router-{ARCH}"
    shutil.rmtree(tree, ignore_errors=True)
    home = tree / "opt" / "lambda-dispatch"
    library = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (home / "lib").mkdir(parents=True)
    copy_library(library)
    packages = library / "site-packages"
    for name in requirements():
        copy_distribution(name, packages)
    for name, root in PACKAGES.items():
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and path.suffix in OURS and "__pycache__" not in path.parts:
                place = packages / path.relative_to(root)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
    if not compileall.compile_dir(packages.parent, quiet=2, legacy=True, optimize=0, stripdir=str(tree), workers=1,
                                  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH):  # fmt: skip
        say("some modules of other versions of Python do not compile; they are left out")
    for path in library.rglob("*.py"):
        if not str(path).endswith(STARTED):
            path.unlink()
    machine = Native()
    bundle.launcher(home / "lambda-dispatch", machine)
    with tempfile.TemporaryDirectory(prefix="lambda-dispatch-router-") as folder:
        raw = Path(folder) / "python"
        link(machine, raw, bundle.LAUNCHER / "router.c")
        compiled = sorted(library.rglob("*.so"))
        bundle.put_libraries([raw, *compiled], home / "lib", machine)
        bundle.put(raw, home / "python", machine, 0o755)
        for path in compiled:
            path.chmod(0o755)
            run(machine.strip, "--strip-unneeded", path)
            bundle.drop_run_path(path)
    settings(tree)
    for name in ("lib", "lib64"):
        (tree / name).symlink_to("opt/lambda-dispatch/lib")
    (tree / "bin").mkdir()
    (tree / "bin" / "lambda-dispatch").symlink_to("/opt/lambda-dispatch/lambda-dispatch")
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        program = path.parent == home or path.name.startswith("ld-")
        if not path.is_symlink():
            path.chmod(0o1777 if path == tree / "tmp" else 0o755 if path.is_dir() or program else 0o644)
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    return tree


def write_tar(tree: Path, target: Path) -> None:
    done = subprocess.run(
        [
            "tar",
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            f"--mtime=@{TIME}",
            "-cf",
            str(target),
            ".",
        ],
        cwd=tree,
    )
    if done.returncode:
        raise ToolError(f"tar: exit {done.returncode}")


def size(tree: Path) -> int:
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the files (dist)")
    arguments = parser.parse_args()
    try:
        output = arguments.output.resolve()
        output.mkdir(parents=True, exist_ok=True)
        tree = build(output)
        write_tar(tree, output / f"lambda-dispatch-router-{ARCH}.tar")
    except (ToolError, OSError) as error:
        say(str(error))
        return 1
    say(f"{tree}: {size(tree) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
