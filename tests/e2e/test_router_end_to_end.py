"""The whole router: supervisor, worker, scaler; a client asks, a function is invoked, an instance answers."""

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.support import loop
from tests.support.clients import ask, curl
from tests.support.instance_peer import Call, says_hello_after
from tests.support.lambda_stand_in import Invoke, Reply
from tests.support.loop import scenario, soon, until
from tests.support.router_process import FUNCTION, RouterProcess


@pytest.fixture(scope="module")
def shared_router() -> Iterator[RouterProcess]:
    stack = contextlib.AsyncExitStack()
    router = loop.run(stack.enter_async_context(RouterProcess.running("--allow-function-header")), 60)
    yield router
    loop.run(stack.aclose())


@pytest.fixture
def router(shared_router: RouterProcess) -> Iterator[RouterProcess]:
    yield shared_router
    print(shared_router.text())  # pytest shows it where a test failed


@pytest.mark.parametrize("speaks", ["h1", "h2"])
@scenario
async def test_a_request_starts_an_instance_and_is_answered_by_it(router: RouterProcess, speaks: str) -> None:
    answer = await soon(ask(speaks, router.ports["http"], "/first"), "the answer")
    assert (answer.status, answer.body) == (200, b"hello from /first")
    invoke = router.lambda_.of(FUNCTION)[0]
    assert invoke.payload["DispatcherUrl"] == f"http://127.0.0.1:{router.ports['control_http']}/api/chunked"
    assert invoke.payload["PoolId"] == "default"
    assert invoke.payload["NumberOfChannels"] == 20
    assert not invoke.payload.get("InitOnly")


@scenario
async def test_curl_speaks_http_1_1_http_2_and_uploads(router: RouterProcess) -> None:
    async def echo(call: Call) -> None:
        await call.respond(200, [("x-version", "1")], await call.body())

    router.lambda_.function("echo").handler = echo
    url = f"http://127.0.0.1:{router.ports['http']}/path"
    body = bytes(range(256)) * 2000
    for version in ("--http1.1", "--http2-prior-knowledge", "--http1.0"):
        code, out, err = await curl(
            version, "-H", "X-Lambda-Name: echo", "--data-binary", "@-", "-w", "%{http_version}", url, stdin=body
        )
        assert (code, err) == (0, "")
        assert out.startswith(body)


@scenario
async def test_each_function_has_a_pool_of_its_own(router: RouterProcess) -> None:
    for name in ("one", "two"):
        answer = await ask("h1", router.ports["http"], "/", [("x-lambda-name", name)])
        assert answer.status == 200
    (one,) = router.lambda_.of("one")
    (two,) = router.lambda_.of("two")
    assert (one.payload["PoolId"], two.payload["PoolId"]) == ("one", "two")
    assert one.peer is not None and one.peer.calls[0].field("x-lambda-dispatch-secret") is None


@scenario
async def test_a_qualifier_is_part_of_the_pool_and_of_the_invoke(router: RouterProcess) -> None:
    answer = await ask("h1", router.ports["http"], "/", [("x-lambda-name", "qualified:live")])
    assert answer.status == 200
    (invoke,) = [i for i in router.lambda_.invokes if i.function.startswith("qualified")]
    assert (invoke.function, invoke.qualifier) in (("qualified", "live"), ("qualified:live", None))


@scenario
async def test_requests_that_come_together_are_all_answered_by_few_instances(router: RouterProcess) -> None:
    named = [("x-lambda-name", "many")]
    answers = await asyncio.gather(
        *(ask(speaks, router.ports["http"], f"/{i}", named) for i in range(40) for speaks in ("h1", "h2"))
    )
    assert [answer.status for answer in answers] == [200] * 80
    invokes = router.lambda_.of("many")
    assert 1 <= len(invokes) <= 40
    assert sum(len(invoke.peer.calls) for invoke in invokes if invoke.peer) == 80
    assert all(invoke.peer.most_in_flight <= 10 for invoke in invokes if invoke.peer)


