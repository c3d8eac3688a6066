"""`lambda-dispatch dev` as a newcomer meets it: what it prints, how it ends, how it fails."""

import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path

import pytest

from lambda_dispatch.local.commands import dev_command
from lambda_dispatch.local.commands.screen import Screen
from tests.support.dev_run import NO_PORTS, dev_run
from tests.support.local_lambda import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_it_says_what_runs_where_and_leaves_nothing_behind() -> None:
    with dev_run("--workers", "1", "--direct-port", "0") as run:
        run.wait_for_line("the first environment is ready")
        assert "curl http://127.0.0.1:" in run.output
        assert run.ask("GET", "/ping")[1] == b"pong"
        run.wait_for_line(" draining · queue ")
        run.remember()
        assert len(run.left()) >= 6  # dev, supervisor, worker, scaler, extension, application
        assert run.interrupt() == 0
        assert run.lines.index("stopping") < run.lines.index("stopped; no process is left") == len(run.lines) - 1
        assert run.left() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_however_it_ends(number: int) -> None:
    with dev_run("--workers", "1") as run:
        run.wait_for_line("the first environment is ready")
        run.ask("GET", "/ping")
        run.remember()
        run.process.send_signal(number)
        run.process.wait(30)
        wait_for(lambda: run.left() == [])


def test_an_application_of_ones_own_runs_on_the_port_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("fine")
    (tmp_path / "hello").write_text("my own")
    serve = f"exec {sys.executable} -m http.server --bind 127.0.0.1 --directory {tmp_path} $PORT"
    with dev_run("--workers", "1", "--", "sh", "-c", serve) as run:
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/hello")[1] == b"my own"


