"""The extension as a real process between a simulated router, a simulated Lambda and a real application."""

import asyncio
import os
import shlex
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.router_peer import PATIENCE, Answer, Headers, PeerChannel, Policy, RouterPeer
from tests.support.runtime_api import Invocation, RuntimeApi

ROOT = Path(__file__).resolve().parent.parent.parent


class Process:
    """A child process; its standard error is kept, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.changed = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, *command: str, env: dict[str, str] | None = None) -> "Process":
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots())), **(env or {})},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        )

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
            self.changed.set()
        self.changed.set()

    async def line(self, words: str = "") -> str:
        """The first line that contains the words, waiting for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines:
                    if words in line:
                        return line
                assert not self._reading.done(), f"ended without saying {words!r}: {self.lines}"
                self.changed.clear()
                await self.changed.wait()

    async def exited(self) -> int:
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self._reading
            return code

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.exited()

    def files(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Its resident memory in KiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")


# A command that starts the bundle in place of the checkout's extension, for a whole run of the suite:
# LAMBDA_DISPATCH_TEST_LAUNCHER=$PWD/dist/bundle-x86_64/opt/extensions/lambda-dispatch ./run test -k extension
LAUNCHER = shlex.split(os.environ.get("LAMBDA_DISPATCH_TEST_LAUNCHER", ""))

# What Python does in forms in which the launcher in /opt/extensions does not start it: it registers itself, or is given
# what another launcher has done.
without_launcher = pytest.mark.skipif(bool(LAUNCHER), reason="the launcher's own part: test_bundle_launcher.py")


def program() -> list[str]:
    return LAUNCHER or [sys.executable, "-m", "lambda_dispatch_extension"]


def roots() -> list[Path]:
    return [ROOT / "src", ROOT / "cython_ext", ROOT / "extension", ROOT]


@dataclass
class Rig:
    api: RuntimeApi
    router: RouterPeer
    app: Process | None
    app_port: int
    extension: Process
    stack: AsyncExitStack
    ids: list[str] = field(default_factory=list)

    def payload(self, channels: int = 1, **changes: Any) -> dict[str, Any]:
        payload = {
            "PoolId": "pool-1",
            "Id": str(uuid.uuid4()),
            "DispatcherUrl": self.router.url,
            "NumberOfChannels": channels,
            "SentTime": datetime.now(UTC).isoformat(),
            **changes,
        }
        return {name: value for name, value in payload.items() if value is not None}

    def invoke(self, channels: int = 1, timeout: float = 60.0, **changes: Any) -> Invocation:
        payload = self.payload(channels, **changes)
        self.ids.append(str(payload.get("Id")))
        return self.api.invoke(payload, timeout)

    async def parked(self, channels: int = 1, **changes: Any) -> PeerChannel:
        """Invokes and returns the first channel; the others wait in router.ready."""
        self.invoke(channels, **changes)
        return await self.router.parked()

    async def exchange(self, method: str, path: str, headers: Headers | None = None, body: bytes = b"") -> Answer:
        return await self.router.exchange(method, path, headers, body)

    async def open_gate(self) -> None:
        """Asks the application for /open, past the extension."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.app_port)
        writer.write(b"GET /open HTTP/1.1\r\nhost: h\r\n\r\n")
        await reader.readuntil(b"open")
        writer.close()

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.api.ready.wait()


@asynccontextmanager
async def rig(
    *,
    app: Sequence[str] | None = ("-m", "tests.support.apps.raw_app"),
    interpreter: str = sys.executable,
    app_port: int | None = None,
    env: dict[str, str] | None = None,
    policy: Policy | None = None,
    command: Sequence[str] = (),
    tls: Any = None,
    grace: int = 60_000,
    api: RuntimeApi | None = None,
    wrapper: Sequence[str] = (),
    launcher: Sequence[str] = (),
) -> AsyncIterator[Rig]:
    """Everything started, the extension registered. The idle exit is put far away unless a test asks for it. The
    launcher is a command that starts the bundle."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api or RuntimeApi(["lambda-dispatch"]))
        router = await stack.enter_async_context(RouterPeer(policy, tls))
        application = None
        if app is not None and not command:
            application = await Process.start(interpreter, *app)
            stack.push_async_callback(application.end)
            app_port = int(await application.line())
        extension = await Process.start(
            *wrapper,
            *(launcher or program()),
            *(["extension"] if command and (launcher or LAUNCHER) else []),
            *(["--", *command] if command else []),
            env={
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "LAMBDA_DISPATCH_PORT": str(app_port or 1),
                "LAMBDA_DISPATCH_LAST_ACTIVE_GRACE_PERIOD_MS": str(grace),
                **(env or {}),
            },
        )
        stack.push_async_callback(extension.end)
        yield Rig(api, router, application, app_port or 1, extension, stack)


def terminate(process: Process) -> None:
    process.signal(signal.SIGTERM)


Body = Callable[[Rig], Awaitable[None]]


def play(body: Body, **settings: Any) -> None:
    """Runs the test's body with an extension that has not been invoked."""

    async def whole() -> None:
        async with rig(**settings) as r:
            await body(r)

    asyncio.run(whole())


def run(body: Body, channels: int = 1, **settings: Any) -> None:
    """Runs the test's body with an extension that has this many channels parked."""

    async def invoked(r: Rig) -> None:
        r.invoke(channels)
        await body(r)

    play(invoked, **settings)


async def reason(invocation: Invocation) -> str:
    return str((await invocation.result())["ExitReason"])
