"""TLS on both ports: curl and python-hyper h2 by ALPN, instances, and certificates that change."""

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest

from lambda_dispatch.worker.handshakes import SHUTDOWN_TIMEOUT
from tests.support import certs
from tests.support.clients import RawClient, curl
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon
from tests.support.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> certs.Pair:
    return certs.make(tmp_path_factory.mktemp("certs"))


@scenario
async def test_curl_gets_http_1_1_or_http_2_as_it_asks(pair: certs.Pair) -> None:
    async with WorkerProcess.running(certs=pair) as worker:
        await worker.instance(channels=2, tls=pair.client_context("h2"))
        url = f"https://localhost:{worker.ports['https']}/path"
        resolve = ("--resolve", f"localhost:{worker.ports['https']}:127.0.0.1", "--cacert", str(pair.cert))
        for flag, version in (("--http1.1", b"1.1"), ("--http2", b"2"), ("--http1.0", b"1.1")):
            code, out, err = await curl(flag, *resolve, "-w", "|%{http_version}", url)
            assert (code, err) == (0, "")
            body, _, spoken = out.rpartition(b"|")
            assert (body, spoken) == (b"hello from /path", version)


@scenario
async def test_forwarded_fields_say_https_and_the_port_of_tls(pair: certs.Pair) -> None:
    async with WorkerProcess.running(certs=pair) as worker:
        peer = await worker.instance(tls=pair.client_context("h2"))
        async with await worker.client(tls=pair.client_context("http/1.1")) as client:
            assert (await client.get("/")).status == 200
        async with await worker.h2(tls=pair.client_context("h2")) as client2:
            assert (await client2.get("/")).status == 200
        for call in peer.calls:
            assert call.all("x-forwarded-proto") == ["https"]
            assert call.all("x-forwarded-port") == [str(worker.ports["https"])]


@scenario
async def test_bodies_pass_both_ways_over_tls(pair: certs.Pair) -> None:
    async def echo(call: Call) -> None:
        await call.respond(200, body=await call.body())

    async with WorkerProcess.running(certs=pair) as worker:
        await worker.instance(echo, tls=pair.client_context("h2"))
        body = bytes(range(256)) * 4000
        async with await worker.client(tls=pair.client_context()) as client:
            fields = f"content-length: {len(body)}\r\n"
            assert (await client.get("/", fields, "POST", body)).body == body
        async with await worker.h2(tls=pair.client_context("h2")) as client2:
            assert (await client2.get("/", method="POST", body=body)).body == body


@scenario
async def test_instances_must_show_a_certificate_where_the_router_asks_for_one(
    pair: certs.Pair, tmp_path: Path
) -> None:
    ours, other = certs.make(tmp_path, "instance", "ours"), certs.make(tmp_path, "stranger", "other")
    async with WorkerProcess.running("--control-client-ca", str(ours.cert), certs=pair) as worker:
        for shown in (None, other):
            context = pair.client_context("h2")
            if shown is not None:
                context.load_cert_chain(shown.cert, shown.key)
            # With TLS 1.3 the client learns of the refusal when it reads.
            try:
                reader, writer = await asyncio.open_connection("localhost", worker.ports["control_https"], ssl=context)
                said = await soon(reader.read(1), "the refusal")
                writer.close()
            except OSError:
                said = b""
            assert said == b""
        context = pair.client_context("h2")
        context.load_cert_chain(ours.cert, ours.key)
        await worker.instance(tls=context)
        # Clients of the front door are asked for nothing.
        async with await worker.client(tls=pair.client_context("http/1.1")) as client:
            assert (await client.get("/")).status == 200


@scenario
async def test_plain_text_and_old_versions_are_turned_away_at_the_tls_port(pair: certs.Pair) -> None:
    async with WorkerProcess.running(certs=pair) as worker:
        client = await RawClient.dial(worker.ports["https"])
        await client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP/1.1 200" not in await soon(client.reader.read(), "the end of the connection")
        await client.close()
        old = pair.client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await worker.client(tls=old)
        async with await worker.client(tls=pair.client_context()) as good:
            assert (await good.get("/health")).status == 200


@pytest.mark.parametrize("last", [b"GET / HTTP/1.1\r\nno field\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n"])
@scenario
async def test_a_client_that_sends_on_after_its_last_answer_is_cut_off(pair: certs.Pair, last: bytes) -> None:
    """It never takes our close_notify. uvloop would read and drop what it sends for half a minute."""

    def flood(port: int) -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=SHUTDOWN_TIMEOUT * 10) as plain,
            pair.client_context("http/1.1").wrap_socket(plain, server_hostname="localhost") as client,
        ):
            deadline = time.monotonic() + SHUTDOWN_TIMEOUT * 10
            try:
                client.sendall(last)
                while time.monotonic() < deadline:
                    client.sendall(bytes(65536))
            except TimeoutError:
                return "open, and nothing is read"
            except OSError:
                return "cut off"
            return "open, and everything is read"

    async with WorkerProcess.running(certs=pair) as worker:
        assert await asyncio.to_thread(flood, worker.ports["https"]) == "cut off"


@pytest.mark.parametrize("port", ["https", "control_https"])
@scenario
async def test_a_client_that_offers_only_unknown_protocols_is_refused_with_the_alert_for_it(
    pair: certs.Pair, port: str
) -> None:
    async with WorkerProcess.running(certs=pair) as worker:
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            await RawClient.dial(worker.ports[port], tls=pair.client_context("acme-tls/1", "spdy/3"))
        known = pair.client_context("acme-tls/1", "h2")
        client = await RawClient.dial(worker.ports[port], tls=known)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        await client.close()
        async with await worker.client(tls=pair.client_context()) as silent:
            assert (await silent.get("/health")).status == 200, "who offers nothing speaks HTTP/1.1"
        assert "handshake refused" in worker.text()


@scenario
async def test_secrets_of_tls_are_written_where_sslkeylogfile_says(pair: certs.Pair, tmp_path: Path) -> None:
    keys = tmp_path / "keys.log"
    async with WorkerProcess.running(certs=pair, environ={"SSLKEYLOGFILE": str(keys)}) as worker:
        async with await worker.client(tls=pair.client_context()) as client:
            assert (await client.get("/health")).status == 200
        assert "TRAFFIC_SECRET" in keys.read_text()
