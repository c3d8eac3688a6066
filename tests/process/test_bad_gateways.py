"""Every 502 has a cause, which is logged with what the application sent, and counted."""

import asyncio

import pytest

from tests.support.clients import RawClient, ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess


@pytest.mark.parametrize(
    ("answer", "cause", "shown"),
    [
        (b"", "answer_missing", None),
        (b"HTTP/1.1 200 OK\r\nx: ", "answer_cut_off", "HTTP/1.1 200 OK"),
        (b"<html>no head</html>\r\n\r\n", "answer_malformed", "<html>no head</html>"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answer_upgrade", None),
    ],
)
@scenario
async def test_the_cause_is_logged_with_what_the_application_sent(answer: bytes, cause: str, shown: str | None) -> None:
    async def app(call: Call) -> None:
        await call.body()
        await call.write(answer, end=True)

    async with WorkerProcess.running() as worker:
        peer = await worker.instance(app)
        got = await ask("h1", worker.ports["http"], "/a/path?token=confidential")
        assert (got.status, got.error) == (502, cause)
        (line,) = [line for line in worker.text().splitlines() if "request failed" in line]
        assert f"cause={cause}" in line and "count=1" in line and '"GET /a/path"' in line
        assert f"instance {peer.id[:8]}" in line and peer.id not in line and "confidential" not in line
        if shown is not None:
            assert shown in line
        await worker.quiet()
        assert worker.numbers()["bad_gateways"] == 1
        assert worker.board.pool_totals(0).failures == 1


@scenario
async def test_a_connection_that_is_lost_is_a_cause_and_counts_as_a_failure(worker: WorkerProcess) -> None:
    async def app(call: Call) -> None:
        call.peer.drop()

    before = worker.board.pool_totals(0).failures
    await worker.instance(app)
    got = await ask("h1", worker.ports["http"])
    assert (got.status, got.error) == (502, "instance_connection_lost")
    await until(lambda: "cause=instance_connection_lost" in worker.text(), "the line")
    assert worker.board.pool_totals(0).failures == before + 1


@scenario
async def test_a_client_that_leaves_is_no_failure(worker: WorkerProcess) -> None:
    gone = worker.numbers()["clients_gone"]
    before = worker.board.pool_totals(0).failures

    async def app(call: Call) -> None:
        await call.write(call.head_text())
        await call.gone()

    await worker.instance(app)
    client = await RawClient.dial(worker.ports["http"])
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.head()
    await client.close()
    await until(lambda: worker.numbers()["clients_gone"] == gone + 1, "the client is gone")
    assert worker.board.pool_totals(0).failures == before


@scenario
async def test_a_request_that_is_sent_again_is_counted(worker: WorkerProcess) -> None:
    before = worker.numbers()["resends"]
    refused = asyncio.Event()

    async def app(call: Call) -> None:
        if not refused.is_set():
            refused.set()
            call.reset(7)  # REFUSED_STREAM
        else:
            await call.respond(200, body=b"hello")

    await worker.instance(app, channels=2)
    assert (await soon(ask("h1", worker.ports["http"]), "the answer")).body == b"hello"
    assert worker.numbers()["resends"] == before + 1
