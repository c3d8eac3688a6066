"""The runtime of direct mode: starts a web application and turns each function URL event into an HTTP request to it.

    python -m lambda_dispatch.local.direct_runtime -- APP…

One event at a time, as Lambda hands them out; standard library only, because it starts with every environment.
"""

import base64
import binascii
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

HEALTH_PATH = "/health"
HEALTH_EVERY = 0.01  # seconds
APP_TIMEOUT = 900.0  # seconds; Lambda's own time-out comes first
RESPONSE_LIMIT = 6 * 1024 * 1024
DROPPED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")


class App:
    """The application beside us, and the one connection to it."""

    def __init__(self, command: list[str], port: int) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def end_with(self) -> int | None:
        return self._process.poll()

    def wait_healthy(self) -> None:
        while self.end_with() is None:
            probe = http.client.HTTPConnection("127.0.0.1", self._port, timeout=APP_TIMEOUT)
            try:
                probe.request("GET", HEALTH_PATH, headers={"host": "localhost"})
                if probe.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                probe.close()
            time.sleep(HEALTH_EVERY)
        raise SystemExit(f"the application ended with exit status {self.end_with()} before it answered {HEALTH_PATH}")

    def request(self, event: dict[str, Any]) -> dict[str, Any]:
        fresh = self._connection is None
        try:
            return self._exchange(event)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if fresh:
                raise
            return self._exchange(event)  # the application closed the idle connection under us
        except Exception:
            self.close()
            raise

    def _exchange(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=APP_TIMEOUT)
        method, target, headers, body = to_request(event)
        self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            self._connection.putheader(name, value)
        self._connection.endheaders(body or None)
        response = self._connection.getresponse()
        content = response.read(RESPONSE_LIMIT + 1)
        if len(content) > RESPONSE_LIMIT:
            self.close()
            raise ValueError(f"the response is over {RESPONSE_LIMIT} bytes")
        if response.will_close:
            self.close()
        return to_answer(response.status, response.getheaders(), content)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def to_request(event: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], bytes]:
    body_text = event.get("body") or ""
    body = base64.b64decode(body_text) if event.get("isBase64Encoded") else body_text.encode()
    query = event.get("rawQueryString")
    target = event["rawPath"] + (f"?{query}" if query else "")
    method = event["requestContext"]["http"]["method"]
    headers = [(name, value) for name, value in event["headers"].items() if name.lower() not in DROPPED]
    if event.get("cookies"):
        headers.append(("cookie", "; ".join(event["cookies"])))
    if body or method in ("POST", "PUT", "PATCH"):
        headers.append(("content-length", str(len(body))))
    return method, target, headers, body


def to_answer(status: int, given: list[tuple[str, str]], content: bytes) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in given:
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        elif name not in DROPPED:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    answer: dict[str, Any] = {"statusCode": status, "headers": headers, "cookies": cookies}
    if "content-encoding" not in headers and headers.get("content-type", "").startswith(TEXT_TYPES):
        try:
            return {**answer, "body": content.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {**answer, "body": base64.b64encode(content).decode(), "isBase64Encoded": True}


def run(command: list[str]) -> int:
    app = App(command, int(os.environ["LAMBDA_DISPATCH_PORT"]))
    app.wait_healthy()
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    prefix = "/2018-06-01/runtime/invocation/"
    while True:
        api.request("GET", prefix + "next")
        response = api.getresponse()
        payload = response.read()
        request_id = response.getheader("lambda-runtime-aws-request-id")
        headers = {"content-type": "application/json"}
        try:
            where, body = "response", json.dumps(app.request(json.loads(payload))).encode()
        except (OSError, http.client.HTTPException, ValueError, KeyError, binascii.Error) as error:
            kind = f"Direct.{type(error).__name__}"
            headers["lambda-runtime-function-error-type"] = kind
            where, body = "error", json.dumps({"errorType": kind, "errorMessage": str(error)}).encode()
        api.request("POST", f"{prefix}{request_id}/{where}", body, headers)
        api.getresponse().read()
        ended = app.end_with()
        if ended is not None:
            print(f"the application ended with exit status {ended}", file=sys.stderr)
            return 1


def main() -> int:
    command = sys.argv[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print("usage: python -m lambda_dispatch.local.direct_runtime -- APP…", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return run(command)
    except FileNotFoundError as error:
        print(f"command not found: {error.filename}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
