"""The process: signals, the application it starts itself, TLS to the router, what it costs to start."""

import asyncio
import hashlib
import os
import signal
import ssl
import sys
import time
from pathlib import Path

import pytest

from tests.support.extension_rig import Rig, play, roots, terminate, without_launcher
from tests.support.router_peer import Policy

RAW_APP = (sys.executable, "-m", "tests.support.apps.raw_app")
END = 0.3  # s that the end may take ...
SLACK = 0.5  # ... and what a busy machine may add


# The end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN"])
def test_the_end_of_the_environment_gives_parked_channels_back(how: str) -> None:
    async def body(r: Rig) -> None:
        r.invoke(3)
        channels = await r.router.all_parked(3)
        began = time.monotonic()
        if how == "SIGTERM":
            terminate(r.extension)
        else:
            r.api.shut_down()
        assert [await channel.until_reset() for channel in channels] == [7, 7, 7]
        assert await r.extension.exited() == 0
        assert time.monotonic() - began < END + SLACK
        assert len(r.router.closes) == 1

    play(body, policy=Policy(go_away_on_close=False))


def test_a_request_in_flight_is_finished_where_the_end_allows() -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked()
        await channel.request("GET", "/gated")
        await channel.head()
        terminate(r.extension)
        await r.router.until(lambda: len(r.router.closes) == 1)
        await r.open_gate()
        await channel.wait(lambda: channel.ended)
        assert bytes(channel.data).endswith(b"data: second\n\n")
        assert await r.extension.exited() == 0

    play(body)


def test_a_request_that_takes_longer_is_cut() -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked()
        await channel.request("GET", "/gated")
        await channel.head()
        began = time.monotonic()
        terminate(r.extension)
        assert await channel.until_reset() == 8
        assert await r.extension.exited() == 0
        assert time.monotonic() - began < END + SLACK

    play(body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_while_it_waits_for_an_invoke_or_for_the_application(number: int) -> None:
    async def body(r: Rig) -> None:
        await r.api.event_polled.wait()
        r.extension.signal(number)
        assert await r.extension.exited() == 0

    play(body)
    play(body, app=None, app_port=1)


# An application of its own --------------------------------------------------------------------------------------------


def own_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def lives(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_command_is_started_its_output_passed_through_and_it_is_served() -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked()
        assert (await channel.exchange("GET", "/text/4")).body == b"all "
        assert await r.extension.line(str(r.app_port))
        terminate(r.extension)
        assert await r.extension.exited() == 0
        assert "raw app: SIGTERM" in r.extension.lines

    port = own_port()
    play(body, command=(*RAW_APP, str(port)), app_port=port)


def test_the_command_is_told_the_port_on_which_it_is_looked_for() -> None:
    async def body(r: Rig) -> None:
        assert await r.extension.line("ports") == f"ports {port} {port}"
        terminate(r.extension)
        assert await r.extension.exited() == 0

    port = own_port()
    play(body, command=("/bin/sh", "-c", "echo ports $PORT $LAMBDA_DISPATCH_PORT; exec sleep 60"), app_port=port)


@without_launcher
def test_a_command_that_the_launcher_has_started_is_not_started_again() -> None:
    """The launcher forks the application and becomes us: the shell here is the launcher."""
    port = own_port()
    launcher = f'{sys.executable} -m tests.support.apps.raw_app {port} & export LAMBDA_DISPATCH_APP_PID=$!; exec "$@"'

    async def body(r: Rig) -> None:
        channel = await r.parked()
        await channel.request("GET", "/exit")
        assert await r.extension.exited() == 1
        await r.extension.line("the application exited with code 3")

    play(body, command=("/no/such/command",), app_port=port, wrapper=("/bin/sh", "-c", launcher, "launcher"))


def test_the_whole_process_group_of_the_command_ends() -> None:
    async def body(r: Rig) -> None:
        child = int((await r.extension.line("child ")).removeprefix("child "))
        terminate(r.extension)
        await r.extension.exited()
        async with asyncio.timeout(10):
            while lives(child):  # noqa: ASYNC110  # nothing tells of the end of somebody else's child
                await asyncio.sleep(0.01)

    script = "trap '' TERM; sleep 1000 & echo child $!; wait"
    play(body, command=("/bin/sh", "-c", script), app_port=own_port())


def test_a_command_that_ends_before_it_is_healthy_is_an_init_error() -> None:
    async def body(r: Rig) -> None:
        assert await r.extension.exited() == 1
        assert r.api.init_errors[0]["errorType"] == "AppExited"
        assert "exited with code 3" in r.api.init_errors[0]["errorMessage"]

    play(body, command=("/bin/sh", "-c", "exit 3"), app_port=own_port())


def test_a_command_that_does_not_exist_is_an_init_error_that_names_it() -> None:
    async def body(r: Rig) -> None:
        assert await r.extension.exited() == 1
        assert r.api.init_errors[0]["errorType"] == "AppNotStarted"
        assert "/no/such/command" in r.api.init_errors[0]["errorMessage"]

    play(body, command=("/no/such/command",), app_port=own_port())


def test_the_death_of_the_command_fails_the_invoke_and_ends_the_process() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(2)
        one, two = await r.router.all_parked(2)
        began = time.monotonic()
        await one.request("GET", "/exit")
        await invocation.ended()
        assert "exited with code 3" in invocation.error["errorMessage"]
        assert await r.extension.exited() == 1
        assert time.monotonic() - began < 3.0
        assert await two.until_reset() == 7

    port = own_port()
    play(body, command=(*RAW_APP, str(port)), app_port=port, policy=Policy(go_away_on_close=False))


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    done = subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj /CN=router "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem && cat key.pem cert.pem > both.pem",
        shell=True,
        cwd=folder,
        capture_output=True,
    )
    if done.returncode:
        pytest.skip("openssl is not installed")
    return Path(folder) / "both.pem"


def server_context(certificate: Path, alpn: str = "h2") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def fingerprint(certificate: Path) -> str:
    text = certificate.with_name("cert.pem").read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()


@pytest.mark.parametrize("verify", ["nothing", "ca", "fingerprint", "hint", "no alpn", "client"])
def test_tls_to_the_router(certificate: Path, verify: str) -> None:
    async def body(r: Rig) -> None:
        channel = await r.parked(CertificateSha256=fingerprint(certificate) if verify == "hint" else None)
        data = os.urandom(300_000)
        assert (await channel.exchange("POST", "/echo", [], data)).body == data
        assert channel.headers[":scheme"] == "https"

    env = {
        "nothing": {},
        "ca": {"LAMBDA_DISPATCH_ROUTER_CA_FILE": str(certificate.with_name("cert.pem"))},
        "fingerprint": {"LAMBDA_DISPATCH_ROUTER_FINGERPRINT": fingerprint(certificate)},
        "hint": {},
        "no alpn": {},
        "client": {"LAMBDA_DISPATCH_CLIENT_CERTIFICATE": str(certificate)},
    }[verify]
    context = server_context(certificate, "" if verify == "no alpn" else "h2")
    if verify == "client":
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.with_name("cert.pem"))
    play(body, tls=context, env=env)


