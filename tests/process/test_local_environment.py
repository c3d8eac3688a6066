"""Execution environments of the embedded Lambda: init, invoke, freeze, time-out, crash, shutdown."""

import os
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from pathlib import Path

import pytest

from lambda_dispatch.local.function import Function
from tests.support.local_lambda import (
    Running,
    alive,
    process_state,
    processes_with,
    python_function,
    running_lambda,
    wait_for,
)


def test_all_documented_variables_are_set(tmp_path: Path) -> None:
    function = python_function(
        tmp_path, handler="app.handler", memory=512, environment={"MINE": "1"}, directory=str(tmp_path)
    )
    with running_lambda(function) as running:
        told = running.invoke({"say": "environment"})["body"]
        (environment,) = running.environments()
    assert told["_HANDLER"] == "app.handler"
    assert told["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert told["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert told["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert told["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert told["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/f"
    assert told["AWS_LAMBDA_LOG_STREAM_NAME"].endswith(f"[$LATEST]{environment['id']}")
    assert told["AWS_LAMBDA_RUNTIME_API"] == environment["runtime_api"]
    assert told["PORT"] == told["LAMBDA_DISPATCH_PORT"] == str(environment["port"])
    assert told["LAMBDA_TASK_ROOT"] == str(tmp_path)
    assert told["MINE"] == "1"
    for name in (
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LANG",
        "PATH",
        "TZ",
    ):
        assert told.get(name), name


def test_a_counter_stands_still_between_invokes_and_goes_on_in_the_next(tmp_path: Path) -> None:
    counters = tmp_path / "counters"
    counters.mkdir()

    def count(pid: int) -> int:
        text = (counters / str(pid)).read_bytes() if (counters / str(pid)).exists() else b""
        return int(text or b"0")

    with running_lambda(python_function(tmp_path, environment={"COUNTERS": str(counters)})) as running:
        gate = tmp_path / "gate"
        busy = threading.Thread(target=running.invoke, args=({"until": str(gate)},))
        busy.start()
        # An environment that initialises for an invoke counts as busy before it is.
        wait_for(lambda: any(e["state"] == "busy" for e in running.environments()))
        idle = running.invoke()["body"]["pid"]
        (other,) = [e["pids"][0] for e in running.environments() if e["state"] == "busy"]
        wait_for(lambda: process_state(idle) == "T")
        stopped_at, clock = count(idle), count(other)
        wait_for(lambda: count(other) >= clock + 100)  # the environment that serves counts on
        assert count(idle) == stopped_at
        touched = tmp_path / "second-gate"
        again = threading.Thread(target=running.invoke, args=({"until": str(touched)},))
        again.start()
        wait_for(lambda: count(idle) > stopped_at)
        touched.touch()
        gate.touch()
        again.join()
        busy.join()


def test_without_freeze_an_idle_environment_runs_on(tmp_path: Path) -> None:
    counters = tmp_path / "counters"
    counters.mkdir()
    with running_lambda(python_function(tmp_path, environment={"COUNTERS": str(counters)}), freeze=False) as running:
        file = counters / str(running.invoke()["body"]["pid"])
        now = int(wait_for(file.read_bytes))
        wait_for(lambda: int(file.read_bytes() or b"0") > now + 50)


def test_a_time_out_kills_the_environment_and_says_so_as_lambda_does(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, timeout=0.5)) as running:
        pid = running.invoke()["body"]["pid"]
        answer = running.invoke({"until": "/never"})
        request_id = answer["ResponseMetadata"]["RequestId"]
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        assert answer["body"] == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {request_id} Error: Task timed out after 0.50 seconds",
        }
        wait_for(lambda: not alive(pid))
        wait_for(lambda: running.environments() == [])
        assert running.invoke()["body"]["served"] == 1  # a new one


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "Runtime exited without providing a reason"), (7, "Runtime exited with error: exit status 7")],
)
def test_a_runtime_that_exits_fails_its_invoke(tmp_path: Path, status: int, words: str) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        answer = running.invoke({"exit": status})
        assert answer["FunctionError"] == "Unhandled"
        assert answer["body"]["errorType"] == "Runtime.ExitError"
        assert answer["body"]["errorMessage"].endswith(f"Error: {words}")
        assert running.invoke()["body"]["served"] == 1


