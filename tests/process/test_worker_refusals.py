"""Refused requests are counted and logged alike in both protocols, and the refusal arrives."""

import h2.settings
import pytest

from tests.support.clients import ask
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


async def counted(worker: WorkerProcess, before: dict[str, int], *names: str) -> dict[str, int]:
    now = worker.numbers()
    return {name: now[name] - before[name] for name in names}


@both
@scenario
async def test_a_refused_request_is_in_the_counters_and_in_the_access_log(speaks: str) -> None:
    async with WorkerProcess.running("--access-log", "text", "--max-head-bytes", "4096") as worker:
        before = worker.numbers()
        large = await soon(ask(speaks, worker.ports["http"], "/", [("x-large", "a" * 8000)]), "the answer")
        assert (large.status, large.error) == (431, "head_too_large")
        if speaks == "h1":
            bad = await soon(ask(speaks, worker.ports["http"], "/", [("host", "a,b")]), "the answer")
            assert (bad.status, bad.error) == (400, "bad_host")
        else:
            async with await worker.h2() as client:
                head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a,b")]
                stream = await soon(client.open_raw(head).done(), "the answer")
                assert (stream.status, stream.error) == (400, "bad_host")
        await until(lambda: worker.numbers()["requests"] - before["requests"] == 2, "both are counted")
        names = ("status_4xx", "heads_too_large", "bad_requests")
        assert await counted(worker, before, *names) == {"status_4xx": 2, "heads_too_large": 1, "bad_requests": 1}
        await until(lambda: "bad_host" in worker.text(), "the access log")
        assert "431" in worker.text() and "head_too_large" in worker.text()


@scenario
async def test_a_stream_that_is_reset_for_its_head_is_counted_and_logged_as_a_400() -> None:
    async with WorkerProcess.running("--access-log", "text") as worker, await worker.h2() as client:
        before = worker.numbers()
        stream = await soon(client.open("/a b").done(), "the reset")
        assert (stream.status, stream.reset_code) == (0, 1)
        assert await counted(worker, before, "requests", "status_4xx", "bad_requests") == {
            "requests": 1,
            "status_4xx": 1,
            "bad_requests": 1,
        }
        await until(lambda: "400" in worker.text() and "bad_head" in worker.text(), "the access log")


@scenario
async def test_a_goaway_is_not_lost_to_a_reset_while_the_client_sends_on() -> None:
    async with WorkerProcess.running() as worker, await worker.h2() as client:
        assert client.transport is not None
        assert (await client.get("/health")).status == 200
        # A frame on stream 0 that belongs to none, and a flood behind it.
        client.transport.write(b"\0\0\4\0\0\0\0\0\0abcd" + bytes(1_000_000))
        await soon(client.lost.wait(), "the end of the connection")
        assert [code for code, _ in client.goaways] == [1]


@scenario
async def test_a_client_that_sends_on_after_its_400_is_read_within_a_bound() -> None:
    async with WorkerProcess.running() as worker, await worker.client() as client:
        before = worker.numbers()["bytes_in"]
        client.writer.write(b"NO SUCH\r\n\r\n" + bytes(64 << 20))
        answer = await soon(client.response(), "the answer")
        assert (answer.status, answer.error) == (400, "bad_request_line")
        await until(lambda: worker.numbers()["connections"] == 0, "the connection has ended")
        await until(lambda: worker.numbers()["bytes_in"] > before, "the bytes are counted")
        assert worker.numbers()["bytes_in"] - before < 16 << 20


@pytest.mark.parametrize("window", [65535, 0])
@scenario
async def test_an_http2_upload_that_was_refused_is_not_read_for_ever(window: int) -> None:
    async with WorkerProcess.running() as worker, await worker.h2() as client:
        client.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        client.flush()
        stream = client.open("/_lambda_dispatch/goaway", method="POST", end=False)
        await soon(stream.headed(), "the head of the answer")
        if not window:
            client.conn.increment_flow_control_window(1000, stream.id)
            client.flush()
        await soon(stream.done(), "the answer")
        await until(lambda: stream.reset_code is not None, "the reset")
        assert (stream.status, bytes(stream.body), stream.reset_code) == (404, b"Not Found", 0)
