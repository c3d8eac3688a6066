import json
import os
import tomllib
from pathlib import Path

import pytest

from lambda_dispatch import cli
from lambda_dispatch.config import OPTIONS, RouterConfig, default_of, effective, load, values
from lambda_dispatch.errors import ConfigError

BASE = {"LAMBDA_DISPATCH_AllowInsecureControlChannel": "true"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "router.toml"


def from_file(file: Path, text: str, environ: dict[str, str] | None = None, *argv: str) -> RouterConfig:
    file.write_text(text)
    return load(BASE | (environ or {}), ["--config", str(file), *argv])


def problems(file: Path, text: str, environ: dict[str, str] | None = None, *argv: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_file(file, 'FunctionName = "app"\n' + text, environ, *argv)
    return caught.value.problems


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(file: Path) -> None:
    text = 'FunctionName = "app"\nMaxQueue = 1\nLameDuck = 1\nStartBurst = 1\n'
    environ = {"LAMBDA_DISPATCH_MaxQueue": "2", "LAMBDA_DISPATCH_LameDuck": "2"}
    loaded = from_file(file, text, environ, "--max-queue", "3")
    assert (loaded.max_queue, loaded.lame_duck, loaded.start_burst, loaded.start_rate) == (3, 2.0, 1, 50.0)
    assert loaded.sources["max_queue"] == "--max-queue"
    assert loaded.sources["lame_duck"] == "LAMBDA_DISPATCH_LameDuck"
    assert loaded.sources["start_burst"] == f"{file}: StartBurst"
    assert "start_rate" not in loaded.sources


def test_a_variable_can_name_the_file_and_a_flag_wins_over_it(file: Path) -> None:
    file.write_text('FunctionName = "app"\n')
    assert load(BASE | {"LAMBDA_DISPATCH_CONFIG": str(file)}).function_name == "app"
    assert load(BASE | {"LAMBDA_DISPATCH_CONFIG": "/nowhere"}, ["--config", str(file)]).config_file == str(file)


@pytest.mark.parametrize("key", ["IncomingRequestHTTPPort", "incoming_request_http_port", "http-port", "http_port"])
def test_a_key_is_a_variables_or_a_flags_name_in_any_spelling(file: Path, key: str) -> None:
    assert from_file(file, f'FunctionName = "app"\n{key} = 8080\n').http_port == 8080


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("IncomingRequestTimeout = 00:02:30", "incoming_request_timeout", 150.0),
        ('IncomingRequestTimeout = "00:02:30"', "incoming_request_timeout", 150.0),
        ("IncomingRequestTimeout = 2.5", "incoming_request_timeout", 2.5),
        ("UploadShare = 1e-3", "upload_share", 0.001),
        ('MemoryBudget = "64MiB"', "memory_budget", 64 << 20),
        ("MemoryBudget = 67108864", "memory_budget", 64 << 20),
        ("ExposeLambdaIds = true", "expose_lambda_ids", True),
        ("ReadyFd = -1", "ready_fd", -1),
        ('BindHost = ""', "bind_host", "0.0.0.0"),
    ],
)
def test_a_value_has_the_type_that_suits_it(file: Path, line: str, attribute: str, value: object) -> None:
    assert getattr(from_file(file, f'FunctionName = "app"\n{line}\n'), attribute) == value


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MaxQueu = 7", "MaxQueu is no option; did you mean MaxQueue? Or remove it"),
        ("LAMBDA_DISPATCH_MaxQueue = 7", "LAMBDA_DISPATCH_MaxQueue is no option; write MaxQueue"),
        ("CFLAGS = 7", "CFLAGS is no option; "),
        (
            'MaxQueue = "7"',
            "MaxQueue is '7' (a string); write a whole number from 0 to 1000000 as a whole number, without quotes",
        ),
        ("MaxQueue = 7.0", "MaxQueue is '7.0' (a number); write a whole number"),
        ("MaxQueue = true", "MaxQueue is 'true' (a truth value); write a whole number"),
        ("MaxQueue = [7]", "MaxQueue is '[7]' (a list); write"),
        ("MaxQueue = 1000001", "MaxQueue is '1000001'; it must be a whole number from 0 to 1000000"),
        ("ExposeLambdaIds = 1", "ExposeLambdaIds is '1' (a whole number); write true or false as true or false"),
        ("UploadShare = nan", "UploadShare is 'NaN'; it must be a number from 0 to 1"),
        ("BindHost = 2026-01-01", "BindHost is '2026-01-01' (a date or time); write text without"),
        ("[scaling]\nMaxQueue = 7", "[scaling] is a table; write its options at the top level, without it"),
        ("MaxQueue = 7\nmax-queue = 8", "MaxQueue and max-queue mean the same; remove one"),
        ('Config = "other.toml"', "Config names another file; remove it"),
    ],
)
def test_what_is_wrong_in_a_file_names_file_key_value_and_the_way_out(file: Path, line: str, said: str) -> None:
    (problem,) = problems(file, line)
    assert problem.startswith(f"{file}: {said}")


