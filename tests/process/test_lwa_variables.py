"""The contract of AWS's Lambda Web Adapter, variables and life: one test per row, each with the row's name.

Embedded Lambda, extension and application are real processes. Readiness checks go to a server of the test's own, which
says what it was asked.
"""

import base64
import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from lambda_dispatch.local.environment.process import free_port
from lambda_dispatch.local.function import Function
from tests.support.direct_lambda import APP, invoke, web
from tests.support.direct_rig import SQS, URL, Seen, ask, event
from tests.support.extension_rig import ROOT
from tests.support.local_lambda import Running, running_lambda, wait_for

Environ = dict[str, str]
SHORT = {"LAMBDA_DISPATCH_INIT_TIMEOUT": "0.3"}
# Of the variables that the embedded Lambda sets, those that come before the adapter's.
ADAPTER = {"LAMBDA_DISPATCH_PORT": "", "PORT": ""}


@contextlib.contextmanager
def started(environ: Environ, **settings: Any) -> Iterator[Running]:
    with running_lambda(web(environ, **settings)) as running:
        yield running


def serves(running: Running) -> bool:
    return Seen(invoke(running, ask(URL, "/head"))).line == "GET /head HTTP/1.1"


def said(running: Running, words: str) -> bool:
    return any(words in line for line in running.lines)


