"""A web page that opens WebSockets through worker and extension, as Chromium does: over HTTP/1.1, TLS and HTTP/2."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import browser, certs
from tests.support.extension_rig import rig
from tests.support.loop import run, until
from tests.support.shipped import join
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on this machine")

TALK = """
(async () => {
    const echoed = [];
    const socket = new WebSocket("%s");
    await new Promise((yes, no) => { socket.onopen = yes; socket.onerror = () => no(new Error("not opened")); });
    for (const text of ["hello", "x".repeat(20000), "\\u00e4\\u4e16"]) {
        const answer = new Promise((yes) => { socket.onmessage = (event) => yes(event.data); });
        socket.send(text);
        echoed.push((await answer) === text);
    }
    const closed = new Promise((yes) => { socket.onclose = yes; });
    socket.close(3000, "done");
    const event = await closed;
    return [echoed, event.code, event.wasClean];
})()
"""


async def together(stack: AsyncExitStack, pair: certs.Pair | None) -> WorkerProcess:
    worker = await stack.enter_async_context(WorkerProcess.running("--allow-insecure-control", certs=pair))
    r = await stack.enter_async_context(rig())
    join(worker, r, 20)
    return worker


@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["plain", "tls", "http/2"])
def test_a_page_speaks_with_the_application(how: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            worker = await together(stack, None if how == "plain" else certs.make(tmp_path))
            page = stack.enter_context(browser.Page())
            port = worker.ports["http" if how == "plain" else "https"]
            scheme = "ws" if how == "plain" else "wss"

            def talk() -> object:
                page.call("Security.setIgnoreCertificateErrors", ignore=True)
                if how == "http/2":
                    # A connection that has offered extended CONNECT is used again for the WebSocket.
                    page.open(f"https://localhost:{port}/text/5", 800)
                    page.until("document.body && document.body.innerText.length > 0", "the page")
                return page.evaluate(TALK % f"{scheme}://localhost:{port}/websocket")

            assert await asyncio.to_thread(talk) == [[True, True, True], 3000, True]
            await until(lambda: worker.numbers()["upgrades_open"] == 0, "it is over")
            assert worker.numbers()["upgrades_by_client"] == 1
            if how == "http/2":
                assert worker.numbers()["accepted"] == 1, "over the page's own connection"
            await worker.quiet()

    run(scenario(), 80)
