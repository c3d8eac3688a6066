"""The shells themselves complete: those that are installed here."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lambda_dispatch import cli, completions
from lambda_dispatch.config import OPTIONS, flag_of

PATIENCE = 20.0  # s for a shell's answer


def script(shell: str, tmp_path: Path) -> Path:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here; .ci/run installs it")
    path = tmp_path / f"completions.{shell}"
    path.write_text(completions.MAKERS[shell]() + "\n")
    return path


def run(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def bash(path: Path, *typed: str) -> list[str]:
    words = " ".join(f"'{word}'" for word in ("lambda-dispatch", *typed))
    ask = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _lambda_dispatch"
    return run("bash", "--norc", "-c", f'source {path}; {ask}; printf "%s\\n" "${{COMPREPLY[@]}}"')


def fish(path: Path, *typed: str) -> list[str]:
    line = " ".join(("lambda-dispatch", *typed))
    return [found.split("\t")[0] for found in run("fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")]


@pytest.mark.parametrize("complete", [bash, fish])
def test_commands_flags_and_values_are_completed(complete: object, tmp_path: Path) -> None:
    assert callable(complete)
    path = script(complete.__name__, tmp_path)
    assert complete(path, "rou") == ["router"]
    assert set(complete(path, "")) >= set(cli.ELSEWHERE) | {"router"}
    assert complete(path, "router", "--max-q") == ["--max-queue"]
    assert set(complete(path, "router", "--")) >= {flag_of(attribute) for attribute in OPTIONS} | {"--check"}
    assert sorted(complete(path, "router", "--scaling-algorithm", "")) == ["adaptive", "ewma", "simple"]
    assert complete(path, "status", "--pro") == ["--prometheus"]
    assert complete(path, "completions", "zs") == ["zsh"]
    assert set(complete(path, "ctl", "")) >= {"limits", "pause", "resume", "reload"}
    assert complete(path, "ctl", "limits", "--mi") == ["--min"]
    assert not any(complete(path, "ctl", "pause", "--mi"))
    assert set(complete(path, "ctl", "recycle", "--")) == {
        *("--max-unavailable", "--stop", "--json", "--pid", "--who", "--reason", "--help")
    }
    assert complete(path, "ctl", "log-level", "deb") == ["debug"]
    assert not any(complete(path, "ctl", "limits", "--max", "1", "paus"))
    (tmp_path / "unlikely-name.toml").touch()
    assert complete(path, "router", "--config", f"{tmp_path}/unli") == [f"{tmp_path}/unlikely-name.toml"]


def test_zsh_completes_what_is_typed(tmp_path: Path) -> None:
    path = script("zsh", tmp_path)
    pid, fd = pty.fork()
    if pid == 0:
        environ = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb", "PS1": "ready> "}
        os.execvpe("zsh", ["zsh", "-f", "-i"], environ)
    said = b""

    def until(pattern: str) -> None:
        nonlocal said
        end = time.monotonic() + PATIENCE
        while not re.search(pattern.encode(), said):
            left = end - time.monotonic()
            assert left > 0 and select.select([fd], [], [], left)[0], said.decode("utf-8", "replace")
            said += os.read(fd, 65536)

    try:
        os.write(fd, f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump; source {path}; echo loa''ded\n".encode())
        until("\nloaded")
        for typed, completed in (
            (b"lambda-dispatch rou", "lambda-dispatch router "),
            (b"--max-q", "--max-queue "),
            (b"7 --scaling-algorithm ad", "--scaling-algorithm adaptive "),
            (b"\x15lambda-dispatch ctl rec", "ctl recycle "),
            (b"--max-un", "--max-unavailable "),
            (b"\x15lambda-dispatch ctl log-level deb", "ctl log-level debug "),
        ):
            os.write(fd, typed + b"\t")
            until(completed)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completions", "tcsh"]) == 64
    assert "'tcsh' is no shell; name one of bash, zsh, fish" in capsys.readouterr().err
    assert cli.main(["completions", "bash"]) == 0
    assert capsys.readouterr().out.startswith("# bash completion of lambda-dispatch")


def test_every_command_of_the_usage_exists_and_the_other_way_round() -> None:
    assert set(completions.commands()) == set(cli.ELSEWHERE) | {"router"}