def test_a_wrong_value_is_an_error_though_a_flag_wins_over_it(file: Path) -> None:
    (problem,) = problems(file, "MaxQueue = -1", None, "--max-queue", "3")
    assert problem.startswith(f"{file}: MaxQueue is '-1'; it must be")


@pytest.mark.parametrize("value", ['"short"', "12345678901234567890"])
def test_a_wrong_secret_of_a_file_is_not_shown(file: Path, value: str) -> None:
    (problem,) = problems(file, f"AdminToken = {value}")
    assert "AdminToken is a value that is not shown" in problem
    assert value.strip('"') not in problem


def test_what_is_no_file_of_options_is_refused(file: Path) -> None:
    for content, said in (
        (b"MaxQueue: 7", "is not TOML: "),
        (b"\xff\xfe", "is not UTF-8 text; save it as such"),
        (b"#" * (1 << 20) + b"\n", "is longer than 1048576 bytes; name a file of options"),
        (b"MaxQueue = " + b"[" * 100_000, "is nested too deeply; write one NAME = VALUE per line"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(BASE | {"LAMBDA_DISPATCH_FunctionName": "app"}, ["--config", str(file)])
        assert caught.value.problems[0].startswith(f"{file} {said}")
    for path, said in (("/nowhere.toml", "which cannot be read: No such file"), ("/tmp", "which is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(BASE | {"LAMBDA_DISPATCH_FunctionName": "app"}, ["--config", path])
        assert caught.value.problems[0].startswith(f"--config is {path!r}, {said}")


def test_a_pipe_is_refused_without_waiting_for_its_writer(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigError) as caught:
        load(BASE | {"LAMBDA_DISPATCH_FunctionName": "app"}, ["--config", str(file)])
    assert caught.value.problems[0].startswith(f"{file} is no regular file")


@pytest.mark.parametrize("value", ["a\\u0000b", "a\\nb", "a\\rb", "\\u001b[2J", "\\u007f"])
def test_a_control_character_in_a_text_is_refused(file: Path, value: str) -> None:
    texts = [option.name for option in OPTIONS.values() if option.kind is values.text and option.name != "Config"]
    assert "AdminTokenFile" in texts
    for name in texts:
        file.write_text(f'{name} = "{value}"\n')
        with pytest.raises(ConfigError) as caught:
            load(BASE, ["--config", str(file)])
        assert f"{name} is " in caught.value.problems[0]
        assert "it must be text without control characters" in caught.value.problems[0]


def test_what_is_printed_is_a_file_that_says_the_same(file: Path) -> None:
    argv = ["--function-name", "app:live", "--lame-duck", "1234.5", "--max-queue", "7", "--target-concurrency", "auto"]
    before = load(BASE | {"LAMBDA_DISPATCH_FunctionSecret": "very-secret"}, argv)
    text = effective.toml(before)
    assert "very-secret" not in text
    assert '# FunctionSecret = "***"' in text
    assert '\nTargetConcurrency = "auto" ' in text
    assert effective.document(before)["TargetConcurrency"] == {"value": "auto", "source": "--target-concurrency"}
    after = from_file(file, text)
    differing = [
        attribute
        for attribute in OPTIONS
        if getattr(after, attribute) != getattr(before, attribute)
        and attribute not in ("config_file", "function_secret")
    ]
    assert differing == []
    assert after.function == before.function


def test_the_command_prints_toml_or_json_with_sources(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDA_DISPATCH_AllowInsecureControlChannel", "true")
    monkeypatch.setenv("LAMBDA_DISPATCH_AdminToken", "0123456789abcdef")
    file.write_text('FunctionName = "app"\nMaxQueue = 7\n')
    assert cli.main(["router", "--print-config", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert tomllib.loads(out)["MaxQueue"] == 7
    assert f"# {file}: MaxQueue\n" in out
    assert cli.main(["router", "--print-config", "--json", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert set(shown) == {option.name for option in OPTIONS.values()}
    assert shown["MaxQueue"] == {"value": 7, "source": f"{file}: MaxQueue"}
    assert shown["LameDuck"] == {"value": default_of("lame_duck"), "source": "default"}
    assert shown["AdminToken"] == {"value": "***", "source": "LAMBDA_DISPATCH_AdminToken"}
    assert "0123456789abcdef" not in out
    assert cli.main(["router", "--print-config", "--config", "/nowhere"]) == 78
