"""Compiles the core with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy, and runs the core's tests on it.

    ./run sanitize [--seconds N] [PYTEST...]      N: seconds of random input for each decoder as well (default: 0)

The core's tests are those unit and property tests that import lambda_dispatch_core and nothing else of ours.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "sanitize"
COPIED = ("cython_ext", "tests", "tools", "docs")


def compiler() -> str:
    return os.environ.get("CC", "cc").split()[-1]


def runtime(name: str) -> str:
    """The sanitizer's library: Python itself is not linked with it, so it must be loaded before anything else."""
    found = subprocess.run([compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    if not Path(path).is_absolute():
        sys.exit(
            f"sanitize: {compiler()} has no {name}; with gcc on Debian it is in the package libgcc-dev of its version"
        )
    return path


def copy_tree() -> None:
    """The sources and tests as they are now; what was compiled in the copy before is kept, for setup.py to judge."""
    COPY.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        kept = {".so", ".c"}
        for old in sorted((COPY / name).rglob("*"), reverse=True):
            if old.is_file() and old.suffix not in kept:
                old.unlink()
        shutil.copytree(
            ROOT / name, COPY / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, COPY / name)


def core_tests() -> list[str]:
    tests = [path for kind in ("unit", "property") for path in sorted((COPY / "tests" / kind).glob("test_*.py"))]
    imports = {path: set(re.findall(r"^from (lambda_dispatch\w*)", path.read_text(), re.MULTILINE)) for path in tests}
    return [
        str(path.relative_to(COPY))
        for path in tests
        if imports[path] and imports[path] <= {"lambda_dispatch_core", "lambda_dispatch_testing"}
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run sanitize", description="The core's tests under ASan and UBSan.")
    parser.add_argument("--seconds", type=float, default=0, help="random input for each decoder, this long")
    options, pytest_arguments = parser.parse_known_args()
    copy_tree()
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    if subprocess.run(build, cwd=COPY, env={**os.environ, "LAMBDA_DISPATCH_SANITIZE": "1"}).returncode:
        return 1
    env = {
        **os.environ,
        "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        # CPython never frees what lives as long as it does; the rest of a report is wanted in full
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join((str(COPY / "cython_ext"), str(COPY / "tests/compiled"), str(COPY))),
    }
    tests = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=ci", "-p", "no:cacheprovider"]
    tests += ["--timeout=600", *(pytest_arguments or core_tests())]
    done = subprocess.run(tests, cwd=COPY, env=env).returncode
    if done == 0 and options.seconds:
        fuzz = [sys.executable, "-m", "tests.support.fuzz", "--seconds", str(options.seconds)]
        done = subprocess.run(fuzz, cwd=COPY, env=env).returncode
    return done


if __name__ == "__main__":
    sys.exit(main())