@scenario
async def test_when_an_invoke_returns_its_requests_are_answered_at_once(router: RouterProcess) -> None:
    async def vanishes(call: Call) -> None:
        await call.gone()

    router.lambda_.function("vanishing").handler = vanishes
    asked = asyncio.create_task(ask("h1", router.ports["http"], "/", [("x-lambda-name", "vanishing")]))
    await soon(router.lambda_.sees(lambda: bool(router.lambda_.peers("vanishing"))), "an instance")
    (peer,) = router.lambda_.peers("vanishing")
    await soon(peer.served(1), "the request")
    peer.drop()
    answer = await soon(asked, "the answer")
    # Which of the two the router hears of first is open.
    assert (answer.status, answer.error) in ((502, "instance_connection_lost"), (502, "instance_ended"))


@scenario
async def test_an_instance_that_ends_idle_is_not_missed_and_the_next_request_starts_another(
    router: RouterProcess,
) -> None:
    router.lambda_.function("idle").idle_grace = 0.1
    named = [("x-lambda-name", "idle")]
    assert (await ask("h1", router.ports["http"], "/", named)).status == 200
    lambda_ = router.lambda_
    await soon(lambda_.sees(lambda: bool(lambda_.of("idle")) and not lambda_.peers("idle")), "the instance's end")
    assert (await soon(ask("h1", router.ports["http"], "/", named), "the answer")).status == 200


@scenario
async def test_functions_that_cannot_call_back_cost_a_bounded_number_of_invokes(router: RouterProcess) -> None:
    async def hangs_up(invoke: Invoke) -> None:
        invoke.payload["DispatcherUrl"] = "http://127.0.0.1:9/api/chunked"

    router.lambda_.function("unreachable").before_dialling = hangs_up
    asked = asyncio.create_task(ask("h1", router.ports["http"], "/", [("x-lambda-name", "unreachable")]))
    await soon(router.lambda_.sees(lambda: len(router.lambda_.of("unreachable")) >= 2), "a second try")
    await asyncio.wait([asked], timeout=2)
    assert len(router.lambda_.of("unreachable")) <= 20
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked


@scenario
async def test_a_function_that_is_throttled_at_first_is_tried_again(router: RouterProcess) -> None:
    tries: list[Invoke] = []

    def throttled(invoke: Invoke) -> Reply | None:
        tries.append(invoke)
        if len(tries) > 2:
            return None
        return Reply(429, b'{"Reason":"ConcurrentInvocationLimitExceeded"}', error_type="TooManyRequestsException")

    router.lambda_.function("throttled").refuse = throttled
    answer = await soon(ask("h1", router.ports["http"], "/", [("x-lambda-name", "throttled")]), "the answer", 15)
    assert answer.status == 200
    assert len(tries) >= 3


@scenario
async def test_status_tells_what_the_board_says(router: RouterProcess) -> None:
    named = [("x-lambda-name", "shown")]
    go_on = asyncio.Event()

    router.lambda_.function("shown").handler = says_hello_after(go_on)
    asked = asyncio.create_task(ask("h1", router.ports["http"], "/", named))
    await soon(router.lambda_.sees(lambda: bool(router.lambda_.peers("shown"))), "an instance")
    await router.lambda_.peers("shown")[0].served(1)
    shown = json.dumps(await router.status())
    assert '"shown"' in shown
    go_on.set()
    assert (await asked).status == 200


@scenario
async def test_sigterm_finishes_what_is_in_flight_and_ends_everything() -> None:
    async with RouterProcess.running() as router:
        go_on = asyncio.Event()

        router.function.handler = says_hello_after(go_on)
        asked = [asyncio.create_task(ask(speaks, router.ports["http"], "/slow")) for speaks in ("h1", "h2")]
        await soon(router.lambda_.sees(lambda: bool(router.lambda_.peers(FUNCTION))), "an instance")
        peers = router.lambda_.peers(FUNCTION)
        await until(lambda: sum(len(peer.calls) for peer in peers) == 2, "both requests at the instance")
        router.terminate()
        await asyncio.sleep(0.5)
        go_on.set()
        assert [(await one).body for one in asked] == [b"hello from /slow"] * 2
        assert await router.exit_code() == 0
        assert all(peer.told_to_go.is_set() for peer in peers)
        assert "Traceback" not in router.text()
