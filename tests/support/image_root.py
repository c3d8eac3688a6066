"""The router's code as its image has it.

With a folder of `./run router-root` in ROUTER_ROOT, routers and workers of the tests run out of it: as an unprivileged
user, with a read-only file system, and of the checkout with nothing but the tests' stand-ins, where a test needs them.
Commands of developers, such as `lambda-dispatch dev`, stay the checkout's.
"""

import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.certs import Pair

ROOT_VARIABLE = "ROUTER_ROOT"
COMMAND = "/bin/lambda-dispatch"
PYTHON = "/opt/lambda-dispatch/python"
USER = 65532
SHARED = "/dev/shm"
CHECKOUT = Path(__file__).resolve().parents[2]


def folder() -> Path | None:
    root = os.environ.get(ROOT_VARIABLE)
    return Path(root) if root else None


def inside(root: Path, program: str = COMMAND, checkout: str = "") -> list[str]:
    """A program of the router's image, run as its container would run it: as the same process, in a read-only root."""
    mount = (
        'root=$0 program=$1 checkout=$2; shift 2; mount --rbind "$root" "$root" && mount -t proc proc "$root/proc" && '
    )
    mount += 'mount --rbind /dev "$root/dev" && { [ -z "$checkout" ] || mount --bind -r "$checkout" "$root/sys"; } && '
    mount += f'mount -o remount,bind,ro "$root" && exec chroot --userspec={USER}:{USER} "$root" "$program" "$@"'
    return ["unshare", "-m", "sh", "-c", mount, str(root), program, checkout]


def module(name: str) -> list[str]:
    """The command that runs a module of the router."""
    root = folder()
    return [*(inside(root, PYTHON) if root else [sys.executable]), "-m", name]


def of_the_tests(name: str) -> list[str]:
    """The command that runs a module of the tests beside the router's; in an image's root the checkout is at /sys."""
    root = folder()
    return [*(inside(root, PYTHON, str(CHECKOUT)) if root else [sys.executable]), "-m", name]


def path() -> str:
    """PYTHONPATH of what is started here."""
    return "/sys" if folder() else os.pathsep.join(each or str(CHECKOUT) for each in sys.path)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that the router can use, at the same path in its root."""
    made = tempfile.TemporaryDirectory(dir=SHARED if folder() else None)
    if folder():
        os.chown(made.name, USER, USER)
    return made


def visible(certs: Pair) -> Pair:
    """Where the router can read them: in an image's root they are copies, unless they lie in a scratch()."""
    if folder() is None or certs.cert.is_relative_to(SHARED):
        return certs
    place = Path(tempfile.mkdtemp(dir=_kept().name))
    place.chmod(0o755)
    return certs._replace(cert=Path(shutil.copy(certs.cert, place)), key=Path(shutil.copy(certs.key, place)))


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """Until the tests end."""
    return scratch()
