"""The embedded Lambda with our extension as a real process and the test application, for direct events end to end."""

import concurrent.futures
import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterable
from typing import Any

from lambda_dispatch.local.function import Function
from tests.support.extension_rig import ROOT
from tests.support.local_lambda import Running, wait_for

# raw_app listens on the port that its environment has.
APP = ("/bin/sh", "-c", f'exec {sys.executable} -m tests.support.apps.raw_app "$PORT"')


def web(environment: dict[str, str] | None = None, name: str = "web", **settings: Any) -> Function:
    """A function: the application of tests/support/apps/raw_app.py beside the extension."""
    return Function(name, APP, "direct", environment=environment or {}, directory=str(ROOT), **settings)


def invoke(running: Running, event: object, name: str = "web", **more: Any) -> Any:
    """The result of an invoke; fails when the invoke does."""
    answer = running.invoke(event, name, **more)
    assert "FunctionError" not in answer, answer["body"]
    return answer["body"]


class Callers(concurrent.futures.ThreadPoolExecutor):
    """Callers that invoke at the same time."""

    def invoke(self, running: Running, events: Iterable[object], **more: Any) -> list[concurrent.futures.Future[Any]]:
        return [self.submit(invoke, running, event, **more) for event in events]


def app_ports(running: Running) -> list[int]:
    """Of the applications that are not frozen."""
    return [environment["port"] for environment in running.environments() if not environment["frozen"]]


def ask_app(port: int, path: str) -> bytes:
    """Asks the application past the extension."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return bytes(response.read())


def wait_for_requests(running: Running, path: str, count: int) -> None:
    """Waits until the applications of all environments together have so many requests for the path."""

    def seen() -> int:
        found = 0
        for port in app_ports(running):
            with contextlib.suppress(OSError):  # it does not listen yet
                found += json.loads(ask_app(port, "/counts")).get(path, 0)
        return found

    wait_for(lambda: seen() == count)


def open_gates(running: Running) -> None:
    for port in app_ports(running):
        ask_app(port, "/open")
