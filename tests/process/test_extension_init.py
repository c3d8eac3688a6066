"""How an environment begins: it registers, waits for the application, and says why it cannot serve."""

import asyncio
import socket

import pytest

from tests.support.apps.raw_app import App
from tests.support.extension_rig import Rig, play, reason, rig, without_launcher
from tests.support.runtime_api import RuntimeApi


def test_it_registers_as_lambda_dispatch_for_shutdown() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        assert r.api.registered == [("lambda-dispatch", {"events": ["SHUTDOWN"]})]

    play(body)


@without_launcher
@pytest.mark.parametrize("managed", [False, True])
def test_as_an_internal_extension_it_registers_for_no_event(managed: bool) -> None:
    """What an image's entry point starts has no name that Lambda knows, and Lambda refuses it SHUTDOWN."""

    async def body(r: Rig) -> None:
        await r.ready()
        assert r.api.registered == [("lambda-dispatch", {"events": []})]
        await r.api.event_polled.wait()

    play(body, api=RuntimeApi(managed=managed))


@without_launcher
def test_without_a_place_among_the_extensions_it_serves_as_the_runtime() -> None:
    async def body(r: Rig) -> None:
        assert (await (await r.parked()).exchange("GET", "/text/4")).status == 200
        assert not r.api.registered and not r.api.event_polled.is_set()
        await r.extension.line("extension not registered")

    play(body, api=RuntimeApi(closed=True))


@without_launcher
def test_an_extension_that_its_launcher_has_registered_does_not_register_again() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        await r.api.event_polled.wait()
        assert not r.api.registered

    play(body, env={"LAMBDA_DISPATCH_EXTENSION_ID": "identifier-1"})


def test_a_runtime_of_the_functions_own_is_named_as_the_cause() -> None:
    async def body(r: Rig) -> None:
        assert await r.extension.exited() == 1
        assert await r.extension.line("the function has a runtime of its own")

    play(body, api=RuntimeApi(["lambda-dispatch"], taken=True))


def test_an_application_without_a_health_page_is_shown_its_answer_and_the_options() -> None:
    async def body(r: Rig) -> None:
        line = await r.extension.line("application not healthy")
        assert 'answer="status 404"' in line and f"check=http://127.0.0.1:{r.app_port}/health" in line
        assert "LAMBDA_DISPATCH_HEALTH_CHECK_PATH" in line and "LAMBDA_DISPATCH_HEALTHY_STATUSES" in line
        assert r.app is not None

    play(body, app=("-m", "tests.support.apps.raw_app", "--unhealthy", "1000000"))


def test_it_asks_for_no_invoke_before_the_application_is_healthy() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        counts = (await (await r.parked()).exchange("GET", "/counts")).body
        assert b'"/health": 41' in counts

    play(body, app=("-m", "tests.support.apps.raw_app", "--unhealthy", "40"))


def test_a_port_that_swallows_connections_is_tried_again() -> None:
    """The application takes a connection and never answers on it; the next one it serves."""

    async def whole() -> None:
        served = App(0)
        swallowed: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if swallowed:
                await served.serve(reader, writer)
            else:
                swallowed.append(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with rig(app=None, app_port=server.sockets[0].getsockname()[1]) as r:
            await r.ready()
            assert len(swallowed) == 1
        swallowed[0].close()
        server.close()

    asyncio.run(whole())


def test_a_refused_port_is_tried_until_the_application_listens() -> None:
    async def whole() -> None:
        held = socket.socket()
        held.bind(("127.0.0.1", 0))
        async with rig(app=None, app_port=held.getsockname()[1]) as r:
            await r.api.event_polled.wait()
            await asyncio.sleep(0.1)
            assert not r.api.ready.is_set()
            held.listen()
            server = await asyncio.start_server(App(0).serve, sock=held)
            await r.ready()
            server.close()

    asyncio.run(whole())


def test_health_may_be_another_path_with_other_statuses() -> None:
    async def body(r: Rig) -> None:
        await r.ready()

    play(
        body,
        env={"LAMBDA_DISPATCH_HEALTH_CHECK_PATH": "/status/302", "LAMBDA_DISPATCH_HEALTHY_STATUSES": "200,300-303"},
    )


def test_health_may_be_that_the_port_is_open() -> None:
    async def body(r: Rig) -> None:
        await r.ready()

    play(
        body,
        app=("-m", "tests.support.apps.raw_app", "--unhealthy", "1000000"),
        env={"LAMBDA_DISPATCH_HEALTH_CHECK_PROTOCOL": "tcp"},
    )


def test_an_application_that_never_comes_up_is_an_init_error() -> None:
    async def body(r: Rig) -> None:
        await r.api.init_failed.wait()
        assert r.api.init_errors[0]["errorType"] == "AppNotHealthy"
        assert "http://127.0.0.1:1/health" in r.api.init_errors[0]["errorMessage"]
        assert await r.extension.exited() == 1
        assert r.api.nexts == 0

    play(body, app=None, app_port=1, env={"LAMBDA_DISPATCH_INIT_TIMEOUT": "0.3"})


def test_init_only_on_a_warm_environment_touches_neither_application_nor_router() -> None:
    async def body(r: Rig) -> None:
        await r.ready()
        took = []
        for _ in range(5):
            result = await r.invoke(0, InitOnly=True, DispatcherUrl="http://127.0.0.1:1/").result()
            assert result["ExitReason"] == "SelfInitOnly"
            took.append(result["InvokeDuration"])
        assert min(took) <= 1
        assert not r.router.links
        counts = (await (await r.parked()).exchange("GET", "/counts")).body
        assert b'"/health": 1' in counts

    play(body)


def test_asynchronous_init_waits_for_the_application_inside_the_first_invoke() -> None:
    async def body(r: Rig) -> None:
        invocation = r.invoke(0, InitOnly=True)
        assert await reason(invocation) == "SelfInitOnly"

    play(
        body, app=("-m", "tests.support.apps.raw_app", "--unhealthy", "30"), env={"LAMBDA_DISPATCH_ASYNC_INIT": "true"}
    )