def test_a_command_that_is_not_there_is_an_invalid_entrypoint(tmp_path: Path) -> None:
    with running_lambda(Function("f", ("/no/such/command",))) as running:
        answer = running.invoke()
        assert answer["body"]["errorType"] == "Runtime.InvalidEntrypoint"
        assert "fork/exec /no/such/command: no such file or directory" in answer["body"]["errorMessage"]
        wait_for(lambda: running.environments() == [])


def test_an_init_over_its_limit_is_done_again_inside_the_invoke(tmp_path: Path) -> None:
    function = python_function(tmp_path, init_timeout=0.2, environment={"INIT_SLEEP": "0.6"})
    with running_lambda(function) as running:
        answer = running.invoke()
        assert answer["body"]["served"] == 1
        (report,) = [line for line in running.lines if line.startswith("INIT_REPORT")]
        assert "Status: timeout" in report
        (report,) = [line for line in running.lines if line.startswith("REPORT")]
        assert "Init Duration" not in report
        assert float(report.split("Duration: ")[1].split(" ms")[0]) >= 600  # on the function's own time


def test_an_init_that_never_ends_is_a_time_out_of_the_function(tmp_path: Path) -> None:
    function = python_function(tmp_path, init_timeout=0.1, timeout=0.3, environment={"INIT_SLEEP": "60"})
    with running_lambda(function) as running:
        answer = running.invoke()
        assert answer["body"]["errorType"] == "Sandbox.Timedout"
        wait_for(lambda: running.environments() == [])


def test_an_init_error_is_what_the_caller_gets(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, environment={"INIT_ERROR": "1"})) as running:
        answer = running.invoke()
        assert answer["FunctionError"] == "Unhandled"
        assert answer["body"] == {"errorType": "Custom.Init", "errorMessage": "no luck"}


def test_environments_unused_for_the_idle_time_are_gone(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), idle_timeout=0.1) as running:
        pid = running.invoke()["body"]["pid"]
        wait_for(lambda: running.environments() == [])
        assert not alive(pid)


def test_kill_freeze_thaw_and_stop_reach_one_environment(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        gate = tmp_path / "gate"
        answers: list[dict[str, object]] = []
        busy = threading.Thread(target=lambda: answers.append(running.invoke({"until": str(gate)})))
        busy.start()
        (environment,) = wait_for(lambda: [e for e in running.environments() if e["state"] == "busy"])
        (pid,) = environment["pids"]
        running.control("POST", f"environments/{environment['id'][:8]}/freeze")
        wait_for(lambda: process_state(pid) == "T")
        running.control("POST", f"environments/{environment['id']}/thaw")
        wait_for(lambda: process_state(pid) in "RS")
        running.control("POST", f"environments/{environment['id']}/kill")
        busy.join()
        assert answers[0]["body"]["errorMessage"].endswith("Runtime exited with error: signal: killed")  # type: ignore[index]
        pid = running.invoke()["body"]["pid"]
        (environment,) = [e for e in running.environments() if e["state"] == "idle"]
        running.control("POST", f"environments/{environment['id']}/stop")
        wait_for(lambda: not alive(pid))


def test_a_crash_rate_of_one_crashes_every_invoke(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        running.control("PATCH", "knobs", {"crash_rate": 1, "crash_after": "0"})
        assert running.invoke({"until": "/never"})["body"]["errorType"] == "Runtime.ExitError"
        running.control("PATCH", "knobs", {"crash_rate": 0})
        assert "FunctionError" not in running.invoke()


def test_a_throttle_rate_of_one_throttles_every_invoke(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), throttle_rate=1) as running:
        with pytest.raises(running.client.exceptions.TooManyRequestsException):
            running.invoke()
        running.control("PATCH", "knobs", {"throttle_rate": 0})
        running.invoke()


def test_the_cold_start_knob_delays_the_first_invoke_and_nobody_is_billed_for_it(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), cold_start="uniform:0.4-0.5") as running:
        (began, ended) = (os.times().elapsed, running.invoke() and os.times().elapsed)
        assert ended - began >= 0.4
        (report,) = [line for line in running.lines if line.startswith("REPORT")]
        assert int(report.split("Billed Duration: ")[1].split(" ms")[0]) < (ended - began - 0.4) * 1000 + 100


def test_init_takes_as_long_as_the_knob_says_and_is_billed(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), init_at_least=0.4) as running:
        running.invoke()
        (report,) = [line for line in running.lines if line.startswith("REPORT")]
        assert float(report.split("Init Duration: ")[1].split(" ms")[0]) >= 400
        assert int(report.split("Billed Duration: ")[1].split(" ms")[0]) >= 400


