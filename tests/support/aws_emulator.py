"""AWS's own runtime interface emulator, built from its Go module: what it accepts, Lambda accepts.

It starts what lies in /opt/extensions, a path that it does not take from anybody. So it runs in mount and PID
namespaces of its own, in which /opt is a folder of the test's; with the first process of them all others end.
"""

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = "github.com/aws/aws-lambda-runtime-interface-emulator"
VERSION = "v0.0.0-20261030222936-bef5c4ba774d"
BINARY = ROOT / "build" / "aws-emulator" / VERSION / "aws-lambda-rie"
FUNCTION = "function"  # the only name that it knows
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def emulator() -> Path:
    """The binary, built once; the test is skipped where that cannot be."""
    if BINARY.exists():
        return BINARY
    go = shutil.which("go")
    if go is None:
        pytest.skip("AWS's runtime interface emulator is a Go program and there is no `go` on the PATH")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BINARY.parent) as folder:
        built = subprocess.run(
            [go, "install", f"{MODULE}/cmd/aws-lambda-rie@{VERSION}"],
            env={**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if built.returncode:
            pytest.skip(f"AWS's runtime interface emulator cannot be built here: {built.stdout[-500:]}")
        os.replace(Path(folder) / "aws-lambda-rie", BINARY)
    return BINARY


def namespaces() -> list[str]:
    command = NAMESPACES if os.geteuid() == 0 else [*NAMESPACES, "--map-root-user"]
    tried = subprocess.run([*command, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if tried.returncode:
        pytest.skip(f"the emulator needs namespaces of its own for /opt: {tried.stdout.strip()}")
    return command


class Emulator:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def running_emulator(
    folder: Path, command: Sequence[str], *, extensions: Mapping[str, str] | None = None, **variables: str
) -> Iterator[Emulator]:
    """With `command` as the image's entry point and `extensions` (name and shell script) in /opt/extensions."""
    binary = emulator()
    optional = folder / "opt"
    (optional / "extensions").mkdir(parents=True)
    for name, script in (extensions or {}).items():
        file = optional / "extensions" / name
        file.write_text(script)
        file.chmod(0o755)
    api, front = free_port(), free_port()
    inner = [
        str(binary),
        *("--runtime-api-address", f"127.0.0.1:{api}", "--runtime-interface-emulator-address", f"127.0.0.1:{front}"),
        *command,
    ]
    line = f"mount --bind {shlex.quote(str(optional))} /opt && exec {shlex.join(inner)}"
    log = folder / "emulator.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*namespaces(), "sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
            start_new_session=True,
        )
    try:
        yield Emulator(f"http://127.0.0.1:{front}", log)
        assert process.poll() is None, "the emulator ended: " + log.read_text(errors="replace")[-3000:]
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
