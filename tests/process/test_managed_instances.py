"""Several direct events at once in one environment, as on Lambda Managed Instances: embedded Lambda and extension."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.apps.raw_app import pattern
from tests.support.direct_lambda import Callers, ask_app, invoke, open_gates, wait_for_requests, web
from tests.support.direct_rig import STREAM, URL, Seen, ask
from tests.support.local_lambda import Running, process_state, python_function, running_lambda, wait_for


def echo(n: int) -> dict[str, Any]:
    return ask(URL, "/echo-length", "POST", body=f"body {n} " * n)


def test_one_environment_takes_as_many_invokes_at_once_as_its_function_allows() -> None:
    with running_lambda(web(environment_concurrency=4)) as running, Callers(9) as callers:
        invoke(running, ask(URL, "/head"))
        gated = callers.invoke(running, [ask(URL, "/gated-head")] * 4)
        wait_for_requests(running, "/gated-head", 4)
        (environment,) = running.environments()
        assert (environment["state"], environment["running"]) == ("busy", 4)
        more = callers.invoke(running, [ask(URL, "/gated-head")] * 5)
        wait_for(lambda: sorted(each["running"] for each in running.environments()) == [1, 4, 4])
        wait_for_requests(running, "/gated-head", 9)
        open_gates(running)
        assert [base64.b64decode(each.result()["body"]) for each in gated + more] == [b"late"] * 9
        assert running.statistics("web")["cold_starts"] == 3


def test_each_of_the_invokes_has_its_own_request_id_and_body() -> None:
    with running_lambda(web(environment_concurrency=8)) as running, Callers(8) as callers:
        invoke(running, ask(URL, "/head"))
        answers = [callers.submit(running.invoke, ask(URL, "/head"), "web") for _ in range(40)]
        bodies = callers.invoke(running, [echo(n) for n in range(40)])
        ids = set()
        for answer in answers:
            told = answer.result()
            context = json.loads(Seen(told["body"]).headers["x-amzn-lambda-context"])
            assert context["request_id"] == told["ResponseMetadata"]["RequestId"]
            ids.add(context["request_id"])
        assert len(ids) == 40
        for n, body in enumerate(bodies):
            assert base64.b64decode(body.result()["body"]) == (f"body {n} " * n).encode()
        assert running.statistics("web")["cold_starts"] == 1


def test_more_loops_than_a_small_number_are_all_used() -> None:
    with running_lambda(web(environment_concurrency=90)) as running, Callers(90) as callers:
        invoke(running, ask(URL, "/head"))
        gated = callers.invoke(running, [ask(URL, "/gated-head")] * 90)
        wait_for_requests(running, "/gated-head", 90)
        assert len(running.environments()) == 1
        open_gates(running)
        assert all(each.result()["statusCode"] == 200 for each in gated)


def test_invokes_that_come_during_a_cold_start_share_the_environment() -> None:
    with running_lambda(web(environment_concurrency=4), init_at_least="1") as running, Callers(4) as callers:
        for n, body in enumerate(callers.invoke(running, [echo(n) for n in range(4)])):
            assert base64.b64decode(body.result()["body"]) == (f"body {n} " * n).encode()
        assert running.statistics("web")["cold_starts"] == 1


def streamed(running: Running, path: str) -> bytes:
    payload = json.dumps(ask(URL, path)).encode()
    events = running.client.invoke_with_response_stream(FunctionName="web", Payload=payload)["EventStream"]
    return b"".join(event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event)


def test_streams_at_once_do_not_mix() -> None:
    with running_lambda(web(STREAM, environment_concurrency=6)) as running, Callers(6) as callers:
        assert streamed(running, "/text/5").endswith(b"all w")
        gated = [callers.submit(streamed, running, "/gated") for _ in range(3)]
        wait_for_requests(running, "/gated", 3)
        for size in range(1, 6):
            assert streamed(running, f"/bytes/{size * 300_000}").partition(bytes(8))[2] == pattern(size * 300_000)
        open_gates(running)
        for stream in gated:
            assert stream.result().partition(bytes(8))[2] == b"data: first\n\ndata: second\n\n"
        assert running.statistics("web")["cold_starts"] == 1


def test_a_timeout_ends_its_invoke_alone_and_the_environment_goes_on() -> None:
    with running_lambda(web(environment_concurrency=3)) as running, Callers(3) as callers:
        invoke(running, ask(URL, "/head"))
        running.control("PATCH", "functions/web", {"timeout": 1})
        hung = callers.submit(running.invoke, ask(URL, "/gated-head"), "web")
        wait_for(lambda: running.statistics("web")["busy"] == 1)
        running.control("PATCH", "functions/web", {"timeout": 900})
        while not hung.done():
            assert invoke(running, ask(URL, "/text/5"))["body"] == "all w"
        assert hung.result()["body"]["errorType"] == "Sandbox.Timedout"
        (environment,) = running.environments()
        # The place of the one that hangs stays occupied.
        gated = callers.invoke(running, [ask(URL, "/flush-head")] * 2)
        wait_for_requests(running, "/flush-head", 2)
        with pytest.raises(running.client.exceptions.TooManyRequestsException):
            running.control("PATCH", "knobs", {"concurrency": 1})
            running.invoke(ask(URL, "/head"), "web")
        open_gates(running)
        assert [each.result()["body"] for each in gated] == ["body"] * 2
        # Its late answer is refused, which costs no other invoke anything, and the loop takes the next one.
        wait_for(lambda: any("response refused status=400" in line for line in running.lines))
        together = callers.invoke(running, [echo(n) for n in (1, 2, 3)])
        assert [base64.b64decode(each.result()["body"]) for each in together] == [
            b"body 1 ",
            b"body 2 " * 2,
            b"body 3 " * 3,
        ]
        assert [each["pids"] for each in running.environments()] == [environment["pids"]]


def test_an_environment_for_several_invokes_is_never_frozen() -> None:
    for concurrency, state in ((2, "S"), (1, "T")):
        with running_lambda(web(environment_concurrency=concurrency)) as running:
            invoke(running, ask(URL, "/head"))
            (environment,) = running.environments()
            assert (environment["state"], environment["frozen"]) == ("idle", concurrency == 1)
            wait_for(lambda pid=environment["pids"][0], state=state: process_state(pid) == state)


def test_an_environment_that_dies_fails_all_of_its_invokes() -> None:
    with running_lambda(web(environment_concurrency=4)) as running, Callers(4) as callers:
        invoke(running, ask(URL, "/head"))
        gated = [callers.submit(running.invoke, ask(URL, "/gated-head"), "web") for _ in range(4)]
        wait_for_requests(running, "/gated-head", 4)
        running.control("POST", f"environments/{running.environments()[0]['id']}/kill")
        assert {each.result()["body"]["errorType"] for each in gated} == {"Runtime.ExitError"}
        assert running.statistics("web")["busy"] == 0
        assert invoke(running, ask(URL, "/text/5"))["body"] == "all w"


def test_an_extension_may_not_ask_for_invoke_there(tmp_path: Path) -> None:
    register = """
