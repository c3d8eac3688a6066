"""The relay, over real sockets: whatever an instance's answer looks like, the client gets that or a clear error."""

import asyncio

import pytest
from h2.errors import ErrorCodes

from tests.support.clients import Broken, Response, ask
from tests.support.instance_peer import ANNOUNCED, Call, Handler
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


def says(*pieces: bytes, end: bool = True) -> Handler:
    """Answers with these bytes, each in a DATA frame of its own, whatever the request."""

    async def handler(call: Call) -> None:
        await call.body()
        for piece in pieces:
            await call.write(piece)
        if not end:
            call.reset(ErrorCodes.INTERNAL_ERROR)

    return handler


async def answer_to(worker: WorkerProcess, speaks: str, handler: Handler, method: str = "GET") -> Response:
    await worker.instance(handler)
    return await ask(speaks, worker.ports["http"], "/", method=method)


@both
@scenario
async def test_a_request_reaches_the_instance_and_its_answer_the_client(worker: WorkerProcess, speaks: str) -> None:
    peer = await worker.instance()
    answer = await ask(speaks, worker.ports["http"], "/a/path?and=query", [("x-own", "1")])
    assert (answer.status, answer.body) == (200, b"hello from /a/path?and=query")
    assert answer.field("content-length") == str(len(answer.body))
    assert answer.field("content-type") == "text/plain"
    call = peer.calls[0]
    assert (call.method, call.version, call.field("x-own"), call.field("host")) == (
        "GET",
        "HTTP/1.1",
        "1",
        "example.test",
    )


@both
@pytest.mark.parametrize(
    "target", ["//", "/a+b", "/%25%2f", "/a[0]={x}|y", "/?a=1&a=2&a=", "/\xff\xe9?\xfe", "/a//b/../c", "/?"]
)
@scenario
async def test_a_path_is_delivered_byte_for_byte(worker: WorkerProcess, speaks: str, target: str) -> None:
    peer = await worker.instance(more_fields=ANNOUNCED)
    if speaks == "h2" and not target.isascii():
        pytest.skip("the test's HTTP/2 library sends text")
    await ask(speaks, worker.ports["http"], target)
    assert peer.calls[0].target == target


# Answers that are unusual and right


@both
@scenario
async def test_a_head_that_comes_byte_by_byte_is_one_head(worker: WorkerProcess, speaks: str) -> None:
    text = b"HTTP/1.1 201 Created\r\nX-Lambda-Id: x\r\nx-a: 1\r\ncontent-length: 4\r\n\r\nbody"
    answer = await answer_to(worker, speaks, says(*(text[i : i + 1] for i in range(len(text)))))
    assert (answer.status, answer.field("x-a"), answer.body) == (201, "1", b"body")


@both
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200\r\nx-a: 1\r\n\r\n", 200),
        (b"HTTP/1.1 200 \r\nx-a: 1\r\n\r\n", 200),
        (b"HTTP/1.1 519 Made Up\r\nx-a: 1\r\n\r\n", 519),
        (b"HTTP/1.1 200 OK\nx-a: 1\n\n", 200),
        (b"HTTP/1.1 200 OK\r\nx-a:1\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nx-a:   1  \r\n\r\n", 200),
        (b"HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\n", 200),
    ],
    ids=["no reason", "empty reason", "519", "bare LF", "no space", "much space", "HTTP/1.0"],
)
@scenario
async def test_an_odd_head_is_understood(worker: WorkerProcess, speaks: str, head: bytes, status: int) -> None:
    answer = await answer_to(worker, speaks, says(head + b"body"))
    assert (answer.status, answer.field("x-a"), answer.body) == (status, "1", b"body")


@scenario
async def test_fields_reach_the_client_in_one_form_however_they_are_written(worker: WorkerProcess) -> None:
    await worker.instance(
        says(
            b"HTTP/1.1 200 OK\r\nx-1: 1\r\nx-2:2\r\nX-3: 3 \r\nx-lambda-id: no\r\nx-4: 4\r\nx-5: \t5\nx-6: 6\n"
            b"connection: x-hop\r\nx-7: 7\r\nx-8:\r\nx-hop: no\r\nx-9: 9\r\ncontent-length: 0\r\n\r\n"
        )
    )
    async with await worker.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line[:2].lower() == b"x-"]
    assert lines[:9] == [b"X-3: 3" if n == 3 else b"x-%d: %s" % (n, b"" if n == 8 else b"%d" % n) for n in range(1, 10)]


