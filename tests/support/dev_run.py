"""`lambda-dispatch dev` as a child process, for tests that use it as a newcomer does."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lambda_dispatch.local.environment.process import family, start_time
from tests.support.local_lambda import alive, processes_with, wait_for

NO_PORTS = ["--http-port=0", "--control-http-port=0", "--lambda-port=0"]  # free ones
MARKER = "DEV_RUN_OF_TESTS"


class DevRun:
    def __init__(self, process: subprocess.Popen[str], marker: str) -> None:
        self.process = process
        self.marker = marker
        self.cwd = Path.cwd()
        self.lines: list[str] = []
        self._seen: set[tuple[int, str]] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, text: str, seconds: float = 60.0) -> str:
        def look() -> str:
            found = next((line for line in self.lines if text in line), "")
            assert found or self.process.poll() is None, f"it ended before it said {text!r}:\n{self.output}"
            return found

        return str(wait_for(look, seconds))

    def port(self, name: str) -> int:
        """Of the address that the banner says; the router's log lines begin with its name too."""
        self.wait_for_line("Ctrl-C stops everything")
        line = next(line for line in self.lines if line.startswith(f"{name} ") and " http://127.0.0.1:" in line)
        return int(line.split("http://127.0.0.1:")[1].split()[0])

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """The body is sent while the answer is read: what streams it back takes no more than it can get rid of."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("router"), timeout=60)
        length = {"content-length": str(len(body))} if body is not None else {}
        with contextlib.closing(connection), ThreadPoolExecutor(1) as sender:
            connection.request(method, target, headers={**(headers or {}), **length})
            sent = sender.submit(connection.send, body) if body else None
            response = connection.getresponse()
            answer = response.read()
            if sent is not None:
                sent.result()
            return response, answer

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code once everything has stopped."""
        self.remember()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def remember(self) -> None:
        """Takes down every process there is now; one that changes its name cannot be found by the marker later."""
        self._seen.update((pid, start_time(pid)) for pid in family(self.process.pid))

    def left(self) -> list[int]:
        """Processes of this run that are alive."""
        seen = [pid for pid, begun in self._seen if alive(pid) and start_time(pid) == begun]
        return sorted({*seen, *processes_with(self.marker)})


@contextlib.contextmanager
def dev_run(*arguments: str, command: Sequence[str] = (), cwd: Path | None = None) -> Iterator[DevRun]:
    """`command` is how it is started where that matters; it brings its own ports then."""
    marker = f"{MARKER}={os.getpid()}-{time.monotonic_ns()}"
    name, _, value = marker.partition("=")
    # What lies in dist/ must not decide what is tested.
    ports = NO_PORTS if "--extensions-dir" in arguments else [*NO_PORTS, "--extensions-dir=none"]
    process = subprocess.Popen(
        [*(command or (sys.executable, "-m", "lambda_dispatch.cli", "dev", *ports)), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, name: value, "PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
        start_new_session=True,
        cwd=cwd,
    )
    run = DevRun(process, marker)
    try:
        yield run
    finally:
        if process.poll() is None:
            run.interrupt()
        assert process.stdout is not None
        run._reader.join(10)
        process.stdout.close()
        wait_for(lambda: not run.left())
