"""The launcher alone: a bundle that is a script stands in for Python's."""

import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.support.runtime_api import RuntimeApi

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "extension" / "launcher" / "launcher.c"
LOADER = "ld-linux-aarch64.so.1" if platform.machine() == "aarch64" else "ld-linux-x86-64.so.2"
SCRIPT = """#!/bin/sh
echo "id=$LAMBDA_DISPATCH_EXTENSION_ID app=${LAMBDA_DISPATCH_APP_PID:+set} preload=$LD_PRELOAD args=$*"
while [ "$OUT" ] && ! [ -e "$OUT" ]; do sleep 0.01; done  # the application has written it
"""


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("launcher") / "lambda-dispatch"
    compiler = ["musl-gcc", "-static"] if shutil.which("musl-gcc") else ["cc"]
    subprocess.run([*compiler, "-Os", "-Wall", "-Wextra", "-Werror", "-o", target, SOURCE], check=True)
    return target


@pytest.fixture
def opt(binary: Path, tmp_path: Path) -> Path:
    lib = tmp_path / "lambda-dispatch" / "lib"
    lib.mkdir(parents=True)
    (tmp_path / "extensions").mkdir()
    shutil.copy(binary, tmp_path / "extensions" / "lambda-dispatch")
    shutil.copy(binary, tmp_path / "lambda-dispatch" / "lambda-dispatch")
    (lib / LOADER).write_text(SCRIPT)
    (lib / LOADER).chmod(0o755)
    (tmp_path / "lambda-dispatch" / "python").write_text("")
    return tmp_path


def start(*command: Path | str, **environ: str) -> subprocess.CompletedProcess[str]:
    keep = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return subprocess.run(list(map(str, command)), env={**keep, **environ}, capture_output=True, text=True, timeout=60)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