@both
@pytest.mark.parametrize("sizes", [[31_000] * 4, [65_536]], ids=["four of 31 KB", "one of 64 KB"])
@scenario
async def test_large_header_fields_pass_in_both_directions(
    worker: WorkerProcess, speaks: str, sizes: list[int]
) -> None:
    fields = [(f"x-large-{i}", chr(97 + i) * size) for i, size in enumerate(sizes)]

    async def handler(call: Call) -> None:
        await call.respond(200, [(name, value) for name, value in call.fields if name.startswith("x-large")])

    await worker.instance(handler)
    answer = await ask(speaks, worker.ports["http"], "/", fields)
    assert answer.status == 200
    assert [pair for pair in answer.fields if pair[0].startswith("x-large")] == fields


@both
@scenario
async def test_repeated_fields_stay_repeated_and_in_order(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, [("set-cookie", "a=1"), ("vary", "x"), ("set-cookie", "b=2"), ("Set-Cookie", "c=3")])

    answer = await answer_to(worker, speaks, handler)
    assert answer.all("set-cookie") == ["a=1", "b=2", "c=3"]


@both
@scenario
async def test_what_concerns_the_hop_or_the_instance_does_not_reach_the_client(
    worker: WorkerProcess, speaks: str
) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nX-Lambda-Id: secret\r\nX-Channel-Id: secret\r\nConnection: x-named, keep-alive\r\n"
        b"Keep-Alive: timeout=5\r\nX-Named: 1\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nx-kept: 1\r\n"
        b"Proxy-Connection: close\r\n\r\nbody"
    )
    answer = await answer_to(worker, speaks, says(head))
    names = {name.lower() for name, _ in answer.fields}
    assert answer.body == b"body"
    ours = {"x-lambda-dispatch-version", "x-lambda-dispatch-build-time"}
    assert names - ours <= {"x-kept", "date", "transfer-encoding"}
    assert answer.all("transfer-encoding") == (["chunked"] if speaks == "h1" else [])


@both
@scenario
async def test_a_date_is_added_only_where_the_application_gave_none(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, [("date", "then")] if call.target == "/dated" else [])

    await worker.instance(handler)
    assert (await ask(speaks, worker.ports["http"], "/dated")).all("date") == ["then"]
    added = (await ask(speaks, worker.ports["http"], "/")).all("date")
    assert len(added) == 1 and added[0].endswith(" GMT")


@both
@pytest.mark.parametrize("method, status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
@scenario
async def test_an_answer_that_may_have_no_body_has_none_even_if_the_instance_sends_one(
    worker: WorkerProcess, speaks: str, method: str, status: int
) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(status, length=5) + b"never", end=True)

    await worker.instance(handler)
    answer = await ask(speaks, worker.ports["http"], "/", method=method)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.field("content-length") == ("5" if method == "HEAD" or (status == 304 and speaks == "h1") else None)
    again = await ask(speaks, worker.ports["http"], "/", method=method)
    assert again.status == status


@scenario
async def test_a_connection_goes_on_after_answers_without_a_body(worker: WorkerProcess) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(int(call.target[1:]), length=5) + b"never", end=True)

    await worker.instance(handler)
    async with await worker.client() as client:
        for method, path in [("HEAD", "/200"), ("GET", "/204"), ("GET", "/304"), ("GET", "/200")]:
            answer = await client.get(path, method=method)
            assert answer.status == int(path[1:])
        assert answer.body == b"never"


