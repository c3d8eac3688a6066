"""`lambda-dispatch simulate` on the command line."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lambda_dispatch.simulator.command import main

SHORT = ["--load", "burst", "--rate", "60", "--seconds", "70", "--policies", "oracle,lambda,simple"]


def test_it_prints_a_table_and_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, file = tmp_path / "a.svg", tmp_path / "a.json"
    assert main([*SHORT, "--svg", str(svg), "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["policy", "oracle", "lambda", "simple"]
    rows = json.loads(file.read_text())["policies"]
    assert [row["policy"] for row in rows] == ["oracle", "lambda", "simple"]
    assert len({row["requests"] for row in rows}) == 1
    assert len(list(ET.parse(svg).iter("{http://www.w3.org/2000/svg}polyline"))) == 4


def test_two_processes_print_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lambda_dispatch.cli", "simulate", *SHORT, "--svg"]
    printed = [
        subprocess.run([*command, str(tmp_path / name)], capture_output=True, check=True).stdout for name in ("a", "b")
    ]
    assert printed[0] == printed[1] != b""
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("argv", "wrong"),
    [
        (["--rate", "x"], "argument --rate: 'x' is not a number from 1e-06 to 1e+06"),
        (["--slots", "0"], "argument --slots: '0' is not a whole number from 1 to 100"),
        (["--cold", "fast"], "'fast' is no distribution: 'fast' is no number"),
        (["--cold", "uniform:3:1"], "'uniform:3:1' is no distribution: LOW is more than HIGH"),
        (["--cold", "uniform:3"], "'uniform:3' is no distribution; uniform is written uniform:LOW:HIGH"),
        (["--service", "pareto:0:2"], "'pareto:0:2' is no distribution: LEAST must be more than 0"),
        (["--policies", "best"], "'best': --scaling-algorithm is 'best'; it must be"),
        (["--policies", "simple:MaxInstances"], "'MaxInstances' is not written Option=Value"),
        (["--policies", "oracle:MaxInstances=3"], "oracle has no options"),
        (["--policies", "simple:Nonsense=3"], "--nonsense"),
        (["--csv", "none.csv"], "none.csv: No such file or directory"),
        (["--csv", "none.csv", "--rate", "3"], "--rate is for --load"),
        (["--load", "steady", "--seconds", "0.001", "--rate", "0.001"], "has no request in that time"),
        (["--prices", "none.toml"], "none.toml"),
        (["--nonsense"], "--nonsense"),
        ([*SHORT, "--svg", "/nowhere/a.svg"], "/nowhere/a.svg cannot be written: No such file or directory"),
    ],
)
def test_a_wrong_command_line_names_the_thing_and_the_value(
    argv: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 64
    err = capsys.readouterr().err
    assert err.startswith("lambda-dispatch simulate: ") and wrong in err


def test_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("flash-crowd", "oracle", "lognormal:MEDIAN:SIGMA", "--replay", "simple"))
