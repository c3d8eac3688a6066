"""Writes the extension as something that any image can carry:  ./run bundle [--output DIR] [--arch x86_64|arm64]

    DIR/bundle-ARCH/opt/extensions/lambda-dispatch    the launcher, static
    DIR/bundle-ARCH/opt/lambda-dispatch/              the launcher again (for ENTRYPOINT), python, lib/
    DIR/lambda-dispatch-extension-ARCH.zip            the same as a Lambda layer
    DIR/lambda-dispatch-extension-ARCH.tar            the same for `FROM scratch` and `ADD`

python is an interpreter of our own (extension/launcher/host.c): libpython, this project's compiled modules, and the
standard library's modules that we import, as frozen code. lib/ has the dynamic loader, libc and every library that
these need. The interpreter that runs this program is the one that is bundled: its static libpython where it has one,
its shared one otherwise (tools/native.py). For the other architecture it is Debian's, with a cross compiler
(tools/foreign.py). Two runs give the same bytes.
"""

import argparse
import ast
import importlib.machinery
import json
import marshal
import os
import platform
import shutil
import struct
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from foreign import Sysroot
from native import ROOT, Machine, Native, ToolError, link, run

LAUNCHER = ROOT / "extension" / "launcher"
ROOTS = [ROOT / "extension", ROOT / "cython_ext"]
PACKAGE = "lambda_dispatch_extension"
BOOT = "lambda_dispatch_bundle"
TIME = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))  # 2020-01-01; a zip begins at 1980
ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
DEBIAN = {"x86_64": "amd64", "arm64": "arm64"}  # Debian's names of ours
# What C code imports by name when it is needed, and no import statement of ours shows.
HIDDEN = [
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "encodings.aliases",
    "ssl",
    "hashlib",
]
HIDDEN += ["traceback", "zlib"]


def say(text: str) -> None:
    print(f"bundle: {text}", file=sys.stderr, flush=True)


# Which modules -------------------------------------------------------------------------------------------------------

LIST = """
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
for name in json.loads(sys.argv[2]):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
found = {}
for name, module in list(sys.modules.items()):
    spec = getattr(module, "__spec__", None)
    if spec is None or name == "__main__":
        continue
    loader = spec.loader if isinstance(spec.loader, type) else type(spec.loader)
    found[spec.name] = [loader.__name__, spec.origin, spec.submodule_search_locations is not None]
print(json.dumps(found))
"""


