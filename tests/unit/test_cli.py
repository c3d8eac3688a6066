import json
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_dispatch import cli
from lambda_dispatch_core import __version__
from lambda_dispatch_core.board.board import BOARD_VERSION


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith("LAMBDA_DISPATCH_"):
            monkeypatch.delenv(name)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lambda-dispatch {__version__}\n"


def test_version_as_json_says_what_it_runs_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_HASH", "abc")
    assert cli.main(["version", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["version"], shown["git_hash"], shown["board"]) == (__version__, "abc", BOARD_VERSION)
    assert shown["libraries"]["uvloop"]
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"lambda-dispatch {__version__}\n"
    assert cli.main(["version", "--jso"]) == 64


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in ("router", "status", "extension", "lambda", "dev"))


@pytest.mark.parametrize("argv", [[], ["nonsense"]])
def test_no_command_and_an_unknown_one_are_usage_errors(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 64
    assert "usage: lambda-dispatch" in capsys.readouterr().err


def test_check_prints_the_configuration_and_where_it_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_DISPATCH_FunctionName", "app")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    assert cli.main(["router", "--check", "--allow-insecure-control", "--max-queue", "7"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["LAMBDA_DISPATCH_FunctionName", "--function-name", "app", "LAMBDA_DISPATCH_FunctionName"] in rows
    assert ["LAMBDA_DISPATCH_MaxQueue", "--max-queue", "7", "--max-queue"] in rows


def test_check_names_what_aws_lacks_and_the_ways_to_give_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("LAMBDA_DISPATCH_FunctionName", "app")
    assert cli.main(["router", "--check"]) == 78
    assert "no AWS region: set AWS_REGION" in capsys.readouterr().err
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert cli.main(["router", "--check"]) == 78
    assert "lambda:InvokeFunction on app" in capsys.readouterr().err


def test_a_configuration_error_exits_78_and_says_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["router", "--check", "--max-queue", "x", "--http-prt", "1"]) == 78
    err = capsys.readouterr().err
    assert "--max-queue is 'x'; it must be a whole number" in err
    assert "did you mean --http-port?" in err


def test_router_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    from lambda_dispatch.config import OPTIONS

    assert cli.main(["router", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option.variable in out for option in OPTIONS.values())


def test_the_command_alone_imports_next_to_nothing() -> None:
    program = (
        "import sys, lambda_dispatch.cli; "
        "heavy = {'boto3', 'asyncio', 'json', 'ssl', 'lambda_dispatch.config'} & set(sys.modules); "
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
