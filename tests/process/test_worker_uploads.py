"""Requests whose body is on its way: they take no slot before it is worth one, and never more than their share."""

import asyncio

import pytest

from tests.support.clients import H2Client, H2Stream, RawClient
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import SECONDS, WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])
PATIENT = ("--upload-grace", "3600")
HASTY = ("--upload-grace", "0", "--body-grace", "1", "--min-body-rate", "1000")


class Upload:
    """A POST whose body the test sends piece by piece, in either protocol."""

    def __init__(self) -> None:
        self.h1: RawClient | None = None
        self.h2: H2Client | None = None
        self.stream: H2Stream | None = None
        self.chunked = False

    @classmethod
    async def begin(
        cls, worker: WorkerProcess, speaks: str, length: int | None, path: str = "/", **more: str
    ) -> "Upload":
        upload = cls()
        fields = list(more.items())
        if speaks == "h1":
            upload.chunked = length is None
            fields.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
            text = "".join(f"{name}: {value}\r\n" for name, value in fields)
            upload.h1 = await worker.client()
            await upload.h1.send(f"POST {path} HTTP/1.1\r\nhost: a\r\n{text}\r\n".encode())
        else:
            if length is not None:
                fields.append(("content-length", str(length)))
            upload.h2 = await worker.h2()
            upload.stream = upload.h2.open(path, fields, "POST", end=False)
        return upload

    async def send(self, data: bytes, end: bool = False) -> None:
        if self.h1 is not None:
            await self.h1.send(
                b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if end else b"") if self.chunked else data
            )
        else:
            assert self.stream is not None
            await self.stream.send(data, end)

    async def answer(self) -> tuple[int, str | None, bytes]:
        if self.h1 is not None:
            got = await soon(self.h1.response(), "the answer")
            return got.status, got.error, got.body
        assert self.stream is not None
        await soon(self.stream.done(), "the answer")
        return self.stream.status, self.stream.error, bytes(self.stream.body)

    async def leave(self) -> None:
        if self.h1 is not None:
            await self.h1.close()
        elif self.h2 is not None:
            await self.h2.__aexit__()


def held(worker: WorkerProcess) -> int:
    return worker.numbers()["uploads_held"]


@both
@scenario
async def test_a_request_takes_no_slot_and_is_no_demand_before_its_body_is_whole(speaks: str) -> None:
    async with WorkerProcess.running(*PATIENT) as worker:
        peer = await worker.instance()
        worker.rung()
        upload = await Upload.begin(worker, speaks, 10)
        await upload.send(b"first")
        await until(lambda: held(worker) == 1, "the upload is held")
        assert (worker.queued(), worker.running_now(), peer.calls) == (0, 0, [])
        assert not worker.rung()
        await upload.send(b"later", end=True)
        assert await upload.answer() == (200, None, b"hello from /")
        assert peer.calls[0].received == 10
        assert held(worker) == 0
        await upload.leave()


@both
@scenario
async def test_64_kib_of_a_body_are_enough_for_a_slot(speaks: str) -> None:
    async with WorkerProcess.running(*PATIENT) as worker:
        peer = await worker.instance()
        upload = await Upload.begin(worker, speaks, 100_000)
        await upload.send(bytes(70_000))
        await soon(peer.served(1), "the head at the instance")
        await upload.send(bytes(30_000), end=True)
        assert (await upload.answer())[0] == 200
        assert peer.calls[0].received == 100_000
        await upload.leave()


@both
@scenario
async def test_a_stream_of_unknown_length_reaches_the_instance_before_its_body(speaks: str) -> None:
    async with WorkerProcess.running(*PATIENT) as worker:

        async def handler(call: Call) -> None:
            await call.write(call.head_text())
            while piece := await call.read():
                await call.write(piece)
            await call.end()

        await worker.instance(handler)
        upload = await Upload.begin(worker, speaks, None)
        if upload.h1 is not None:
            assert (await soon(upload.h1.head(), "the answer's head")).status == 200
            await upload.send(b"ping")
            assert await soon(upload.h1.chunk(), "the echo") == b"ping"
            await upload.send(b"pong", end=True)
            assert await soon(upload.h1.chunk(), "the echo") == b"pong"
        else:
            assert upload.stream is not None
            assert await soon(upload.stream.headed(), "the answer's head") == 200
            await upload.send(b"ping")
            assert await soon(upload.stream.has(4), "the echo") == b"ping"
            await upload.send(b"pong", end=True)
            assert (await upload.answer())[2] == b"pingpong"
        await upload.leave()


@both
@scenario
async def test_a_silent_upload_of_known_length_gets_a_slot_after_the_grace(speaks: str) -> None:
    async with WorkerProcess.running("--upload-grace", "0.2") as worker:
        peer = await worker.instance()
        upload = await Upload.begin(worker, speaks, 4)
        await soon(peer.served(1), "the head at the instance")
        await upload.send(b"body", end=True)
        assert (await upload.answer())[0] == 200
        await upload.leave()