@pytest.mark.parametrize("fault", ["ca", "fingerprint", "hint"])
def test_a_router_that_is_not_the_right_one_is_unreachable(certificate: Path, fault: str) -> None:
    async def body(r: Rig) -> None:
        result = await r.invoke(1, CertificateSha256="00" * 32 if fault == "hint" else None).result()
        assert result["ExitReason"] == "RouterUnreachable"
        assert r.router.posts == 0
        await r.extension.line({"ca": "certificate", "fingerprint": "pins 0000", "hint": "pins 0000"}[fault])

    other = ssl.get_default_verify_paths().cafile
    if fault == "ca" and not other:
        pytest.skip("no other CA file on this machine")
    env = {
        "ca": {"LAMBDA_DISPATCH_ROUTER_CA_FILE": str(other)},
        "fingerprint": {"LAMBDA_DISPATCH_ROUTER_FINGERPRINT": "00" * 32},
        "hint": {},
    }[fault]
    play(body, tls=server_context(certificate), env=env)


# What it costs --------------------------------------------------------------------------------------------------------


def test_twenty_channels_are_parked_in_18_mebibytes_and_served_in_24() -> None:
    async def body(r: Rig) -> None:
        r.invoke(20)
        channels = await r.router.all_parked(20)
        assert r.extension.resident() < 18 * 1024
        await asyncio.gather(*(channel.exchange("POST", "/echo", [], b"x" * 200_000) for channel in channels))
        assert r.extension.resident() < 24 * 1024

    play(body)


def test_starting_imports_nothing_that_is_not_needed() -> None:
    import subprocess

    program = (
        "import sys; import lambda_dispatch_extension.main, lambda_dispatch_extension.service;"
        "print([m for m in ('boto3', 'botocore', 'urllib.request', 'http.client', 'email', 'zlib', 'hashlib', 'h2',"
        " 'dataclasses', 'lambda_dispatch.config', 'urllib.parse', 'orjson', 'uuid', 'asyncio', 'uvloop', 'ssl',"
        " *('lambda_dispatch_extension.' + m for m in ('direct', 'events', 'answers', 'direct_compression')),"
        " 'socket', 'threading', 'logging', 'traceback', 'subprocess', 'inspect') if m in sys.modules])"
    )
    path = os.pathsep.join(str(root) for root in roots())
    done = subprocess.run(
        # -S: a development environment's site has hooks that import much.
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


# The command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "env", "code", "words"),
    [
        (["--help"], {}, 0, "usage:"),
        (["what"], {}, 64, "usage:"),
        (["--"], {}, 64, "a command must follow"),
        ([], {}, 78, "AWS_LAMBDA_RUNTIME_API"),
        ([], {"AWS_LAMBDA_RUNTIME_API": "nowhere"}, 78, "AWS_LAMBDA_RUNTIME_API='nowhere'"),
        ([], {"LAMBDA_DISPATCH_ROUTER_FINGERPRINT": "12"}, 78, "LAMBDA_DISPATCH_ROUTER_FINGERPRINT"),
        (["--", "/bin/sh", "-c", "echo $PORT $LAMBDA_DISPATCH_PORT; exit 5"], {"PORT": "8081"}, 5, "8081 8081"),
        (["--", "/bin/sh", "-c", "kill -KILL $$"], {}, -9, "not in Lambda"),
        (["--", "/no/such/command"], {}, 127, "command not started command=/no/such/command"),
        (["--", "/"], {}, 126, "command not started command=/"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments: list[str], env: dict[str, str], code: int, words: str) -> None:
    import subprocess

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBDA_"))}
    done = subprocess.run(
        [sys.executable, "-m", "lambda_dispatch_extension", *arguments],
        env={**clean, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