def test_an_application_with_a_port_of_its_own_gets_one_environment(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("fine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)]
    with dev_run("--workers", "1", "--app-port", str(port), "--", *command) as run:
        run.wait_for_line("one environment, as its port is fixed")
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/health")[0].status == 200


def test_an_application_that_ends_at_once_is_one_clear_message() -> None:
    with dev_run("--workers", "1", "--", "sh", "-c", "echo no database; exit 3") as run:
        assert run.process.wait(60) == 1
        wait_for(lambda: "lambda-dispatch dev: the application did not start: sh -c" in run.output)
        assert "no database" in run.output


def test_a_daemon_that_an_application_leaves_behind_is_ended_with_its_environment() -> None:
    with dev_run("--workers", "1", "--", "sh", "-c", "setsid sleep 1000 & exit 3") as run:
        assert run.process.wait(60) == 1
        wait_for(lambda: run.left() == [])


def test_a_router_that_does_not_start_fails_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with dev_run("--workers", "1", "--http-port", str(port), "--control-http-port", str(port)) as run:
        assert run.process.wait(60) == 1
        wait_for(lambda: "lambda-dispatch dev: the router ended by itself (exit status 78)" in run.output)


def test_an_application_that_is_not_healthy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    main = (
        "import sys; from lambda_dispatch.local.commands import dev_command as d; d.HEALTH_WARNING = 1.0; "
        "sys.exit(d.main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", main, *NO_PORTS, "--workers=1", "--", "sleep", "1000"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "has not answered GET http://127.0.0.1:" in line)
        assert "/health with 200 for 1 s; still waiting" in said
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--", "/no/such/command"], "command not found: /no/such/command"),
        (["--workers", "0"], "--workers 0: 1 to 64"),
        (["--function-name", "a b"], "function name 'a b'"),
        (["--http-port", "70000"], "--http-port 70000: 0 to 65535"),
        (["--env", "X"], "--env 'X': KEY=VALUE"),
        (["--cold-start", "soon"], "--cold-start: delay 'soon'"),
        (["--max-environments", "0"], "--max-environments 0: at least 1"),
        (["--directory", "/no/such"], "--directory /no/such: no such directory"),
    ],
)
def test_a_wrong_command_line_is_one_clear_message(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev_command.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("lambda-dispatch dev: ") and error.count("\n") == 1
    assert said in error


def test_a_command_without_the_two_dashes_is_told_where_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dev_command.main(["--workers", "1", "node", "app.js"])
    assert ended.value.code == 2
    assert "put -- before the application's command: " in (said := capsys.readouterr().err)
    assert said.endswith("dev --workers 1 -- node app.js\n")


def test_the_command_runs_in_the_folder_it_is_typed_in_and_directory_names_another(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "health").write_text("fine")
    (tmp_path / "app" / "where").write_text("in the folder of the application")
    (tmp_path / "app" / "start").write_text(
        "#!/bin/sh\nexec " + sys.executable + " -m http.server -b 127.0.0.1 $PORT\n"
    )
    (tmp_path / "app" / "start").chmod(0o755)
    ran = [str(ROOT / "run"), "dev", *NO_PORTS, "--workers=1"]
    for cwd, more in ((tmp_path / "app", []), (tmp_path, ["--directory", "app"])):
        with dev_run(*more, "--", "./start", command=ran, cwd=cwd) as run:
            run.wait_for_line("the first environment is ready")
            assert run.ask("GET", "/where")[1] == b"in the folder of the application"


def test_a_reader_that_leaves_ends_the_run_without_a_traceback() -> None:
    command = [sys.executable, "-m", "lambda_dispatch.cli", "dev", *NO_PORTS, "--workers=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_it_runs_with_all_of_its_standard_files_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = f"exec {sys.executable} -m lambda_dispatch.cli dev {' '.join(NO_PORTS)}"
    with dev_run(command=["sh", "-c", f"{line} --workers=1 --http-port={port} <&- >&- 2>&-"]) as run:
        wait_for(lambda: run.process.poll() is not None or pong(port), 60)
        assert run.interrupt() == 0


def pong(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=20) as answer:
            return bool(answer.read() == b"pong")
    except OSError:
        return False


def test_run_works_through_a_link_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "go").symlink_to(ROOT / "run")
    asked = ["./go", "dev", "--help"]
    told = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.startswith("usage: lambda-dispatch dev")
    assert [path.name for path in tmp_path.iterdir()] == ["go"]


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
def test_it_runs_with_its_standard_input_closed(closed: str) -> None:
    line = f"exec {sys.executable} -m lambda_dispatch.cli dev {' '.join(NO_PORTS)}"
    with dev_run(command=["sh", "-c", f"{line} --workers=1 {closed}"]) as run:
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/ping")[1] == b"pong"
        assert run.interrupt() == 0


def test_the_status_line_fits_the_terminal() -> None:
    pool = {"starting": 10, "open": 20, "draining": 10, "queued": 10_000, "in_flight": 10_000}
    forms = dev_command.status_forms({"environments": 100, "idle": 100}, pool, 123_456.0)
    assert [len(form) for form in forms] == sorted((len(form) for form in forms), reverse=True)
    assert len(forms[1]) <= 79 and len(forms[2]) <= 63 and len(forms[3]) <= 39
    assert all("queue 10000" in form and "in flight 10000" in form for form in forms)


def test_a_terminal_of_80_columns_shows_a_whole_line() -> None:
    leader, follower = pty.openpty()
    with open(follower, "w") as out:
        fcntl.ioctl(out, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        screen = Screen(out)
        screen.status(["x" * 100, "short enough"], 0.0)
        screen.end()
    said = os.read(leader, 4096).decode()
    os.close(leader)
    assert "short enough" in said and "xxx" not in said


def test_the_banner_names_a_command_that_can_be_typed() -> None:
    with dev_run("--workers", "1") as run:
        line = run.wait_for_line("lambda ctl --url")
        typed = line.split("(")[1].rstrip(")")
        done = subprocess.run(typed, shell=True, cwd=run.cwd, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("option", ["--http-port", "--control-http-port", "--lambda-port"])
def test_a_port_in_use_is_one_clear_message(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = [given for given in NO_PORTS if not given.startswith(option)]
        assert dev_command.main([*others, option, str(port)]) == 1
    captured = capsys.readouterr()
    assert f"port {port} on 127.0.0.1" in captured.err and option in captured.err
    assert captured.err.count("\n") == 1


def test_the_router_itself_binds_the_free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def process(command: tuple[str, ...], *_: object, **__: object) -> None:
        started.extend(command)
        raise dev_command.DevError("seen")

    monkeypatch.setattr(dev_command, "Process", process)
    assert dev_command.main(NO_PORTS) == 1
    assert [started[started.index(option) + 1] for option in ("--http-port", "--control-http-port")] == ["0", "0"]


def test_an_option_by_its_earlier_name_works_and_names_the_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev_command.main(["--router-port", "70000"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "lambda-dispatch dev: --router-port is deprecated; use --http-port",
        "lambda-dispatch dev: --http-port 70000: 0 to 65535",
    ]