def imports(path: Path) -> list[str]:
    """Every module that the file imports, in functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def modules() -> dict[str, tuple[str, str | None, bool]]:
    """Name → (kind of loader, file, is a package) of everything that the extension can import."""
    own = [BOOT, PACKAGE, *HIDDEN]
    for path in sorted((ROOT / "extension" / PACKAGE).glob("*.py")):
        if path.stem not in ("__init__", "__main__"):
            own.append(f"{PACKAGE}.{path.stem}")
        own += imports(path)
    own += imports(LAUNCHER / f"{BOOT}.py")
    own += [f"{PACKAGE}.{path.stem}" for path in sorted((ROOT / "extension" / PACKAGE).glob("*.pyx"))]
    wanted = [name for name in dict.fromkeys(own) if not name.startswith(f"{BOOT}_files")]
    paths = [str(LAUNCHER), *map(str, ROOTS), sysconfig.get_path("platlib")]
    found = json.loads(run(sys.executable, "-I", "-S", "-c", LIST, json.dumps(paths), json.dumps(wanted)))
    return {name: tuple(value) for name, value in sorted(found.items())}


def frozen_code(name: str, path: Path, package: bool) -> bytes:
    place = name.replace(".", "/") + ("/__init__.py" if package else ".py")
    code = compile(path.read_bytes(), place, "exec", dont_inherit=True, optimize=2)
    return marshal.dumps(code)


# The interpreter -----------------------------------------------------------------------------------------------------


def objects(names: list[str], work: Path, machine: Machine) -> tuple[list[Path], list[tuple[str, str]]]:
    """The object files of our compiled modules, each with an init function of its own name."""
    folder = machine.objects(names, work)
    found, table = [], []
    for name in names:
        relative = Path(name.replace(".", "/") + ".o")
        source = next((p for root in ROOTS if (p := folder / root.name / relative).exists()), None)
        if source is None:
            raise ToolError(f"{relative} is not in {folder}: run ./run clean, then ./run build")
        function = "PyInit_" + name.replace(".", "_")
        target = work / f"{name}.o"
        renamed = f"PyInit_{name.rpartition('.')[2]}={function}"
        run(machine.objcopy, "--redefine-sym", renamed, "--strip-debug", source, target)
        found.append(target)
        table.append((name, function))
    return found, table


def tables(work: Path, frozen: dict[str, tuple[bytes, bool]], builtin: list[tuple[str, str]]) -> list[Path]:
    """The two tables of host.c as C, and the code as one blob."""
    blob, at, rows = work / "frozen.bin", 0, []
    with blob.open("wb") as file:
        for name, (code, package) in sorted(frozen.items()):
            rows.append(
                f'    {{.name = "{name}", .code = blob + {at}, .size = {len(code)}, .is_package = {int(package)}}},'
            )
            file.write(code)
            at += len(code)
    (work / "blob.s").write_text(
        f'.section .rodata\n.globl blob\n.balign 16\nblob:\n.incbin "{blob}"\n.section .note.GNU-stack,"",%progbits\n'
    )
    text = ["#include <Python.h>", "extern const unsigned char blob[];"]
    text += [f"PyMODINIT_FUNC {function}(void);" for _, function in builtin]
    text += ["struct _inittab bundle_builtins[] = {"]
    text += [f'    {{"{name}", {function}}},' for name, function in builtin]
    text += ["    {0}};", "static const struct _frozen frozen[] = {", *rows, "    {0}};"]
    text += ["const struct _frozen *bundle_frozen(void) { return frozen; }", ""]
    (work / "tables.c").write_text("\n".join(text))
    return [work / "tables.c", work / "blob.s"]


# Programs and libraries ----------------------------------------------------------------------------------------------


def drop_run_path(path: Path) -> None:
    """The builder's own library folders do not belong into the bundle: DT_RPATH and DT_RUNPATH become DT_DEBUG."""
    data = bytearray(path.read_bytes())
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, offset + index * size)
        if kind != 2:  # PT_DYNAMIC
            continue
        for at in range(start, start + length, 16):
            if struct.unpack_from("<q", data, at)[0] in (15, 29):
                struct.pack_into("<qQ", data, at, 21, 0)
    path.write_bytes(data)


def put(source: Path, target: Path, machine: Machine, mode: int = 0o644) -> None:
    shutil.copyfile(source.resolve(), target)
    target.chmod(0o755)
    run(machine.strip, "--strip-unneeded", "-R", ".comment", "-R", ".note.gnu.build-id", target)
    drop_run_path(target)
    target.chmod(mode)


def put_libraries(needing: list[Path], folder: Path, machine: Machine) -> int:
    """What these programs and modules need; how many libraries that is."""
    found: dict[str, Path] = {}
    for path in needing:
        found |= machine.needed(path)
    for name, source in sorted(found.items()):
        put(source, folder / name, machine, 0o755 if name.startswith("ld-") else 0o644)
    return len(found)


