"""Writes the extension as something that any image can carry:  ./run bundle [--output DIR] [--arch x86_64|arm64]

    DIR/bundle-ARCH/opt/extensions/lambda-dispatch    the launcher, static
    DIR/bundle-ARCH/opt/lambda-dispatch/              the launcher again (for ENTRYPOINT), python, lib/
    DIR/lambda-dispatch-extension-ARCH.zip            the same as a Lambda layer
    DIR/lambda-dispatch-extension-ARCH.tar            the same for `FROM scratch` and `ADD`

python is an interpreter of our own (extension/launcher/host.c): libpython, this project's compiled modules, and the
standard library's modules that we import, as frozen code. lib/ has the dynamic loader, libc and every library that
these need. The interpreter that runs this program is the one that is bundled: its static libpython where it has one,
its shared one otherwise. For the other architecture it is Debian's, with a cross compiler (tools/foreign.py). Two runs
give the same bytes.
"""

import argparse
import ast
import importlib.machinery
import json
import marshal
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from foreign import ForeignError, Sysroot

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = ROOT / "extension" / "launcher"
ROOTS = [ROOT / "extension", ROOT / "cython_ext"]
PACKAGE = "lambda_dispatch_extension"
BOOT = "lambda_dispatch_bundle"
TIME = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))  # 2020-01-01; a zip begins at 1980
ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
DEBIAN = {"x86_64": "amd64", "arm64": "arm64"}  # Debian's names of ours
MUSL_CC = os.environ.get("MUSL_CC", "musl-gcc")
CC = os.environ.get("CC", "gcc").split()
STRIP, OBJCOPY = os.environ.get("STRIP", "strip"), os.environ.get("OBJCOPY", "objcopy")
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


class BundleError(Exception):
    """What is missing, and how to get it."""


def say(text: str) -> None:
    print(f"bundle: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise BundleError(f"{' '.join(map(str, command[:6]))} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


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


def objects(names: list[str], work: Path, sysroot: Sysroot | None) -> tuple[list[Path], list[tuple[str, str]]]:
    """The object files of our compiled modules, each with an init function of its own name."""
    temporary = ROOT / "build" / f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    objcopy = OBJCOPY
    if sysroot is not None:
        temporary = work / "objects"
        objcopy = f"{sysroot.gnu}-objcopy"
        compile_modules(names, temporary, sysroot)
    found, table = [], []
    for name in names:
        relative = Path(name.replace(".", "/") + ".o")
        source = next((p for root in ROOTS if (p := temporary / root.name / relative).exists()), None)
        if source is None:
            raise BundleError(f"{relative} is not in {temporary}: run ./run clean, then ./run build")
        function = "PyInit_" + name.replace(".", "_")
        target = work / f"{name}.o"
        run(objcopy, "--redefine-sym", f"PyInit_{name.rpartition('.')[2]}={function}", "--strip-debug", source, target)
        found.append(target)
        table.append((name, function))
    return found, table


def compile_modules(names: list[str], temporary: Path, sysroot: Sysroot) -> None:
    """What ./run build has made C of, for the other architecture, several at once."""
    flags = ["-O2", "-g0", "-fno-plt", "-fno-semantic-interposition", "-w", f"-ffile-prefix-map={ROOT}=."]
    flags.append(f"-I{ROOT / 'cython_ext' / 'lambda_dispatch_core'}")

    def one(name: str) -> None:
        relative = Path(name.replace(".", "/"))
        root = next(root for root in ROOTS if (root / relative.with_suffix(".c")).exists())
        target = temporary / root.name / relative.with_suffix(".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        sysroot.compile(root / relative.with_suffix(".c"), target, flags)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, names))


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


def libpythons() -> list[list[str]]:
    """The ways to link libpython, best first: a static one needs no symbol search. The linker decides which one works:
    a static library may be compiled for programs at a fixed address, or need libraries that are not installed."""
    version = sysconfig.get_config_var("LDVERSION")
    words = " ".join(sysconfig.get_config_var(name) or "" for name in ("MODLIBS", "LIBS", "SYSLIBS")).split()
    tail = [word for word in words if not word.startswith(("-Wl,-rpath", "-L")) and not word.endswith(".a")]
    folder, library = (Path(sysconfig.get_config_var(name) or "/") for name in ("LIBPL", "LIBDIR"))
    static = [path for name in ("-pic.a", ".a") if (path := folder / f"libpython{version}{name}").exists()]
    shared = [path for name in (".so", ".so.1.0") for place in (library, folder)
              if (path := place / f"libpython{version}{name}").exists()]  # fmt: skip
    whole = [["-Wl,--whole-archive", str(path), "-Wl,--no-whole-archive", *tail] for path in static]
    found = [["-fPIE", "-pie", *way] for way in whole]
    found += [["-fPIE", "-pie", str(path)] for path in shared[:1]]
    found += [["-no-pie", *way] for way in whole]
    if not found:
        raise BundleError(
            f"{sys.executable} has no libpython{version} in {folder} or {library}: install python3-dev of the "
            "same version (Debian), or build Python with --enable-shared"
        )
    return found


def interpreter(work: Path, target: Path, sources: list[Path], compiled: list[Path], sysroot: Sysroot | None) -> None:
    include = [f"-I{sysconfig.get_path('include')}", f"-I{sysconfig.get_path('platinclude')}"]
    compiler = CC
    if sysroot is not None:
        compiler, include = [sysroot.compiler], sysroot.flags()
    errors = []
    for way in libpythons() if sysroot is None else sysroot.libpythons():
        try:
            run(
                *compiler, "-O2", "-g0", f"-ffile-prefix-map={work}=.", *include, "-o", target, LAUNCHER / "host.c",
                *sources, *compiled, *way, "-rdynamic", "-lpthread", "-ldl", "-lm", "-Wl,--gc-sections",
                "-Wl,--build-id=none", "-Wl,-O1", "-Wl,-z,relro", "-Wl,--hash-style=gnu",
            )  # fmt: skip
            return
        except BundleError as error:
            errors.append(str(error)[-1500:])
    raise BundleError("\n".join(errors))


# Libraries -----------------------------------------------------------------------------------------------------------


def needed(path: Path, folder: Path | None) -> dict[str, Path]:
    """The shared libraries that a program or module needs, the dynamic loader with them, by file name."""
    found = {}
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)} if folder else dict(os.environ)
    done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, env=environment)
    for line in done.stdout.splitlines():
        if "not found" in line:
            raise BundleError(f"{path}: {line.strip()}")
        if match := re.match(r"\s*(?:\S+ => )?(/\S+) \(0x", line):
            found[Path(match[1]).name] = Path(match[1])
    return found


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


