"""Where a running router can be found: PID.json for `lambda-dispatch status`, the sockets of commands and of workers.

Both lie in one directory of this user's alone. A router that was killed leaves its files; the next one removes them.
"""

import contextlib
import json
import os
import secrets
import socket
import stat
import tempfile
from pathlib import Path

# What fits into a Unix socket's address on every system, with its final zero.
LONGEST_PATH = 103
LONGEST_NAME = 28  # "/PID.8 hex digits.SLOT.sock"


def _candidates() -> list[Path]:
    found = []
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(base, "lambda-dispatch"))
    name = f"lambda-dispatch-{os.geteuid()}"
    try:
        found.append(Path(tempfile.gettempdir(), name))
    except OSError:
        pass  # a read-only system without a place for temporary files
    found.append(Path("/dev/shm", name))  # writable in containers whose root is read-only
    return found


def _why_not(path: Path) -> str:
    """Why this directory, made if need be, is not one that only this user can write to; empty when it is."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        return error.strerror or str(error)
    # Somebody else may have made it first.
    if not stat.S_ISDIR(found.st_mode):
        return "not a directory"
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    if found.st_mode & 0o077:
        return f"mode {stat.S_IMODE(found.st_mode):o} lets others in"
    if len(os.fsencode(path)) > LONGEST_PATH - LONGEST_NAME:
        return f"longer than {LONGEST_PATH - LONGEST_NAME} bytes"
    return ""


def directory() -> Path | None:
    """The directory, made if need be; None when there is no place that only this user can write to."""
    return next((path for path in _candidates() if not _why_not(path)), None)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep(where: Path) -> None:
    """Removes what routers that were killed have left."""
    for path in where.iterdir():
        pid = path.name.partition(".")[0]
        if not (pid.isascii() and pid.isdigit()) or alive(int(pid)):
            continue
        # The number may be of another container that shares the directory: a socket that answers is in use.
        if path.suffix == ".sock" and _answers(path):
            continue
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return path.exists()
    return True


class Whereabouts:
    """One router's files. close() removes them."""

    def __init__(self) -> None:
        self.where = directory()
        self._files: list[Path] = []
        self.peers: list[socket.socket] = []
        self._others: list[socket.socket] = []
        self.addresses: list[str] = []
        self.commands = ""  # path of the socket for commands
        if self.where is not None:
            sweep(self.where)

    def open_peers(self, count: int, backlog: int) -> None:
        """A listening Unix socket for each worker slot."""
        name = f"{os.getpid()}.{secrets.token_hex(4)}"
        if self.where is None:
            tried = "; ".join(f"{path}: {_why_not(path)}" for path in _candidates())
            raise OSError(
                f"no private directory for the workers' sockets ({tried}): set XDG_RUNTIME_DIR to a directory "
                f"that belongs to this user alone (mode 700)"
            )
        for slot in range(count):
            path = self.where / f"{name}.{slot}.sock"
            address = str(path)
            self._files.append(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.peers.append(sock)
            sock.bind(address)
            sock.listen(backlog)
            sock.setblocking(False)
            self.addresses.append(address)

    def open_commands(self) -> socket.socket:
        """The listening Unix socket for commands; this user's alone. After open_peers()."""
        assert self.where is not None
        path = self.where / f"{os.getpid()}.{secrets.token_hex(4)}.ctl.sock"
        self._files.append(path)
        self.commands = str(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._others.append(sock)
        # Linux creates the socket's file with the mode of its descriptor.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(self.commands)
        path.chmod(0o600)
        sock.listen()
        sock.setblocking(False)
        return sock

    def announce(self, ports: dict[str, int], board_fd: int) -> None:
        if self.where is None:
            return
        path = self.where / f"{os.getpid()}.json"
        path.write_text(
            json.dumps({"pid": os.getpid(), "board_fd": board_fd, "commands": self.commands, **ports}) + "\n"
        )
        self._files.append(path)

    def close(self) -> None:
        for sock in (*self.peers, *self._others):
            sock.close()
        for path in self._files:
            path.unlink(missing_ok=True)
        self._files.clear()


def running() -> list[int]:
    """Routers of this user that say they run."""
    where = directory()
    if where is None:
        return []
    pids = [int(path.stem) for path in where.glob("*.json") if path.stem.isascii() and path.stem.isdigit()]
    return sorted(pid for pid in pids if alive(pid))


def command_path(pid: int) -> str:
    """The socket for commands of a router of this user, or as root of any; empty when there is none."""
    where = directory()
    for folder in (*([where] if where else []), *_of_another_user(pid)):
        try:
            found = json.loads((folder / f"{pid}.json").read_text())
        except (OSError, ValueError):
            continue
        if commands := found.get("commands"):
            return str(folder / Path(commands).name)
    return ""


def _of_another_user(pid: int) -> list[Path]:
    """Where a router that runs as another user has its sockets, below its own root: it may have a /tmp to itself.

    They are read from the kernel; its environment cannot tell, because the process title is written over it.
    """
    process = Path(f"/proc/{pid}")
    held = set()
    try:
        uid = process.stat().st_uid
        bound = (process / "net/unix").read_text("utf-8", "surrogateescape").split("\n")
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held.add(os.readlink(fd))
    except OSError:
        return []  # only root may ask
    if uid == os.geteuid():
        return []
    sockets = [fields for line in bound if len(fields := line.split(None, 7)) == 8 and f"socket:[{fields[6]}]" in held]
    folders = {Path(fields[7]).parent for fields in sockets if fields[7].startswith("/")}
    found = [process / "root" / folder.relative_to("/") for folder in sorted(folders)]
    return [place for place in found if place.is_dir() and place.lstat().st_uid == uid]
