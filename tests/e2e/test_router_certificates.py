"""Certificates that change under a running router."""

import asyncio
import signal
import ssl
from pathlib import Path

from tests.support import certs
from tests.support.clients import curl
from tests.support.loop import scenario, soon, until
from tests.support.router_process import RouterProcess


def hang_up(router: RouterProcess) -> None:
    assert router.process is not None
    router.process.send_signal(signal.SIGHUP)


@scenario
async def test_sighup_brings_a_new_certificate_and_keeps_connections(shared: Path) -> None:
    pair = certs.make(shared)
    async with RouterProcess.running(certs=pair) as router:
        url = f"https://localhost:{router.ports['https']}/first"
        resolve = ("--resolve", f"localhost:{router.ports['https']}:127.0.0.1", "--cacert", str(pair.cert))
        assert await curl("--http2", *resolve, url) == (0, b"hello from /first", "")
        async with await router.client(tls=pair.client_context()) as kept:
            renewed = certs.make(shared, stem="renewed")
            renewed.cert.replace(pair.cert)
            renewed.key.replace(pair.key)
            hang_up(router)

            async def served_anew() -> None:
                while True:
                    try:
                        async with await router.client(tls=pair.client_context()):
                            return
                    except (ssl.SSLError, ConnectionError):
                        await asyncio.sleep(0.02)

            await soon(served_anew(), "the new certificate", 20)
            assert (await kept.get("/health")).status == 200, "its worker goes on"
        assert await curl("--http2", *resolve, url) == (0, b"hello from /first", "")


@scenario
async def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_place(shared: Path) -> None:
    pair = certs.make(shared)
    context = pair.client_context()
    async with RouterProcess.running(certs=pair) as router:
        pair.key.write_text("no key")
        hang_up(router)
        await until(lambda: str(pair.key) in router.text(), "a word in the log", 20)
        async with await router.client(tls=context) as client:
            assert (await client.get("/health")).status == 200
