"""`dev` starts environments with the checkout's bundle, when it is of today's sources."""

import os
from pathlib import Path

import pytest

from lambda_dispatch.local.commands.built_bundle import ARCH, find


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "dist" / f"bundle-{ARCH}" / "opt" / "extensions").mkdir(parents=True)
    (tmp_path / "dist" / f"lambda-dispatch-extension-{ARCH}.zip").touch()
    for name in ("extension/a/main.py", "cython_ext/core/x.pyx", "cython_ext/core/x.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    return tmp_path


def test_a_bundle_of_todays_sources_is_used(checkout: Path) -> None:
    place, note = find(checkout)
    assert place == str(checkout / "dist" / f"bundle-{ARCH}" / "opt" / "extensions")
    assert "--extensions-dir none" in note


def test_a_bundle_older_than_a_source_is_not(checkout: Path) -> None:
    os.utime(checkout / "cython_ext/core/x.pyx", (1e10, 1e10))
    place, note = find(checkout)
    assert place == ""
    assert "older than cython_ext/core/x.pyx" in note


def test_what_a_build_writes_makes_no_bundle_old(checkout: Path) -> None:
    os.utime(checkout / "cython_ext/core/x.c", (1e10, 1e10))
    assert find(checkout)[0]


def test_without_a_bundle_nothing_is_said(tmp_path: Path) -> None:
    assert find(tmp_path) == ("", "")
