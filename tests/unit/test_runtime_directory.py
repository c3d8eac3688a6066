"""The directory of the workers' sockets: private, or a clear error."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from lambda_dispatch.supervisor import runtime


def test_the_first_private_directory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all, private = tmp_path / "open", tmp_path / "private"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setattr(runtime, "_candidates", lambda: [open_to_all, private])
    assert runtime.directory() == private
    assert private.stat().st_mode & 0o077 == 0


def test_without_a_private_directory_the_error_says_what_was_tried_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all, file, absent = tmp_path / "open", tmp_path / "file", tmp_path / "no" / "such"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    file.touch()
    long = tmp_path / ("x" * 100)
    monkeypatch.setattr(runtime, "_candidates", lambda: [open_to_all, file, absent, long])
    whereabouts = runtime.Whereabouts()
    try:
        with pytest.raises(OSError, match="XDG_RUNTIME_DIR") as raised:
            whereabouts.open_peers(2, 8)
        assert not whereabouts.peers
    finally:
        whereabouts.close()
    said = str(raised.value)
    for part in (f"{open_to_all}: mode 755", f"{file}: ", f"{absent}: No such", f"{long}: longer than"):
        assert part in said


def test_a_read_only_system_still_has_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", none)
    assert [path.parent for path in runtime._candidates()] == [Path("/dev/shm")]


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: the router of another user cannot be asked")
def test_root_finds_the_commands_of_another_users_router(tmp_path: Path) -> None:
    other = 65534
    folder = tmp_path / "lambda-dispatch"
    folder.mkdir(mode=0o700)
    path = folder / "1.ctl.sock"
    # As a router does, it holds the socket, and its environment does not tell where that is.
    with socket.socket(socket.AF_UNIX) as commands:
        commands.bind(str(path))
        with subprocess.Popen(
            ["cat"], user=other, env={}, stdin=subprocess.PIPE, pass_fds=[commands.fileno()]
        ) as router:
            said = {"pid": router.pid, "commands": str(path)}
            (folder / f"{router.pid}.json").write_text(json.dumps(said))
            assert runtime.command_path(router.pid) == ""  # the directory is of a third user
            os.chown(folder, other, other)
            assert runtime.command_path(router.pid) == f"/proc/{router.pid}/root{path}"
