"""The application, where it is the extension's to start (`lambda-dispatch extension -- COMMAND ...`).

It runs in a process group of its own and writes to our standard output and error. Its death is fatal: only a new
environment brings it back.
"""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence


class AppProcess:
    def __init__(self, process: Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, command: Sequence[str]) -> "AppProcess":
        return cls(await asyncio.create_subprocess_exec(*command, start_new_session=True))

    async def wait(self) -> str:
        """Waits for its death and says how it died."""
        code = await self.process.wait()
        if code < 0:
            return f"the application was ended by {signal.Signals(-code).name}"
        return f"the application exited with code {code}"

    def send(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    async def stop(self, patience: float) -> None:
        """SIGTERM to the whole group, then SIGKILL for what is left of it."""
        if self.process.returncode is None:
            self.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(patience):
                    await self.process.wait()
            except TimeoutError:
                pass
        self.send(signal.SIGKILL)
        await self.process.wait()
