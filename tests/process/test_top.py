"""`lambda-dispatch top` on a terminal of its own, against a board and against an admin port."""

import fcntl
import http.server
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_dispatch import cli, top
from lambda_dispatch_core.board.board import Board
from tests.support.supervised import DEADLINE, Router

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(workers=2, admin_port=0, admin_token=TOKEN) as router:
        board = router.board(write=True)
        for _ in range(40):
            start(board)
        board.close()
        yield router


def start(board: Board) -> str:
    now = time.monotonic_ns()
    id = uuid.uuid4()
    taken = board.allocate_instance(0, id.bytes, 10, now, now + 10**12)
    assert taken is not None
    board.open_instance(*taken, now)
    return id.hex[:8]


class Terminal:
    """`top` behind a pseudo-terminal; `text` is all that it has written."""

    def __init__(self, *argv: str, size: tuple[int, int] = (24, 80), **environ: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", **environ}
            os.execvpe(sys.executable, [sys.executable, "-m", "lambda_dispatch.cli", "top", *argv], env)
        self.text = ""
        self.before = termios.tcgetattr(self.fd)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, pattern: str) -> str:
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.text, re.S)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], self.text
            self.text += os.read(self.fd, 65536).decode()
        return found[0]

    def frame(self) -> list[str]:
        """The next whole screen, without colours."""
        self.text = self.text[self.text.rfind("\x1b[H") :]
        self.until(r"\x1b\[H.*?\x1b\[J")
        self.text = ""
        whole = self.until(r"\x1b\[H.*?\x1b\[J")
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in whole.split("\r\n")]

    def exit_code(self) -> int:
        """Reads until it has ended."""
        while True:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                break
            if not piece:
                break
            self.text += piece.decode()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)


def where(router: Router, source: str, tmp_path: Path) -> tuple[str, ...]:
    if source == "board":
        return ("--pid", str(router.process.pid))
    (tmp_path / "token").write_text(TOKEN + "\n")
    return ("--url", f"http://127.0.0.1:{router.ports['admin']}/", "--token-file", str(tmp_path / "token"))


@pytest.mark.parametrize("source", ["board", "url"])
def test_it_follows_the_router_fits_any_width_and_gives_the_terminal_back(
    router: Router, source: str, tmp_path: Path
) -> None:
    with Terminal(*where(router, source, tmp_path), "--interval", "0.5") as terminal:
        terminal.until(r"\x1b\[\?1049h")
        frame = terminal.frame()
        assert f"pid {router.process.pid}" in frame[0] and "2/2 workers" in frame[0]
        assert len(frame) == 24 and frame[-1] == "q: quit"
        assert any(line.startswith("ok fake: ok: ") for line in frame)
        assert any(line.startswith("requests/s 0") for line in frame)
        assert {str(pid) for pid in router.pids().values()} <= {word for line in frame for word in line.split()}
        board = router.board(write=True)
        before = int(re.search(r"ok: (\d+) open", "\n".join(frame))[1])  # type: ignore[index]
        start(board)
        board.close()
        terminal.until(f"ok: {before + 1} open")
        for rows, columns in ((10, 60), (40, 61), (24, 200)):
            terminal.resize(rows, columns)
            frame = terminal.frame()
            while len(frame) != rows:
                frame = terminal.frame()
            assert max(map(len, frame)) <= columns
        os.write(terminal.fd, b"x")
        os.write(terminal.fd, b"q")
        assert terminal.exit_code() == 0
        assert terminal.text.endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(terminal.fd)[3] == terminal.before[3], "lines and echo as they were"


def test_a_signal_gives_the_terminal_back_too(router: Router, tmp_path: Path) -> None:
    with Terminal(*where(router, "board", tmp_path)) as terminal:
        terminal.until(r"q: quit")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.exit_code() == 0
        assert terminal.text.endswith("\x1b[?25h\x1b[?1049l")


def test_no_colour_is_written_where_none_is_wanted(router: Router, tmp_path: Path) -> None:
    with Terminal(*where(router, "board", tmp_path)) as coloured:
        coloured.until(r"\x1b\[32mok fake")
    with Terminal(*where(router, "board", tmp_path), NO_COLOR="1") as plain:
        plain.until(r"q: quit")
        assert "\x1b[32m" not in plain.text and "ok fake" in plain.text


@pytest.mark.parametrize("source", ["board", "url"])
def test_one_look_is_plain_text(
    router: Router, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["top", "--once", "--interval", "0.5", *where(router, source, tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(shown)
    assert max(map(len, shown)) <= 60
    assert sum(bool(re.match(r"[0-9a-f]{8}  open", line)) for line in shown) >= 40


def test_what_is_wrong_is_said(
    router: Router, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{router.ports['admin']}/"
    for argv, code, said in (
        (["--once", "--url", "ftp://x"], 69, "--url is 'ftp://x'; it must be http://HOST:PORT/"),
        (["--once", "--url", url], 69, "401 a bearer token is needed"),
        (["--once", "--url", url, "--token-file", "/nowhere"], 69, "--token-file is '/nowhere', which cannot be read"),
        (["--once", "--pid", "1"], 69, "process 1 is no router"),
        ([], 64, "no terminal; use --once"),
    ):
        assert cli.main(["top", *argv]) == code
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["top", "--once", "--interval", "0.1"])


def test_an_answer_cannot_steer_the_terminal() -> None:
    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"not found \x1b[2J\x1b]0;owned\x07"
            self.send_response(401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(top.Gone) as caught:
            top.AdminPort(f"http://127.0.0.1:{server.server_port}/", "").look()
        thread.join()
    assert str(caught.value).isprintable()
    assert top._cut("a\x1b[31mb", 80) == "a?[31mb"