@both
@scenario
async def test_uploads_under_way_hold_no_more_than_their_share_of_the_slots(speaks: str) -> None:
    async with WorkerProcess.running("--upload-grace", "0") as worker:
        peer = await worker.instance(limit=4, channels=4)
        uploads = [await Upload.begin(worker, speaks, None, f"/{i}") for i in range(10)]
        await until(lambda: held(worker) == 8, "all but the share are held")
        await peer.served(2)
        async with await worker.client() as client:
            assert (await soon(client.get("/ordinary"), "the answer")).status == 200
        await until(lambda: worker.running_now() == 2, "the ordinary request is over")
        assert worker.queued() == 0
        # The oldest is next.
        for i, upload in enumerate(uploads):
            await upload.send(b"x", end=True)
            assert await upload.answer() == (200, None, f"hello from /{i}".encode())
        assert peer.most_in_flight <= 3
        assert held(worker) == 0
        for upload in uploads:
            await upload.leave()
        await worker.quiet()


@both
@scenario
async def test_a_body_that_comes_too_slowly_for_a_slot_is_given_up(speaks: str) -> None:
    async with WorkerProcess.running(*HASTY) as worker:
        codes: list[int | None] = []

        async def handler(call: Call) -> None:
            codes.append(await call.gone())

        await worker.instance(handler)
        upload = await Upload.begin(worker, speaks, None)
        await upload.send(b"ab")
        assert (await upload.answer())[:2] == (408, "client_sends_too_slowly")
        await until(lambda: len(codes) == 1, "the reset at the instance")
        assert worker.numbers()["slow_senders"] == 1
        await upload.leave()


@both
@scenario
async def test_a_body_that_comes_too_slowly_to_be_held_never_sees_an_instance(speaks: str) -> None:
    async with WorkerProcess.running(*HASTY, *PATIENT) as worker:
        peer = await worker.instance()
        upload = await Upload.begin(worker, speaks, 1000)
        await upload.send(b"ab")
        assert (await upload.answer())[:2] == (408, "client_sends_too_slowly")
        assert peer.calls == []
        assert held(worker) == 0
        await upload.leave()


@both
@scenario
async def test_an_upload_that_finds_no_place_in_the_share_is_a_504(speaks: str) -> None:
    flags = ("--upload-grace", "0", "--incoming-request-timeout", "1", "--min-upload-rate", "0")
    async with WorkerProcess.running(*flags) as worker:
        peer = await worker.instance(limit=2, channels=2)
        first = await Upload.begin(worker, speaks, None)
        await soon(peer.served(1), "the first at the instance")
        second = await Upload.begin(worker, speaks, None)
        assert (await second.answer())[:2] == (504, "upload_timeout")
        await first.send(b"x", end=True)
        assert (await first.answer())[0] == 200
        await first.leave()
        await second.leave()


@both
@scenario
async def test_a_client_that_leaves_while_its_upload_is_held_leaves_nothing_behind(speaks: str) -> None:
    async with WorkerProcess.running(*PATIENT) as worker:
        peer = await worker.instance()
        uploads = [await Upload.begin(worker, speaks, 10) for _ in range(5)]
        await until(lambda: held(worker) == 5, "the uploads are held")
        await asyncio.gather(*(upload.leave() for upload in uploads))
        await until(lambda: held(worker) == 0, "none is held")
        assert worker.numbers()["clients_gone"] == 5
        assert peer.calls == []


@scenario
async def test_the_pool_of_a_held_upload_counts_as_used() -> None:
    async with WorkerProcess.running(*PATIENT) as worker:
        upload = await Upload.begin(worker, "h1", 10)
        await until(lambda: held(worker) == 1, "the upload is held")
        now = worker.now()
        await until(lambda: worker.board.pool_totals(0).last_used > now, "the pool is in use")
        await upload.leave()


@both
@scenario
async def test_no_more_uploads_are_held_than_may_queue(speaks: str) -> None:
    async with WorkerProcess.running(*PATIENT, "--max-queue", "2") as worker:
        uploads = [await Upload.begin(worker, speaks, 10) for _ in range(2)]
        await until(lambda: held(worker) == 2, "the uploads are held")
        third = await Upload.begin(worker, speaks, 10)
        assert (await third.answer())[:2] == (503, "queue_full")
        for upload in (*uploads, third):
            await upload.leave()


@scenario
async def test_100_continue_is_sent_so_that_the_body_can_come() -> None:
    async with WorkerProcess.running(*PATIENT) as worker:
        upload = await Upload.begin(worker, "h1", 4, expect="100-continue")
        assert upload.h1 is not None
        assert (await soon(upload.h1.head(), "100 Continue")).status == 100
        assert worker.queued() == 0
        peer = await worker.instance()
        await upload.send(b"body")
        assert (await upload.answer())[0] == 200
        assert peer.calls[0].field("expect") is None
        await upload.leave()


@scenario
async def test_draining_instances_count_for_the_share() -> None:
    async with WorkerProcess.running("--upload-grace", "0") as worker:
        peer = await worker.instance(limit=10, channels=10)
        given = worker.given[0]
        assert worker.board.begin_drain(given.slot, given.generation, worker.now() + 60 * SECONDS)
        worker.ring()
        uploads = [await Upload.begin(worker, "h1", None) for _ in range(5)]
        await soon(peer.served(5), "all five at the instance")
        for upload in uploads:
            await upload.leave()
