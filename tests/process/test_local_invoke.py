"""The embedded Lambda as boto3 sees it."""

import base64
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.local_lambda import python_function, running_lambda, wait_for


def test_an_invoke_returns_the_functions_answer_and_names_version_and_request(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        answer = running.invoke({"a": [1, "é"]})
        assert answer["StatusCode"] == 200
        assert answer["ExecutedVersion"] == "$LATEST"
        assert "FunctionError" not in answer
        assert answer["body"]["event"] == {"a": [1, "é"]}
        assert len(answer["ResponseMetadata"]["RequestId"]) == 36


def test_an_invoke_without_payload_is_an_empty_object(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        assert running.invoke()["body"]["event"] == {}


def test_names_qualifiers_and_arns_reach_the_same_function(tmp_path: Path) -> None:
    function = python_function(tmp_path, aliases={"live": "7", "7": "7"})
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    with running_lambda(function) as running:
        for name in ("f", "f:$LATEST", arn, f"{arn}:$LATEST", "000000000000:function:f"):
            assert running.invoke(name=name)["ExecutedVersion"] == "$LATEST", name
        assert running.invoke(name="f:live")["ExecutedVersion"] == "7"
        assert running.invoke(name=f"{arn}:live")["ExecutedVersion"] == "7"
        assert running.invoke(name="f", Qualifier="7")["ExecutedVersion"] == "7"
        told = running.invoke({"say": "headers"}, Qualifier="live")["body"]
        assert told["lambda-runtime-invoked-function-arn"] == f"{arn}:live"
        with pytest.raises(running.client.exceptions.InvalidParameterValueException, match="derived qualifier"):
            running.invoke(name="f:live", Qualifier="7")


def test_unknown_functions_and_qualifiers_are_resource_not_found(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        for name in ("nope", "f:nope", "arn:aws:lambda:eu-west-1:123456789012:function:nope"):
            with pytest.raises(running.client.exceptions.ResourceNotFoundException) as caught:
                running.invoke(name=name)
            assert caught.value.response["Error"]["Message"].startswith("Function not found: arn:aws:lambda:"), name
            assert caught.value.response["Type"] == "User"


def test_a_dry_run_answers_204_and_runs_nothing(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        assert running.invoke({}, InvocationType="DryRun")["StatusCode"] == 204
        assert running.environments() == []


def test_a_payload_over_six_megabytes_is_request_too_large(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        limit = 6 * 1024 * 1024
        with pytest.raises(running.client.exceptions.RequestTooLargeException, match=str(limit)):
            running.client.invoke(FunctionName="f", Payload=b'"' + b"x" * limit + b'"')
        assert running.client.invoke(FunctionName="f", Payload=b'"' + b"x" * (limit - 2) + b'"')["StatusCode"] == 200


def test_a_payload_that_is_not_json_is_invalid_request_content(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        for payload in (b"{", b"{'a': 1}", b"\xff", b"NaN"):
            with pytest.raises(running.client.exceptions.InvalidRequestContentException, match="Could not parse"):
                running.client.invoke(FunctionName="f", Payload=payload)


def test_a_functions_own_error_comes_with_function_error(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        answer = running.invoke({"error": "boom"})
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        assert answer["body"] == {"errorType": "Custom", "errorMessage": "boom", "stackTrace": []}
        assert running.invoke()["body"]["served"] == 2  # the environment goes on


def test_a_response_over_six_megabytes_is_a_function_error(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        answer = running.invoke({"big": 6 * 1024 * 1024 + 200})
        assert answer["FunctionError"] == "Unhandled"
        assert answer["body"]["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_streamed_response_arrives_whole(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        assert running.invoke({"stream": True})["body"] == {"a": 1}


def test_log_tail_has_output_and_the_three_platform_lines(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, memory=256)) as running:
        running.invoke()
        answer = running.invoke({"print": "hello from inside"}, LogType="Tail")
        request_id = answer["ResponseMetadata"]["RequestId"]
        start, output, end, report = base64.b64decode(answer["LogResult"]).decode().splitlines()
        assert start == f"START RequestId: {request_id} Version: $LATEST"
        assert output == "hello from inside"
        assert end == f"END RequestId: {request_id}"
        assert report.startswith(f"REPORT RequestId: {request_id}\tDuration: ")
        assert "Billed Duration: " in report and "Memory Size: 256 MB" in report and "Max Memory Used: " in report
        assert "Init Duration" not in report


def test_a_cold_start_shows_in_the_report(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        log = base64.b64decode(running.invoke({}, LogType="Tail")["LogResult"]).decode()
        assert "Init Duration: " in log


def test_the_log_tail_is_four_kilobytes_at_most(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        log = base64.b64decode(running.invoke({"print": "x" * 20_000}, LogType="Tail")["LogResult"])
        assert len(log) == 4096
        assert b"REPORT" in log


def test_the_runtime_is_told_deadline_arn_trace_and_context(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, timeout=30)) as running:
        context = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()
        told = running.invoke({"say": "headers"}, ClientContext=context)["body"]
        assert told["lambda-runtime-invoked-function-arn"] == "arn:aws:lambda:us-east-1:000000000000:function:f"
        assert told["lambda-runtime-trace-id"].startswith("Root=1-")
        assert json.loads(told["lambda-runtime-client-context"]) == {"custom": {"a": "b"}}
        assert len(told["lambda-runtime-deadline-ms"]) == 13


def test_an_event_invoke_is_accepted_at_once_and_runs(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        touched = tmp_path / "touched"
        answer = running.invoke({"touch": str(touched)}, InvocationType="Event")
        assert (answer["StatusCode"], answer["body"]) == (202, None)
        wait_for(touched.exists)


def test_a_failing_event_is_tried_three_times_in_all(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), event_retry_delay=0.01) as running:
        running.invoke({"error": "always"}, InvocationType="Event")
        wait_for(lambda: any("given up after 2 retries" in line for line in running.lines))
        assert running.statistics()["invokes"] == 3
        starts = [line for line in running.lines if line.startswith("START")]
        assert len(starts) == 3 and len(set(starts)) == 1  # the request id stays


def test_an_event_over_its_own_limit_is_request_too_large(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        too_large = running.client.exceptions.RequestTooLargeException
        with pytest.raises(too_large):
            running.invoke("x" * 1024 * 1024, InvocationType="Event")


def test_reserved_concurrency_throttles_with_its_reason(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, concurrency=1)) as running:
        gate = tmp_path / "gate"
        busy = threading.Thread(target=running.invoke, args=({"until": str(gate)},))
        busy.start()
        wait_for(lambda: running.statistics()["busy"] == 1)
        with pytest.raises(running.client.exceptions.TooManyRequestsException) as caught:
            running.invoke()
        gate.touch()
        busy.join()
        assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert caught.value.response["retryAfterSeconds"] == "1"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert running.statistics()["throttles"] == 1
        assert running.invoke()["body"]["served"] == 2


def test_the_accounts_concurrency_throttles_with_its_reason(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), python_function(tmp_path, "g"), concurrency=1) as running:
        gate = tmp_path / "gate"
        busy = threading.Thread(target=running.invoke, args=({"until": str(gate)},))
        busy.start()
        wait_for(lambda: running.statistics()["busy"] == 1)
        with pytest.raises(running.client.exceptions.TooManyRequestsException) as caught:
            running.invoke(name="g")
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        gate.touch()
        busy.join()
        # The idle environment of one function makes room for the other's.
        assert running.invoke(name="g")["body"]["served"] == 1
        wait_for(lambda: [e["function"] for e in running.environments()] == ["g"])


def test_a_burst_of_new_environments_is_throttled(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path), burst=2) as running:
        gate = tmp_path / "gate"
        busy = [threading.Thread(target=running.invoke, args=({"until": str(gate)},)) for _ in range(2)]
        for thread in busy:
            thread.start()
        wait_for(lambda: running.statistics()["busy"] == 2)
        with pytest.raises(running.client.exceptions.TooManyRequestsException):
            running.invoke()
        gate.touch()
        for thread in busy:
            thread.join()


def test_two_invokes_at_once_get_two_environments_and_one_after_another_get_one(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        gate = tmp_path / "gate"
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(running.invoke({"until": str(gate)})["body"]["pid"]))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: running.statistics()["busy"] == 2)
        gate.touch()
        for thread in threads:
            thread.join()
        assert len(set(answers)) == 2
        wait_for(lambda: running.statistics()["idle"] == 2)
        assert len({running.invoke()["body"]["pid"] for _ in range(3)}) == 1
        assert running.statistics()["cold_starts"] == 2


def test_an_invoke_whose_caller_left_runs_to_its_end(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        gate, touched = tmp_path / "gate", tmp_path / "touched"
        body = json.dumps({"touch": str(touched), "until": str(gate)}).encode()
        request = urllib.request.Request(f"{running.url}/2015-03-31/functions/f/invocations", body, method="POST")
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            urllib.request.urlopen(request, timeout=0.3)
        wait_for(touched.exists)
        gate.touch()
        wait_for(lambda: running.statistics()["idle"] == 1)
        assert running.statistics()["errors"] == 0


def test_a_function_is_looked_up_by_alias_with_the_version_it_stands_for(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, aliases={"live": "7"})) as running:
        for qualifier, version in (("live", "7"), ("$LATEST", "$LATEST")):
            found = running.client.get_function_configuration(FunctionName="f", Qualifier=qualifier)
            assert (found["Version"], found["FunctionArn"]) == (
                version,
                f"arn:aws:lambda:us-east-1:000000000000:function:f:{qualifier}",
            )
            assert running.client.get_function(FunctionName="f", Qualifier=qualifier)["Configuration"] == {
                name: value for name, value in found.items() if name != "ResponseMetadata"
            }


@pytest.mark.skipif(shutil.which("aws") is None, reason="the AWS CLI (`aws`) is not on the PATH")
def test_the_aws_command_of_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "local.md").read_text()
    block = text.partition("    export AWS_ENDPOINT_URL_LAMBDA=")
    shell = (block[1] + block[2].partition("\n\n")[0]).replace("http://127.0.0.1:5051", "$ENDPOINT")
    with running_lambda(python_function(tmp_path, "hello")) as running:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        done = subprocess.run(
            ["sh", "-c", shell], env={**clean, "ENDPOINT": running.url}, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert '"event": {"name": "world"}' in done.stdout


def test_functions_can_be_listed_and_looked_up(tmp_path: Path) -> None:
    with running_lambda(python_function(tmp_path, timeout=60), python_function(tmp_path, "g")) as running:
        assert [f["FunctionName"] for f in running.client.list_functions()["Functions"]] == ["f", "g"]
        assert running.client.get_function(FunctionName="f")["Configuration"]["Timeout"] == 60
        assert running.client.get_function_configuration(FunctionName="f")["State"] == "Active"
        with pytest.raises(running.client.exceptions.ResourceNotFoundException):
            running.client.get_function(FunctionName="nope")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_LAMBDA", "AWS_LAMBDA_SERVICE_URL"])
def test_what_it_does_not_know_is_a_service_error(tmp_path: Path, name: str) -> None:
    with running_lambda(python_function(tmp_path)) as running:
        request = urllib.request.Request(f"{running.url}/2015-03-31/{name}", method="GET")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as error:
            assert error.code == 404
            assert error.headers["x-amzn-errortype"] == "UnknownOperationException"
