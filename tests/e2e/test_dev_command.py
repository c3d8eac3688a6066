"""`lambda-dispatch dev` as a newcomer meets it: what it prints, how it ends, how it fails."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_dispatch.local import dev_command
from tests.support.dev_run import dev_run
from tests.support.local_lambda import wait_for

pytestmark = pytest.mark.slow


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
    with dev_run("--workers", "1", "--port", str(port), "--", *command) as run:
        run.wait_for_line("one environment, as its port is fixed")
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/health")[0].status == 200


def test_an_application_that_ends_at_once_is_one_clear_message() -> None:
    with dev_run("--workers", "1", "--", "sh", "-c", "echo no database; exit 3") as run:
        assert run.process.wait(60) == 1
        wait_for(lambda: "lambda-dispatch dev: the application did not start: sh -c" in run.output)
        assert "no database" in run.output


def test_an_application_that_is_not_healthy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    main = (
        "import sys; from lambda_dispatch.local import dev_command as d; d.HEALTH_WARNING = 1.0; "
        "sys.exit(d.main(sys.argv[1:]))"
    )
    ports = [f"--{which}-port=0" for which in ("router", "control", "lambda")]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", main, *ports, "--workers=1", "--", "sleep", "1000"],
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
        (["--function", "a b"], "function name 'a b'"),
        (["--router-port", "70000"], "--router-port 70000: 0 to 65535"),
        (["--env", "X"], "--env 'X': KEY=VALUE"),
        (["--cold-start", "soon"], "--cold-start: delay 'soon'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_message(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev_command.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("lambda-dispatch dev: ") and error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("which", ["router", "control", "lambda"])
def test_a_port_in_use_is_one_clear_message(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = [f"--{other}-port=0" for other in ("router", "control", "lambda") if other != which]
        assert dev_command.main([*others, f"--{which}-port", str(port)]) == 1
    captured = capsys.readouterr()
    assert f"port {port} on 127.0.0.1" in captured.err
    assert f"--{'' if which == 'lambda' else which}" in captured.err
    assert captured.err.count("\n") == 1
