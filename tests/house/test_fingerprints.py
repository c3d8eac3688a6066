"""A module is compiled again when anything it is made from changes: each cimport is seen, however it is written."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import fingerprints  # noqa: E402

SOURCES = sorted(path for root in fingerprints.ROOTS for path in (ROOT / root).rglob("*.p[yx][xd]"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_cimport_of_a_source_is_found(path: Path) -> None:
    written = re.findall(rb"^\s*(?:from\s+\S+\s+)?cimport\s", path.read_bytes(), re.MULTILINE)
    assert len(fingerprints.CIMPORT.findall(path.read_bytes())) == len(written)


def test_a_cimport_over_several_lines_counts() -> None:
    board = ROOT / "cython_ext/lambda_dispatch_core/board"
    assert board / "layout.pxd" in fingerprints._closure(board / "map.pyx")
