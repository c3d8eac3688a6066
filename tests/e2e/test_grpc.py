"""gRPC from a client of grpcio through worker and extension to a server of grpcio, all real processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import certs
from tests.support.clients import ask
from tests.support.extension_rig import Rig, rig
from tests.support.loop import until
from tests.support.shipped import join
from tests.support.worker_process import WorkerProcess

grpc = pytest.importorskip("grpc", reason="grpcio is missing: pip install grpcio")

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
PATIENCE = 20.0


@dataclass
class World:
    worker: WorkerProcess
    rig: Rig
    channel: Any

    def unary(self) -> Any:
        return self.channel.unary_unary("/t.Test/Unary")

    def server_stream(self) -> Any:
        return self.channel.unary_stream("/t.Test/ServerStream")

    def client_stream(self) -> Any:
        return self.channel.stream_unary("/t.Test/ClientStream")

    def bidi(self) -> Any:
        return self.channel.stream_stream("/t.Test/Bidi")

    async def app_says(self, words: str) -> str:
        assert self.rig.app is not None
        return await self.rig.app.line(words)

    def app_said(self, words: str) -> int:
        """How often until now."""
        assert self.rig.app is not None
        return sum(words in line for line in self.rig.app.lines)


@asynccontextmanager
async def world(
    protocol: str = "h2c", app: str = "grpc_app", channels: int = 10, certificate: certs.Pair | None = None
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        flags = () if certificate is None else ("--allow-insecure-control", "--preferred-control-scheme", "http")
        worker = await stack.enter_async_context(WorkerProcess.running(*flags, certs=certificate))
        env = {"LAMBDA_DISPATCH_APP_PROTOCOL": protocol, "LAMBDA_DISPATCH_HEALTH_CHECK_PROTOCOL": "tcp"}
        r = await stack.enter_async_context(rig(app=("-m", f"tests.support.apps.{app}"), env=env))
        join(worker, r, channels)
        if certificate is None:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{worker.ports['http']}", options=UNLIMITED)
        else:
            trusted = grpc.ssl_channel_credentials(certificate.cert.read_bytes())
            channel = grpc.aio.secure_channel(f"localhost:{worker.ports['https']}", trusted, options=UNLIMITED)
        stack.push_async_callback(channel.close)
        yield World(worker, r, channel)
        await worker.quiet()
        assert "internal error" not in worker.text()
        assert not [line for line in r.extension.lines if "internal error" in line], r.extension.lines


def run(body: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), world(**settings) as it:
            await body(it)

    asyncio.run(whole())


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("protocol", ["h2c", "auto"])
def test_a_unary_call_passes(protocol: str) -> None:
    async def body(it: World) -> None:
        assert await it.unary()(b"hello", timeout=PATIENCE) == b"hello"
        assert await it.unary()(b"", timeout=PATIENCE) == b""

    run(body, protocol=protocol)


def test_every_kind_of_call_passes_over_tls(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        async def three() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield bytes(100_000)

        assert await it.unary()(b"hello", timeout=PATIENCE) == b"hello"
        came = [message async for message in it.server_stream()(b"3 100000", timeout=PATIENCE)]
        assert came == [bytes([number]) * 100_000 for number in range(3)]
        assert await it.client_stream()(three(), timeout=PATIENCE) == b"300000"
        assert [len(message) async for message in it.bidi()(three(), timeout=PATIENCE)] == [100_000] * 3
        error = await failure(it.unary()(b"fail", timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        call = it.unary()(b"wait")
        await it.app_says("waiting unary")
        call.cancel()
        await it.app_says("cancelled unary")

    run(body, certificate=certs.make(tmp_path))


def test_an_application_of_http1_is_told_apart() -> None:
    async def body(it: World) -> None:
        error = await failure(it.unary()(b"hello", timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "grpc_not_supported" in (error.details() or "")
        assert (await ask("h2", it.worker.ports["http"], "/text/5")).status == 200

    run(body, protocol="auto", app="raw_app")


def test_grpc_web_is_plain_http() -> None:
    async def body(it: World) -> None:
        message = b"\x00\x00\x00\x00\x02hi\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
        for speaks in ("h1", "h2"):
            fields = [("content-type", "application/grpc-web+proto")]
            answer = await ask(speaks, it.worker.ports["http"], "/echo", fields, "POST", message)
            assert (answer.status, answer.body) == (200, message)

    run(body, protocol="http1", app="raw_app")


def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async def body(it: World) -> None:
        unary = it.unary()
        left = iter(range(2000))

        async def caller() -> None:
            for number in left:
                said = b"%d" % number * 10
                assert await unary(said, timeout=PATIENCE) == said

        await asyncio.gather(*(caller() for _ in range(64)))

    run(body)


def test_metadata_passes_in_the_head_and_in_the_trailers() -> None:
    async def body(it: World) -> None:
        binary = bytes(range(256))
        call = it.unary()(b"x", metadata=(("x-echo", "one"), ("x-trail-bin", binary)), timeout=PATIENCE)
        assert await call == b"x"
        assert dict(await call.initial_metadata())["x-echo"] == "one"
        assert dict(await call.trailing_metadata())["x-trail-bin"] == binary
        assert await call.code() == grpc.StatusCode.OK

    run(body)


def test_a_status_of_the_application_passes() -> None:
    async def body(it: World) -> None:
        error = await failure(it.unary()(b"fail", timeout=PATIENCE))
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % \u00fc")
        error = await failure(it.channel.unary_unary("/t.Test/None")(b"", timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED

    run(body)


def test_large_messages_pass_in_every_kind_of_call() -> None:
    async def body(it: World) -> None:
        big = bytes(range(256)) * 40_000
        assert await it.unary()(big, timeout=PATIENCE) == big
        came = [message async for message in it.server_stream()(b"5 3000000", timeout=PATIENCE)]
        assert came == [bytes([number]) * 3_000_000 for number in range(5)]

        async def many() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield big[:100_000]

        assert await it.client_stream()(many(), timeout=PATIENCE) == b"20000000"
        assert [len(message) async for message in it.bidi()(many(), timeout=PATIENCE)] == [100_000] * 200

    run(body)


def test_a_conversation_goes_turn_by_turn() -> None:
    async def body(it: World) -> None:
        call = it.bidi()(timeout=PATIENCE)
        for number in range(20):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK

    run(body)


def test_a_server_may_answer_before_its_client_is_done() -> None:
    async def body(it: World) -> None:
        call = it.client_stream()(timeout=PATIENCE)
        await call.write(b"enough")
        assert await call == b"6"

    run(body)


def test_a_deadline_reaches_the_application_and_ends_the_call() -> None:
    async def body(it: World) -> None:
        assert await it.unary()(b"deadline", timeout=50) == b"deadline"
        assert (await it.app_says("deadline")) in ("deadline 49", "deadline 50")
        error = await failure(it.unary()(b"wait", timeout=0.5))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await it.app_says("cancelled unary")

    run(body)


def test_a_cancelled_call_is_cancelled_at_the_application_in_every_stage() -> None:
    async def body(it: World) -> None:
        call = it.unary()(b"wait")
        await it.app_says("waiting unary")
        call.cancel()
        await it.app_says("cancelled unary")

        stream = it.server_stream()(b"3 0")
        assert [await stream.read() for _ in range(3)] == [b"", b"", b""]
        await it.app_says("waiting server_stream")
        stream.cancel()
        await it.app_says("cancelled server_stream")

        # A reset may look like the end of the requests to grpcio's server: one in five of its own client's calls does.
        for kind, name in ((it.client_stream(), "client_stream"), (it.bidi(), "bidi")):
            for times in range(1, 31):
                call = kind()
                await call.write(b"one")
                await until(lambda: it.app_said(f"heard {name}") == times, "the message at the application")  # noqa: B023
                call.cancel()
                await until(lambda: it.app_said(f"ended {name}") == times, "the end at the application")  # noqa: B023
                if it.app_said(f"cancelled {name}"):
                    break
            assert it.app_said(f"cancelled {name}") == 1
        assert await it.unary()(b"still there", timeout=PATIENCE) == b"still there"

    run(body)


def test_an_application_that_dies_is_unavailable_to_its_clients() -> None:
    async def body(it: World) -> None:
        stream = it.bidi()(timeout=PATIENCE)
        await stream.write(b"one")
        assert await stream.read() == b"one"
        error = await failure(it.unary()(b"crash", timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    run(body)


def test_nothing_is_left_of_calls_that_are_over() -> None:
    async def body(it: World) -> None:
        for _ in range(3):
            assert await it.unary()(b"x", timeout=PATIENCE) == b"x"
        files = it.rig.extension.files()
        await asyncio.gather(*(it.unary()(b"x", timeout=PATIENCE) for _ in range(50)))
        await until(lambda: it.rig.extension.files() == files, "no connection more than before")

    run(body)


# An application that refuses ------------------------------------------------------------------------------------------


def method(it: World, name: str) -> Any:
    return it.channel.unary_unary(f"/t.Test/{name}")


def resends(it: World) -> int:
    return it.worker.numbers()["resends"]


@pytest.mark.parametrize("name", ["RefuseOnce", "LeaveOnce"])
def test_a_call_that_the_application_has_not_seen_is_sent_again(name: str) -> None:
    async def body(it: World) -> None:
        assert await method(it, name)(b"hello", timeout=PATIENCE) == b"hello"
        assert (it.app_said(name), resends(it)) == (2, 1)

    run(body, app="rude_grpc_app")


def test_an_application_that_refuses_always_is_unavailable() -> None:
    async def body(it: World) -> None:
        error = await failure(method(it, "Refuse")(b"hello", timeout=PATIENCE))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "Bad gateway (channel_reset)")
        assert (it.app_said("Refuse"), resends(it)) == (2, 1)
        assert await method(it, "Echo")(b"still there", timeout=PATIENCE) == b"still there"

    run(body, app="rude_grpc_app")


@pytest.mark.parametrize(
    ("name", "code"), [("Reset", grpc.StatusCode.INTERNAL), ("ResetWithin", grpc.StatusCode.CANCELLED)]
)
def test_a_call_that_the_application_resets_is_not_sent_again(name: str, code: Any) -> None:
    """Its status is the one that gRPC gives the code of the reset."""

    async def body(it: World) -> None:
        error = await failure(method(it, name)(b"hello", timeout=PATIENCE))
        assert error.code() == code
        assert (it.app_said(name), resends(it)) == (1, 0)
        assert await method(it, "Echo")(b"still there", timeout=PATIENCE) == b"still there"

    run(body, app="rude_grpc_app")


def test_an_answer_with_a_length_keeps_its_trailers() -> None:
    async def body(it: World) -> None:
        call = method(it, "Measured")(b"hello", timeout=PATIENCE)
        assert await call == b"hello"
        assert await call.code() == grpc.StatusCode.OK

    run(body, app="rude_grpc_app")


def test_a_reset_while_the_client_still_sends_frees_the_slot() -> None:
    async def body(it: World) -> None:
        for _ in range(2):
            call = it.channel.stream_unary("/t.Test/Reset")(timeout=PATIENCE)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() == grpc.StatusCode.INTERNAL
            assert await method(it, "Echo")(b"next", timeout=PATIENCE) == b"next"
        await it.worker.quiet()
        said = it.worker.board.numbers(0).grpc
        assert (said[0], said[13]) == (2, 2)

    run(body, app="rude_grpc_app", channels=1)


def test_answers_that_come_in_one_piece_each_reach_their_own_client() -> None:
    async def body(it: World) -> None:
        async def one(message: bytes) -> None:
            call = method(it, "Together")(message, timeout=PATIENCE)
            assert dict(await call.initial_metadata())["x-message"] == message.decode()
            assert await call == message

        for _ in range(10):
            calls = (one(message) for message in (b"first", b"second", b"third"))
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(end) for end in ends if end is not None] == [grpc.aio.AioRpcError], ends

    run(body, app="rude_grpc_app")


def test_calls_go_on_over_another_connection_when_the_application_leaves_one() -> None:
    async def body(it: World) -> None:
        assert await method(it, "Echo")(b"hello", timeout=PATIENCE) == b"hello"
        before = it.app_said("connection")
        for name in ("Leave", "Echo", "Leave", "Leave", "Leave", "Leave", "Echo"):
            assert await method(it, name)(b"hello", timeout=PATIENCE) == b"hello"
        assert (it.app_said("connection") - before, resends(it)) == (5, 0), "more than there are at once"
        assert it.worker.board.numbers(0).grpc[0] == 8

    run(body, app="rude_grpc_app")


def test_a_call_that_waits_for_a_slot_is_cancelled_there() -> None:
    async def body(it: World) -> None:
        first = it.unary()(b"wait")
        await it.app_says("waiting unary")
        second = it.unary()(b"wait")
        await it.worker.waits(1)
        second.cancel()
        await it.worker.waits(0)
        first.cancel()
        await it.app_says("cancelled unary")
        assert it.app_said("waiting unary") == 1, "the second was never there"
        await until(lambda: it.worker.numbers()["grpc_open"] == 0, "both are over")
        assert it.worker.numbers()["grpc_by_client"] == 2

    run(body, channels=1)
