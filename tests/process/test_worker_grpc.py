"""gRPC at the front door: trailers in both directions, and answers of our own that its clients can read."""

import asyncio

import h2.errors
import pytest

from lambda_dispatch.error_words import ErrorWord
from lambda_dispatch.front.grpc import is_grpc_type, status_of
from tests.support.clients import H2Stream, ask
from tests.support.instance_peer import ANNOUNCED, Call
from tests.support.loop import run, scenario, soon, until
from tests.support.worker_process import WorkerProcess

SPEAKS = (*ANNOUNCED, ("x-lambda-dispatch-features", "grpc"))
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


async def answers_with_trailers(call: Call) -> None:
    body = await call.body()
    await call.write(call.head_text(200, [("content-type", "application/grpc")]) + body)
    dropped = [("content-length", "5"), ("x-lambda-dispatch-status", "500")]
    call.trailers([("grpc-status", "0"), ("x-bin", "AAE"), *dropped])


@scenario
async def test_trailers_of_an_answer_reach_the_client(worker: WorkerProcess) -> None:
    await worker.instance(answers_with_trailers, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = await client.get("/a.B/C", GRPC, "POST", b"body")
    assert (stream.status, bytes(stream.body)) == (200, b"body")
    assert stream.trailers == [("grpc-status", "0"), ("x-bin", "AAE")], "framing and the router's own words do not pass"


@scenario
async def test_trailers_of_an_answer_are_left_out_for_http1(worker: WorkerProcess) -> None:
    await worker.instance(answers_with_trailers, more_fields=SPEAKS)
    answer = await ask("h1", worker.ports["http"], "/", method="POST", body=b"body")
    assert (answer.status, answer.body) == (200, b"body")


@scenario
async def test_trailers_of_a_request_reach_the_instance(worker: WorkerProcess) -> None:
    async with await worker.h2() as client:

        async def begun() -> H2Stream:
            stream = client.open("/", GRPC, "POST", end=False)
            await stream.send(b"abc")
            return stream

        def ended(stream: H2Stream) -> None:
            client.conn.send_headers(stream.id, [("x-after", "1"), ("host", "h")], end_stream=True)
            client.flush()

        waits = await begun()
        ended(waits)
        await worker.waits(1)
        # The whole call has come once what came behind it is answered.
        assert (await client.get("/health")).status == 200
        peer = await worker.instance(more_fields=SPEAKS)
        assert (await waits.done()).status == 200
        other = await begun()
        await until(lambda: len(peer.calls) == 2, "the second call")
        ended(other)
        assert (await other.done()).status == 200
    assert [call.request_trailers for call in peer.calls] == [[("x-after", "1")]] * 2
    assert [call.received for call in peer.calls] == [3, 3]


@scenario
async def test_te_passes_for_grpc_alone(worker: WorkerProcess) -> None:
    peer = await worker.instance(more_fields=SPEAKS)
    async with await worker.h2() as client:
        for kind in ("application/grpc", "application/grpc+proto", "application/grpc-web", "text/plain"):
            await client.get("/", [("content-type", kind), ("te", "trailers")], "POST", b"x")
    assert [call.field("te") for call in peer.calls] == ["trailers", "trailers", None, None]


@scenario
async def test_an_answer_of_a_head_alone_stays_one(worker: WorkerProcess) -> None:
    async def refuses(call: Call) -> None:
        call.answer_ended = True
        call.peer.send(call.stream, call.head_text(200, [("grpc-status", "5")]), True)

    await worker.instance(refuses, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = await client.get("/", GRPC, "POST")
        assert (stream.bare, stream.body) == (True, b"")
        assert dict(stream.fields)["grpc-status"] == "5"


# Answers of our own ---------------------------------------------------------------------------------------------------


def own(stream: H2Stream) -> tuple[str, str, str]:
    fields = dict(stream.fields)
    assert (fields[":status"], fields["content-type"], stream.body) == ("200", "application/grpc", b"")
    return fields["grpc-status"], fields["grpc-message"], fields["x-lambda-dispatch-error"]


@scenario
async def test_an_error_before_the_answer_is_a_head_alone(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.body()
        call.reset()

    await worker.instance(breaks, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = await client.get("/a/b", GRPC, "POST", b"x")
        assert own(stream) == ("14", "Bad gateway (channel_reset)", "channel_reset")
        assert stream.bare
        stream = await client.get("/_lambda_dispatch/x", GRPC, "POST", b"x")
        assert own(stream)[::2] == ("12", "reserved_path")


@scenario
async def test_an_answer_that_breaks_off_ends_with_trailers(worker: WorkerProcess) -> None:
    async def breaks(call: Call) -> None:
        await call.body()
        await call.write(call.head_text(200, [("content-type", "application/grpc")]) + b"half")
        await came.wait()
        call.reset()

    came = asyncio.Event()
    await worker.instance(breaks, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = client.open("/a/b", GRPC, "POST", end=True)
        await stream.has(4)
        came.set()
        await stream.done()
        assert (bytes(stream.body), stream.reset_code) == (b"half", None)
        assert dict(stream.trailers or [])["grpc-status"] == "14"


@scenario
async def test_a_call_whose_client_says_nothing_yet_has_a_slot(worker: WorkerProcess) -> None:
    """A stream's first message may depend on the answer's head: calls are in no share of uploads."""

    async def greets(call: Call) -> None:
        await call.write(call.head_text(200, [("content-type", "application/grpc")]))
        await call.body()
        call.trailers([("grpc-status", "0")])

    await worker.instance(greets, channels=8, more_fields=SPEAKS)
    async with await worker.h2() as client:
        streams = [client.open("/a/b", GRPC, "POST", end=False) for _ in range(8)]
        for stream in streams:
            await soon(stream.headed(), "the head")
        for stream in streams:
            await stream.send(b"", end=True)
            await stream.done()
            assert stream.trailers == [("grpc-status", "0")]


@scenario
async def test_a_call_is_for_instances_that_say_so_alone(worker: WorkerProcess) -> None:
    plain = await worker.instance(more_fields=ANNOUNCED)
    async with await worker.h2() as client:
        refused = client.open("/a/b", GRPC, "POST", end=False)
        await refused.done()
        assert own(refused)[::2] == ("12", "grpc_not_supported")
        able = await worker.instance(answers_with_trailers, more_fields=SPEAKS)
        for _ in range(3):
            stream = await client.get("/a/b", GRPC, "POST", b"x")
            assert stream.trailers is not None
    assert (len(plain.calls), len(able.calls)) == (0, 3)


@scenario
async def test_a_call_that_is_cancelled_is_cancelled_at_the_instance(worker: WorkerProcess) -> None:
    async def waits(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(waits, more_fields=SPEAKS)
    async with await worker.h2() as client:
        stream = client.open("/a/b", GRPC, "POST", end=False)
        await peer.sees(lambda: len(peer.calls) == 1)
        client.conn.reset_stream(stream.id, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        assert await soon(peer.calls[0].gone(), "the reset") == h2.errors.ErrorCodes.CANCEL


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/grpcx", False),
        (b"application/grp", False),
        (b"", False),
    ],
)
def test_a_content_type_tells_grpc(kind: bytes, is_one: bool) -> None:
    assert is_grpc_type(kind) is is_one


def test_each_error_has_a_grpc_status() -> None:
    said = {word: status_of(word.status, word.value) for word in ErrorWord if word.status}
    assert said[ErrorWord.QUEUE_FULL] == said[ErrorWord.QUEUE_TIMEOUT] == said[ErrorWord.CHANNEL_RESET] == 14
    assert said[ErrorWord.UPLOAD_TIMEOUT] == 4
    assert said[ErrorWord.HEAD_TOO_LARGE] == 8
    assert said[ErrorWord.ANSWER_MALFORMED] == 13
    assert said[ErrorWord.FUNCTION_SECRET] == 7
    assert said[ErrorWord.RESERVED_PATH] == 12
    assert (status_of(429, None), status_of(401, None), status_of(418, None)) == (8, 16, 2)


@scenario
async def test_calls_are_counted_by_their_status(worker: WorkerProcess) -> None:
    async def says(call: Call) -> None:
        await call.body()
        await call.write(call.head_text(200, [("content-type", "application/grpc")]))
        call.trailers([("grpc-status", call.target[1:])] if call.target != "/none" else [("x-other", "1")])

    await worker.instance(says, more_fields=SPEAKS)
    before = worker.board.numbers(0).grpc
    async with await worker.h2() as client:
        for status in ("0", "0", "5", "16", "17", "many", "none"):
            await client.get(f"/{status}", GRPC, "POST", b"x")
    await worker.quiet()
    moved = {n: now - then for n, (now, then) in enumerate(zip(worker.board.numbers(0).grpc, before, strict=True))}
    assert {n: by for n, by in moved.items() if by} == {0: 2, 5: 1, 16: 1, 2: 2, 17: 1}


def test_the_access_log_has_the_status_of_calls() -> None:
    async def scenario() -> None:
        async with WorkerProcess.running("--access-log", "text") as worker:
            await worker.instance(answers_with_trailers, more_fields=SPEAKS)
            async with await worker.h2() as client:
                await client.get("/a/b", GRPC, "POST", b"body")
                await client.get("/_lambda_dispatch/x", GRPC, "POST", b"x")
                await client.get("/plain", method="POST", body=b"x")
            await until(lambda: worker.text().count("HTTP/2") == 3, "three lines")
            said = [line.partition("grpc_status=")[2] for line in worker.text().splitlines() if "HTTP/2" in line]
            assert said == ["0", "12", ""]

    run(scenario(), 30)
