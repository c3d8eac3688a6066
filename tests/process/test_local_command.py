"""`lambda-dispatch lambda` and `lambda-dispatch lambda ctl` as a user types them."""

import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lambda_dispatch.local.commands import lambda_command
from lambda_dispatch.local.function import Function
from tests.support.local_lambda import python_function, running_lambda, wait_for


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no function"),
        (["--", "app"], "--function-name NAME"),
        (["--function-name", "f"], "no command"),
        (["--function-name", "f g", "--", "app"], "'f g'"),
        (["--function-name", "f", "--env", "KEY", "--", "app"], "--env 'KEY': KEY=VALUE"),
        (["--function-name", "f", "--cold-start", "soon", "--", "app"], "--cold-start: delay 'soon'"),
        (["--function-name", "f", "--crash-rate", "2", "--", "app"], "--crash-rate"),
        (["--function-name", "f", "--lambda-port", "70000", "--", "app"], "--lambda-port 70000"),
        (["--function-name", "f", "--direct-port", "0", "--direct-function", "g", "--", "app"], "--direct-function g"),
        (["--config", "/no/such/file.toml"], "/no/such/file.toml: No such file"),
    ],
)
def test_a_wrong_command_line_is_one_clear_message(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lambda_command.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("lambda-dispatch lambda: ") and error.count("\n") == 1
    assert said in error


def test_a_port_in_use_is_one_clear_message(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert lambda_command.main(["--lambda-port", str(port), "--function-name", "f", "--", "app"]) == 1
    error = capsys.readouterr().err
    where = f"port {port} on 127.0.0.1 (Invoke API)"
    assert error == f"lambda-dispatch lambda: {where} is in use; free it or choose another with --lambda-port\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[functions.f]\ncommand = ['x']\nspeed = 3", "functions.f.speed: no such setting"),
        ("[functions.f]\ncommand = 'x'", "functions.f.command = 'x': list"),
        ("[functions.f]\ncommand = ['x']\ntimeout = true", "functions.f.timeout = True"),
        ("[functions", "functions.toml: "),
    ],
)
def test_a_wrong_functions_file_says_where(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "functions.toml"
    path.write_text(text)
    assert lambda_command.main(["--config", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_functions_of_a_file_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "functions.toml"
    path.write_text(
        """
        [functions.web]
        command = ["python3", "app.py"]
        runtime = "dispatch"
        timeout = 60
        concurrency = 4
        extensions = ["/opt/extensions/watcher --fast", ["/opt/other"]]
        environment = { LEVEL = 3 }
        aliases = { live = "7" }
        """
    )
    (function,) = lambda_command.read_functions(path)
    assert function == Function(
        "web",
        ("python3", "app.py"),
        runtime="dispatch",
        timeout=60,
        concurrency=4,
        extensions=(("/opt/extensions/watcher", "--fast"), ("/opt/other",)),
        environment={"LEVEL": "3"},
        aliases={"live": "7"},
    )


def test_ctl_lists_turns_and_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ctl(*argv: str) -> str:
        assert lambda_command.main(["ctl", "--url", running.url, *argv]) == 0
        return capsys.readouterr().out

    with running_lambda(python_function(tmp_path)) as running:
        assert ctl("list") == "no environments\n"
        pid = running.invoke()["body"]["pid"]
        listed = ctl("list").splitlines()
        assert listed[0].split()[:4] == ["ID", "FUNCTION", "STATE", "FROZEN"]
        assert listed[1].split()[1:4] == ["f", "idle", "yes"] and str(pid) in listed[1]
        assert json.loads(ctl("set", "cold_start=uniform:1-2", "freeze=off"))["cold_start"] == "uniform:1-2"
        assert json.loads(ctl("function", "f", "concurrency=3", "timeout=5"))["concurrency"] == 3
        assert "stopping" in ctl("stop", listed[1].split()[0])
        wait_for(lambda: running.environments() == [])
        assert json.loads(ctl("status"))["functions"]["f"]["invokes"] == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["set", "warp=9"], "no knob 'warp'"),
        (["set", "warp"], "KEY=VALUE"),
        (["kill", "ffff"], "0 environments begin with 'ffff'"),
        (["function", "g", "timeout=1"], "no function 'g'"),
        (["function", "f", "timeout=never"], "timeout 'never'"),
    ],
)
def test_what_ctl_cannot_do_is_one_clear_message(
    tmp_path: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        assert lambda_command.main(["ctl", "--url", running.url, *argv]) == 1
    assert said in capsys.readouterr().err


def test_ctl_without_a_lambda_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert lambda_command.main(["ctl", "--url", "http://127.0.0.1:1", "list"]) == 1
    assert "no embedded Lambda at http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "field", [("Origin", "http://example.com"), ("Sec-Fetch-Site", "cross-site"), ("Host", "rebound.example")]
)
def test_web_pages_cannot_reach_any_of_its_ports(tmp_path: Path, field: tuple[str, str]) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        running.invoke()
        runtime_api = "http://" + running.environments()[0]["runtime_api"]
        for url in (
            f"{running.url}/2015-03-31/functions/f/invocations",
            f"{running.url}/_local/knobs",
            f"{runtime_api}/2018-06-01/runtime/init/error",
            f"{runtime_api}/2020-01-01/extension/register",
        ):
            page = {"Content-Type": "text/plain", field[0]: field[1]}  # what a page may send without asking first
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(url, b"{}", page, method="POST"), timeout=10)
            assert caught.value.code == 403 and b"refused: " in caught.value.read()
            caught.value.close()
        assert running.statistics()["invokes"] == 1


def test_dispatch_and_direct_run_an_application_beside_the_extension() -> None:
    for runtime in ("dispatch", "direct"):
        assert Function("f", ("app", "x"), runtime=runtime).runtime_command() == (
            sys.executable,
            "-m",
            "lambda_dispatch_extension",
            "--",
            "app",
            "x",
        )
