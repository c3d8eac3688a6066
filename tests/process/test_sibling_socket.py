"""The Unix socket through which siblings borrow slots: whatever comes over it, the worker goes on."""

import asyncio
import os

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.clients import ask
from tests.support.instance_peer import ANNOUNCED, Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

Head = list[tuple[str, str]]
REQUEST = [(":method", "POST"), (":scheme", "http"), (":authority", "sibling"), (":path", "/0")]


class Sibling:
    """A connection as a sibling makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        settings = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        self.conn = h2.connection.H2Connection(settings)
        self.conn.initiate_connection()
        self.flush()

    @classmethod
    async def dial(cls, worker: WorkerProcess) -> "Sibling":
        return cls(*await asyncio.open_unix_connection(worker.peer_address))

    def flush(self) -> None:
        self.writer.write(self.conn.data_to_send())

    async def ask(self, head: Head, *pieces: bytes, trailers: Head | None = None) -> tuple[Head, bytes, Head]:
        """Head, body and trailers of the answer; a reset is an empty head."""
        stream = self.conn.get_next_available_stream_id()
        self.conn.send_headers(stream, head)
        for n, piece in enumerate(pieces):
            self.conn.send_data(stream, piece, end_stream=not trailers and n == len(pieces) - 1)
            self.flush()
            await asyncio.sleep(0.01)  # so that each piece is a read of its own
        if trailers:
            self.conn.send_headers(stream, trailers, end_stream=True)
        self.flush()
        answer: tuple[Head, bytes, Head] = ([], b"", [])
        while data := await self.reader.read(65536):
            for event in self.conn.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=fields):
                        answer = ([(str(a), str(b)) for a, b in fields], b"", [])
                    case h2.events.DataReceived(data=piece):
                        answer = (answer[0], answer[1] + piece, [])
                    case h2.events.TrailersReceived(headers=fields):
                        answer = (*answer[:2], [(str(a), str(b)) for a, b in fields])
                    case h2.events.StreamReset():
                        return [], b"", []
                    case h2.events.StreamEnded():
                        return answer
            self.flush()
        return [], b"", []

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.mark.parametrize(
    "head",
    [
        [(":method", "CONNECT"), (":authority", "sibling")],
        [*REQUEST[:3], (":path", "*")],
        [*REQUEST[:3], (":path", "/")],
        [*REQUEST[:3], (":path", "/x")],
        [*REQUEST[:3], (":path", "/99999999999999999999")],
    ],
)
@scenario
async def test_a_head_that_names_no_pool_is_refused(worker: WorkerProcess, head: Head) -> None:
    sibling = await Sibling.dial(worker)
    assert (await soon(sibling.ask(head, b"GET / HTTP/1.1\r\n\r\n"), "the refusal"))[0] == []
    await sibling.close()
    await worker.instance()
    assert (await ask("h1", worker.ports["http"])).status == 200


@scenario
async def test_a_head_may_come_in_pieces(worker: WorkerProcess) -> None:
    peer = await worker.instance(more_fields=ANNOUNCED)
    sibling = await Sibling.dial(worker)
    pieces = [b"POST /a", b"b HTTP/1.1\r", b"\nx: 1\r\n", b"\r", b"\nbo", b"dy"]
    fields, body, _ = await soon(sibling.ask(REQUEST, *pieces), "the answer")
    assert fields[0] == (":status", "200") and b"hello from /ab" in body
    assert (peer.calls[0].target, peer.calls[0].received) == ("/ab", 4)
    await sibling.close()


@scenario
async def test_what_fails_here_is_named_in_trailers(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.body()
        await call.end()

    await worker.instance(breaks)
    sibling = await Sibling.dial(worker)
    for head, status, word in (
        (b"GET / HTTP/1.1\r\n\r\n", "502", "answer_missing"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "501", "asterisk_not_supported"),
        (b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 70 + b"\r\n", "431", "too_many_fields"),
    ):
        fields, body, trailers = await soon(sibling.ask(REQUEST, head), "the answer")
        assert (fields, body) == ([(":status", "200")], b"")
        assert trailers == [("x-lambda-dispatch-status", status), ("x-lambda-dispatch-error", word)]
    await sibling.close()
    await worker.quiet()


@scenario
async def test_trailers_pass_in_both_directions(worker: WorkerProcess) -> None:
    async def answers(call: Call) -> None:
        body = await call.body()
        await call.write(call.head_text(200) + body)
        call.trailers([("grpc-status", "0"), ("x-lambda-dispatch-status", "500")])

    peer = await worker.instance(answers, more_fields=ANNOUNCED)
    sibling = await Sibling.dial(worker)
    head = b"POST /a HTTP/1.1\r\n\r\n"
    asked = sibling.ask(REQUEST, head, b"body", trailers=[("x-after", "1")])
    fields, body, trailers = await soon(asked, "the answer")
    assert (fields[0], body[-8:]) == ((":status", "200"), b"\r\n\r\nbody")
    assert trailers == [("grpc-status", "0")], "an instance cannot speak for the router"
    assert peer.calls[0].request_trailers == [("x-after", "1")]
    await sibling.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@scenario
async def test_a_process_of_another_user_is_not_served(worker: WorkerProcess) -> None:
    async def said(user: int) -> bytes:
        os.seteuid(user)
        try:
            reader, writer = await asyncio.open_unix_connection(worker.peer_address)
        finally:
            os.seteuid(0)
        try:
            return await reader.read(1)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    assert await soon(said(0), "SETTINGS") != b""
    assert await soon(said(65534), "the end of the connection") == b""
    await until(lambda: "sibling connection refused" in worker.text(), "the line")