import http.client, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
api.request("POST", "/2020-01-01/extension/register", '{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "mine"})
refusal = api.getresponse()
print(refusal.status, refusal.read().decode(), flush=True)
"""
    for concurrency, said in ((1, "200 "), (2, '403 {"errorMessage":"INVOKE: not on managed instances"')):
        function = python_function(tmp_path, source=register, environment_concurrency=concurrency)
        with running_lambda(function) as running:
            running.invoke()
            wait_for(lambda running=running, said=said: any(line.startswith(said) for line in running.lines))


def test_the_variables_say_how_many_and_what_kind(tmp_path: Path) -> None:
    names = ("AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_INITIALIZATION_TYPE")
    with running_lambda(
        python_function(tmp_path, "one"), python_function(tmp_path, "many", environment_concurrency=5)
    ) as running:
        told = {name: running.invoke({"say": "environment"}, name)["body"] for name in ("one", "many")}
        assert [told["one"].get(name) for name in names] == [None, "on-demand"]
        assert [told["many"].get(name) for name in names] == ["5", "lambda-managed-instances"]


def test_the_router_and_direct_events_share_such_an_environment() -> None:
    """A router's invoke that cannot reach its router ends by itself, beside direct events."""
    with running_lambda(web(environment_concurrency=2)) as running, Callers(2) as callers:
        invoke(running, ask(URL, "/head"))
        gated = callers.invoke(running, [ask(URL, "/gated-head")])
        wait_for_requests(running, "/gated-head", 1)
        router = {
            "Id": "1" * 8,
            "PoolId": "p",
            "DispatcherUrl": "http://127.0.0.1:1/api/chunked",
            "NumberOfChannels": 1,
        }
        told = invoke(running, {**router, "SentTime": "2026-01-01T00:00:00Z"})
        assert told["Id"] == "1" * 8 and told["ExitReason"] == "RouterUnreachable"
        open_gates(running)
        assert base64.b64decode(gated[0].result()["body"]) == b"late"
        assert len(ask_app(running.environments()[0]["port"], "/health")) == 2
