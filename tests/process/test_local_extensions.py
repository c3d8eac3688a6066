"""The Extensions API of the embedded Lambda: its state machine, and the order of the end."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch.local.function import Function
from tests.support.local_lambda import RUNTIME, python_function, running_lambda, wait_for

# An external extension that writes down what it is told, and what it is refused.
EXTENSION = r"""
import http.client, json, os, signal, sys, time

name, diary, events = sys.argv[1], open(sys.argv[2], "a", buffering=1), json.loads(sys.argv[3])
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None, **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    api.request(method, "/2020-01-01/extension/" + path, body and json.dumps(body), headers)
    response = api.getresponse()
    text = response.read()
    return response.status, json.loads(text), response.headers

def note(*what):
    diary.write(json.dumps(what) + "\n")

if "REFUSALS" in os.environ:
    note("no name", call("POST", "register", {"events": []})[:2])
    note("no events", call("POST", "register", {}, Lambda_Extension_Name="x")[:2])
    note("bad event", call("POST", "register", {"events": ["NOPE"]}, Lambda_Extension_Name="x")[:2])
    note("no id", call("GET", "event/next")[:2])
    note("bad id", call("GET", "event/next", Lambda_Extension_Identifier="me")[:2])
    other = "00000000-0000-4000-8000-000000000000"
    note("unknown id", call("GET", "event/next", Lambda_Extension_Identifier=other)[:2])
status, said, headers = call("POST", "register", {"events": events}, Lambda_Extension_Name=name)
identifier = headers["Lambda-Extension-Identifier"]
note("registered", status, said)
if "REFUSALS" in os.environ:
    note("twice", call("POST", "register", {"events": []}, Lambda_Extension_Name=name)[:2])
if os.environ.get("EXTENSION_FAILS") == "init":
    call("POST", "init/error", {}, Lambda_Extension_Identifier=identifier,
         Lambda_Extension_Function_Error_Type="Extension.Mine")
while True:
    status, event, headers = call("GET", "event/next", Lambda_Extension_Identifier=identifier)
    note(event["eventType"], event)
    if event["eventType"] == "SHUTDOWN":
        if os.environ.get("STAYS") == "yes":
            signal.pause()
        sys.exit(0)
    if os.environ.get("EXTENSION_FAILS") == "exit":
        sys.exit(5)
    if "SLOW" in os.environ:
        time.sleep(float(os.environ["SLOW"]))
"""

TERM = r"""
import signal, sys
def term(number, frame):
    with open(os.environ["DIARY"], "a") as diary:
        diary.write(json.dumps(["SIGTERM"]) + "\n")
    sys.exit(0)
