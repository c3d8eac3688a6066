"""Where a running router can be found: PID.json for `lambda-dispatch status`, and the workers' sockets for each other.

Both lie in one directory of this user's alone. A router that was killed leaves its files; the next one removes them.
"""

import json
import os
import secrets
import socket
import stat
import sys
import tempfile
from pathlib import Path

# What fits into a Unix socket's address on every system, with its final zero.
LONGEST_PATH = 103


def directory() -> Path | None:
    """The directory, made if need be; None when there is no place that only this user can write to."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        path = Path(base, "lambda-dispatch")
    else:
        path = Path(tempfile.gettempdir(), f"lambda-dispatch-{os.geteuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    # Somebody else may have made it first.
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return path if private else None


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
        self.addresses: list[str] = []
        if self.where is not None:
            sweep(self.where)

    def open_peers(self, count: int, backlog: int) -> None:
        """A listening Unix socket for each worker slot."""
        name = f"{os.getpid()}.{secrets.token_hex(4)}"
        for slot in range(count):
            path = self.where / f"{name}.{slot}.sock" if self.where is not None else None
            if path is not None and len(os.fsencode(path)) <= LONGEST_PATH:
                address = str(path)
                self._files.append(path)
            elif sys.platform == "linux":
                address = f"\0lambda-dispatch.{secrets.token_hex(16)}.{slot}"
            else:
                raise OSError(
                    f"no directory for sockets: set XDG_RUNTIME_DIR to one of at most {LONGEST_PATH - 40} bytes"
                )
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.peers.append(sock)
            sock.bind(address)
            sock.listen(backlog)
            sock.setblocking(False)
            self.addresses.append(address)

    def announce(self, ports: dict[str, int], board_fd: int) -> None:
        if self.where is None:
            return
        path = self.where / f"{os.getpid()}.json"
        path.write_text(json.dumps({"pid": os.getpid(), "board_fd": board_fd, **ports}) + "\n")
        self._files.append(path)

    def close(self) -> None:
        for sock in self.peers:
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