def test_a_function_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        running.control("PATCH", "functions/f", {"concurrency": 0})
        with pytest.raises(running.client.exceptions.TooManyRequestsException):
            running.invoke()
        running.control("PATCH", "functions/f", {"concurrency": None, "timeout": 0.2})
        assert running.invoke({"until": "/never"})["body"]["errorType"] == "Sandbox.Timedout"


def test_the_deadline_told_can_be_moved(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, timeout=100)) as running:
        true = int(running.invoke({"say": "headers"})["body"]["lambda-runtime-deadline-ms"])
        running.control("PATCH", "knobs", {"deadline_offset": -50})
        moved = int(running.invoke({"say": "headers"})["body"]["lambda-runtime-deadline-ms"])
        assert moved < true


def test_a_pinned_port_allows_one_environment(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, port=19_999)) as running:
        gate = tmp_path / "gate"
        busy = threading.Thread(target=running.invoke, args=({"until": str(gate)},))
        busy.start()
        wait_for(lambda: running.statistics()["busy"] == 1)
        with pytest.raises(running.client.exceptions.TooManyRequestsException):
            running.invoke()
        gate.touch()
        busy.join()


PARENT_OF_GRANDCHILD = r"""
import subprocess, sys
for new_session in (False, True):
    subprocess.Popen([sys.executable, "-S", "-c", "import time\nwhile True: time.sleep(1)"],
                     start_new_session=new_session)
"""


def test_freeze_reaches_groups_that_descendants_have_made(tmp_path: Path) -> None:
    marker = f"FROZEN={tmp_path.name}"
    name, _, value = marker.partition("=")
    function = python_function(tmp_path, environment={name: value})
    script = Path(function.command[-1])
    script.write_text(PARENT_OF_GRANDCHILD + script.read_text())
    with running_lambda(function) as running:
        running.invoke()
        pids = processes_with(marker)
        assert len(pids) == 3
        wait_for(lambda: [process_state(pid) for pid in pids] == ["T", "T", "T"])


def test_nothing_is_left_when_the_lambda_closes(tmp_path: Path) -> None:
    marker = f"LEFT_BEHIND={uuid.uuid4()}"
    name, _, value = marker.partition("=")
    function = python_function(tmp_path, environment={name: value})
    script = Path(function.command[-1])
    script.write_text(PARENT_OF_GRANDCHILD + script.read_text())
    with running_lambda(function) as running:
        running.invoke()
        assert len(processes_with(marker)) == 3
    assert processes_with(marker) == []


def test_nothing_is_left_when_the_runtime_dies_before_its_children(tmp_path: Path) -> None:
    marker = f"LEFT_BEHIND={uuid.uuid4()}"
    name, _, value = marker.partition("=")
    function = python_function(tmp_path, environment={name: value})
    script = Path(function.command[-1])
    script.write_text(PARENT_OF_GRANDCHILD + script.read_text())
    with running_lambda(function) as running:
        running.invoke({"exit": 1})
        wait_for(lambda: processes_with(marker) == [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_lambda_process_ends(tmp_path: Path, number: int) -> None:
    marker = f"LEFT_BEHIND={uuid.uuid4()}"
    function = python_function(tmp_path)
    script = Path(function.command[-1])
    script.write_text(PARENT_OF_GRANDCHILD + script.read_text())
    main = "import sys; from lambda_dispatch.local.commands.lambda_command import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        main,
        "--lambda-port",
        "0",
        "--function-name",
        "f",
        "--env",
        marker,
        "--",
        *function.command,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" on ")[1].split()[0]
        with urllib.request.urlopen(f"{url}/2015-03-31/functions/f/invocations", b"{}", 30) as answer:
            answer.read()
        assert len(processes_with(marker)) >= 3
        process.send_signal(number)
        assert process.wait(20) == (-9 if number == signal.SIGKILL else 0)
    wait_for(lambda: processes_with(marker) == [])


def test_a_hundred_invokes_at_once_get_a_hundred_answers(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), concurrency=20) as running:
        answers = _invoke_many(running, 100)
        assert len(answers) + running.statistics()["throttles"] == 100
        assert all(answer["body"]["served"] >= 1 for answer in answers)
        assert running.statistics()["busy"] == 0


def _invoke_many(running: Running, number: int) -> list[dict[str, dict[str, int]]]:
    answers: list[dict[str, dict[str, int]]] = []
    throttled = running.client.exceptions.TooManyRequestsException

    def one() -> None:
        try:
            answers.append(running.invoke())
        except throttled:
            pass

    threads = [threading.Thread(target=one) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
