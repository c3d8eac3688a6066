"""`lambda-dispatch version`: what runs, for people and, with --json, for programs."""

import json
import os
import platform
import ssl
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from lambda_dispatch.exits import EX_USAGE
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.board import BOARD_VERSION

HELP = """\
usage: lambda-dispatch version [--json]

Prints the version; with --json also the build, the interpreter and the libraries, and the versions of the wire to
extensions and of the board's format: `status` and `top` read the board of a router with the same one.
"""
LIBRARIES = ("uvloop", "boto3")
# Of the wire between router and extension. It is raised when one of them no longer works with the other of before.
PROTOCOL = 1


def document() -> dict[str, Any]:
    return {
        "version": __version__,
        "git_hash": os.environ.get("GIT_HASH") or None,
        "build_time": os.environ.get("BUILD_TIME") or None,
        "protocol": PROTOCOL,
        "board": BOARD_VERSION,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "openssl": ssl.OPENSSL_VERSION,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libraries": {name: _installed(name) for name in LIBRARIES},
    }


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main(arguments: Sequence[str]) -> int:
    if arguments in (["--help"], ["-h"]):
        print(HELP, end="")
    elif arguments == ["--json"]:
        print(json.dumps(document(), indent=2))
    elif arguments:
        print(f"lambda-dispatch version: unknown argument {arguments[0]!r}\n\n{HELP}", end="", file=sys.stderr)
        return EX_USAGE
    else:
        print(f"lambda-dispatch {__version__}")
    return 0
