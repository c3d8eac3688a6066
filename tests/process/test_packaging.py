"""The wheel and the sdist: built, installed where nothing else is, imported."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from lambda_dispatch_core import __version__

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("cython_ext", "src", "extension")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def sources() -> list[Path]:
    return [path.relative_to(ROOT) for root in SOURCES for path in sorted((ROOT / root).rglob("*.pyx"))]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made with the setuptools and Cython that are installed: what is asked here is ours, not the index's."""
    to = tmp_path_factory.mktemp("sdist")
    egg = tmp_path_factory.mktemp("egg")
    run(sys.executable, "setup.py", "-q", "egg_info", "-e", egg, "sdist", "-d", to, cwd=ROOT)
    (made,) = to.glob("*.tar.gz")
    return made


def test_the_sdist_holds_all_that_the_modules_are_made_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[-1] for name in archive.getnames()}
    wanted = {
        str(path.relative_to(ROOT))
        for root in SOURCES
        for suffix in ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.h", "py.typed")
        for path in (ROOT / root).rglob(suffix)
    }
    wanted |= {"LICENSE", "run", "tools/fresh_machine", "examples/demo/app.py"}
    wanted |= {"setup.py", "pyproject.toml", "README.md"} | {f"tools/{path.name}" for path in ROOT.glob("tools/*.py")}
    assert wanted <= held, sorted(wanted - held)
    compiled = {name for name in held if name.endswith((".so", ".c")) and name.startswith(SOURCES)}
    # written by hand
    assert compiled == {f"extension/launcher/{name}.c" for name in ("launcher", "host", "router")}


def test_the_wheel_made_from_the_sdist_installs_alone_and_every_compiled_module_imports(
    sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    # What is looked at is whether it builds, not how fast it runs.
    env = {**os.environ, "LAMBDA_DISPATCH_CFLAGS": "-O0"}
    built = subprocess.run(
        [*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", str(tmp_path), str(source)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
    )
    assert built.returncode == 0, built.stdout[-4000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    assert [name for name in names if name.endswith(".c")] == []
    assert "lambda_dispatch/local/demo/app.py" in names  # `lambda-dispatch dev` needs no checkout
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata and "Author: the lambda-dispatch authors" in metadata
    assert f"Version: {__version__}\n" in metadata
    extras = {line.partition(";")[2].strip() for line in metadata.splitlines() if line.startswith("Requires-Dist: ")}
    # What runs is in no extra, but for one more way to compress direct answers.
    assert extras == {"", *(f'extra == "{name}"' for name in ("brotli", "deploy", "dev"))}

    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", wheel, cwd=tmp_path)
    modules = [".".join(path.with_suffix("").parts[1:]) for path in sources()]
    core = [name for name in modules if name.startswith("lambda_dispatch_core.")]
    show = "import importlib, sys; print([importlib.import_module(m).__file__ for m in sys.argv[1:]])"
    said = run(python, "-I", "-c", show, *core, cwd=tmp_path)
    assert said.count(str(tmp_path / "venv")) == len(core)
    # The rest may need the dependencies: the modules are there, and begin to load.
    site = next((tmp_path / "venv" / "lib").iterdir()) / "site-packages"
    for name in modules:
        stem = site.joinpath(*name.split("."))
        assert list(stem.parent.glob(f"{stem.name}.*.so")), f"{name} is not in the wheel"
    assert (tmp_path / "venv" / "bin" / "lambda-dispatch").exists()


def test_an_editable_install_compiles_in_place_and_puts_plain_folders_on_the_path(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(tmp_path)
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    env = {**os.environ, "LAMBDA_DISPATCH_CFLAGS": "-O0"}
    command = [sys.executable, "setup.py", "-q", "editable_wheel", "--dist-dir", str(tmp_path)]
    made = subprocess.run(command, cwd=source, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500)
    assert made.returncode == 0, made.stdout[-4000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth")]
    roots = path.splitlines()
    assert roots[:3] == [str(source / root) for root in SOURCES]
    for pyx in sources():
        assert list((source / pyx.parent).glob(f"{pyx.stem}.*.so")), f"{pyx} is not compiled"
    show = "import sys; sys.path[:0] = sys.argv[1:]; import lambda_dispatch_core.h2.session as s; print(s.__file__)"
    assert str(source) in run(sys.executable, "-S", "-c", show, *roots, cwd=tmp_path)