@both
@scenario
async def test_an_interim_answer_is_passed_on_before_the_final_one(worker: WorkerProcess, speaks: str) -> None:
    go_on = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.write(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nX-Lambda-Id: x\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        await go_on.wait()
        await call.respond(200, body=b"final")

    await worker.instance(handler)
    if speaks == "h1":
        async with await worker.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            early = await client.head()
            assert (early.status, early.fields) == (103, [("link", "</a.css>")])
            go_on.set()
            assert (await client.response()).body == b"final"
    else:
        async with await worker.h2() as client2:
            stream = client2.open()
            await stream._until(lambda: stream.interim)
            assert stream.interim == [[(":status", "103"), ("link", "</a.css>")]]
            go_on.set()
            assert (await stream.done()).status == 200


@scenario
async def test_an_interim_answer_is_kept_from_a_client_of_http_1_0(worker: WorkerProcess) -> None:
    await worker.instance(says(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
    async with await worker.client() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        interim: list[Response] = []
        assert (await client.response(interim=interim)).body == b"ok"
        assert interim == []


@both
@scenario
async def test_an_answer_may_be_complete_while_the_upload_still_runs(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.read()
        await call.respond(403, body=b"no more, please")

    await worker.instance(handler)
    if speaks == "h1":
        async with await worker.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 10\r\n\r\nfirst")
            answer = await client.response()
            assert (answer.status, answer.body) == (403, b"no more, please")
            await client.send(b"later")
            assert (await client.get(fields="content-length: 1\r\n", method="POST", body=b"x")).status == 403
    else:
        async with await worker.h2() as client2:
            stream = client2.open(method="POST", end=False)
            await stream.send(b"first")
            await soon(stream.done(), "the answer")
            assert (stream.status, bytes(stream.body)) == (403, b"no more, please")
            await stream.send(b"later", end=True)


@both
@scenario
async def test_the_head_of_an_answer_does_not_wait_for_its_body(worker: WorkerProcess, speaks: str) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(call: Call) -> None:
        await call.write(call.head_text())
        while piece := await pieces.get():
            await call.write(piece)

    await worker.instance(handler)
    if speaks == "h1":
        async with await worker.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await soon(client.head(), "the head")).status == 200
            for piece in (b"one", b"two"):
                pieces.put_nowait(piece)
                assert await soon(client.chunk(), "a piece") == piece
            pieces.put_nowait(b"")
            assert await client.chunk() == b""
    else:
        async with await worker.h2() as client2:
            stream = client2.open()
            assert await soon(stream.headed(), "the head") == 200
            pieces.put_nowait(b"one")
            assert await soon(stream.has(3), "a piece") == b"one"
            pieces.put_nowait(b"")
            assert (await stream.done()).ended


@both
@scenario
async def test_both_directions_stream_at_the_same_time(worker: WorkerProcess, speaks: str) -> None:
    async def echo(call: Call) -> None:
        await call.write(call.head_text())
        while piece := await call.read():
            await call.write(piece)

    await worker.instance(echo)
    if speaks == "h1":
        async with await worker.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            assert (await soon(client.head(), "the head, before any body")).status == 200
            for i in range(20):
                await client.send(b"4\r\n%04d\r\n" % i)
                assert await soon(client.chunk(), "the echo") == b"%04d" % i
            await client.send(b"0\r\n\r\n")
            assert await client.chunk() == b""
    else:
        async with await worker.h2() as client2:
            stream = client2.open(method="POST", end=False)
            assert await soon(stream.headed(), "the head, before any body") == 200
            for i in range(20):
                await stream.send(b"%04d" % i)
                await soon(stream.has(4 * (i + 1)), "the echo")
            await stream.send(b"", end=True)
            assert len((await stream.done()).body) == 80


@both
@scenario
async def test_a_duplex_echo_larger_than_every_window_does_not_stall(worker: WorkerProcess, speaks: str) -> None:
    size = 3 * 1024 * 1024

    async def echo(call: Call) -> None:
        await call.write(call.head_text(length=size))
        while piece := await call.read():
            await call.write(piece)

    await worker.instance(echo, window=20_000)
    answer = await ask(speaks, worker.ports["http"], "/", method="POST", body=b"0123456789abcdef" * (size // 16))
    assert answer.body == b"0123456789abcdef" * (size // 16)


# Answers that are wrong


@both
@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([], "answer_missing"),
        ([b"HTTP/1.1 200 OK\r\nx-a"], "answer_cut_off"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "answer_missing"),
        ([b"nonsense\r\n\r\n"], "answer_malformed"),
        ([b"HTTP/1.1 99 Low\r\n\r\n"], "answer_malformed"),
        ([b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"], "answer_malformed"),
        ([b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"], "answer_malformed"),
        ([b"HTTP/1.1 101 Switching\r\n\r\n"], "answer_upgrade"),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\n\r\n"], "answer_head_too_large"),
    ],
    ids=[
        "nothing",
        "half a head",
        "interim only",
        "no HTTP",
        "status 99",
        "no colon",
        "NUL",
        "101",
        "200 KB",
    ],
)
@scenario
async def test_an_answer_that_is_no_answer_is_a_502(
    worker: WorkerProcess, speaks: str, pieces: list[bytes], error: str
) -> None:
    answer = await answer_to(worker, speaks, says(*pieces))
    assert (answer.status, answer.error) == (502, error)
    assert answer.body == b"Bad gateway"


@both
@pytest.mark.parametrize("lengths", [b"0x5", b"-5", b"+5", b"5 5", b"5\r\ncontent-length: 6", b"5, 6"])
@scenario
async def test_a_length_that_is_not_one_plain_number_is_not_believed(
    worker: WorkerProcess, speaks: str, lengths: bytes
) -> None:
    answer = await answer_to(worker, speaks, says(b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\n\r\nhello!!" % lengths))
    assert (answer.status, answer.field("content-length"), answer.body) == (200, None, b"hello!!")


@both
@pytest.mark.parametrize(
    "body", [b"1234", b"123456"], ids=["shorter than content-length", "longer than content-length"]
)
@scenario
async def test_a_body_of_another_length_than_promised_breaks_the_answer_off(
    worker: WorkerProcess, speaks: str, body: bytes
) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(length=5))
        await call.write(body, end=True)

    if len(body) > 5 and speaks == "h1":
        # What the client was promised it may get; nothing else may follow it on the connection.
        await worker.instance(handler)
        async with await worker.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.head()
            assert body.startswith(await client.reader.read())
        return
    with pytest.raises(Broken):
        await answer_to(worker, speaks, handler)


@both
@pytest.mark.parametrize("code", [ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR])
@scenario
async def test_a_channel_reset_before_the_answer_is_a_502(worker: WorkerProcess, speaks: str, code: int) -> None:
    async def handler(call: Call) -> None:
        call.reset(code)

    answer = await answer_to(worker, speaks, handler)
    assert (answer.status, answer.error) == (502, "channel_reset")


@both
@scenario
async def test_a_channel_reset_within_the_head_is_a_502(worker: WorkerProcess, speaks: str) -> None:
    answer = await answer_to(worker, speaks, says(b"HTTP/1.1 200 OK\r\nx-a", end=False))
    assert (answer.status, answer.error) == (502, "channel_reset")


@both
@pytest.mark.parametrize("length", [None, 100], ids=["of unknown length", "with content-length"])
@scenario
async def test_a_channel_reset_within_the_body_breaks_the_answer_off(
    worker: WorkerProcess, speaks: str, length: int | None
) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(length=length) + b"part")
        call.reset(ErrorCodes.INTERNAL_ERROR)

    with pytest.raises(Broken):
        await answer_to(worker, speaks, handler)


@scenario
async def test_a_broken_answer_of_unknown_length_does_not_look_whole_to_http_1_0(worker: WorkerProcess) -> None:
    going = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.write(call.head_text() + b"part")
        await going.wait()
        call.reset(ErrorCodes.INTERNAL_ERROR)

    await worker.instance(handler)
    async with await worker.client() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.head()).status == 200
        assert await client.reader.readexactly(4) == b"part"
        going.set()
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


@both
@scenario
async def test_a_channel_reset_after_the_answer_does_no_harm(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=b"done")
        call.peer.raw(b"\x00\x00\x04\x03\x00" + call.stream.to_bytes(4, "big") + b"\x00\x00\x00\x08")

    await worker.instance(handler)
    for _ in range(3):
        assert (await ask(speaks, worker.ports["http"])).body == b"done"


# A second try


@both
@scenario
async def test_a_refused_request_is_sent_again_to_another_channel(worker: WorkerProcess, speaks: str) -> None:
    seen: list[int] = []

    async def handler(call: Call) -> None:
        seen.append(call.channel)
        if len(seen) == 1:
            call.reset(ErrorCodes.REFUSED_STREAM)
        else:
            await call.respond(200, body=await call.body())

    await worker.instance(handler, channels=2)
    answer = await ask(speaks, worker.ports["http"], "/", method="POST", body=b"the whole body")
    assert (answer.status, answer.body) == (200, b"the whole body")
    assert len(seen) == 2


@both
@scenario
async def test_a_request_refused_twice_is_a_502(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        call.reset(ErrorCodes.REFUSED_STREAM)

    peer = await worker.instance(handler, channels=4)
    answer = await ask(speaks, worker.ports["http"])
    assert (answer.status, answer.error) == (502, "channel_reset")
    assert len(peer.calls) == 2


@both
@scenario
async def test_a_refused_request_waits_for_the_next_channel_when_there_is_no_other(
    worker: WorkerProcess, speaks: str
) -> None:
    refused = asyncio.Event()

    async def refuses(call: Call) -> None:
        call.peer.retired = True
        call.reset(ErrorCodes.REFUSED_STREAM)
        refused.set()

    await worker.instance(refuses)
    asked = asyncio.create_task(ask(speaks, worker.ports["http"], "/again"))
    await soon(refused.wait(), "the first try")
    await worker.waits(1)
    await worker.instance()
    assert (await asked).body == b"hello from /again"


@scenario
async def test_a_refused_request_that_was_partly_uploaded_and_not_kept_is_a_502(worker: WorkerProcess) -> None:
    size = 400_000

    async def handler(call: Call) -> None:
        while call.received < size // 2:
            await call.read()
        call.reset(ErrorCodes.REFUSED_STREAM)

    await worker.instance(handler, channels=2)
    async with await worker.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: %d\r\n\r\n" % size + bytes(size // 2))
        assert (await client.response()).status == 502


# Connections that drop


@both
@scenario
async def test_a_connection_that_drops_while_its_channels_are_parked_takes_nothing_with_it(
    worker: WorkerProcess, speaks: str
) -> None:
    peer = await worker.instance(channels=5)
    peer.drop()
    await until(lambda: not any(place.idle for place in worker.board.list_instances()), "the drop to be noticed")
    asked = asyncio.create_task(ask(speaks, worker.ports["http"], "/later"))
    await worker.waits(1)
    await worker.instance()
    assert (await asked).body == b"hello from /later"


@both
@scenario
async def test_a_connection_that_drops_before_the_answer_is_a_502_for_each_request_on_it(
    worker: WorkerProcess, speaks: str
) -> None:
    async def handler(call: Call) -> None:
        await call.gone()

    peer = await worker.instance(handler, channels=3)
    asked = [asyncio.create_task(ask(speaks, worker.ports["http"], f"/{i}")) for i in range(3)]
    await peer.served(3)
    peer.drop()
    for answer in await asyncio.gather(*asked):
        assert (answer.status, answer.error) == (502, "instance_connection_lost")


@both
@scenario
async def test_a_connection_that_drops_within_the_head_is_a_502(worker: WorkerProcess, speaks: str) -> None:
    async def handler(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 O")
        assert call.peer._transport is not None
        call.peer._transport.close()
        await call.gone()

    answer = await answer_to(worker, speaks, handler)
    assert (answer.status, answer.error) == (502, "instance_connection_lost")


@both
@scenario
async def test_a_connection_that_drops_within_the_body_breaks_the_answer_off(
    worker: WorkerProcess, speaks: str
) -> None:
    async def handler(call: Call) -> None:
        await call.write(call.head_text(length=100) + b"part")
        assert call.peer._transport is not None
        call.peer._transport.close()
        await call.gone()

    with pytest.raises(Broken):
        await answer_to(worker, speaks, handler)


@both
@scenario
async def test_a_connection_that_drops_after_the_answer_leaves_the_answer_whole(
    worker: WorkerProcess, speaks: str
) -> None:
    async def handler(call: Call) -> None:
        await call.respond(200, body=b"all of it")
        assert call.peer._transport is not None
        call.peer._transport.close()

    assert (await answer_to(worker, speaks, handler)).body == b"all of it"


@scenario
async def test_bytes_on_a_parked_channel_without_a_request_cost_only_that_channel(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=2)
    stream = peer.park(0)
    await peer.parked(3)
    peer.send(stream, b"HTTP/1.1 200 OK\r\n\r\nunasked", False)
    await peer.sees(lambda: peer.answer_to(stream).reset is not None or peer.answer_to(stream).done.is_set())
    assert (await ask("h1", worker.ports["http"], "/after")).body == b"hello from /after"


@scenario
async def test_an_instance_that_breaks_http_2_loses_its_connection_and_nothing_else(worker: WorkerProcess) -> None:
    peer = await worker.instance(channels=2)
    other = await worker.instance(channels=2)
    peer.raw(b"\x00\x00\x01\x06\x00\x00\x00\x00\x00x")  # a PING of one byte
    await soon(peer.lost.wait(), "the end of the connection")
    assert peer.goaway_frame == ErrorCodes.FRAME_SIZE_ERROR
    for _ in range(4):
        assert (await ask("h1", worker.ports["http"])).status == 200
    assert len(other.calls) == 4


@scenario
async def test_a_request_that_never_reached_its_instance_is_sent_to_another() -> None:
    async with WorkerProcess.running() as worker:
        deaf = await worker.instance(receive_buffer=2048)
        deaf.stop_reading()
        async with await worker.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Long: " + b"b" * 60_000 + b"\r\n\r\n")
            await until(lambda: worker.running_now() == 1, "the request to be sent")
            await worker.instance()
            deaf.drop()
            answer = await soon(client.response(), "the answer")
            assert answer.status == 200
        await worker.quiet()