class Readiness:
    """Answers readiness checks with one status after the other; the last one stays."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[str] = []
        readiness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                readiness.asked.append(self.path)
                status = readiness.statuses[0] if len(readiness.statuses) == 1 else readiness.statuses.pop(0)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = str(self.server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


# Where the application is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AWS_LWA_PORT", "PORT"])
def test_port(name: str) -> None:
    port = str(free_port(set()))
    with started({**ADAPTER, name: port}) as running:
        assert Seen(invoke(running, {**ask(URL, "/head"), "headers": {}})).headers["host"] == f"127.0.0.1:{port}"


def test_port_precedence() -> None:
    ours, adapters = (str(free_port(set())) for _ in range(2))
    with started({"LAMBDA_DISPATCH_PORT": ours, "AWS_LWA_PORT": adapters, "PORT": "1"}) as running:
        assert Seen(invoke(running, {**ask(URL, "/head"), "headers": {}})).headers["host"] == f"127.0.0.1:{ours}"
    with started({"LAMBDA_DISPATCH_PORT": "", "AWS_LWA_PORT": adapters, "PORT": "1"}) as running:
        assert Seen(invoke(running, {**ask(URL, "/head"), "headers": {}})).headers["host"] == f"127.0.0.1:{adapters}"


@pytest.mark.parametrize(("name", "deprecated"), [("AWS_LWA_HOST", False), ("HOST", True)])
def test_host(name: str, deprecated: bool) -> None:
    with started({name: "localhost"}) as running:
        assert Seen(invoke(running, {**ask(URL, "/head"), "headers": {}})).headers["host"].startswith("localhost:")
        assert said(running, f"option deprecated variable={name}") == deprecated


def test_bad_host_ends_the_start() -> None:
    with started({"AWS_LWA_HOST": "no host"}) as running:
        assert running.invoke(ask(URL, "/"), "web")["body"]["errorType"] == "Runtime.ExitError"
        assert said(running, "invalid URL configuration")


# Readiness ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app_port() -> Iterator[str]:
    """The application as a process of the test's, so that it listens before any readiness check."""
    command = [sys.executable, "-m", "tests.support.apps.raw_app"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@contextlib.contextmanager
def checked(
    app_port: str, statuses: Sequence[int], environ: Environ, prefix: str = "AWS_LWA_"
) -> Iterator[tuple[Running, Readiness]]:
    """An environment with the adapter's defaults; its readiness checks are answered with these statuses."""
    with Readiness(*statuses) as readiness:
        given = {
            **ADAPTER,
            "AWS_LWA_PORT": app_port,
            f"{prefix}READINESS_CHECK_PORT": readiness.port,
            "LAMBDA_DISPATCH_INIT_TIMEOUT": "60",
            **environ,
        }
        with running_lambda(Function("web", ("/bin/sleep", "600"), "direct", environment=given)) as running:
            yield running, readiness


@pytest.mark.parametrize(("prefix", "deprecated"), [("AWS_LWA_", False), ("", True)])
def test_readiness_check_port_and_path(app_port: str, prefix: str, deprecated: bool) -> None:
    port, path = f"{prefix}READINESS_CHECK_PORT", f"{prefix}READINESS_CHECK_PATH"
    with checked(app_port, [200], {path: "/ready?x=1"}, prefix) as (running, readiness):
        assert serves(running)
        assert set(readiness.asked) == {"/ready?x=1"}
        for name in (port, path):
            assert said(running, f"option deprecated variable={name}") == deprecated


def test_readiness_check_path_by_default(app_port: str) -> None:
    with checked(app_port, [200], {}) as (running, readiness):
        assert serves(running)
        assert set(readiness.asked) == {"/"}


@pytest.mark.parametrize(("word", "checks"), [("http", 3), ("HTTP", 3), ("udp", 3), ("tcp", 0), ("TCP", 0)])
def test_readiness_check_protocol(app_port: str, word: str, checks: int) -> None:
    with checked(app_port, [500, 503, 200], {"AWS_LWA_READINESS_CHECK_PROTOCOL": word}) as (running, readiness):
        assert serves(running)
        assert len(readiness.asked) == checks


@pytest.mark.parametrize(
    ("listed", "answers", "checks"),
    [
        (None, [500, 499], 2),  # 100 to 499
        (None, [599, 404], 2),
        ("200, 302-303", [404, 301, 303], 3),
        ("nonsense,204", [200, 204], 2),
        ("200-300-400,201", [200, 201], 2),
    ],
)
def test_readiness_check_healthy_status(app_port: str, listed: str | None, answers: Sequence[int], checks: int) -> None:
    given = {} if listed is None else {"AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": listed}
    with checked(app_port, answers, given) as (running, readiness):
        assert serves(running)
        assert len(readiness.asked) == checks


@pytest.mark.parametrize("listed", ["nonsense", "1-2-3", "300-200"])
def test_readiness_check_healthy_status_without_any_is_never_ready(app_port: str, listed: str) -> None:
    with checked(app_port, [200], {"AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": listed, **SHORT}) as (running, readiness):
        assert running.invoke(ask(URL, "/"), "web")["body"]["errorType"] == "AppNotHealthy"
        assert len(readiness.asked) > 3


def test_readiness_check_min_unhealthy_status_is_gone(app_port: str) -> None:
    with checked(app_port, [404], {"AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": "400"}) as (running, _):
        assert serves(running)


@pytest.mark.parametrize("word", ["false", "True", "1"])
def test_async_init_is_off_for_other_words_than_true(app_port: str, word: str) -> None:
    with checked(app_port, [500], {"AWS_LWA_ASYNC_INIT": word, **SHORT}) as (running, _):
        assert running.invoke(ask(URL, "/"), "web")["body"]["errorType"] == "AppNotHealthy"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AWS_LWA_ASYNC_INIT", "ASYNC_INIT"])
def test_async_init(app_port: str, name: str) -> None:
    """Init gives up the wait before Lambda's limit, and the first invoke continues it."""
    with checked(app_port, [500], {name: "true", "LAMBDA_DISPATCH_ASYNC_INIT_TIMEOUT": "60"}) as (running, readiness):
        answers: list[bool] = []
        caller = threading.Thread(target=lambda: answers.append(serves(running)))
        caller.start()
        wait_for(lambda: said(running, "START RequestId"), 60)
        assert not said(running, "INIT_REPORT")
        readiness.statuses = [200]
        caller.join()
        assert answers == [True]


# Direct events --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AWS_LWA_REMOVE_BASE_PATH", "REMOVE_BASE_PATH"])
def test_remove_base_path(name: str) -> None:
    with started({name: "/prod"}) as running:
        assert Seen(invoke(running, ask(URL, "/prod/head"))).line == "GET /head HTTP/1.1"


@pytest.mark.parametrize(("word", "on"), [("true", True), ("True", False), ("1", False), ("false", False)])
def test_enable_compression(word: str, on: bool) -> None:
    with started({"AWS_LWA_ENABLE_COMPRESSION": word}) as running:
        value = ask(URL, "/text/500")
        value["headers"]["accept-encoding"] = "gzip"
        assert ("content-encoding" in invoke(running, value)["headers"]) == on


@pytest.mark.parametrize(
    ("word", "streams"), [("buffered", False), ("RESPONSE_STREAM", True), ("Response_Stream", True), ("quick", False)]
)
def test_invoke_mode(word: str, streams: bool) -> None:
    with started({"AWS_LWA_INVOKE_MODE": word}) as running:
        payload = json.dumps(ask(URL, "/text/5")).encode()
        answer = running.client.invoke_with_response_stream(FunctionName="web", Payload=payload)
        whole = b"".join(each["PayloadChunk"]["Payload"] for each in answer["EventStream"] if "PayloadChunk" in each)
        assert (bytes(8) in whole) == streams


@pytest.mark.parametrize("name", ["AWS_LWA_AUTHORIZATION_SOURCE", "LAMBDA_DISPATCH_AUTHORIZATION_SOURCE"])
def test_authorization_source(name: str) -> None:
    with started({name: "X-Token"}) as running:
        value = ask(URL, "/head")
        value["headers"]["x-token"] = "t"
        assert Seen(invoke(running, value)).all("authorization") == ["t"]


def test_error_status_codes_skips_what_is_none() -> None:
    with started({"AWS_LWA_ERROR_STATUS_CODES": "x, 500-502,1-2-3,418"}) as running:
        for status, failed in ((418, True), (501, True), (503, False), (400, False)):
            assert ("FunctionError" in running.invoke(ask(URL, f"/status/{status}"), "web")) == failed


def test_pass_through_path() -> None:
    with started({"AWS_LWA_PASS_THROUGH_PATH": "/seen/here"}) as running:
        told = invoke(running, event(SQS))
        assert bytes.fromhex(told["head"]).startswith(b"POST /seen/here HTTP/1.1\r\n")


# The Runtime API ------------------------------------------------------------------------------------------------------


class Proxy:
    """Stands between the extension and the Runtime API of the one environment, and keeps what the extension sends."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.running: Running | None = None
        self.sent: list[bytearray] = []  # by connection
        self.sockets = [self.listener]
        self.threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> Self:
        self.threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for each in self.sockets:
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            assert self.running is not None
            host, _, port = self.running.environments()[0]["runtime_api"].rpartition(":")
            server = socket.create_connection((host, int(port)))
            self.sockets += [client, server]
            self.sent.append(bytearray())
            for source, target, kept in ((client, server, self.sent[-1]), (server, client, bytearray())):
                self.threads.append(threading.Thread(target=_pump, args=(source, target, kept)))
                self.threads[-1].start()

    def post(self) -> tuple[bytes, bytes]:
        """Head and body of the last response that the extension has posted."""
        mark = b"/response HTTP/1.1\r\n"
        sent = next(bytes(each) for each in self.sent if mark in each)
        start = sent.rfind(b"POST ", 0, sent.rfind(mark))
        head, _, body = sent[start:].partition(b"\r\n\r\n")
        return head, body


def _pump(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("name", ["AWS_LWA_LAMBDA_RUNTIME_API_PROXY", "LAMBDA_DISPATCH_LAMBDA_RUNTIME_API_PROXY"])
def test_lambda_runtime_api_proxy(name: str) -> None:
    with Proxy() as proxy, started({name: proxy.address}) as running:
        proxy.running = running
        assert invoke(running, ask(URL, "/text/5"))["body"] == "all w"
        head, body = proxy.post()
        assert b"\r\ncontent-type: application/json" in head
        assert json.loads(body.partition(b"GET ")[0])["body"] == "all w"
        assert any(b"/extension/register" in sent for sent in proxy.sent)


def test_streamed_post_byte_for_byte() -> None:
    with (
        Proxy() as proxy,
        started(
            {"AWS_LWA_LAMBDA_RUNTIME_API_PROXY": proxy.address, "AWS_LWA_INVOKE_MODE": "response_stream"}
        ) as running,
    ):
        proxy.running = running
        broken = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nshort"
        payload = json.dumps(ask(URL, f"/then/{broken.hex()}")).encode()
        answer = running.client.invoke_with_response_stream(FunctionName="web", Payload=payload)
        *_, end = answer["EventStream"]
        request_id = answer["ResponseMetadata"]["RequestId"]
        head, body = proxy.post()
        assert head.decode().split("\r\n") == [
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1",
            f"host: {proxy.address}",
            "Transfer-Encoding: chunked",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
            "Content-Type: application/vnd.awslambda.http-integration-response",
        ]
        prelude = b'{"statusCode":200,"headers":{"content-type":"text/plain","content-length":"9"},"cookies":[]}'
        start = b"%x\r\n%b\r\n8\r\n\0\0\0\0\0\0\0\0\r\n5\r\nshort\r\n0\r\n" % (len(prelude), prelude)
        assert body.startswith(start)
        trailers = body[len(start) :].partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert [trailer.partition(b":")[0].lower() for trailer in trailers] == [
            b"lambda-runtime-function-error-type",
            b"lambda-runtime-function-error-body",
        ]
        assert end["InvokeComplete"]["ErrorCode"] == "Runtime.StreamError"


def extension(*before: str) -> Function:
    """The function `web` with an extension that is started after these words."""
    command = (*before, sys.executable, "-m", "lambda_dispatch_extension", "--", *APP)
    return Function("web", command, directory=str(ROOT))


@pytest.mark.parametrize(("kind", "kept"), [("on-demand", True), ("snap-start", False)])
def test_initialization_type(kind: str, kept: bool) -> None:
    with running_lambda(extension("/usr/bin/env", f"AWS_LAMBDA_INITIALIZATION_TYPE={kind}")) as running:
        before = connections(running)
        after = [connections(running) for _ in range(5)][-1]
        assert after - before == (0 if kept else 5)


def connections(running: Running) -> int:
    """How many the application has had."""
    body = invoke(running, ask(URL, "/counts"))["body"]
    return int(json.loads(base64.b64decode(body))["connections"])


# Life -----------------------------------------------------------------------------------------------------------------


def external(directory: Path, name: str) -> Function:
    """The image's form: the extension is a file in the extensions directory, the command is the application alone."""
    code = (
        f"import sys; sys.argv[0] = '/opt/extensions/{name}'; "
        "from lambda_dispatch_extension.main import main; sys.exit(main([]))"
    )
    file = directory / name
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    file.chmod(0o755)
    return Function("web", APP, extensions_directory=str(directory), directory=str(ROOT))


@pytest.mark.parametrize("name", ["lambda-dispatch", "lambda-adapter"])
def test_register_under_the_files_name_and_shutdown(tmp_path: Path, name: str) -> None:
    with running_lambda(external(tmp_path, name)) as running:
        assert serves(running)
        (environment,) = running.environments()
        assert environment["extensions"] == [name]
        running.control("POST", f"environments/{environment['id']}/stop")
        wait_for(lambda: running.environments() == [])
        assert said(running, "raw app: SIGTERM")


def test_readiness_is_waited_for_before_the_first_next(app_port: str) -> None:
    with checked(app_port, [*[500] * 20, 200], {}) as (running, readiness):
        assert serves(running)
        assert len(readiness.asked) == 21


# Where it differs on purpose ------------------------------------------------------------------------------------------

ROUTER = {"Id": "i-1", "DispatcherUrl": "http://127.0.0.1:1/api/chunked", "NumberOfChannels": 1}


@pytest.mark.parametrize(
    ("value", "routers"),
    [
        (ROUTER, True),
        ({**ROUTER, "PoolId": "p"}, True),
        ({"Id": "i-1"}, False),
        ({"DispatcherUrl": ROUTER["DispatcherUrl"]}, False),
        ({**ask(URL, "/head"), **ROUTER}, False),
        ({**ROUTER, "httpMethod": "GET"}, False),
        ({"detail": ROUTER}, False),
        ([ROUTER], False),
    ],
)
def test_switch(value: Any, routers: bool) -> None:
    """Ours only by the top level; a router's invoke without SentTime is refused as a router's."""
    with started({"AWS_LWA_PASS_THROUGH_PATH": "/seen"}) as running:
        told = invoke(running, value)
        assert (told.get("ExitReason") == "RouterLambdaInvokeInvalid") == routers


def test_direct_off() -> None:
    with started({"LAMBDA_DISPATCH_DIRECT": "off"}) as running:
        failed = running.invoke(ask(URL, "/head"), "web")
        assert (failed["FunctionError"], failed["body"]["errorType"]) == ("Unhandled", "DirectEventRefused")
        assert invoke(running, ROUTER)["ExitReason"] == "RouterLambdaInvokeInvalid"
