"""Every allocation of the core fails once: MemoryError each time, never a crash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_each_allocation_that_fails_is_a_memory_error(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: cc or gcc")
    library = tmp_path / "failmalloc.so"
    source = ROOT / "tests" / "support" / "failmalloc.c"
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", library, source], check=True)
    path = os.pathsep.join(str(ROOT / part) for part in ("cython_ext", "tests/compiled", "."))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.failing_allocations"],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    failed = {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines())}
    assert set(failed) == {"hpack", "http2", "http1", "buffers"}
    assert all(count > 0 for count in failed.values()), failed
