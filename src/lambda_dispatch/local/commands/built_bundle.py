"""The bundle of this checkout for `lambda-dispatch dev`: what ./run bundle has written, if it is of today's sources."""

import platform
from pathlib import Path

ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
SUFFIXES = (".py", ".pyx", ".pxd", ".c", ".h")
NONE = "none"  # of --extensions-dir


def find(checkout: Path) -> tuple[str, str]:
    """Its extensions directory, empty where there is none, and a line worth saying."""
    extensions = checkout / "dist" / f"bundle-{ARCH}" / "opt" / "extensions"
    layer = checkout / "dist" / f"lambda-dispatch-extension-{ARCH}.zip"  # the bundle's own files have no date
    if not extensions.is_dir() or not layer.is_file():
        return "", ""
    built = layer.stat().st_mtime
    for folder in ("extension", "cython_ext"):
        for path in (checkout / folder).rglob("*"):
            # C of Cython is written by a build, not by us.
            generated = path.suffix == ".c" and path.with_suffix(".pyx").exists()
            if path.suffix in SUFFIXES and not generated and path.stat().st_mtime > built:
                return "", f"from the checkout; the bundle is older than {path.relative_to(checkout)}: ./run bundle"
    return str(extensions), f"the bundle in {extensions.parents[1]}   (--extensions-dir none: from the checkout)"
