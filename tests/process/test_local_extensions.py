"""The Extensions API of the embedded Lambda: its state machine, and the order of the end."""

import json
import platform
import shlex
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lambda_dispatch.local.environment import environment as environments
from lambda_dispatch.local.function import Function, FunctionConfigError
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
    note("internal", call("POST", "register", {"events": ["SHUTDOWN"]}, Lambda_Extension_Name="x")[:2])
    note("unknown id", call("GET", "event/next", Lambda_Extension_Identifier=other)[:2])
if "HOLD" in os.environ:
    note("holding")
    while not os.path.exists(os.environ["HOLD"]):
        time.sleep(0.005)
status, said, headers = call("POST", "register", {"events": events}, Lambda_Extension_Name=name)
identifier = headers["Lambda-Extension-Identifier"]
note("registered", status, said)
if "REFUSALS" in os.environ:
    note("twice", call("POST", "register", {"events": []}, Lambda_Extension_Name=name)[:2])
if os.environ.get("EXTENSION_FAILS") == "early":
    sys.exit(4)
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
        "no events": (403, "InvalidRequestFormat"),
        "bad event": (403, "Extension.InvalidEventType"),
        "no id": (403, "Extension.MissingExtensionIdentifier"),
        "bad id": (403, "Extension.InvalidExtensionIdentifier"),
        "unknown id": (403, "Extension.UnknownExtensionIdentifier"),
        "twice": (403, "Extension.InvalidExtensionState"),
        "internal": (403, "Extension.InvalidEventType"),
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


def in_directory(tmp_path: Path, events: list[str], **environment: str) -> tuple[Function, Path]:
    """The same extension as the one file of an extensions directory, which gives it no arguments."""
    function, diary = with_extension(tmp_path, events, **environment)
    directory = tmp_path / "extensions"
    directory.mkdir()
    (directory / "a-folder").mkdir()  # Lambda starts files alone
    (command,) = function.extensions
    file = directory / "watcher"
    file.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    file.chmod(0o755)
    return replace(function, extensions=(), extensions_directory=str(directory)), diary


def test_files_of_the_extensions_directory_are_external_extensions(tmp_path: Path) -> None:
    function, diary = in_directory(tmp_path, ["INVOKE", "SHUTDOWN"])
    with running_lambda(function) as running:
        assert running.invoke({"a": 1})["body"]["event"] == {"a": 1}
    assert [line[0] for line in read(diary)] == ["registered", "INVOKE", "SIGTERM", "SHUTDOWN"]


def test_the_runtime_starts_when_every_extension_has_registered(tmp_path: Path) -> None:
    function, diary = in_directory(tmp_path, ["INVOKE"], HOLD=str(tmp_path / "go"))
    with running_lambda(function) as running, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.invoke)
        wait_for(lambda: ["holding"] in read(diary))
        (environment,) = running.environments()
        assert environment["state"] == "initializing" and len(environment["pids"]) == 1  # no runtime beside it
        (tmp_path / "go").touch()
        assert answer.result()["StatusCode"] == 200
        assert len(running.environments()[0]["pids"]) == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.chmod(0o644), "permission denied"),
        (lambda file: file.write_bytes(FOREIGN), "exec format error"),
        (lambda file: file.write_text("echo no first line says what runs this\n"), "exec format error"),
    ],
)
def test_a_file_that_cannot_be_started_fails_the_environment(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    function, _ = in_directory(tmp_path, [])
    damage(Path(function.extensions_directory) / "watcher")
    with running_lambda(function) as running:
        body = running.invoke()["body"]
        assert body["errorType"] == "Extension.LaunchError"
        assert f"fork/exec {function.extensions_directory}/watcher: {said}" in body["errorMessage"]


# An ELF program for a machine that this is not.
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0x28 if platform.machine() != "armv7l" else 62, 1)
FOREIGN += bytes(40)


def test_an_extension_under_another_name_than_its_files_keeps_the_runtime_waiting(tmp_path: Path) -> None:
    function, diary = in_directory(tmp_path, [], name="somebody-else")
    with running_lambda(replace(function, init_timeout=0.5, timeout=1.0)) as running:
        assert running.invoke()["body"]["errorType"] == "Sandbox.Timedout"
    assert read(diary)[0][0] == "registered"  # as an internal one


def test_an_extension_that_leaves_before_the_runtime_is_ready_fails_the_environment(tmp_path: Path) -> None:
    function, _ = in_directory(tmp_path, [], EXTENSION_FAILS="early")
    with running_lambda(function) as running:
        body = running.invoke()["body"]
        assert body["errorType"] == "Extension.Crash" and "exit status 4" in body["errorMessage"]


def test_more_than_ten_extensions_are_not_started(tmp_path: Path) -> None:
    function, diary = in_directory(tmp_path, [])
    for number in range(10):
        (Path(function.extensions_directory) / f"more-{number}").symlink_to("watcher")
    with running_lambda(function) as running:
        body = running.invoke()["body"]
        assert body["errorType"] == "Extension.LaunchError" and "at most 10" in body["errorMessage"]
    assert read(diary) == []


def test_a_directory_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FunctionConfigError, match="/no/such is no extensions directory"):
        Function("f", ("x",), extensions_directory="/no/such")


BOTH = r"""
import http.client, json, os, signal, sys, threading
diary = open(os.environ["DIARY"], "a", buffering=1)
def call(method, path, body=None, headers={}):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(method, path, body, headers)
    response = api.getresponse()
    result = response.headers, response.read()
    api.close()
    return result
headers, _ = call("POST", "/2020-01-01/extension/register", '{"events": []}',
                  {"Lambda-Extension-Name": "lambda-dispatch"})
identifier = headers["Lambda-Extension-Identifier"]
def extension():
    call("GET", "/2020-01-01/extension/event/next", None, {"Lambda-Extension-Identifier": identifier})
    diary.write("an event\n")
def term(number, frame):
    diary.write("SIGTERM\n")
    os._exit(0)
signal.signal(signal.SIGTERM, term)
def runtime():
    while True:
        headers, body = call("GET", "/2018-06-01/runtime/invocation/next")
        where = "/2018-06-01/runtime/invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
        call("POST", where + "/response", body)
# Only the main thread runs Python's handlers, and it is in a read: a signal that the kernel gives to another thread, as
# it may to a process that has just been continued, would wait for ever.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
threading.Thread(target=runtime, daemon=True).start()
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
extension()
"""


def test_one_process_can_be_extension_and_runtime_as_lambda_dispatch_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "INTERNAL_SHUTDOWN", 20.0)  # it may get no CPU in Lambda's half second
    diary = tmp_path / "diary"
    function = python_function(tmp_path, source=BOTH, environment={"DIARY": str(diary)})
    with running_lambda(function) as running:
        assert running.invoke({"a": 1})["body"] == {"a": 1}
        assert running.invoke({"a": 2})["body"] == {"a": 2}
        (environment,) = running.environments()
        assert environment["extensions"] == ["lambda-dispatch"] and environment["state"] == "idle"
    assert diary.read_text() == "SIGTERM\n"  # because it has registered; there is no event for internal ones


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
