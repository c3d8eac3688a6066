"""The wheel and the sdist: built, installed where nothing else is, imported."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

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
    wanted |= {"setup.py", "pyproject.toml", "README.md"} | {f"tools/{path.name}" for path in ROOT.glob("tools/*.py")}
    assert wanted <= held, sorted(wanted - held)
    compiled = {name for name in held if name.endswith((".so", ".c")) and name.startswith(SOURCES)}
    assert compiled == {"extension/launcher/launcher.c", "extension/launcher/host.c"}  # written by hand


def test_the_wheel_made_from_the_sdist_installs_alone_and_every_compiled_module_imports(
    sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
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
    assert [name for name in names if name.endswith(".c")] == []

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