def launcher(target: Path, machine: Machine) -> None:
    flags = ("-Os", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none")
    machine.launcher(LAUNCHER / "launcher.c", target, flags)
    target.chmod(0o755)


# Files ---------------------------------------------------------------------------------------------------------------


def build(output: Path, arch: str, machine: Machine) -> Path:
    tree = output / f"bundle-{arch}"
    shutil.rmtree(tree, ignore_errors=True)
    home = tree / "opt" / "lambda-dispatch"
    lib = home / "lib"
    lib.mkdir(parents=True)
    (tree / "opt" / "extensions").mkdir()
    launcher(home / "lambda-dispatch", machine)
    shutil.copy(home / "lambda-dispatch", tree / "opt" / "extensions" / "lambda-dispatch")
    found = modules()
    frozen, compiled, files = {}, [], {}
    for name, (loader, origin, package) in found.items():
        path = Path(origin) if origin else None
        own = path is not None and any(path.is_relative_to(root) for root in (*ROOTS, LAUNCHER))
        binary = loader == importlib.machinery.ExtensionFileLoader.__name__
        if own and binary:
            compiled.append(name)
        elif path is not None and loader == importlib.machinery.SourceFileLoader.__name__:
            frozen[name] = (frozen_code(name, path if own else machine.source(name, path, package), package), package)
        if not own and (there := machine.extension(name, path if binary else None)) is not None:
            files[name] = there
    for root in ROOTS:
        for init in sorted(root.glob("*/")):
            if not (init / "__init__.py").exists():  # a namespace package
                for name in compiled:
                    if name.startswith(init.name + "."):
                        frozen.setdefault(init.name, (marshal.dumps(compile("", init.name, "exec")), True))
    names = f"NAMES = frozenset({sorted(files)!r})"
    frozen[f"{BOOT}_files"] = (marshal.dumps(compile(names, f"{BOOT}_files", "exec")), False)
    with tempfile.TemporaryDirectory(prefix="lambda-dispatch-bundle-") as folder:
        work = Path(folder)
        linked, table = objects(compiled, work, machine)
        raw = work / "python"
        link(
            machine, raw, f"-ffile-prefix-map={work}=.", LAUNCHER / "host.c", *tables(work, frozen, table), *linked,
            "-Wl,--gc-sections", "-Wl,-O1", "-Wl,-z,relro", "-Wl,--hash-style=gnu",
        )  # fmt: skip
        put(raw, home / "python", machine, 0o755)
        libraries = put_libraries([raw, *files.values()], lib, machine)
        for name, source in sorted(files.items()):
            put(source, lib / f"{name}.so", machine)
    say(f"{len(frozen)} modules frozen, {len(compiled)} of ours built in, {len(files)} + {libraries} libraries")
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (TIME, TIME))
    return tree


def members(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if not path.is_symlink())


def write_tar(tree: Path, target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in members(tree):
            info = archive.gettarinfo(path, str(path.relative_to(tree)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = TIME
            if path.is_dir():
                archive.addfile(info)
            else:
                with path.open("rb") as file:
                    archive.addfile(info, file)


def write_layer(tree: Path, target: Path) -> None:
    """A layer's files are unpacked below /opt. /opt/bootstrap, the launcher again, is of no use to an image."""
    import time

    moment: Any = time.gmtime(TIME)[:6]
    top = tree / "opt"
    files = [(str(path.relative_to(top)), path) for path in members(top) if path.is_file()]
    files.append(("bootstrap", top / "extensions" / "lambda-dispatch"))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, path in sorted(files):
            info = zipfile.ZipInfo(name, moment)
            info.create_system = 3
            info.external_attr = (0o100000 | (path.stat().st_mode & 0o777)) << 16
            archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the files (dist)")
    parser.add_argument("--arch", choices=sorted(DEBIAN), default=ARCH, help=f"for which machines ({ARCH}, this one's)")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of frozen sets in the code
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    try:
        output = arguments.output.resolve()
        output.mkdir(parents=True, exist_ok=True)
        arch = arguments.arch
        machine = Native() if arch == ARCH else Sysroot(DEBIAN[arch], ROOT / "build" / f"sysroot-{arch}")
        tree = build(output, arch, machine)
        archive = output / f"lambda-dispatch-extension-{arch}"
        write_tar(tree, archive.with_suffix(".tar"))
        write_layer(tree, archive.with_suffix(".zip"))
    except (ToolError, OSError) as error:
        say(str(error))
        return 1
    unpacked = sum(path.stat().st_size for path in members(tree) if path.is_file())
    packed = archive.with_suffix(".zip").stat().st_size
    say(f"{tree}: {unpacked / 1e6:.1f} MB, as a layer {packed / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
