import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lambda_dispatch.function_name import FunctionName
from lambda_dispatch.scaler import transport as t
from lambda_dispatch.scaler.access import AccessError
from lambda_dispatch.scaler.lambda_api import LambdaApi, Reply
from lambda_dispatch.telemetry import log
from tests.support.stand_in import Invoke, StandIn, stand_in

APP = FunctionName("app", None)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for scheme in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA", "AWS_CA_BUNDLE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def with_service(
    scenario: Callable[[StandIn, LambdaApi], Coroutine[Any, Any, None]], function: FunctionName = APP, path: str = ""
) -> None:
    async def run() -> None:
        async with stand_in() as service:
            await scenario(service, LambdaApi({"AWS_LAMBDA_SERVICE_URL": service.url + path}, function))

    asyncio.run(asyncio.wait_for(run(), 20))


async def exchange(
    service: StandIn, api: LambdaApi, reply: Callable[[Invoke], None], function: FunctionName = APP
) -> Reply:
    call = asyncio.create_task(api.invoke(function, b'{"Id": "1"}'))
    reply((await service.invokes(1))[-1])
    return await call


def test_an_invoke_is_signed_and_asks_for_the_response() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        reply = await exchange(service, api, lambda invoke: invoke.answer(200, {"a": 1}))
        assert reply == Reply(200, "", "", b'{"a": 1}')
        (invoke,) = service.arrived
        assert invoke.path == "/2015-03-31/functions/app/invocations"
        assert invoke.headers["x-amz-invocation-type"] == "RequestResponse"
        authorization = invoke.headers["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-west-3/lambda/aws4_request" in authorization
        assert "very-secret" not in str(invoke.headers)
        assert invoke.body == b'{"Id": "1"}'

    with_service(scenario)


def signature_of(invoke: Invoke, secret: str) -> str:
    """What AWS computes from a request as it arrived (Signature Version 4)."""
    authorization = invoke.headers["authorization"]
    scope = authorization.split("Credential=")[1].split(",")[0].split("/", 1)[1]
    signed = authorization.split("SignedHeaders=")[1].split(",")[0].split(";")
    path, _, query = invoke.path.partition("?")
    lines = [f"{name}:{invoke.headers[name].strip()}" for name in signed]
    body = hashlib.sha256(invoke.body).hexdigest()
    canonical = "\n".join(("POST", quote(path, safe="/~"), query, *lines, "", ";".join(signed), body))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", invoke.headers["x-amz-date"], scope, digest))
    key = b"AWS4" + secret.encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def test_the_signature_is_what_aws_computes() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        function = FunctionName("arn:aws:lambda:eu-west-3:123456789012:function:app", "$LATEST")
        await exchange(service, api, lambda invoke: invoke.answer(), function)
        (invoke,) = service.arrived
        assert "host;" in invoke.headers["authorization"]
        assert invoke.headers["authorization"].split("Signature=")[1] == signature_of(invoke, "very-secret")

    with_service(scenario)


def test_a_qualifier_and_an_arn_stand_escaped_in_the_path() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        function = FunctionName("arn:aws:lambda:eu-west-3:123456789012:function:app", "$LATEST")
        await exchange(service, api, lambda invoke: invoke.answer(), function)
        assert service.arrived[0].path == (
            "/base/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-3%3A123456789012%3Afunction%3Aapp/invocations"
            "?Qualifier=%24LATEST"
        )

    with_service(scenario, path="/base")


def test_errors_of_function_and_service_are_told_apart() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        failed = await exchange(service, api, lambda invoke: invoke.answer(200, {}, X_Amz_Function_Error="Unhandled"))
        assert (failed.status, failed.function_error) == (200, "Unhandled")
        service.arrived.clear()
        refused = await exchange(
            service, api, lambda i: i.answer(429, {}, **{"X-Amzn-ErrorType": "TooManyRequestsException:http://x/"})
        )
        assert (refused.status, refused.error_type) == (429, "TooManyRequestsException")

    with_service(scenario)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_answers_in_every_framing_are_read(answer: bytes, body: bytes) -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        reply = await exchange(service, api, lambda invoke: invoke.raw(answer))
        assert reply.payload == body

    with_service(scenario)


def test_an_answer_may_end_with_its_connection() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        def reply(invoke: Invoke) -> None:
            invoke.raw(b"HTTP/1.1 200 OK\r\n\r\nto the end")
            invoke.half_close()

        assert (await exchange(service, api, reply)).payload == b"to the end"

    with_service(scenario)


def test_of_a_long_answer_the_beginning_is_kept() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        body = b"x" * 1_000_000
        reply = await exchange(
            service, api, lambda i: i.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + body)
        )
        assert len(reply.payload) == t.MOST_BODY

    with_service(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_cut_short_or_senseless_is_lost(answer: bytes) -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        def reply(invoke: Invoke) -> None:
            invoke.raw(answer)
            invoke.half_close()

        with pytest.raises(t.Lost):
            await exchange(service, api, reply)

    with_service(scenario)


def test_nobody_there_is_not_sent() -> None:
    async def run() -> None:
        api = LambdaApi({"AWS_LAMBDA_SERVICE_URL": "http://127.0.0.1:1"}, APP)
        with pytest.raises(t.NotSent):
            await api.invoke(APP, b"{}")

    asyncio.run(run())


def test_an_endpoint_that_does_not_accept_connections_is_a_warning_long_before_the_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Packets that vanish, as behind a wrong security group: here, a listening socket whose queue is full."""
    monkeypatch.setattr(t, "SLOW_CONNECT", 0.05)

    async def run() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            with socket.create_connection(address), socket.socket() as second:
                second.setblocking(False)
                second.connect_ex(address)
                api = LambdaApi({"AWS_LAMBDA_SERVICE_URL": f"http://127.0.0.1:{address[1]}"}, APP)
                call = asyncio.create_task(api.invoke(APP, b"{}"))
                while "Lambda endpoint unresponsive" not in (said := capfd.readouterr().err):
                    assert not call.done()
                    await asyncio.sleep(0.01)
                    log.flush()
                assert f"127.0.0.1:{address[1]}" in said
                call.cancel()

    log.configure("scaler", "info", "text")
    asyncio.run(asyncio.wait_for(run(), 20))


def test_an_endpoint_that_takes_no_bytes_is_a_warning_and_one_that_only_waits_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listening socket whose connections are not read: a small payload is acknowledged, a large one stays here."""
    said: list[str] = []
    monkeypatch.setattr(t, "SLOW_SEND", 0.05)

    async def run() -> None:
        checked = asyncio.Event()
        check = t.Transport._check_sent

        def checking(self: t.Transport, transport: asyncio.Transport) -> None:
            check(self, transport)
            checked.set()

        monkeypatch.setattr(t.Transport, "_check_sent", checking)
        monkeypatch.setattr(t.Transport, "_warn", lambda self, phase, seconds: said.append(phase))
        with socket.create_server(("127.0.0.1", 0)) as server:
            api = LambdaApi({"AWS_LAMBDA_SERVICE_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}, APP)
            for size, expected in ((2, []), (16_000_000, ["send"])):
                checked.clear()
                call = asyncio.create_task(api.invoke(APP, bytes(size)))
                await checked.wait()
                assert said == expected
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_call_that_is_given_up_leaves_no_connection() -> None:
    async def scenario(service: StandIn, api: LambdaApi) -> None:
        call = asyncio.create_task(api.invoke(APP, b"{}"))
        await service.invokes(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await service.quiet()

    with_service(scenario)


def test_the_region_may_come_from_the_arn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    api = LambdaApi({}, FunctionName("arn:aws:lambda:ap-south-1:123456789012:function:app", None))
    assert api.endpoint_url == "https://lambda.ap-south-1.amazonaws.com"


def test_no_region_is_an_error_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(AccessError, match="AWS_REGION"):
        LambdaApi({}, APP)


def test_the_region_may_come_from_aws_region_and_wins_over_the_default() -> None:
    api = LambdaApi({"AWS_REGION": "eu-north-1"}, APP)
    assert (api.region, api.endpoint_url) == ("eu-north-1", "https://lambda.eu-north-1.amazonaws.com")


def test_no_credentials_are_an_error_for_aws_and_none_for_a_local_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessError, match="AWS_ACCESS_KEY_ID"):
        LambdaApi({}, APP)

    async def scenario(service: StandIn, api: LambdaApi) -> None:
        await exchange(service, api, lambda invoke: invoke.answer())
        assert "Credential=dummy/" in service.arrived[0].headers["authorization"]

    with_service(scenario)


def test_the_endpoint_comes_from_botocores_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://localhost:4566/")
    assert LambdaApi({}, APP).endpoint_url == "http://localhost:4566"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return tmp_path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
    return context


def test_https_is_verified_against_the_given_bundle(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with stand_in(server_context(certificate)) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", service.url)
            with pytest.raises(t.NotSent, match="CERTIFICATE_VERIFY_FAILED"):
                await LambdaApi({}, APP).invoke(APP, b"{}")
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate / "ca.pem"))
            reply = await exchange(service, LambdaApi({}, APP), lambda invoke: invoke.answer(200, 1))
            assert reply.payload == b"1"

    asyncio.run(asyncio.wait_for(run(), 20))


class Proxy:
    """Forwards whole requests, and tunnels for CONNECT; remembers first lines and credentials."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.authorizations: list[str] = []
        self.refuse = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, *rest = head.decode().split("\r\n")
            self.lines.append(first)
            self.authorizations += [line.split(": ")[1] for line in rest if line.startswith("proxy-authorization")]
            method, target, _ = first.split(" ")
            if self.refuse:
                writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
                return
            place = target if method == "CONNECT" else target.split("/")[2]
            host, port = place.rsplit(":", 1)
            back, upstream = await asyncio.open_connection(host, int(port))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                upstream.write(head.replace(target.encode(), path.encode(), 1))
            await asyncio.gather(self._pump(reader, upstream), self._pump(back, writer))
        finally:
            for side in (writer, upstream):
                if side is not None:
                    await side.drain()
                    side.close()

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()


@asynccontextmanager
async def proxy() -> AsyncIterator[Proxy]:
    it = Proxy()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://user:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        await server.wait_closed()


def test_https_goes_through_a_tunnel_of_the_proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with stand_in(server_context(certificate)) as service, proxy() as between:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate / "ca.pem"))
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", service.url)
            monkeypatch.setenv("HTTPS_PROXY", between.url)
            reply = await exchange(service, LambdaApi({}, APP), lambda invoke: invoke.answer(200, "through"))
            assert reply.payload == b'"through"'
            assert between.lines == [f"CONNECT {service.url.removeprefix('https://')} HTTP/1.1"]
            assert between.authorizations == ["Basic " + base64.b64encode(b"user:p@ss").decode()]

            between.refuse = True
            with pytest.raises(t.NotSent, match="403"):
                await LambdaApi({}, APP).invoke(APP, b"{}")

            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            service.arrived.clear()
            await exchange(service, LambdaApi({}, APP), lambda invoke: invoke.answer())
            assert len(between.lines) == 2

    asyncio.run(asyncio.wait_for(run(), 20))


def test_http_is_asked_of_the_proxy_with_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with stand_in() as service, proxy() as between:
            monkeypatch.setenv("HTTP_PROXY", between.url)
            api = LambdaApi({"AWS_LAMBDA_SERVICE_URL": service.url}, APP)
            await exchange(service, api, lambda invoke: invoke.answer())
            assert between.lines == [f"POST {service.url}/2015-03-31/functions/app/invocations HTTP/1.1"]

    asyncio.run(asyncio.wait_for(run(), 20))
