"""No process of the router blocks its event loop: not at start, not in requests, status, restarts or drain."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tests.support
from tests.support.clients import ask
from tests.support.image_root import ROOT_VARIABLE
from tests.support.loop import scenario, soon
from tests.support.router_process import RouterProcess

HERE = str(Path(tests.support.__file__).with_name("no_blocking"))
PATH = os.pathsep.join((HERE, *sys.path))


@pytest.fixture
def routers_run_from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """blockbuster comes in by PYTHONPATH, which the Python of the image ignores."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)


@pytest.mark.usefixtures("routers_run_from_the_checkout")
@scenario
async def test_the_router_never_blocks_its_loops() -> None:
    async with RouterProcess.running(environ={"PYTHONPATH": PATH}, workers=2) as router:
        for turn in range(20):
            answer = await soon(ask("h1" if turn % 2 else "h2", router.ports["http"], f"/{turn}"), "the answer")
            assert (answer.status, answer.body) == (200, f"hello from /{turn}".encode())
        assert (await router.status())["pools"]
        assert router.process is not None
        router.terminate()
        await soon(router.process.wait(), "the end")
        said = router.text()
        assert said.count("blockbuster: active") >= 4, said  # supervisor, scaler, two workers
        assert "BlockingError" not in said, said


def test_the_check_itself_finds_a_blocking_call() -> None:
    program = (
        "import asyncio\nfrom lambda_dispatch.local.commands.lambda_command import control\n"
        "async def main(): control(['--url', 'http://127.0.0.1:9', 'list'])\nasyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": PATH}, capture_output=True, text=True)
    # On Python 3.11.2 blockbuster crashes the interpreter at its end, after the error was printed: any failure will do.
    assert done.returncode != 0 and "BlockingError: Blocking call to " in done.stderr, done.stderr
