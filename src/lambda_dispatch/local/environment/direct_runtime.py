"""The runtime of direct mode: starts a web application and turns each function URL event into an HTTP request to it.

    python -m lambda_dispatch.local.environment.direct_runtime -- APP…

One event at a time, as Lambda hands them out. It starts with every environment, a hundred of them at once in a
comparison: what it imports is counted, and http.client with all of ssl and email behind it is not among it.
"""

import base64
import binascii
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from lambda_dispatch_net.http_response import Headers, ResponseReader

HEALTH_PATH = "/health"
HEALTH_EVERY = 0.05  # seconds; a hundred of these beside each other must not eat the machine
APP_TIMEOUT = 900.0  # seconds; Lambda's own time-out comes first
RESPONSE_LIMIT = 6 * 1024 * 1024
HEAD_LIMIT = 64 * 1024
READ_SIZE = 256 * 1024
DROPPED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")


class StaleConnection(Exception):
    """The other side had closed a connection that was kept; nothing of the request was answered."""


class Connection:
    """A kept connection, one exchange at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def exchange(self, method: str, target: str, headers: Headers, body: bytes = b"") -> ResponseReader:
        """Sends the request again, once, when a connection kept from before turns out to be closed."""
        try:
            return self._exchange(method, target, headers, body)
        except StaleConnection:
            return self._exchange(method, target, headers, body)

    def _exchange(self, method: str, target: str, headers: Headers, body: bytes) -> ResponseReader:
        kept = self._socket is not None
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=APP_TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        response = ResponseReader(most_head=HEAD_LIMIT, most_body=RESPONSE_LIMIT, bodyless=method == "HEAD")
        try:
            self._socket.sendall("\r\n".join(lines).encode("latin-1") + body)
            while not response.done:
                data = self._socket.recv(READ_SIZE)
                if not data:
                    if kept and not response.status:
                        raise StaleConnection
                    if not response.end():
                        raise ConnectionResetError("the connection was closed before the response was complete")
                    break
                response.feed(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            if kept and not response.status:
                raise StaleConnection from None
            raise
        except BaseException:
            self.close()
            raise
        if not (response.done and response.keep_alive):
            self.close()
        return response

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class App:
    """The application beside us, and the one connection to it."""

    def __init__(self, command: list[str], port: int) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._connection = Connection("127.0.0.1", port)

    def end_with(self) -> int | None:
        return self._process.poll()

    def wait_healthy(self) -> None:
        while self.end_with() is None:
            try:
                if self._connection.exchange("GET", HEALTH_PATH, [("host", "localhost")]).status == 200:
                    return
            except (OSError, ValueError, StaleConnection):
                pass
            time.sleep(HEALTH_EVERY)
        raise SystemExit(f"the application ended with exit status {self.end_with()} before it answered {HEALTH_PATH}")

    def request(self, event: dict[str, Any]) -> dict[str, Any]:
        response = self._connection.exchange(*to_request(event))
        return to_answer(response.status, response.headers, bytes(response.body))


def to_request(event: dict[str, Any]) -> tuple[str, str, Headers, bytes]:
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


def to_answer(status: int, given: Headers, content: bytes) -> dict[str, Any]:
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
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    api = Connection(host, int(port))
    named = [("host", "runtime")]
    prefix = "/2018-06-01/runtime/invocation/"
    while True:
        invocation = api.exchange("GET", prefix + "next", named)
        request_id = dict(invocation.headers)["lambda-runtime-aws-request-id"]
        headers = [*named, ("content-type", "application/json")]
        try:
            where, body = "response", json.dumps(app.request(json.loads(invocation.body))).encode()
        except (OSError, ValueError, KeyError, StaleConnection, binascii.Error) as error:
            kind = f"Direct.{type(error).__name__}"
            headers.append(("lambda-runtime-function-error-type", kind))
            where, body = "error", json.dumps({"errorType": kind, "errorMessage": str(error)}).encode()
        headers.append(("content-length", str(len(body))))
        api.exchange("POST", f"{prefix}{request_id}/{where}", headers, body)
        ended = app.end_with()
        if ended is not None:
            print(f"the application ended with exit status {ended}", file=sys.stderr)
            return 1


def main() -> int:
    command = sys.argv[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print("usage: python -m lambda_dispatch.local.environment.direct_runtime -- APP…", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return run(command)
    except FileNotFoundError as error:
        print(f"command not found: {error.filename}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
