"""Builds the wheel for every CPython >= 3.11 there is, installs each into an empty environment, and runs it there:

    ./run wheels [--output DIR] [PYTHON …]

the command's version, the router's --check, and the micro benchmarks against the installed package, not the checkout.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fingerprints

ROOT = Path(__file__).resolve().parents[1]
ASKED = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))"


def pythons(named: list[str]) -> dict[str, str]:
    """Version → interpreter, the first of each."""
    candidates = named or [
        *(f"python3.{minor}" for minor in range(11, 16)),
        *map(str, sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.*/bin/python"))),
    ]
    found: dict[str, str] = {}
    for candidate in candidates:
        program = shutil.which(candidate)
        if program is None:
            continue
        done = subprocess.run([program, "-c", ASKED], capture_output=True, text=True)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), program)
    return found


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    subprocess.run([str(word) for word in command], cwd=cwd, env=env, check=True)


def check(version: str, python: str, output: Path, work: Path) -> Path:
    source = work / f"source-{version}"  # a build leaves files in its folder: each has one of its own
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "node_modules", "*.so", "*.c", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, source, ignore=ignored)
    for path in (ROOT / "extension" / "launcher").glob("*.c"):
        shutil.copy(path, source / "extension" / "launcher")
    before = set(output.glob("*.whl"))
    builder = work / f"builder-{version}"  # Debian's Python has no pip of its own
    run(python, "-m", "venv", builder)
    run(builder / "bin" / "python", "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps",
        "-w", output, source)  # fmt: skip
    built = sorted(set(output.glob("*.whl")) - before) or sorted(output.glob(f"*cp{version.replace('.', '')}*.whl"))
    wheel = built[-1]
    place = work / f"venv-{version}"
    run(python, "-m", "venv", place)
    pip = [place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, wheel)
    run(place / "bin" / "lambda-dispatch", "--version")
    empty = work / f"empty-{version}"
    empty.mkdir()
    run(*pip, "pytest", "pytest-benchmark", "h2", "hypothesis", "pytest-timeout")
    shutil.copytree(ROOT / "benchmarks", empty / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "tests" / "support", empty / "tests" / "support", ignore=shutil.ignore_patterns("__pycache__")
    )
    (empty / "tests" / "__init__.py").touch()
    # The benchmarks' compiled faces are no part of the wheel; they alone are compiled here, and use the installed core.
    for root in fingerprints.ROOTS:
        for path in (source / root).rglob("*.pyx"):
            path.unlink()
    run(*pip, "Cython>=3.1,<4", "setuptools>=77")
    run(place / "bin" / "python", "setup.py", "-q", "build_ext", "--inplace", cwd=source)
    shutil.copytree(source / "tests" / "compiled" / "lambda_dispatch_testing", empty / "lambda_dispatch_testing")
    run(place / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable-gc",
        "--benchmark-max-time=0.05", "--benchmark-min-rounds=3", "--benchmark-columns=median", "benchmarks/micro",
        cwd=empty, env={**os.environ, "PYTHONPATH": str(empty)})  # fmt: skip
    return wheel


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("python", nargs="*")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    found = pythons(arguments.python)
    if not found:
        print("wheels: no Python >= 3.11 with venv was found", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="lambda-dispatch-wheels-") as folder:
        for version, python in found.items():
            print(f"wheels: Python {version}, {python}", flush=True)
            try:
                wheel = check(version, python, output, Path(folder))
            except subprocess.CalledProcessError as error:
                print(f"wheels: Python {version}: {error}", file=sys.stderr)
                return 1
            print(f"wheels: {wheel.name}: built, installed and run", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
