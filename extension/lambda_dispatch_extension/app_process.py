"""The application, where we start it (`lambda-dispatch extension -- COMMAND ...`) or the launcher has started it as our
child. It runs in a process group of its own and writes to our standard output and error. Its exit is fatal: only a new
environment can start it again.
"""

import os
import signal
from collections.abc import Mapping, Sequence

from lambda_dispatch_extension.loop import Event, get_running_loop, timeout

# Python ignores these; a program that we start expects their defaults.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def environment(environ: Mapping[str, str], port: int) -> dict[str, str]:
    """What the application sees: our environment, with the port on which we look for it."""
    return {**environ, "PORT": str(port), "LAMBDA_DISPATCH_PORT": str(port)}


class AppProcess:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None  # of its exit; negative: the signal that ended it
        self._ended = Event()
        self._handle = os.pidfd_open(pid)
        get_running_loop().add_reader(self._handle, self._on_end)

    @classmethod
    def start(cls, command: Sequence[str], environ: Mapping[str, str]) -> "AppProcess":
        return cls(os.posix_spawnp(command[0], list(command), dict(environ), setsid=True, setsigdef=RESTORED))

    def _on_end(self) -> None:
        get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        try:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            self.code = 0  # somebody else has waited for it
        self._ended.set()

    async def wait(self) -> str:
        """Waits until it exits; how it exited."""
        await self._ended.wait()
        code = self.code or 0
        if code < 0:
            return f"the application was ended by {signal.Signals(-code).name}"
        return f"the application exited with code {code}"

    def send(self, number: int) -> None:
        """To its whole process group, where it leads one."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self.code is None:
                os.kill(self.pid, number)

    async def stop(self, patience: float) -> None:
        """SIGTERM to the whole group, then SIGKILL for what is left of it."""
        if self.code is None:
            self.send(signal.SIGTERM)
            try:
                async with timeout(patience):
                    await self._ended.wait()
            except TimeoutError:
                pass
        self.send(signal.SIGKILL)
        await self._ended.wait()
