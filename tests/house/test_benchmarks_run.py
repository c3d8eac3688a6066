"""The benchmarks still run: the micro suite once through, and the programs of the race as far as compiling."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.load.volley import Shot, Volley, fire

from lambda_dispatch_net.http_server import HttpServer, Request, Response

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(60)
def test_every_micro_benchmark_still_runs() -> None:
    command = [sys.executable, "-m", "benchmarks", "--benchmark-disable", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.timeout(60)
def test_the_programs_of_the_race_compile(tmp_path: Path) -> None:
    compiler = (os.environ.get("CC") or "cc").split()
    for name in ("backend", "instances", "pace", "worker"):
        source = ROOT / "benchmarks" / "load" / "c" / f"{name}.c"
        flags = ["-std=gnu11", "-O0", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror"]
        run = subprocess.run(
            [*compiler, *flags, "-o", str(tmp_path / name), str(source)], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr


def test_the_race_names_its_cases() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--load", "no-such-case"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "no such case: no-such-case" in run.stderr


@pytest.mark.parametrize(("retries", "failed"), [(2, {}), (1, {"status 429": 1})])
def test_a_throttled_request_is_sent_again_and_counted(retries: int, failed: dict[str, int]) -> None:
    answers = [429, 429, 200]

    async def answer(request: Request) -> Response:
        assert request.body == b"xx"
        return Response(answers.pop(0))

    async def run() -> Volley:
        server = HttpServer(answer, max_body=2, for_pages=True)
        port = await server.start("127.0.0.1", 0)
        try:
            return await fire(port, Shot("/", body=2, retries=retries), clients=1, count=1)
        finally:
            await server.close()

    volley = asyncio.run(run())
    assert (volley.throttled, volley.failed, len(volley.answers)) == (retries, failed, 1 - len(failed))


@pytest.mark.timeout(60)
def test_the_published_table_is_run_again_in_small(tmp_path: Path) -> None:
    svg = tmp_path / "plot.svg"
    command = [sys.executable, "-m", "benchmarks.load.published", "--quick", "--cold-start", "0.2", "--svg", str(svg)]
    run = subprocess.run([*command, "--only", "scale-up"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.split("|") for line in run.stdout.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["scale-up, image from S3", ""]
    assert all(" / " in cell for row in rows for cell in row[3:8])
    lines = ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}polyline")
    assert [line.get("stroke-dasharray") is not None for line in lines] == [True, False, True, False]


@pytest.mark.timeout(60)
def test_the_whole_local_path_is_measured_in_small() -> None:
    command = [sys.executable, "-m", "benchmarks.load.local_path", "--rounds", "1", "--seconds", "0.1"]
    run = subprocess.run(
        [*command, "--workers", "1", "--only", "ping", "9mb"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in run.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["1", "ping, 4 B"], ["1", "echo of 9 MB"]]
    figures = [[float(cell.replace(",", "")) for cell in row[2:]] for row in rows]
    assert all(min(row[:6]) > 0 for row in figures)  # the rate, both times, and worker, extension and application


@pytest.mark.timeout(60)
def test_an_attack_is_run_in_small() -> None:
    command = [sys.executable, "-m", "benchmarks.load.attacks", "goaway", "--only", "ours"]
    run = subprocess.run([*command, "--seconds", "1", "--rest", "0"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode == 2:
        pytest.skip(run.stderr.strip())
    assert "answers 404" in run.stdout, run.stdout + run.stderr
    assert "fewest instances: 10" in run.stdout, run.stdout + run.stderr


@pytest.mark.timeout(60)
def test_the_economics_are_played_in_small(tmp_path: Path) -> None:
    page, svg = tmp_path / "page.md", tmp_path / "frontier.svg"
    command = [sys.executable, "-m", "benchmarks.economics", "--seeds", "2", "--scale", "0.05", "--jobs", "1"]
    command += ["--workloads", "volley,trickle", "--markdown", str(page), "--svg", str(svg)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| oracle")]
    assert len(rows) == 2 and all(row[1] == "1.00 ± 0.00" for row in rows)
    assert len(list(ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}circle"))) > 4


@pytest.mark.timeout(60)
def test_the_economics_of_one_policy_say_what_is_missing() -> None:
    command = [sys.executable, "-m", "benchmarks.economics", "--seeds", "1", "--scale", "0.05", "--jobs", "1"]
    command += ["--workloads", "volley", "--policies", "adaptive"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "`simple` was not played, so nothing is compared." in run.stdout