def put(source: Path, target: Path, mode: int = 0o644, strip: str = STRIP) -> None:
    shutil.copyfile(source.resolve(), target)
    target.chmod(0o755)
    if strip:
        run(strip, "--strip-unneeded", "-R", ".comment", "-R", ".note.gnu.build-id", target)
    drop_run_path(target)
    target.chmod(mode)


def launcher(target: Path, sysroot: Sysroot | None = None) -> None:
    flags = ["-Os", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none"]
    if sysroot is not None:
        sysroot.launcher(LAUNCHER / "launcher.c", target, flags)
    elif shutil.which(MUSL_CC) is None:
        raise BundleError(f"{MUSL_CC} is missing: apt-get install musl-tools, or set MUSL_CC to a musl compiler")
    else:
        run(MUSL_CC, "-static", *flags, "-o", target, LAUNCHER / "launcher.c")
    target.chmod(0o755)


# Files ---------------------------------------------------------------------------------------------------------------


def build(output: Path, arch: str = ARCH, sysroot: Sysroot | None = None) -> Path:
    tree = output / f"bundle-{arch}"
    shutil.rmtree(tree, ignore_errors=True)
    home = tree / "opt" / "lambda-dispatch"
    lib = home / "lib"
    lib.mkdir(parents=True)
    (tree / "opt" / "extensions").mkdir()
    launcher(home / "lambda-dispatch", sysroot)
    shutil.copy(home / "lambda-dispatch", tree / "opt" / "extensions" / "lambda-dispatch")
    found = modules()
    frozen, compiled, files = {}, [], {}
    for name, (loader, origin, package) in found.items():
        if loader == importlib.machinery.ExtensionFileLoader.__name__ and origin:
            if any(Path(origin).is_relative_to(root) for root in ROOTS):
                compiled.append(name)
            elif sysroot is None:
                files[name] = Path(origin)
        elif loader == importlib.machinery.SourceFileLoader.__name__ and origin:
            path = Path(origin)
            if sysroot is not None and not any(path.is_relative_to(root) for root in (*ROOTS, LAUNCHER)):
                path = sysroot.source(name, package)
            frozen[name] = (frozen_code(name, path, package), package)
        if sysroot is not None and (there := sysroot.extension(name)) is not None:
            files[name] = there  # whether it is part of this machine's libpython or not
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
        linked, table = objects(compiled, work, sysroot)
        raw = work / "python"
        interpreter(work, raw, tables(work, frozen, table), linked, sysroot)
        strip = STRIP if sysroot is None else f"{sysroot.gnu}-strip"
        put(raw, home / "python", 0o755, strip)
        libraries: dict[str, Path] = {}
        folder_of_python = Path(sysconfig.get_config_var("LIBDIR") or "/")
        for source in [raw, *files.values()]:
            libraries |= needed(source, folder_of_python) if sysroot is None else sysroot.needed(source)
        for name, source in sorted(files.items()):
            put(source, lib / f"{name}.so", strip=strip)
        for name, source in sorted(libraries.items()):
            put(source, lib / name, 0o755 if name.startswith("ld-") else 0o644, strip)
    say(f"{len(frozen)} modules frozen, {len(compiled)} of ours built in, {len(files)} + {len(libraries)} libraries")
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
        arch, sysroot = arguments.arch, None
        if arch != ARCH:
            sysroot = Sysroot(DEBIAN[arch], ROOT / "build" / f"sysroot-{arch}")
        tree = build(output, arch, sysroot)
        archive = output / f"lambda-dispatch-extension-{arch}"
        write_tar(tree, archive.with_suffix(".tar"))
        write_layer(tree, archive.with_suffix(".zip"))
    except (BundleError, ForeignError, OSError) as error:
        say(str(error))
        return 1
    unpacked = sum(path.stat().st_size for path in members(tree) if path.is_file())
    packed = archive.with_suffix(".zip").stat().st_size
    say(f"{tree}: {unpacked / 1e6:.1f} MB, as a layer {packed / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
