"""Who may ask for what: functions by name, instance ids, debugging, and the fields of every answer."""

import asyncio

import pytest

from tests.support.clients import Response, ask
from tests.support.instance_peer import Call
from tests.support.loop import scenario, soon, until
from tests.support.worker_process import FUNCTION, WorkerProcess

both = pytest.mark.parametrize("speaks", ["h1", "h2"])


async def named(worker: WorkerProcess, name: str, speaks: str = "h1", secret: str | None = None) -> Response:
    fields = [("x-lambda-name", name)] + ([("x-lambda-dispatch-secret", secret)] if secret is not None else [])
    return await soon(ask(speaks, worker.ports["http"], "/", fields), "the answer")


async def serve(worker: WorkerProcess, name: str) -> None:
    """Waits for the pool of this name and gives it an instance."""
    await until(lambda: worker.board.find_pool(name.encode()) is not None, "the pool")
    found = worker.board.find_pool(name.encode())
    assert found is not None

    async def handler(call: Call) -> None:
        await call.respond(200, [("x-secret-seen", str(call.field("x-lambda-dispatch-secret")))], name.encode())

    given = worker.start(pool=found[0])
    await worker.dial(given, handler, pool=name)


@both
@scenario
async def test_a_client_may_name_a_function_where_that_is_allowed(speaks: str) -> None:
    async with WorkerProcess.running("--allow-function-header") as worker:
        await worker.instance()
        for name in ("another", "another:live", "arn:aws:lambda:eu-west-1:123456789012:function:third:7"):
            asked = asyncio.create_task(named(worker, name, speaks))
            await serve(worker, name)
            assert (await asked).body == name.encode()
        own = await named(worker, FUNCTION, speaks)
        assert own.body == b"hello from /"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 65, "a:", "a:b:c", "$LATEST", "a\xff"])
@scenario
async def test_a_name_that_cannot_be_a_functions_is_a_400(name: str) -> None:
    async with WorkerProcess.running("--allow-function-header") as worker:
        answer = await named(worker, name)
        assert (answer.status, answer.error) == (400, "bad_function_name")
        assert len([pool for pool in worker.board.list_pools() if pool.state]) == 1


@scenario
async def test_only_functions_of_the_pattern_may_be_named() -> None:
    async with WorkerProcess.running("--allow-function-header", "--function-allow", "web-*, api-?") as worker:
        for name in ("web", "xweb-1", "api-12", "WEB-1"):
            answer = await named(worker, name)
            assert (answer.status, answer.error) == (403, "function_not_allowed")
        for name in ("web-1", "api-2"):
            asked = asyncio.create_task(named(worker, name))
            await serve(worker, name)
            assert (await asked).body == name.encode()


@scenario
async def test_without_the_secret_no_function_may_be_named_and_it_is_never_passed_on() -> None:
    secret = "correct-horse-battery"
    async with WorkerProcess.running("--allow-function-header", "--function-secret", secret) as worker:
        for wrong in (None, "", "wrong-horse-battery", secret + "x", secret.upper()):
            answer = await named(worker, "another", secret=wrong)
            assert (answer.status, answer.error) == (403, "function_secret")
        asked = asyncio.create_task(named(worker, "another", secret=secret))
        await serve(worker, "another")
        answer = await asked
        assert (answer.body, answer.field("x-secret-seen")) == (b"another", "None")
        assert secret not in worker.text()


@both
@scenario
async def test_ids_are_passed_on_only_where_asked_for(speaks: str) -> None:
    async with WorkerProcess.running("--expose-lambda-ids") as worker:
        peer = await worker.instance()
        answer = await ask(speaks, worker.ports["http"])
        assert (answer.field("x-lambda-id"), answer.field("x-channel-id")) == (peer.id, peer.channel_ids[0])


@both
@scenario
async def test_version_and_build_time_are_in_every_answer(speaks: str) -> None:
    async with WorkerProcess.running("--git-hash", "abc123", "--build-time", "2026-11-21") as worker:
        await worker.instance()
        for path in ("/", "/health"):
            answer = await ask(speaks, worker.ports["http"], path)
            assert answer.field("x-lambda-dispatch-version") == "abc123"
            assert answer.field("x-lambda-dispatch-build-time") == "2026-11-21"


@both
@scenario
async def test_the_router_echoes_locally_where_debugging_is_allowed(speaks: str) -> None:
    async with WorkerProcess.running("--allow-debug-header") as worker:
        fields = [("x-lambda-dispatch-debug", "true")]
        body = b"0123456789" * 30_000
        answer = await soon(ask(speaks, worker.ports["http"], "/echo-local", fields, "POST", body), "the echo")
        assert (answer.status, answer.body) == (200, body)
        answer = await ask(speaks, worker.ports["http"], "/echo-local", fields)
        assert (answer.status, answer.body) == (200, b"")
        await worker.quiet()