async def launched(path: Path) -> tuple[RuntimeApi, str]:
    async with RuntimeApi([path.name]) as api:
        process = await asyncio.create_subprocess_exec(
            path,
            env={"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": api.address, "LD_PRELOAD": "/none.so"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return api, out.decode()


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives one connection this answer; its address, and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                data = b""
                while b"\r\n\r\n" not in data and (piece := connection.recv(65536)):
                    data += piece
                heard.append(data)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", heard
        thread.join()


@pytest.mark.parametrize("name", ["lambda-dispatch", "renamed-by-its-image"])
def test_from_extensions_it_registers_under_its_file_name_and_becomes_python(opt: Path, name: str) -> None:
    path = opt / "extensions" / name
    if name != "lambda-dispatch":
        (opt / "extensions" / "lambda-dispatch").rename(path)
    api, out = asyncio.run(launched(path))
    assert api.registered == [(name, {"events": ["SHUTDOWN"]})]
    bundle = (opt / "extensions" / ".." / "lambda-dispatch").as_posix()
    assert out == (
        f"id=identifier-1 app= preload= args=--inhibit-cache --library-path {bundle}/lib {bundle}/python extension\n"
    )


def test_without_the_runtime_api_it_says_how_it_is_used(opt: Path) -> None:
    done = start(opt / "extensions" / "lambda-dispatch")
    assert done.returncode == 78
    assert "AWS_LAMBDA_RUNTIME_API is not set" in one_line(done)
    assert "lambda-dispatch extension -- COMMAND" in one_line(done)


@pytest.mark.parametrize("value", ["", "host", "host:", ":80", "host:0", "host:65536", "host:8o", "host:080808"])
def test_a_runtime_api_that_is_no_address_is_named(opt: Path, value: str) -> None:
    done = start(opt / "extensions" / "lambda-dispatch", AWS_LAMBDA_RUNTIME_API=value)
    assert done.returncode == 78
    assert f'AWS_LAMBDA_RUNTIME_API="{value}" is not HOST:PORT' in one_line(done)


def test_a_runtime_api_that_does_not_listen_is_named(opt: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        done = start(opt / "extensions" / "lambda-dispatch", AWS_LAMBDA_RUNTIME_API=address)
    assert done.returncode == 69
    assert f"at {address}: Connection refused" in one_line(done)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\nExtension.\r\nInvalidName", 'status 403 for the name "lambda-dispatch"'),
        (b"HTTP/1.1 200 OK\r\nx-other: 1\r\n\r\n", "no Lambda-Extension-Identifier"),
        (b"SSH-2.0-x\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"", "the answer is not HTTP/1.1"),
    ],
)  # fmt: skip
def test_an_api_that_refuses_is_one_line(opt: Path, answer: bytes, words: str) -> None:
    with answering(answer) as (address, heard):
        done = start(opt / "extensions" / "lambda-dispatch", AWS_LAMBDA_RUNTIME_API=address)
    assert done.returncode == 69
    assert words in one_line(done)
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert b"\r\nLambda-Extension-Name: lambda-dispatch\r\n" in head
    assert json.loads(body) == {"events": ["SHUTDOWN"]}


def test_as_entry_point_it_starts_the_application_with_its_port_then_python(opt: Path) -> None:
    launcher = opt / "lambda-dispatch" / "lambda-dispatch"
    show = [
        "sh",
        "-c",
        'echo "app PORT=$PORT $LAMBDA_DISPATCH_PORT preload=$LD_PRELOAD" >"$OUT.part"; mv "$OUT.part" "$OUT"',
    ]
    for given, port in (({}, "3001"), ({"PORT": "8080"}, "8080"), ({"LAMBDA_DISPATCH_PORT": "70000"}, "3001")):
        out = opt / f"out{port}"
        done = start(launcher, "extension", "--", *show, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", OUT=str(out), **given)
        assert done.returncode == 0, done.stderr
        assert " app=set " in done.stdout
        assert done.stdout.rstrip().endswith(f"{opt}/lambda-dispatch/python extension -- {' '.join(show)}")
        assert out.read_text() == f"app PORT={port} {port} preload=\n"


def test_an_application_that_is_missing_is_one_line(opt: Path) -> None:
    launcher = opt / "lambda-dispatch" / "lambda-dispatch"
    done = start(launcher, "extension", "--", "/no/such/file", AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")
    assert one_line(done) == "lambda-dispatch: /no/such/file cannot be started: No such file or directory"


def test_outside_lambda_it_is_the_application(opt: Path) -> None:
    done = start(opt / "lambda-dispatch" / "lambda-dispatch", "extension", "--", "sh", "-c", "echo $PORT; exit 7")
    assert (done.returncode, done.stdout) == (7, "3001\n")
    assert "not in Lambda" in one_line(done)


def test_as_bootstrap_of_a_layer_it_becomes_the_handler(opt: Path) -> None:
    (opt / "extensions" / "lambda-dispatch").rename(opt / "bootstrap")
    (opt / "run.sh").write_text('#!/bin/sh\necho "$0 PORT=$PORT $LAMBDA_DISPATCH_PORT args=$*"\n')
    (opt / "run.sh").chmod(0o755)
    done = start(opt / "bootstrap", "node", "index.js", LAMBDA_TASK_ROOT=str(opt), _HANDLER="run.sh", PORT="8080")
    assert (done.returncode, done.stdout) == (0, f"{opt}/run.sh PORT=8080 8080 args=\n")
    done = start(opt / "bootstrap", LAMBDA_TASK_ROOT=str(opt), _HANDLER="index.handler")
    assert done.returncode == 127
    assert f"{opt}/index.handler cannot be started: No such file" in one_line(done)
    done = start(opt / "bootstrap")
    assert done.returncode == 78
    assert "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap" in one_line(done)


def test_a_bundle_that_is_not_there_is_one_line(opt: Path) -> None:
    (opt / "lambda-dispatch" / "python").unlink()
    done = start(opt / "lambda-dispatch" / "lambda-dispatch", "extension")
    assert done.returncode == 127
    assert "python is missing: copy the whole bundle" in one_line(done)


def test_a_bundle_of_another_architecture_is_one_line(opt: Path) -> None:
    loader = opt / "lambda-dispatch" / "lib" / LOADER
    head = bytearray(64)
    head[:8] = b"\x7fELF\x02\x01\x01\x00"
    head[16:20] = b"\x03\x00\xf3\x00"  # a shared object for RISC-V
    loader.write_bytes(head)
    done = start(opt / "lambda-dispatch" / "lambda-dispatch", "extension")
    assert done.returncode == 126
    assert "is for another architecture: this machine is" in one_line(done)


def test_a_bundle_that_lost_its_mode_is_one_line(opt: Path) -> None:
    (opt / "lambda-dispatch" / "lib" / LOADER).chmod(0o644)
    done = start(opt / "lambda-dispatch" / "lambda-dispatch", "extension")
    assert done.returncode == 126
    assert "Permission denied: the bundle's files must keep their mode" in one_line(done)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK", 0, ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1, "status 503"),
        (b"nonsense", 1, "the answer is not HTTP/1.1"),
    ],
)
def test_the_health_check_is_one_get(binary: Path, answer: bytes, code: int, words: str) -> None:
    with answering(answer) as (address, heard):
        done = start(binary, "healthcheck", f"http://{address}/health?x=1")
    assert done.returncode == code
    assert words in done.stderr
    assert heard[0].startswith(f"GET /health?x=1 HTTP/1.1\r\nHost: {address}\r\n".encode())


@pytest.mark.parametrize("url", ["https://h/", "http://", "http://h:x/", "h:80/", "http:///x"])
def test_a_health_check_of_no_url_is_one_line(binary: Path, url: str) -> None:
    done = start(binary, "healthcheck", url)
    assert done.returncode == 64
    assert url in one_line(done)


def test_sigterm_waits_for_python_once_the_extension_is_registered(opt: Path, tmp_path: Path) -> None:
    """The stand-in for Python says what it inherited: the signal neither ends it nor is lost."""
    script = opt / "lambda-dispatch" / "lib" / LOADER
    # No shell: dash unblocks every signal.
    probe = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print(open('/proc/self/status').read())"
    script.write_text(f"#!{sys.executable} -S\n{probe}\n")

    async def scene() -> str:
        _, out = await launched(opt / "extensions" / "lambda-dispatch")
        return out

    found = dict(line.split(":", 1) for line in asyncio.run(scene()).splitlines() if ":" in line)
    term = 1 << (signal.SIGTERM - 1)
    assert int(found["SigBlk"], 16) & term
    assert (int(found["SigPnd"], 16) | int(found["ShdPnd"], 16)) & term


def test_sigterm_while_it_registers_is_an_orderly_end(opt: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen(
            [opt / "extensions" / "lambda-dispatch"],
            env={"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}"},
        )
        connection, _ = server.accept()  # it has asked, and waits for the answer
        with connection:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_the_application_inherits_no_blocked_signal(opt: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    app = tmp_path / "app"
    app.write_text(
        f"#!{sys.executable} -S\nimport os, signal\nfound = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        f"open('{out}.new', 'w').write(str(len(found)))\nos.rename('{out}.new', '{out}')\n"
    )
    app.chmod(0o755)
    done = start(opt / "lambda-dispatch" / "lambda-dispatch", "extension", "--", app,
                 AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", OUT=str(out))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.read_text() == "0"


def test_it_is_the_same_program_on_the_other_architecture(tmp_path: Path) -> None:
    """Compiled for arm64 and run under emulation: the health check, and the loader that it looks for."""
    if platform.machine() == "aarch64":
        pytest.skip("this is arm64")
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")
    if compiler is None or emulator is None:
        pytest.skip("no arm64 here: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static")
    target = tmp_path / "lambda-dispatch"
    # glibc warns that a static getaddrinfo needs its libraries at run time; what is shipped is linked with musl.
    subprocess.run(
        [compiler, "-static", "-Os", "-Wall", "-Wextra", "-o", target, SOURCE], check=True, capture_output=True
    )
    with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (address, heard):
        done = start(emulator, target, "healthcheck", f"http://{address}/health")
    assert (done.returncode, done.stderr) == (0, "")
    assert heard[0].startswith(b"GET /health HTTP/1.1\r\n")
    done = start(emulator, target, "extension", "--help")
    assert done.returncode == 127
    assert "arm64" in one_line(done) or "/python is missing" in one_line(done)
