"""The bundle for the other architecture, made here and run under emulation."""

import asyncio
import os
import platform
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import bundle
from tests.support.extension_rig import rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AARCH64 = 183  # ELF's number of the machine


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if platform.machine() != "x86_64":
        pytest.skip("made for arm64 on x86_64 only")
    if shutil.which("aarch64-linux-gnu-gcc") is None or shutil.which("qemu-aarch64-static") is None:
        pytest.skip("no arm64 here: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static")
    ask = "import sys; print(sys.version_info[:2])"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", ask], capture_output=True, text=True)
    if done.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the other architecture's Python is Debian's, and this one is of another version")
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "tools/bundle.py", "--arch", "arm64", "--output", str(folder)],
        cwd=bundle.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def home(output: Path) -> Path:
    return output / "bundle-arm64" / "opt" / "lambda-dispatch"


def machine(path: Path) -> int:
    head = path.read_bytes()[:20]
    assert head[:4] == b"\x7fELF", path
    return int(struct.unpack_from("<H", head, 18)[0])


def test_every_file_is_for_it_and_every_library_there(output: Path, home: Path) -> None:
    programs = [home / "python", home / "lambda-dispatch", home.parent / "extensions" / "lambda-dispatch"]
    libraries = list((home / "lib").iterdir())
    assert {machine(path) for path in programs + libraries} == {AARCH64}
    for path in [home / "python", *libraries]:
        lines = bundle.elf_needs(path)
        needed = {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}
        assert needed <= {found.name for found in libraries}, path
        assert str(bundle.ROOT).encode() not in path.read_bytes(), path
    with zipfile.ZipFile(output / "lambda-dispatch-extension-arm64.zip") as layer:
        assert "lambda-dispatch/lib/ld-linux-aarch64.so.1" in layer.namelist()


def test_its_launcher_runs(home: Path) -> None:
    """Emulation ends where it would become another program, which only the kernel can start."""
    done = subprocess.run(
        ["qemu-aarch64-static", home / "lambda-dispatch", "extension", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 126, done.stderr
    assert "this machine is arm64" in done.stderr


def test_it_serves(home: Path) -> None:
    """What the launcher becomes: text, a large body, compression; then SHUTDOWN."""
    libraries = home / "lib"
    emulated = ["qemu-aarch64-static", str(libraries / "ld-linux-aarch64.so.1"), "--inhibit-cache"]
    emulated += ["--library-path", str(libraries), str(home / "python"), "extension"]

    async def whole() -> None:
        async with rig(launcher=emulated) as r:
            r.invoke(2)
            assert len((await r.exchange("GET", "/text/100")).body) == 100
            body = os.urandom(300_000)
            assert (await r.exchange("POST", "/echo", [("content-length", str(len(body)))], body)).body == body
            answer = await r.exchange("GET", "/text/9000", [("accept-encoding", "gzip")])
            assert answer.get("content-encoding") == "gzip"
            r.api.shut_down()
            assert await r.extension.exited() == 0

    asyncio.run(whole())
