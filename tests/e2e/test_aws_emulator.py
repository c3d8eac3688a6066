"""Our extension in AWS's own runtime interface emulator, in both forms, with the router in front."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.aws_emulator import FUNCTION, free_port, running_emulator
from tests.support.loop import run
from tests.support.router_process import RouterProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APP = [sys.executable, str(Path(__file__).parents[2] / "examples" / "demo" / "app.py")]
EXTENSION = [sys.executable, "-m", "lambda_dispatch_extension"]
SCRIPT = f"#!/bin/sh\nexec {' '.join(EXTENSION)}\n"
REQUESTS = 200

FORMS: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "as the entry point": ([*EXTENSION, "--", *APP], {}),
    "in /opt/extensions": (APP, {"lambda-dispatch": SCRIPT}),
}


async def serves(url: str) -> None:
    flags = ("--max-instances", "1")
    endpoint = {"AWS_ENDPOINT_URL_LAMBDA": url}
    async with RouterProcess.running(*flags, environ=endpoint, function=FUNCTION) as router:
        await asyncio.gather(*(mixed(router, number) for number in range(8)))


async def mixed(router: RouterProcess, number: int) -> None:
    client = await router.client()
    try:
        for turn in range(REQUESTS // 8):
            body = bytes([number]) * (turn * 1000)
            if turn % 2:
                length = f"Content-Length: {len(body)}\r\n"
                response = await client.get("/echo", length, "POST", body)
                assert (response.status, len(response.body)) == (200, len(body))
                assert response.body == body
            else:
                response = await client.get("/ping")
                assert (response.status, response.body) == (200, b"pong")
    finally:
        await client.close()


@pytest.mark.parametrize("form", FORMS)
def test_the_extension_serves_requests_in_the_emulator(form: str, tmp_path: Path) -> None:
    command, extensions = FORMS[form]
    port = str(free_port())
    settings = {"LAMBDA_DISPATCH_PORT": port, "PORT": port, "AWS_LAMBDA_FUNCTION_NAME": FUNCTION}
    with running_emulator(tmp_path, command, extensions=extensions, **settings) as emulated:
        run(serves(emulated.url))
        said = emulated.text
        assert ("External agent lambda-dispatch" in said) == bool(extensions), said
        assert "Failed to register" not in said and "exited" not in said, said
