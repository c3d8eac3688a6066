"""The whole router as its users run it, beside a stand-in for Lambda."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lambda_dispatch.local.environment.process import start_time
from tests.support import image_root
from tests.support.certs import Pair
from tests.support.clients import H2Client, RawClient
from tests.support.lambda_stand_in import Function, LambdaStandIn
from tests.support.loop import soon, until

FUNCTION = "a-function"

# What the tests' own environment says must not reach the router.
OURS = ("LAMBDA_DISPATCH_", "AWS_", "ECS_", "K8S_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class RouterProcess:
    def __init__(self, lambda_: LambdaStandIn) -> None:
        self.lambda_ = lambda_
        self.ports: dict[str, int] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.group: set[tuple[int, str]] = set()  # pids, and when they began: a busy machine uses a pid again

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        *flags: str,
        certs: Pair | None = None,
        environ: dict[str, str] | None = None,
        workers: int = 1,
        function: str = FUNCTION,
    ) -> AsyncIterator["RouterProcess"]:
        """`flags` as for `lambda-dispatch router`."""
        lambda_ = LambdaStandIn()
        await lambda_.start()
        router = cls(lambda_)
        try:
            await router._start(flags, certs, environ or {}, workers, function)
            yield router
            assert not lambda_.problems, lambda_.problems
        finally:
            await router.stop()
            await lambda_.stop()

    async def _start(
        self,
        flags: tuple[str, ...],
        certs: Pair | None,
        environ: dict[str, str],
        workers: int,
        function: str = FUNCTION,
    ) -> None:
        ready_read, ready_write = os.pipe()
        arguments = ["--function-name", function, "--workers", str(workers), "--bind-host", "127.0.0.1"]
        for port in ("http", "https", "control-http", "control-https"):
            arguments += [f"--{port}-port", "0"]
        arguments += ["--admin-port=-1", "--allow-insecure-control", "--preferred-control-scheme", "http"]
        arguments += ["--callback-host", "127.0.0.1", "--ready-fd", str(ready_write), "--lame-duck", "0.2"]
        if certs is not None:
            certs = image_root.visible(certs)
            arguments += ["--cert-file", str(certs.cert), "--key-file", str(certs.key)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        root = image_root.folder()
        try:
            self.process = await asyncio.create_subprocess_exec(
                *(image_root.inside(root) if root else image_root.module("lambda_dispatch.cli")),
                "router",
                *arguments,
                *flags,
                pass_fds=[ready_write],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
                env={
                    **clean,
                    "PYTHONPATH": image_root.path(),
                    "AWS_ENDPOINT_URL_LAMBDA": self.lambda_.url,
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "AWS_REGION": "us-east-1",
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_CONFIG_FILE": os.devnull,
                    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    **environ,
                },
            )
        finally:
            os.close(ready_write)
        said = await soon(_read_all(ready_read), "the router is ready", patience=60)
        assert said, self.text()
        self.ports = {name: port for name, port in json.loads(said).items() if name != "pid"}
        self._remember()

    async def stop(self) -> None:
        """Ends everything, however it stands; nothing of it may be left."""
        if self.process is None:
            return
        if self.process.returncode is None:
            self._remember()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await until(lambda: not any(start_time(pid) == begun for pid, begun in self.group), "no process is left")
        self.log.close()

    def _remember(self) -> None:
        assert self.process is not None
        self.group |= {(pid, begun) for pid in descendants(self.process.pid) if (begun := start_time(pid))}

    def text(self) -> str:
        """What the router has logged."""
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    @property
    def function(self) -> Function:
        return self.lambda_.function(FUNCTION)

    async def client(self, **more: Any) -> RawClient:
        return await RawClient.dial(self.ports["https" if more.get("tls") else "http"], **more)

    async def h2(self, **more: Any) -> H2Client:
        return await H2Client.dial(self.ports["https" if more.get("tls") else "http"], **more)

    async def status(self) -> dict[str, Any]:
        """`lambda-dispatch status --json`."""
        assert self.process is not None
        asked = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lambda_dispatch.cli",
            "status",
            "--json",
            "--pid",
            str(self.process.pid),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        out, _ = await asked.communicate()
        found: dict[str, Any] = json.loads(out)
        return found

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        assert self.process is not None
        return await soon(self.process.wait(), "the router's end", patience=20)


async def _read_all(fd: int) -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    try:
        return await reader.read()
    finally:
        transport.close()


def descendants(pid: int) -> list[int]:
    """Process ids of all children of a process, and theirs."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *descendants(int(child))]
    except OSError:
        pass
    return found