"""


def with_extension(
    tmp_path: Path, events: list[str], name: str = "watcher", **environment: str
) -> tuple[Function, Path]:
    (tmp_path / "watcher.py").write_text(EXTENSION)
    wrapper = tmp_path / "watcher"
    diary = tmp_path / "diary"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -S {tmp_path}/watcher.py "$@"\n')
    wrapper.chmod(0o755)
    source = RUNTIME.replace("api = http", TERM + "signal.signal(signal.SIGTERM, term)\napi = http", 1)
    function = python_function(
        tmp_path,
        source=source,
        extensions=((str(wrapper), name, str(diary), json.dumps(events)),),
        environment={"DIARY": str(diary), **environment},
    )
    return function, diary


def read(diary: Path) -> list[Any]:
    return [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []


def test_an_extension_registers_is_told_of_invokes_and_of_the_end(tmp_path: Path) -> None:
    function, diary = with_extension(tmp_path, ["INVOKE", "SHUTDOWN"])
    with running_lambda(function) as running:
        answer = running.invoke()
        assert running.environments()[0]["extensions"] == ["watcher"]
    registered, invoke, term, shutdown = read(diary)
    assert registered == ["registered", 200, {"functionName": "f", "functionVersion": "$LATEST", "handler": ""}]
    assert invoke[0] == "INVOKE"
    assert invoke[1]["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert invoke[1]["invokedFunctionArn"].endswith(":function:f")
    assert invoke[1]["tracing"]["type"] == "X-Amzn-Trace-Id"
    assert term == ["SIGTERM"]  # the runtime goes first
    assert shutdown[1]["shutdownReason"] == "spindown"
    assert shutdown[1]["deadlineMs"] > invoke[1]["deadlineMs"] - 900_000


def test_an_extension_hears_only_of_what_it_asked_for(tmp_path: Path) -> None:
    function, diary = with_extension(tmp_path, ["SHUTDOWN"])
    with running_lambda(function) as running:
        running.invoke()
    assert [line[0] for line in read(diary)] == ["registered", "SIGTERM", "SHUTDOWN"]


def test_an_extension_that_stays_is_killed_after_its_two_seconds(tmp_path: Path) -> None:
    function, diary = with_extension(tmp_path, ["SHUTDOWN"], STAYS="yes")
    with running_lambda(function) as running:
        running.invoke()
    assert [line[0] for line in read(diary)] == ["registered", "SIGTERM", "SHUTDOWN"]


def test_wrong_calls_are_refused_by_name(tmp_path: Path) -> None:
    function, diary = with_extension(tmp_path, ["INVOKE"], REFUSALS="1")
    with running_lambda(function) as running:
        running.invoke()
    kinds = {line[0]: (line[1][0], line[1][1]["errorType"]) for line in read(diary) if isinstance(line[-1], list)}
    assert kinds == {
        "no name": (403, "Extension.InvalidExtensionName"),
        "no events": (400, "InvalidRequestFormat"),
        "bad event": (403, "Extension.InvalidEventType"),
        "no id": (403, "Extension.MissingExtensionIdentifier"),
        "bad id": (403, "Extension.InvalidExtensionIdentifier"),
        "unknown id": (403, "Extension.UnknownExtensionIdentifier"),
        "twice": (403, "Extension.AlreadyRegistered"),
    }


def test_the_environment_is_free_when_the_extension_is_too(tmp_path: Path) -> None:
    function, _ = with_extension(tmp_path, ["INVOKE"], SLOW="0.5")
    with running_lambda(function) as running:
        running.invoke()
        assert [e["state"] for e in running.environments()] == ["busy"]  # answered, yet not free
        wait_for(lambda: [e["state"] for e in running.environments()] == ["idle"])
        (report,) = [line for line in running.lines if line.startswith("REPORT")]
        assert float(report.split("Duration: ")[1].split(" ms")[0]) >= 500


def test_an_extension_that_says_init_error_fails_the_invoke(tmp_path: Path) -> None:
    function, _ = with_extension(tmp_path, ["INVOKE"], EXTENSION_FAILS="init")
    with running_lambda(function) as running:
        answer = running.invoke()
        assert answer["FunctionError"] == "Unhandled"
        assert answer["body"]["errorType"] == "Extension.Mine"


def test_an_extension_that_exits_ends_the_environment(tmp_path: Path) -> None:
    function, _ = with_extension(tmp_path, ["INVOKE"], EXTENSION_FAILS="exit")
    with running_lambda(function) as running:
        answer = running.invoke({"until": "/never"})
        assert answer["body"]["errorType"] == "Extension.Crash"
        assert "exit status 5" in answer["body"]["errorMessage"]


BOTH = r"""
import http.client, json, os, sys, threading
diary = open(os.environ["DIARY"], "a", buffering=1)
def call(method, path, body=None, headers={}):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(method, path, body, headers)
    response = api.getresponse()
    result = response.headers, response.read()
    api.close()
    return result
headers, _ = call("POST", "/2020-01-01/extension/register", '{"events": ["SHUTDOWN"]}',
                  {"Lambda-Extension-Name": "lambda-dispatch"})
identifier = headers["Lambda-Extension-Identifier"]
def extension():
    _, body = call("GET", "/2020-01-01/extension/event/next", None, {"Lambda-Extension-Identifier": identifier})
    diary.write(json.loads(body)["eventType"] + "\n")
    os._exit(0)
def runtime():
    while True:
        headers, body = call("GET", "/2018-06-01/runtime/invocation/next")
        where = "/2018-06-01/runtime/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
        call("POST", where + "/response", body)
threading.Thread(target=runtime, daemon=True).start()
extension()
"""


def test_one_process_can_be_extension_and_runtime_as_lambda_dispatch_is(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    function = python_function(tmp_path, source=BOTH, environment={"DIARY": str(diary)})
    with running_lambda(function) as running:
        assert running.invoke({"a": 1})["body"] == {"a": 1}
        assert running.invoke({"a": 2})["body"] == {"a": 2}
        (environment,) = running.environments()
        assert environment["extensions"] == ["lambda-dispatch"] and environment["state"] == "idle"
    assert diary.read_text() in ("SHUTDOWN\n", "")  # SIGTERM comes at the same time and may win


@pytest.mark.parametrize("handler", ["hello.handler"])
def test_awslambdaric_runs_a_plain_handler(tmp_path: Path, handler: str) -> None:
    (tmp_path / "hello.py").write_text(
        "def handler(event, context):\n"
        "    print('in the handler')\n"
        "    if event.get('raise'): raise ValueError(event['raise'])\n"
        "    return {'hello': event['name'], 'left': context.get_remaining_time_in_millis() > 0,\n"
        "            'arn': context.invoked_function_arn, 'memory': context.memory_limit_in_mb}\n"
    )
    function = Function(
        "f", (sys.executable, "-m", "awslambdaric", handler), handler=handler, directory=str(tmp_path), memory=256
    )
    with running_lambda(function) as running:
        body = running.invoke({"name": "world"})["body"]
        assert (body["hello"], body["left"], body["memory"]) == ("world", True, "256")
        failed = running.invoke({"raise": "no"})
        assert failed["FunctionError"] == "Unhandled"
        assert (failed["body"]["errorType"], failed["body"]["errorMessage"]) == ("ValueError", "no")
        assert "in the handler" in running.lines
        assert running.statistics()["cold_starts"] == 1
