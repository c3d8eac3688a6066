"""An embedded Lambda on a thread of its own, for tests that talk to it as its callers do: over HTTP."""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from lambda_dispatch.local.environment.environment import Environment
from lambda_dispatch.local.function import Function
from lambda_dispatch.local.knobs import Knobs
from lambda_dispatch.local.service.local_lambda import LocalLambda, LocalLambdaConfig

# A runtime that does what the event asks for.
RUNTIME = r"""
import http.client, json, os, sys, threading, time

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
served = 0

def count():
    path = os.path.join(os.environ["COUNTERS"], str(os.getpid()))
    with open(path, "wb", buffering=0) as file:
        number = 0
        while True:
            number += 1
            file.seek(0)
            file.write(b"%020d" % number)
            time.sleep(0.001)

if "COUNTERS" in os.environ:
    threading.Thread(target=count, daemon=True).start()
if "INIT_SLEEP" in os.environ:
    time.sleep(float(os.environ["INIT_SLEEP"]))
if "INIT_ERROR" in os.environ:
    body = json.dumps({"errorType": "Custom.Init", "errorMessage": "no luck"})
    api.request("POST", "/2018-06-01/runtime/init/error", body, {"Lambda-Runtime-Function-Error-Type": "Custom.Init"})
    api.getresponse().read()
    sys.exit(3)
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    response = api.getresponse()
    payload = response.read()
    event = json.loads(payload)
    headers = {name.lower(): value for name, value in response.getheaders()}
    where = "/2018-06-01/runtime/invocation/" + headers["lambda-runtime-aws-request-id"]
    served += 1
    event = event if isinstance(event, dict) else {}
    if "print" in event:
        print(event["print"], flush=True)
    if "touch" in event:
        open(event["touch"], "w").close()
    while "until" in event and not os.path.exists(event["until"]):
        time.sleep(0.005)
    if "exit" in event:
        sys.exit(event["exit"])
    if event.get("error"):
        body = json.dumps({"errorType": "Custom", "errorMessage": event["error"], "stackTrace": []})
        api.request("POST", where + "/error", body, {"Lambda-Runtime-Function-Error-Type": "Custom"})
    elif "big" in event:
        api.request("POST", where + "/response", b'"' + b"x" * event["big"] + b'"')
    elif event.get("stream"):
        api.request("POST", where + "/response", iter([b'{"a', b'":', b"1}"]),
                    {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
    elif event.get("say") == "environment":
        api.request("POST", where + "/response", json.dumps(dict(os.environ)))
    elif event.get("say") == "headers":
        api.request("POST", where + "/response", json.dumps(headers))
    else:
        said = {"event": json.loads(payload), "served": served, "pid": os.getpid()}
        api.request("POST", where + "/response", json.dumps(said))
    api.getresponse().read()
"""


class Running:
    def __init__(self, local: LocalLambda, loop: asyncio.AbstractEventLoop, lines: list[str]) -> None:
        self.local = local
        self.loop = loop
        self.lines = lines
        self.url = local.url
        self.client = boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=50),
        )

    def invoke(self, event: object = None, name: str = "f", **more: Any) -> dict[str, Any]:
        """The answer of boto3 with its payload decoded under "body"."""
        given = {} if event is None else {"Payload": json.dumps(event).encode()}
        answer: dict[str, Any] = self.client.invoke(FunctionName=name, **given, **more)
        payload = answer["Payload"].read()
        answer["body"] = json.loads(payload) if payload else None
        return answer

    def control(self, method: str, path: str, value: object = None, **headers: str) -> Any:
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(f"{self.url}/_local/{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
            return json.loads(text) if text[:1] in b"{[" else text.decode()

    def environments(self) -> list[dict[str, Any]]:
        return list(self.control("GET", "status")["environments"])

    def statistics(self, name: str = "f") -> dict[str, Any]:
        return dict(self.control("GET", "status")["functions"][name])


@contextlib.contextmanager
def running_lambda(
    *functions: Function, direct: str = "", event: str = "url", mode: str = "buffered", **knobs: object
) -> Iterator[Running]:
    settings = Knobs()
    for name, value in knobs.items():
        settings.set(name, value)
    config = LocalLambdaConfig(
        functions,
        port=0,
        knobs=settings,
        direct_port=0 if direct else None,
        direct_function=direct,
        direct_event=event,
        direct_mode=mode,
    )
    lines: list[str] = []
    ready: list[Running | BaseException] = []
    started = threading.Event()

    async def main() -> None:
        def write_log(environment: Environment | None, source: str, line: str) -> None:
            lines.append(line)

        local = LocalLambda(config, write_log)
        stop = asyncio.Event()
        try:
            await local.start()
            ready.extend([Running(local, asyncio.get_running_loop(), lines)])
            stops.append(stop)
        except BaseException as error:
            ready.append(error)
            raise
        finally:
            started.set()
        try:
            await stop.wait()
        finally:
            await local.close()

    stops: list[asyncio.Event] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    started.wait()
    running = ready[0]
    if isinstance(running, BaseException):
        raise running
    try:
        yield running
    finally:
        running.client.close()
        running.loop.call_soon_threadsafe(stops[0].set)
        thread.join(20)
        assert not thread.is_alive()


def python_function(scripts: Path, name: str = "f", source: str = RUNTIME, **settings: Any) -> Function:
    path = scripts / f"{name}-runtime.py"
    path.write_text(source)
    return Function(name=name, command=(sys.executable, "-S", str(path)), **settings)


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of `what`; for states of other processes that no event announces."""
    until = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.005)


def process_state(pid: int) -> str:
    """The letter of /proc: R, S, T (stopped), Z; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    return process_state(pid) not in ("", "Z")


def processes_with(marker: str) -> list[int]:
    """Every process whose environment or command line has the marker."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{entry}/environ").read_bytes() + Path(f"/proc/{entry}/cmdline").read_bytes()
                if marker.encode() in text and alive(int(entry)):
                    found.append(int(entry))
    return found
